"""What a program took of tuning records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, get_args

from dscompile.artifact import TuningInfo
from dscompile.plan.choices import Source
from dscompile.plan.tuning import names_of

if TYPE_CHECKING:
    from dscompile.plan.program import Chosen, Program


def layers_by_source(chosen: Iterable[Chosen]) -> Mapping[Source, tuple[str, ...]]:
    """The layers with tiles by where their choices come from; of several, the one that knows least of the layer."""
    knows: tuple[Source, ...] = get_args(Source)  # from most to least
    least: dict[str, Source] = {}
    for one in chosen:
        least[one.layer] = max(least.get(one.layer, knows[0]), one.source, key=knows.index)
    return {source: tuple(layer for layer, known in least.items() if known == source) for source in knows}


def tuning_info(program: Program) -> TuningInfo | None:
    """What is told of a program's tuning; None if nothing in it can be tuned."""
    if not program.chosen:
        return None
    layers = layers_by_source(program.chosen)
    return TuningInfo(
        program.target.name, names_of(program.tuning), layers["record"], layers["neighbor"], layers["rule"]
    )

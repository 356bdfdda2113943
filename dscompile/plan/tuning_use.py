"""What a program took of tuning records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, get_args

from dscompile.artifact import TuningInfo
from dscompile.plan.choices import Source
from dscompile.plan.spaces import has_alternatives
from dscompile.plan.tuning import names_of
from dscompile.target import Target

if TYPE_CHECKING:
    from dscompile.plan.program import Chosen, Program


def layers_by_source(chosen: Iterable[Chosen], target: Target) -> Mapping[Source, tuple[str, ...]]:
    """The layers that have tiles to choose, by where their choices come from; of several, the one that knows least.

    Where there is but one choice, there is nothing that a record could say.
    """
    knows: tuple[Source, ...] = get_args(Source)  # from most to least
    least: dict[str, Source] = {}
    for one in chosen:
        if one.source == "rule" and not has_alternatives(one.workload, target):
            continue
        least[one.layer] = max(least.get(one.layer, knows[0]), one.source, key=knows.index)
    return {source: tuple(layer for layer, known in least.items() if known == source) for source in knows}


def tuning_info(program: Program) -> TuningInfo | None:
    """What is told of a program's tuning; None if nothing in it can be tuned."""
    layers = layers_by_source(program.chosen, program.target)
    if not any(layers.values()):
        return None
    return TuningInfo(
        program.target.name, names_of(program.tuning), layers["record"], layers["neighbor"], layers["rule"]
    )

"""What a program took of tuning records."""

from __future__ import annotations

from collections import Counter
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
    """The layers that have tiles to choose, by where their choices come from; of several, that of most of the work.

    Where there is but one choice, there is nothing that a record could say.
    """
    sources: tuple[Source, ...] = get_args(Source)
    work: dict[str, Counter[Source]] = {}
    for one in chosen:
        if one.source != "rule" or has_alternatives(one.workload, target):
            work.setdefault(one.layer, Counter())[one.source] += one.times * one.workload.macs(target.lanes)
    most = {layer: max(sources, key=macs.__getitem__) for layer, macs in work.items()}
    return {source: tuple(layer for layer, known in most.items() if known == source) for source in sources}


def tuning_info(program: Program) -> TuningInfo | None:
    """What is told of a program's tuning; None if nothing in it can be tuned."""
    layers = layers_by_source(program.chosen, program.target)
    if not any(layers.values()):
        return None
    return TuningInfo(
        program.target.name, names_of(program.tuning), layers["record"], layers["neighbor"], layers["rule"]
    )

"""A small file of tuning records for x86-avx2, whose costs are made up."""

from __future__ import annotations

from dscompile.plan.choices import Choice, ConvChoice, DepthwiseChoice
from dscompile.plan.spaces import rule, space
from dscompile.plan.tuning_records import Isa, TuningFile, TuningRecord
from dscompile.plan.workloads import (
    ConvWorkload,
    DenseWorkload,
    DepthwiseWorkload,
    Int8ConvWorkload,
    Int8DepthwiseWorkload,
    Workload,
)
from dscompile.target import Target, find_target

AVX2 = find_target("x86-avx2")
POINTWISE = ConvWorkload(1, 3136, 8, 64)
DEPTHWISE = DepthwiseWorkload(56, 56, 8)
WORKLOADS: tuple[Workload, ...] = (
    POINTWISE,
    DEPTHWISE,
    DenseWorkload(1024, 1000),
    Int8ConvWorkload(1, 49, 4, 64),
    Int8DepthwiseWorkload(7, 7, 2),
)
TUNED: dict[Workload, Choice] = {
    POINTWISE: ConvChoice(3, 3, 4, panel_outer=True, prefetch=True),
    DEPTHWISE: DepthwiseChoice(7, 1),
}


def record_of(
    workload: Workload, *, best: Choice | None = None, gain: float = 1.25, networks: tuple[str, ...] = ("net",)
) -> TuningRecord:
    """A record whose best choice is `best`, by default one that is not the rule's where there is another."""
    by_rule = rule(workload, AVX2)
    if best is None:
        best = TUNED.get(workload, by_rule)
    gain = 1.0 if best == by_rule else gain
    return TuningRecord(workload, best, 8.0, by_rule, 8.0 * gain, len(space(workload, AVX2)) + 1, 1, networks)


def tuning_file(*records: TuningRecord, target: Target = AVX2) -> TuningFile:
    """A file of these records, by default of one of every kind of workload."""
    found = records or tuple(map(record_of, WORKLOADS))
    return TuningFile(target.name, Isa.of(target), "0.1.0", "us", "a laptop", found)

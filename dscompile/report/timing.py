"""Times several contenders in one interleaved run, so that noise of the machine meets all of them alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dscompile.report.traffic import KernelBytes

Sampler = Callable[[int], Sequence[float]]
"""Runs something so many times and returns the latency of each run in microseconds."""

WARM_UP_RUNS = 1
"""Unmeasured runs at the start of each turn: every contender finds the caches full of somebody else's data."""

_TYPICAL_RUNS = 3
_TURN_US = 50_000.0  # how long one contender runs before the next has its turn
_BUDGET_US = 1_000_000.0  # time per contender when the number of repeats is not given
_FEWEST_REPEATS = 30


@dataclass(frozen=True)
class Timing:
    """Latencies of one contender, in microseconds."""

    median_us: float
    p95_us: float
    min_us: float
    repeats: int


@dataclass(frozen=True)
class PeerTiming:
    """A peer beside an artifact: `ratio` is the peer's median over the artifact's (above 1: the artifact is faster)."""

    timing: Timing
    ratio: float


@dataclass(frozen=True)
class LayerPart:
    """A layer of the network that is computed in a step together with others; its time is not known."""

    name: str
    macs: int


@dataclass(frozen=True)
class StepTiming:
    """Median time of one step of an artifact. `parts` are the layers in it, where there are several."""

    name: str
    kind: str
    macs: int
    median_us: float
    parts: tuple[LayerPart, ...] = ()


@dataclass(frozen=True)
class BenchResult:
    """Speed of one artifact. `peak_gflops` was measured between the runs; None where the machine cannot say.

    `latency_budget_us` is what the network's file allows an inference on this target. `steps` are there
    where they were asked for.
    """

    path: str
    target: str
    threads: int
    macs: int
    timing: Timing
    peak_gflops: float | None = None
    peers: Mapping[str, PeerTiming] = field(default_factory=dict)
    latency_budget_us: float | None = None
    steps: tuple[StepTiming, ...] | None = None
    runner: str = "host"

    @property
    def gmac_per_second(self) -> float:
        """Multiply-accumulates per second at the median, in 10^9."""
        return self.macs / self.timing.median_us / 1e3

    @property
    def peak_gflops_fraction(self) -> float | None:
        """Share of the core's measured FMA peak at the median; one MAC is two operations."""
        return None if self.peak_gflops is None else 2 * self.gmac_per_second / self.peak_gflops


@dataclass(frozen=True)
class StepInstructions:
    """Executed instructions of one step of an artifact.

    `least_cycles` and `most_cycles` are what the manual of the core gives for these instructions where memory never
    waits; None where there is no model of the core.
    """

    name: str
    kind: str
    macs: int
    instructions: int
    least_cycles: int | None = None
    most_cycles: int | None = None

    @property
    def per_mac(self) -> float | None:
        """Instructions per multiply-accumulate; None for a step without any."""
        return self.instructions / self.macs if self.macs else None


@dataclass(frozen=True)
class CountResult:
    """Executed instructions of one inference of an artifact, counted by an emulator.

    The same program always executes the same number. `stack_bytes` is the deepest the stack was, where that is
    measured, and `steps` are there where instructions are counted by step; what no step has is the driver and the C
    library. A `latency_budget_us` cannot be checked, as an emulator keeps no time.
    """

    path: str
    target: str
    runner: str
    macs: int
    instructions: int
    stack_bytes: int | None = None
    latency_budget_us: float | None = None
    steps: tuple[StepInstructions, ...] = ()

    @property
    def instructions_per_mac(self) -> float:
        """Instructions per multiply-accumulate of the network."""
        return self.instructions / max(1, self.macs)


@dataclass(frozen=True)
class TrafficResult:
    """What the kernels of one inference for a GPU move, counted on the CPU in its place; no time is taken."""

    path: str
    target: str
    runner: str
    macs: int
    traffic: tuple[KernelBytes, ...]
    latency_budget_us: float | None = None


def interleave(
    contenders: Mapping[str, Sampler],
    repeats: int | None = None,
    between_rounds: Callable[[int, int], None] = lambda done, total: None,
    *,
    turn_us: float = _TURN_US,
) -> dict[str, Timing]:
    """Lets the contenders take turns until each has run `repeats` times (by default for about a second each).

    Each first runs three times to see how long it takes; a turn lasts about `turn_us`. `between_rounds(done, total)` is
    called before each round, with the runs done so far and in all.
    """
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    wanted: dict[str, int] = {}
    turn: dict[str, int] = {}
    for name, sampler in contenders.items():
        typical = max(min(sampler(_TYPICAL_RUNS)), 0.1)
        wanted[name] = repeats or max(_FEWEST_REPEATS, math.ceil(_BUDGET_US / typical))
        turn[name] = max(1, int(turn_us / typical))
    total = sum(wanted.values())
    while (done := sum(map(len, samples.values()))) < total:
        between_rounds(done, total)
        for name, sampler in contenders.items():
            missing = wanted[name] - len(samples[name])
            if missing > 0:
                samples[name].extend(sampler(min(turn[name], missing)))
    return {name: summarize(values) for name, values in samples.items()}


def summarize(samples_us: Sequence[float]) -> Timing:
    """Median (of an even number the lower one), 95th percentile (nearest rank) and minimum."""
    ordered = sorted(samples_us)
    count = len(ordered)
    return Timing(
        median_us=ordered[(count - 1) // 2],
        p95_us=ordered[math.ceil(0.95 * count) - 1],
        min_us=ordered[0],
        repeats=count,
    )

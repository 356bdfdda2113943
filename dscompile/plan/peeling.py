"""Padding without a padded copy: outputs at the border are computed with those taps that lie inside the image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class TapRun:
    """A run of outputs along one axis that see the same taps of the kernel.

    Outputs `start` .. `start + count`, taps `first_tap` .. `first_tap + taps`; `first_input` is where the first of
    these taps of the first of these outputs lies.
    """

    start: int
    count: int
    first_tap: int
    taps: int
    first_input: int


@lru_cache(maxsize=1024)
def tap_runs(size: int, outputs: int, kernel: int, stride: int, before: int, dilation: int) -> tuple[TapRun, ...]:
    """Cuts an axis of `size` inputs and `outputs` windows, padded with `before` zeros, into runs of equal taps.

    Outputs whose window lies wholly in the padding get a run of 0 taps.
    """
    runs: list[TapRun] = []
    for output in range(outputs):
        origin = output * stride - before
        inside = [tap for tap in range(kernel) if 0 <= origin + tap * dilation < size]
        first, taps = (inside[0], len(inside)) if inside else (0, 0)
        last = runs[-1] if runs else None
        if last is not None and (last.first_tap, last.taps) == (first, taps):
            runs[-1] = TapRun(last.start, last.count + 1, first, taps, last.first_input)
        else:
            runs.append(TapRun(output, 1, first, taps, origin + first * dilation))
    return tuple(runs)


def rows_of(run: TapRun, first: int, count: int, stride: int) -> TapRun | None:
    """The part of a run that lies in outputs `first` .. `first + count`, or None."""
    start, end = max(run.start, first), min(run.start + run.count, first + count)
    if start >= end:
        return None
    return TapRun(start, end - start, run.first_tap, run.taps, run.first_input + (start - run.start) * stride)

"""Timing C functions from Python."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import UsageError

_CALIBRATION_CALLS = 200


def latencies_us(
    run: Callable[..., int], arguments: Sequence[ctypes.c_void_p], repeats: int, warmup: int
) -> NDArray[np.float64]:
    """Time of each of `repeats` calls of `run` in microseconds, after `warmup` that are not counted.

    What Python needs to call a C function is taken off: the median time of the same call with NULL pointers, which
    `<net>_run` answers at once. Raises UsageError unless `repeats` is at least 1.
    """
    if repeats < 1:
        raise UsageError(f"the number of repeats must be at least 1, not {repeats}")
    nothing = tuple(ctypes.c_void_p() for _ in arguments)
    overhead = np.median(durations_ns(run, nothing, _CALIBRATION_CALLS))
    for _ in range(warmup):
        run(*arguments)
    times = durations_ns(run, arguments, repeats)
    return np.maximum(times - overhead, 0.0) / 1000.0


def durations_ns(
    function: Callable[..., int], arguments: Sequence[ctypes.c_void_p], repeats: int
) -> NDArray[np.float64]:
    """Wall-clock time of each of `repeats` calls."""
    times = np.zeros(repeats, np.float64)
    for index in range(repeats):
        start = perf_counter_ns()
        function(*arguments)
        times[index] = perf_counter_ns() - start
    return times

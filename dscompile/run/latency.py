"""Timing C functions from Python."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import CheckFailedError, UsageError

_CALIBRATION_CALLS = 200
_HOOK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)


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


def profile_us(
    run: Callable[..., int],
    run_profiled: Callable[..., int],
    arguments: Sequence[ctypes.c_void_p],
    steps: range,
    repeats: int,
) -> tuple[float, ...]:
    """Median time of each of `steps`, by their numbers in the hook, over `repeats` profiled inferences in microseconds.

    The hook is a Python function. What calling it costs is estimated by comparison with unprofiled inferences and
    taken off in equal parts, so that the steps add up to the latency. Raises UsageError unless `repeats` is at least 1.
    """
    latency_us = float(np.median(latencies_us(run, arguments, repeats, warmup=3)))
    medians_us = np.median(step_samples_us(run_profiled, arguments, steps, repeats), axis=0)
    overhead_us = max(0.0, (float(medians_us.sum()) - latency_us) / max(len(steps), 1))
    return tuple(max(0.0, float(median) - overhead_us) for median in medians_us)


def step_samples_us(
    run_profiled: Callable[..., int], arguments: Sequence[ctypes.c_void_p], steps: range, repeats: int
) -> NDArray[np.float64]:
    """[repeats, steps]: time of each of `steps` in each profiled inference in microseconds, that of the hook included.

    One inference more comes first and is not counted.
    """
    count = len(steps)
    ended, resumed = np.zeros(count, np.int64), np.zeros(count + 1, np.int64)

    def hook(_user: object, step: int, _result: object) -> None:
        ended[step - steps.start] = perf_counter_ns()
        resumed[step - steps.start + 1] = perf_counter_ns()

    callback = _HOOK(hook)
    times = np.zeros((repeats + 1, count))
    for round_times in times:
        resumed[0] = perf_counter_ns()
        status = run_profiled(*arguments, callback, None)
        if status:
            raise CheckFailedError(f"the profiled run returned {status}")
        round_times[:] = ended - resumed[:count]
    return times[1:] / 1000.0


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

"""Builders: where candidates are compiled. Processes of this machine, or the workers of a Dask cluster.

Both are executors of the standard library. A build that takes too long ends its process, as one that crashes does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

from dscompile.errors import ToolError
from dscompile.farm.limits import die_with
from dscompile.tuner.candidates import Candidate, Job, build_candidate

_CONNECT_S = 10.0  # until a Dask scheduler must have answered
BUILD_LIMIT_S = 120


class Builders:
    """An executor for candidates that is made anew when a build has ended one of its processes."""

    def __init__(self, make: Callable[[], Executor], count: int, end: Callable[[], None] = lambda: None) -> None:
        """`make` gives an executor with `count` processes; `end` ends what it runs on."""
        self._make = make
        self._end = end
        self._executor = make()
        self.count = count

    def submit(self, job: Job) -> Future[Candidate]:
        """Builds a candidate as soon as a process is free.

        The future raises what `build_candidate` does, BrokenExecutor if its process has ended.
        """
        return self._executor.submit(build_within_limit, job)

    def restart(self) -> None:
        """Makes the executor anew; builds that were waiting are lost."""
        self._stop()
        self._executor = self._make()

    def close(self) -> None:
        """Ends all processes; what still waits is not built."""
        self._stop()
        self._end()

    def _stop(self) -> None:
        if isinstance(self._executor, ProcessPoolExecutor | ThreadPoolExecutor):
            self._executor.shutdown(wait=False, cancel_futures=True)
        else:
            self._executor.shutdown(wait=False)  # Dask's takes no more than that


def local_builders(count: int | None = None) -> Builders:
    """`count` processes of this machine (default: one per core but one, which is the device's)."""
    cores = sorted(os.sched_getaffinity(0))
    free = cores[:-1] or cores
    processes = count or len(free)
    return Builders(
        lambda: ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin, (tuple(free),)), processes
    )


def dask_builders(address: str) -> Builders:
    """The workers of the Dask cluster whose scheduler listens at `address`, tcp://HOST:PORT.

    They need this version of dscompile and the compilers for the target. Raises ToolError without Dask or the cluster.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ToolError("Dask is not installed", help="pip install 'dscompile[scale]'") from error
    try:
        client = Client(address, timeout=_CONNECT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise ToolError(
            f"no Dask scheduler answers at {address}: {error}",
            help="start one with 'dask scheduler', and workers with 'dask worker ADDRESS'",
        ) from error
    workers = len(client.scheduler_info(n_workers=-1)["workers"])
    if not workers:
        raise ToolError(f"the Dask scheduler at {address} has no workers", help=f"start some: dask worker {address}")
    return Builders(client.get_executor, workers, client.close)


def build_within_limit(job: Job) -> Candidate:
    """`build_candidate` in a process that ends when it takes longer than BUILD_LIMIT_S."""
    signal.alarm(BUILD_LIMIT_S)
    try:
        return build_candidate(job)
    finally:
        signal.alarm(0)


def _begin(cores: Sequence[int]) -> None:
    """A builder process leaves interrupting to whoever started it, and the last core to the device."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        die_with(parent.pid)  # what waits for builds of a tuner that was killed would wait for ever
    os.sched_setaffinity(0, cores)
    from dscompile.schedule import native  # noqa: F401  a candidate does not wait for it

"""One long-lived process per contender, pinned to its cores, fed over a pipe. Only one works at any time."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

import numpy as np

from benchmarks.contenders import KNOWN, Contender

WARM_UP_RUNS = 2  # after another process has had the caches


class ContenderError(Exception):
    """A contender cannot take part; the text says why."""


@dataclass(frozen=True)
class Loaded:
    """How a contender came up: seconds to import its module and to load the model, memory in bytes."""

    version: str
    import_s: float
    load_s: float
    before_bytes: int


@dataclass(frozen=True)
class Turn:
    """One turn of a contender, in microseconds: each run by the clock, and a run's share of the CPU time of them all.

    CPU time is that of the whole process, so with several threads it is their sum.
    """

    latencies_us: list[float]
    cpu_us: float


class Worker:
    """A contender in a process of its own. Raises ContenderError if it does not come up."""

    def __init__(self, name: str, model: Path, threads: int, cores: Sequence[int]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(far, name, model, threads, tuple(cores)), daemon=True)
        self.name = name
        self._process.start()
        far.close()
        self.loaded: Loaded = self._receive()

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Outputs for these inputs, which later timings use."""
        return self._ask("run", list(inputs))

    def time_us(self, repeats: int) -> Turn:
        """Measures `repeats` runs, after a few unmeasured ones."""
        return self._ask("time", repeats)

    def peak_bytes(self) -> int:
        """Peak resident memory of the process so far."""
        return self._ask("memory", None)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None):
        self._pipe.close()  # the process ends when it finds nobody at the other end
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()

    def _ask(self, request: str, argument: object):
        self._pipe.send((request, argument))
        return self._receive()

    def _receive(self):
        try:
            kind, answer = self._pipe.recv()
        except EOFError:
            self._process.join(10)
            raise ContenderError(f"{self.name}'s process ended with code {self._process.exitcode}") from None
        if kind == "error":
            raise ContenderError(answer)
        return answer


def _serve(pipe: Connection, name: str, model: Path, threads: int, cores: tuple[int, ...]) -> None:
    os.sched_setaffinity(0, cores)
    try:
        kind = KNOWN[name]
        start = time.perf_counter()
        importlib.import_module(kind.module)
        imported = time.perf_counter()
        before = _peak_bytes()
        begun = time.perf_counter()
        contender = kind(model, threads)
        pipe.send(("ok", Loaded(kind.version(), imported - start, time.perf_counter() - begun, before)))
        while True:
            request, argument = pipe.recv()
            if request == "run":
                pipe.send(("ok", [np.array(output) for output in contender.run(argument)]))
            elif request == "time":
                pipe.send(("ok", _turn(contender, argument)))
            else:
                pipe.send(("ok", _peak_bytes()))
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as error:
        text = traceback.format_exception_only(error)[-1].strip()
        pipe.send(("error", text.splitlines()[0]))


def _turn(contender: Contender, repeats: int) -> Turn:
    contender.time_us(WARM_UP_RUNS)
    start = time.process_time()
    latencies = contender.time_us(repeats)
    return Turn(latencies, (time.process_time() - start) / repeats * 1e6)


def _peak_bytes() -> int:
    """VmHWM: unlike ru_maxrss, it begins anew when a process replaces its program."""
    match = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0

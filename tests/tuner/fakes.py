"""Candidates that do what a test wants of them, and builders and devices that need no compiler."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from pathlib import Path

from dscompile.plan.choices import Choice
from dscompile.plan.workloads import Workload
from dscompile.tuner.builders import Builders
from dscompile.tuner.candidates import Candidate, Job
from dscompile.tuner.devices import DevicePool, Measurement
from dscompile.tuner.harness import harness
from dscompile.tuner.runnable import Form, Runnable

SOURCE = """
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
int candidate_prepare(uint8_t *memory) {{ (void)memory; return 0; }}
int candidate_main(uint8_t *memory) {{ {body} return 0; }}
int candidate_finish(uint8_t *memory) {{ (void)memory; return 0; }}
int64_t candidate_ns(uint8_t *memory, int64_t calls)
{{
    for (int64_t call = 0; call < calls; ++call) candidate_main(memory);
    return calls * 1000000;
}}
"""


def compiled(body: str, directory: Path, **fields: object) -> Runnable:
    """A library whose main() is `body`, over 64 bytes of memory of which eight are its output."""
    (directory / "body.c").write_text(SOURCE.format(body=body))
    subprocess.run(
        ["gcc", "-O1", "-fPIC", "-shared", "body.c", "-o", "body.so"], cwd=directory, check=True, capture_output=True
    )
    given = {"code": (directory / "body.so").read_bytes(), "image": b"\x01" * 16, "memory_bytes": 64}
    return Runnable(**{**given, "output_offset": 16, "output_bytes": 8, **fields})  # type: ignore[arg-type]


Answer = Callable[[Choice], "Measurement | type[Exception]"]


def right_output(workload: Workload, target) -> bytes:
    return harness(workload, target).expected().tobytes()


class FakeBuilders(Builders):
    """Builds nothing; a choice whose answer is BrokenExecutor takes the process down."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(lambda: ThreadPoolExecutor(1), 1)
        self.answer = answer
        self.built: list[Choice] = []
        self.restarts = 0

    def submit(self, job: Job) -> Future[Candidate]:
        self.built.append(job.choice)
        return self._executor.submit(self._build, job)

    def restart(self) -> None:
        self.restarts += 1
        super().restart()

    def _build(self, job: Job) -> Candidate:
        answer = self.answer(job.choice)
        if isinstance(answer, type) and issubclass(answer, BrokenExecutor):
            raise answer("the process ended")
        if isinstance(answer, type):
            raise answer("no registers left")
        code = repr(job.choice).encode()
        return Candidate(job.workload, job.choice, Runnable(code, b"", 64, 0, 8))


class FakeDevice:
    """Answers by the choice that is written in the code of a candidate."""

    name = "a device"
    form: Form = "library"

    def __init__(self, answers: dict[str, Measurement] | Callable[[str], Measurement]) -> None:
        self.answers = answers
        self.measured: list[str] = []

    def measure(self, candidate: Runnable) -> Measurement:
        name = candidate.code.decode()
        self.measured.append(name)
        return self.answers(name) if callable(self.answers) else self.answers[name]

    def close(self) -> None:
        pass


def pool(device: FakeDevice) -> DevicePool:
    return DevicePool([device], "us")


class Notebook:
    """A journal in memory."""

    def __init__(self) -> None:
        self.costs: dict[Workload, dict[Choice, float | None]] = {}
        self.errors: dict[Workload, dict[Choice, str]] = {}

    def known(self, workload: Workload) -> dict[Choice, float | None]:
        return self.costs.get(workload, {})

    def failures(self, workload: Workload) -> dict[Choice, str]:
        return self.errors.get(workload, {})

    def add(self, workload: Workload, choice: Choice, samples: tuple[float, ...], error: str = "") -> None:
        self.costs.setdefault(workload, {})[choice] = min(samples) if samples else None
        if error:
            self.errors.setdefault(workload, {})[choice] = error

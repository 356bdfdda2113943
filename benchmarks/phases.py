"""Where threads that share an inference lose time: every phase on one thread and on several. See README.md."""

from __future__ import annotations

import ctypes
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dscompile.artifact import Artifact
from dscompile.report.text import table
from dscompile.report.vectors import seeded_inputs
from dscompile.run.arrays import aligned_bytes, empty_outputs, fresh_state
from dscompile.target import representative
from dscompile.toolchain import find_toolchain

SOURCE = Path(__file__).with_name("phases.c")
UNMEASURED = 3  # inferences of each turn, until workers are awake and caches warm


@dataclass(frozen=True)
class PhaseRow:
    """A phase: its steps, and its shortest times in microseconds, each with the barrier behind it.

    `alone_us` is that on one thread, `shared_us` that on all. `parts_us` is what each thread needed for its own part.
    """

    steps: tuple[str, ...]
    kind: str
    alone_us: float
    shared_us: float
    parts_us: tuple[float, ...]

    @property
    def lost_us(self) -> float:
        """Time above an equal part of that on one thread."""
        return self.shared_us - self.alone_us / len(self.parts_us)


@dataclass(frozen=True)
class PhasesReport:
    """A network: its shortest inference on one thread and on all, in microseconds, and its phases."""

    network: str
    alone_us: float
    shared_us: float
    phases: tuple[PhaseRow, ...]

    def kinds(self) -> Mapping[str, list[PhaseRow]]:
        """Phases by the kind of their first step, the kinds with most time lost first."""
        found: dict[str, list[PhaseRow]] = {}
        for phase in self.phases:
            found.setdefault(phase.kind, []).append(phase)
        return dict(sorted(found.items(), key=lambda item: -sum(phase.lost_us for phase in item[1])))


class PhaseTimer:
    """Runs an artifact's inferences with a clock around every thread's part of every phase."""

    def __init__(self, artifact: Artifact, variant: int, cores: Sequence[int]) -> None:
        """`variant` is the number of the library's variant that runs here; every thread stays on one of `cores`."""
        manifest = artifact.manifest
        self._variant, self._cores = variant, np.array(cores, np.int32)
        self._library = _compiled(artifact)
        self.first = sum(self._library.count_phases(number) for number in range(variant))
        """The number of the variant's first phase among those of all variants, in the order of the source."""
        self.count: int = self._library.count_phases(variant)
        """Phases of an inference."""
        arena = aligned_bytes(manifest.arena.size_bytes, manifest.arena.alignment)
        state = [fresh_state(manifest.slots)] if manifest.slots else []
        inputs, outputs = seeded_inputs(manifest.inputs, 0), empty_outputs(manifest.outputs)
        self._arrays = [
            arena,
            *state,
            *(inputs[tensor.name] for tensor in manifest.inputs),
            *(outputs[tensor.name] for tensor in manifest.outputs),
        ]

    def samples_ns(self, threads: int, repeats: int) -> NDArray[np.int64]:
        """[repeats, phases, threads, 2]: when each thread began and ended its part. The first inferences are left out.

        Raises RuntimeError if the threads cannot be started.
        """
        samples = np.zeros((repeats + UNMEASURED, self.count, threads, 2), np.int64)
        pointers = (ctypes.c_void_p * len(self._arrays))(*(array.ctypes.data for array in self._arrays))
        cores, place = self._cores.ctypes, samples.ctypes
        status = self._library.time_phases(
            self._variant,
            pointers,
            threads,
            cores.data_as(ctypes.c_void_p),
            len(samples),
            place.data_as(ctypes.c_void_p),
        )
        if status:
            raise RuntimeError(f"{threads} threads cannot be started")
        return samples[UNMEASURED:]


def phase_steps(source: str) -> list[tuple[int, ...]]:
    """The numbers of the steps of every phase, as the comments of `<net>_parallel.c` name them."""
    phases = re.findall(r"^static void \w*phase_\d+\(.*?^\}", source, re.MULTILINE | re.DOTALL)
    return [tuple(map(int, dict.fromkeys(re.findall(r"/\* Step (\d+):", phase)))) for phase in phases]


def phase_rows(
    alone: NDArray[np.int64], shared: NDArray[np.int64], names: Sequence[tuple[str, ...]], kinds: Sequence[str]
) -> tuple[PhaseRow, ...]:
    """The shortest times of every phase in samples of one thread and of all (PhaseTimer.samples_ns)."""
    parts_us = (shared[..., 1] - shared[..., 0]).min(axis=0) / 1e3
    rows = zip(names, kinds, _spans_ns(alone).min(axis=0), _spans_ns(shared).min(axis=0), parts_us, strict=True)
    return tuple(
        PhaseRow(steps, kind, float(one) / 1e3, float(all_of_them) / 1e3, tuple(map(float, parts)))
        for steps, kind, one, all_of_them, parts in rows
    )


def inference_us(samples: NDArray[np.int64]) -> float:
    """The shortest inference of samples."""
    return float((samples[:, -1, :, 1].max(axis=1) - samples[:, 0, 0, 0]).min()) / 1e3


def _spans_ns(samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """[repeats, phases]: from where the first thread begins a phase to where it begins the next one."""
    begins, ends = samples[:, :, 0, 0], samples[:, -1:, :, 1].max(axis=2)
    return np.concatenate([begins[:, 1:], ends], axis=1) - begins


def phase_kinds_table(report: PhasesReport) -> str:
    """A row for each kind of phase."""
    rows = [_row(kind, str(len(phases)), phases) for kind, phases in report.kinds().items()]
    rows.append(_row("all", str(len(report.phases)), report.phases))
    threads = len(report.phases[0].parts_us)
    header = ("kind", "phases", "us alone", f"us on {threads}", "longest part", "lost us", "times")
    title = (
        f"{report.network}: {report.alone_us / 1e3:.2f} ms on one thread, {report.shared_us / 1e3:.2f} on {threads}: "
        f"{report.alone_us / report.shared_us:.2f} times as fast"
    )
    return f"{title}\n{table(header, rows, right=header[1:])}\n"


def phases_table(report: PhasesReport) -> str:
    """A row for each phase, the one with most time lost first."""
    ordered = sorted(report.phases, key=lambda phase: -phase.lost_us)
    rows = [_row(", ".join(phase.steps), phase.kind, [phase]) for phase in ordered]
    header = ("steps", "kind", "us alone", f"us on {len(ordered[0].parts_us)}", "longest part", "lost us", "times")
    return f"{table(header, rows, right=header[2:])}\n"


def _row(name: str, second: str, phases: Sequence[PhaseRow]) -> tuple[str, ...]:
    alone, shared = sum(phase.alone_us for phase in phases), sum(phase.shared_us for phase in phases)
    times = (alone, shared, sum(max(phase.parts_us) for phase in phases), sum(phase.lost_us for phase in phases))
    return name, second, *(f"{time:.1f}" for time in times), f"{alone / shared:.2f}"


def _compiled(artifact: Artifact) -> ctypes.CDLL:
    directory = artifact.directory.resolve()
    with tempfile.TemporaryDirectory(prefix="dscompile-phases-") as scratch:
        flags = ["-std=gnu11", "-O2", "-fPIC", "-shared", f'-DPARALLEL="{artifact.parallel.name}"', f"-I{directory}"]
        inputs = [str(SOURCE), str(directory / artifact.static_library.name), "-lm", "-lpthread", "-o", "phases.so"]
        toolchain = find_toolchain(representative(artifact.manifest.target))
        toolchain.compile([*flags, *inputs], Path(scratch), "compiling the clock of phases")
        return ctypes.CDLL(str(Path(scratch) / "phases.so"))

"""Where the time of a network goes: every step of its artifact against the least time it can take. See README.md.

python -m benchmarks.layers mobilenetv1_100 mobilenetv2_100 --rounds 20 --steps
python -m benchmarks.layers mobilenetv3_large_100 --threads 2
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.models import NETWORKS, ROOT, find_model
from benchmarks.phases import (
    PhasesReport,
    PhaseTimer,
    inference_us,
    phase_kinds_table,
    phase_rows,
    phase_steps,
    phases_table,
)
from dscompile.artifact import Artifact
from dscompile.errors import DscompileError
from dscompile.ir.cost import layer_kind, layer_macs
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Concat, Constant, Conv2D, Reshape, Shuffle, Slice
from dscompile.report.text import shape as shape_text
from dscompile.report.text import table
from dscompile.target import Target, representative
from dscompile.toolchain import find_toolchain

ROUND_US = 50_000.0  # how long the network runs between two probes of the machine
NEAR_BYTES, FAR_BYTES = 128 << 10, 8 << 20  # within any second-level cache, and beyond


@dataclass(frozen=True)
class Machine:
    """What one core did at its best while the network was measured.

    GFLOP/s of multiply-adds; GB/s of reading NEAR_BYTES and FAR_BYTES again and again; the second-level cache.
    """

    gflops: float
    near_gbps: float
    far_gbps: float
    l2_bytes: int

    def bound_us(self, network: Network, layers: Sequence[Layer]) -> float:
        """Least time of a step: its multiply-adds at the peak, or the bytes that it reads and leaves, once each.

        What its layers only hand to each other is not counted, nor layers that move nothing.
        """
        moved = step_bytes(network, layers)
        rate = self.near_gbps if moved <= self.l2_bytes else self.far_gbps
        return max(2e-3 * sum(layer_macs(network, layer) for layer in layers) / self.gflops, 1e-3 * moved / rate)


@dataclass(frozen=True)
class StepRow:
    """A step: the shortest time it took, and the sum of the bounds of its layers, in microseconds."""

    name: str
    kind: str
    shape: str
    macs: int
    time_us: float
    bound_us: float

    @property
    def lost_us(self) -> float:
        """Time above the bound; below 0 where caches keep more between steps than the bound assumes."""
        return self.time_us - self.bound_us


@dataclass(frozen=True)
class Report:
    """A network: its shortest inference and its steps. Times of steps are without what the profiling hook costs."""

    network: str
    machine: Machine
    time_us: float
    steps: tuple[StepRow, ...]

    def kinds(self) -> Mapping[str, list[StepRow]]:
        """Steps by kind, the kinds with most time lost first."""
        found: dict[str, list[StepRow]] = {}
        for step in self.steps:
            found.setdefault(step.kind, []).append(step)
        return dict(sorted(found.items(), key=lambda item: -sum(step.lost_us for step in item[1])))


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or that of what went wrong, as in dscompile."""
    parser = argparse.ArgumentParser(prog="layers.py", description="Steps of networks against their bounds.")
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), metavar="NAME", help="as for peers.py")
    parser.add_argument("--target", default="host", help="what dscompile builds for (default: host)")
    parser.add_argument("--rounds", type=int, default=20, help="turns of about 50 ms between probes of the peak")
    parser.add_argument("--steps", action="store_true", help="also every step, those with most time lost first")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="phases that N threads share, beside one of them alone"
    )
    parser.add_argument("--reuse", action="store_true", help="take the artifacts of an earlier run")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "benchmarks", metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    reports: list[Report | PhasesReport] = []
    cores = os.sched_getaffinity(0)
    if not 1 <= options.threads <= len(cores):
        print(f"error: {options.threads} threads on {len(cores)} cores measure nothing useful", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, set(sorted(cores)[-options.threads :]))
    try:
        for name in options.networks:
            model = find_model(name, options.output)
            if options.threads > 1:
                reports.append(shared := _measure_phases(model, options))
                tables = phase_kinds_table(shared), phases_table(shared)
            else:
                reports.append(alone := _measure(model, options))
                tables = kinds_table(alone), steps_table(alone)
            print("\n".join(tables if options.steps else tables[:1]), flush=True)
    except DscompileError as error:
        print(error, file=sys.stderr)
        return int(error.code)
    finally:
        os.sched_setaffinity(0, cores)
    if options.json:
        content = {"schema": 1, "results": [asdict(report) for report in reports]}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0


def step_bytes(network: Network, layers: Sequence[Layer]) -> int:
    """Bytes that a step must at least read and write: weights, tensors of other steps, results that others read."""
    inside, made = {layer.name for layer in layers}, {layer.output for layer in layers}
    tensors: set[str] = set()
    weights = 0
    for layer in layers:
        if isinstance(layer.op, Concat | Constant | Slice | Reshape | Shuffle):
            continue
        weights += sum(array.nbytes for key, array in network.weights.items() if key.rpartition(".")[0] == layer.name)
        tensors.update(name for name in layer.inputs if name not in made)
        readers = network.consumers[layer.output]
        if not readers or layer.output in network.outputs or any(reader.name not in inside for reader in readers):
            tensors.add(layer.output)
    return weights + sum(network.tensor(name).size_bytes for name in tensors)


def step_kind(network: Network, layers: Sequence[Layer]) -> str:
    """Like the artifact's word, with kinds of depthwise layers, one pixel, and bands each by themselves."""
    convolutions = [layer for layer in layers if isinstance(layer.op, Conv2D)]
    if len(convolutions) > 1:
        return "in bands of rows"
    if not convolutions:
        return layer_kind(network, layers[0])
    (first,) = convolutions
    kind = layer_kind(network, first)
    if network.shape(first.output)[1:3] == (1, 1) and kind == "pointwise":
        return "pointwise, one pixel"
    if kind == "depthwise":
        (height, width), stride = first.op.kernel, first.op.stride[0]
        return f"depthwise {height}x{width}" + (f" stride {stride}" if stride > 1 else "")
    return kind


def _shape(network: Network, layers: Sequence[Layer]) -> str:
    given, made = network.shape(layers[0].inputs[0]), network.shape(layers[-1].output)
    return f"{shape_text(given[1:])} -> {shape_text(made[1:])}"


def kinds_table(report: Report) -> str:
    """A row for each kind of step."""
    machine, total = report.machine, report.time_us
    rows = [
        (
            kind,
            str(len(steps)),
            f"{sum(step.time_us for step in steps):.0f}",
            f"{sum(step.bound_us for step in steps):.0f}",
            f"{sum(step.lost_us for step in steps):.0f}",
            _share(sum(step.bound_us for step in steps), sum(step.time_us for step in steps)),
            _share(sum(step.lost_us for step in steps), total),
        )
        for kind, steps in report.kinds().items()
    ]
    bound = sum(step.bound_us for step in report.steps)
    rows.append(("all", str(len(report.steps)), f"{total:.0f}", f"{bound:.0f}", f"{total - bound:.0f}",
                 _share(bound, total), _share(total - bound, total)))  # fmt: skip
    header = ("kind", "steps", "us", "bound us", "lost us", "bound/us", "lost/all")
    title = (
        f"{report.network}: {total / 1e3:.2f} ms; peak {machine.gflops:.1f} GFLOP/s, "
        f"reads {machine.near_gbps:.0f} GB/s near, {machine.far_gbps:.0f} GB/s far"
    )
    return f"{title}\n{table(header, rows, right=header[1:])}\n"


def steps_table(report: Report) -> str:
    """A row for each step, the one with most time lost first."""
    rows = [
        (
            step.name,
            step.kind,
            step.shape,
            f"{step.time_us:.1f}",
            f"{step.bound_us:.1f}",
            f"{step.lost_us:.1f}",
            _share(step.bound_us, step.time_us),
        )
        for step in sorted(report.steps, key=lambda step: -step.lost_us)
    ]
    header = ("step", "kind", "shape", "us", "bound us", "lost us", "bound/us")
    return f"{table(header, rows, right=header[3:])}\n"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole > 0 else "-"


def _artifact(model: Path, options: argparse.Namespace) -> Artifact:
    from dscompile.api import build, load

    directory = options.output / f"{model.stem}-{options.target}"
    return (
        load(directory) if options.reuse and directory.is_dir() else build(model, options.target, directory)
    ).artifact


def _measure_phases(model: Path, options: argparse.Namespace) -> PhasesReport:
    from dscompile.frontend.load import load_network
    from dscompile.passes import canonicalize
    from dscompile.run.native import NativeModel

    artifact = _artifact(model, options)
    network, native = canonicalize(load_network(model).network), NativeModel(artifact)
    variants = [variant.name for variant in artifact.manifest.variants]
    timer = PhaseTimer(artifact, variants.index(native.variant) if variants else 0, sorted(os.sched_getaffinity(0)))
    by_name = {layer.name: layer for layer in network.layers}
    steps = artifact.manifest.layers_of(native.variant)
    phases = phase_steps(artifact.parallel.read_text(encoding="utf-8"))[timer.first : timer.first + timer.count]
    kinds = [step_kind(network, [by_name[name] for name in steps[numbers[0]].layers]) for numbers in phases]
    turn = max(4, round(ROUND_US / 2 / inference_us(timer.samples_ns(1, 5))))
    samples = [(timer.samples_ns(1, turn), timer.samples_ns(options.threads, turn)) for _ in range(options.rounds)]
    alone, shared = (np.concatenate(one) for one in zip(*samples, strict=True))
    rows = phase_rows(alone, shared, [tuple(steps[number].name for number in numbers) for numbers in phases], kinds)
    return PhasesReport(network.name, inference_us(alone), inference_us(shared), rows)


def _measure(model: Path, options: argparse.Namespace) -> Report:
    from dscompile.frontend.load import load_network
    from dscompile.passes import canonicalize
    from dscompile.report.peak import PeakProbe
    from dscompile.report.vectors import seeded_inputs
    from dscompile.run.native import NativeModel

    artifact = _artifact(model, options)
    network = canonicalize(load_network(model).network)
    native = NativeModel(artifact)
    inputs = seeded_inputs(artifact.manifest.inputs, 0)
    target = representative(artifact.manifest.target)
    peak, reader = PeakProbe(target), Reader(target)
    turn = max(4, round(ROUND_US / 2 / float(native.latencies_us(inputs, 5).min())))
    peaks, near, far, latencies, samples = [], [], [], [], []
    for _ in range(options.rounds):
        peaks.append(peak.sample())
        near.append(reader.gbps(NEAR_BYTES))
        far.append(reader.gbps(FAR_BYTES))
        latencies.append(native.latencies_us(inputs, turn, warmup=1).min())
        samples.append(native.step_samples_us(inputs, turn).min(axis=0))
    machine = Machine(max(peaks), max(near), max(far), target.caches.l2_bytes)
    time_us, raw = float(min(latencies)), np.min(samples, axis=0)
    hook_us = max(0.0, (float(raw.sum()) - time_us) / len(raw))
    by_name = {layer.name: layer for layer in network.layers}
    steps = []
    for step, step_us in zip(artifact.manifest.layers_of(native.variant), raw, strict=True):
        layers = [by_name[name] for name in step.layers]
        kind, shape = step_kind(network, layers), _shape(network, layers)
        bound_us = machine.bound_us(network, layers)
        steps.append(StepRow(step.name, kind, shape, step.macs, max(0.0, float(step_us) - hook_us), bound_us))
    return Report(network.name, machine, time_us, tuple(steps))


class Reader:
    """Reads memory again and again on one core."""

    def __init__(self, target: Target) -> None:
        self._function = _compiled(target)
        self._data = np.zeros(FAR_BYTES + target.vector_bytes, np.uint8)
        self._first = self._data.ctypes.data + -self._data.ctypes.data % target.vector_bytes

    def gbps(self, size_bytes: int) -> float:
        """GB/s of reading `size_bytes`, a power of two up to FAR_BYTES, about 16 MiB in all."""
        sink = ctypes.c_float()
        return self._function(self._first, size_bytes, 2 * FAR_BYTES // size_bytes, ctypes.byref(sink))


@cache
def _compiled(target: Target) -> Callable[..., float]:
    source = ROOT / "benchmarks" / "read.c"
    with tempfile.TemporaryDirectory(prefix="dscompile-read-") as directory:
        library = Path(directory) / "read.so"
        flags = ["-O2", "-fPIC", "-shared", f"-DVECTOR_BYTES={target.vector_bytes}", "-o", str(library), str(source)]
        find_toolchain(target).compile(flags, Path(directory), "compiling the probe of reads")
        function = ctypes.CDLL(str(library)).read_rate
    function.restype = ctypes.c_double
    function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.POINTER(ctypes.c_float)]
    return function


if __name__ == "__main__":
    sys.exit(main())

"""Artifacts for GPUs: on the GPU of this machine they are timed, on the CPU in its place their traffic is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dscompile.api.models import Model
from dscompile.report.progress import Event, Progress

if TYPE_CHECKING:
    from dscompile.artifact import Artifact
    from dscompile.ir.network import Array
    from dscompile.report.timing import TrafficResult
    from dscompile.report.traffic import KernelBytes
    from dscompile.run.cuda_models import CpuModel
    from dscompile.run.cuda_report import KernelTraffic

IMAGES = ("input", "output", "arena")  # classes of device memory that hold activations


def checked_model(artifact: Artifact, progress: Progress) -> CpuModel:
    """The artifact on the CPU, with every access to memory checked and counted. Raises ToolError."""
    from dscompile.run.cuda_models import CpuModel

    progress(Event(f"compiling {artifact.manifest.c_name}.cu to count what it moves"))
    return CpuModel(artifact, checked=True)


def kernel_bytes(model: CpuModel) -> tuple[KernelBytes, ...]:
    """What the kernels of the latest run moved, in the order of the manifest."""
    report = model.report()
    counted = {kernel.name: kernel for kernel in report.kernels}
    return tuple(
        _row(model.artifact, symbol, counted[symbol])
        for symbol in (kernel.symbol for kernel in model.artifact.manifest.kernels)
        if symbol in counted
    )


def _row(artifact: Artifact, symbol: str, counted: KernelTraffic) -> KernelBytes:
    from dscompile.report.traffic import KernelBytes

    info = next(kernel for kernel in artifact.manifest.kernels if kernel.symbol == symbol)
    planned = info.planned
    return KernelBytes(
        symbol=symbol,
        kind=info.kind,
        layers=info.layers,
        launches=counted.launches,
        load_bytes=sum(counted.traffic(name).load_bytes for name in IMAGES),
        store_bytes=sum(counted.traffic(name).store_bytes for name in IMAGES),
        weight_bytes=counted.traffic("weights").load_block_bytes,
        planned_activation_bytes=None if planned is None else counted.launches * planned.activation_bytes,
        planned_weight_bytes=None if planned is None else counted.launches * planned.weight_bytes,
        efficiency=counted.efficiency,
        bank_conflicts=counted.bank_conflicts,
    )


def count_traffic(path: str, model: Model, inputs: Mapping[str, Array], progress: Progress) -> TrafficResult:
    """One inference on the CPU in place of a GPU."""
    from dscompile.report.timing import TrafficResult

    manifest = model.artifact.manifest
    checked = checked_model(model.artifact, progress)
    progress(Event(f"counting what the kernels of {path} move"))
    checked.run(inputs)
    return TrafficResult(
        path, manifest.target.name, checked.runner, manifest.macs, kernel_bytes(checked), manifest.latency_budget_us
    )

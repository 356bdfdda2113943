"""What the kernels of a GPU take of a multiprocessor, and what their occupancy is limited by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dscompile.gpu import Gpu, Occupancy, occupancy
from dscompile.report import text

if TYPE_CHECKING:
    from dscompile.artifact import Manifest
    from dscompile.cuda_toolkit import KernelResources
    from dscompile.report.record import Record


@dataclass(frozen=True)
class Spills:
    """Bytes per thread that a kernel stores to memory and loads again because its registers do not suffice."""

    store_bytes: int = 0
    load_bytes: int = 0

    def __bool__(self) -> bool:
        return self.store_bytes > 0 or self.load_bytes > 0


@dataclass(frozen=True)
class KernelReport:
    """One kernel of a network: the layers it computes, how it is launched, and its resources on an architecture.

    `threads` are those of a block, `grid` the blocks in x, y and z; `registers` per thread, `shared_bytes` per block.
    `reason` says what keeps the device from being full, or that nothing does.
    """

    symbol: str
    layers: tuple[str, ...]
    threads: int
    grid: tuple[int, int, int]
    registers: int
    spills: Spills
    shared_bytes: int
    occupancy: Occupancy
    reason: str

    @property
    def blocks(self) -> int:
        """Blocks of the grid."""
        return self.grid[0] * self.grid[1] * self.grid[2]


def kernel_report(
    gpu: Gpu, layers: Sequence[str], threads: int, grid: tuple[int, int, int], resources: KernelResources
) -> KernelReport:
    """The report of a kernel that is launched with `threads` per block on `grid` blocks.

    Raises ValueError for counts that no kernel has.
    """
    if min(grid) < 1:
        raise ValueError(f"no kernel has a grid of {text.shape(grid)} blocks")
    resident = occupancy(gpu, threads, resources.registers, resources.shared_bytes)
    return KernelReport(
        resources.symbol,
        tuple(layers),
        threads,
        grid,
        resources.registers,
        Spills(resources.spill_store_bytes, resources.spill_load_bytes),
        resources.shared_bytes,
        resident,
        _reason(gpu, grid[0] * grid[1] * grid[2], resident),
    )


def artifact_kernels(manifest: Manifest) -> tuple[KernelReport, ...]:
    """The kernels of a GPU artifact, as far as a compiler said what they take; none for other artifacts."""
    from dscompile.cuda_toolkit import KernelResources

    gpu = manifest.target.gpu
    return tuple(
        kernel_report(
            gpu,
            kernel.layers,
            kernel.threads,
            (*kernel.grid, 1),
            KernelResources(
                kernel.symbol,
                kernel.use.registers,
                kernel.use.stack_bytes,
                kernel.use.spill_store_bytes,
                kernel.use.spill_load_bytes,
                kernel.use.shared_bytes,
                constant_bytes=0,
            ),
        )
        for kernel in manifest.kernels
        if kernel.use is not None and gpu is not None
    )


def kernels_summary(manifest: Manifest) -> str:
    """`12 kernels, occupancy 50.0 % or more, no spills`; only their number where no compiler was there."""
    reports = artifact_kernels(manifest)
    count = text.plural(len(manifest.kernels), "kernel")
    if not reports:
        return count
    spilling = sum(1 for report in reports if report.spills)
    spills = f"{spilling} of them spill registers" if spilling else "no spills"
    return f"{count}, occupancy {text.percent(min(one.occupancy.fraction for one in reports))} or more, {spills}"


def kernels_table(reports: Sequence[KernelReport]) -> str:
    """The kernels as a table, in the order given, one per line."""
    header = ("kernel", "layers", "blocks", "threads", "registers", "spills", "shared", "occupancy", "limited by")
    rows = [
        (
            report.symbol,
            _layers(report.layers),
            text.shape(report.grid),
            str(report.threads),
            str(report.registers),
            text.short_size(report.spills.store_bytes + report.spills.load_bytes) if report.spills else "none",
            text.short_size(report.shared_bytes),
            text.percent(report.occupancy.fraction),
            report.reason,
        )
        for report in reports
    ]
    return text.table(header, rows, right=("blocks", "threads", "registers", "spills", "shared", "occupancy"))


def kernels_record(reports: Sequence[KernelReport]) -> list[Record]:
    """The kernels as JSON."""
    return [
        {
            "symbol": report.symbol,
            "layers": list(report.layers),
            "threads": report.threads,
            "grid": list(report.grid),
            "registers": report.registers,
            "spill_store_bytes": report.spills.store_bytes,
            "spill_load_bytes": report.spills.load_bytes,
            "shared_bytes": report.shared_bytes,
            "resident_blocks": report.occupancy.blocks,
            "resident_warps": report.occupancy.warps,
            "occupancy": report.occupancy.fraction,
            "limiter": report.occupancy.limiter,
            "reason": report.reason,
        }
        for report in reports
    ]


def _reason(gpu: Gpu, blocks: int, resident: Occupancy) -> str:
    """What limits a kernel: what it takes of a multiprocessor, or that it has too few blocks for all of them."""
    if resident.blocks == 0:
        return f"cannot be launched: {resident.limiter}"
    if blocks < gpu.multiprocessors:
        return f"grid: {blocks} of {text.plural(gpu.multiprocessors, 'multiprocessor')} busy"
    if resident.warps == gpu.warps_per_multiprocessor:
        return "nothing"
    return resident.limiter


def _layers(layers: Sequence[str]) -> str:
    """The first and the last of the layers that a kernel computes."""
    return layers[0] if len(layers) == 1 else f"{layers[0]} to {layers[-1]}" if layers else ""

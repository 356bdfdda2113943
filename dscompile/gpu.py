"""What a GPU target adds: the limits of a multiprocessor, and the rates of the device that stands for the architecture.

The limits decide how many blocks of a kernel are resident at once; they hold for every device of an architecture. The
rates (multiprocessors, clock, memory) are those of one device, for estimates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Literal

PARTITIONS = 4
"""Parts of a multiprocessor, each with a quarter of the registers and its own warps: 4 from Maxwell on but for GP100
(cuda_occupancy.h, cudaOccSubPartitionsPerMultiprocessor)."""

_ARCH = re.compile(r"sm_\d{2,3}[a-z]?")


@dataclass(frozen=True)
class Gpu:
    """The limits of a multiprocessor of `arch`, and the rates of `device`.

    Registers are 32 bits wide. A warp gets them in units of `register_unit`; a block gets shared memory in units of
    `shared_unit_bytes`, of which `shared_reserved_bytes` are the system's. `shared_per_block_bytes` is what a kernel
    may declare, without asking for more when it is launched. A library has machine code for
    `arch` and for those in `also`. Raises ValueError for limits that contradict each other.
    """

    arch: str
    device: str
    multiprocessors: int
    clock_hz: float  # boost
    fma_per_clock: int  # float32 multiply-adds per multiprocessor and clock
    tensor_fma_per_clock: int  # of tensor cores: half factors, float32 sums
    dram_bytes_per_s: float
    l2_bytes: int
    warp_threads: int
    threads_per_block: int
    threads_per_multiprocessor: int
    blocks_per_multiprocessor: int
    registers_per_multiprocessor: int
    registers_per_thread: int
    register_unit: int
    shared_per_multiprocessor_bytes: int
    shared_per_block_bytes: int
    shared_reserved_bytes: int
    shared_unit_bytes: int
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for arch in self.archs:
            if not _ARCH.fullmatch(arch):
                raise ValueError(f"the arch of a GPU is written like sm_80, not '{arch}'")
        if len(set(self.archs)) < len(self.archs):
            raise ValueError(f"an arch of a GPU is named twice: {', '.join(self.archs)}")
        for field in fields(self):
            if field.name == "also":
                continue
            value, least = getattr(self, field.name), 0 if field.name == "shared_reserved_bytes" else 1
            if not isinstance(value, str) and value < least:
                raise ValueError(f"{field.name} of a GPU must be at least {least}, not {value}")
        for name in ("threads_per_block", "threads_per_multiprocessor"):
            if getattr(self, name) % self.warp_threads:
                raise ValueError(f"{name} must be whole warps of {self.warp_threads} threads")
        if self.threads_per_block > self.threads_per_multiprocessor:
            raise ValueError("threads_per_block must not be more than threads_per_multiprocessor")
        if self.registers_per_multiprocessor % (PARTITIONS * self.register_unit):
            raise ValueError(f"registers_per_multiprocessor must be whole units in each of {PARTITIONS} partitions")
        if self.shared_per_block_bytes + self.shared_reserved_bytes > self.shared_per_multiprocessor_bytes:
            raise ValueError("a multiprocessor must have the shared memory of one block and what is reserved for it")

    @property
    def archs(self) -> tuple[str, ...]:
        """All architectures that a library has machine code for, `arch` first; the tiles are planned for that one."""
        return (self.arch, *self.also)

    @property
    def warps_per_multiprocessor(self) -> int:
        """Warps that are resident on a multiprocessor at most."""
        return self.threads_per_multiprocessor // self.warp_threads

    @property
    def peak_flops(self) -> float:
        """float32 operations per second of the whole device; a multiply-add is two."""
        return 2 * self.multiprocessors * self.fma_per_clock * self.clock_hz

    @property
    def tensor_peak_flops(self) -> float:
        """Operations per second of all tensor cores: half factors, float32 sums."""
        return 2 * self.multiprocessors * self.tensor_fma_per_clock * self.clock_hz


Limiter = Literal["threads", "blocks", "registers", "shared memory"]


@dataclass(frozen=True)
class Occupancy:
    """Blocks and warps of a kernel that are resident on a multiprocessor at once.

    `fraction` is of the warps that it can hold at most, `limiter` what allows no further block; of several the first of
    threads, blocks, registers and shared memory. A kernel that cannot be launched has 0 blocks.
    """

    blocks: int
    warps: int
    fraction: float
    limiter: Limiter


def occupancy(gpu: Gpu, threads: int, registers: int, shared_bytes: int) -> Occupancy:
    """The occupancy of a kernel with `threads` per block, `registers` per thread and `shared_bytes` per block.

    The arithmetic is NVIDIA's (cuda_occupancy.h of the CUDA toolkit), for shared memory that is declared, not asked for
    at launch, and for a kernel that all of a multiprocessor's shared memory is set apart for. Raises ValueError for
    counts that no kernel has.
    """
    if threads < 1 or registers < 0 or shared_bytes < 0:
        raise ValueError(
            f"no kernel has {threads} threads, {registers} registers and {shared_bytes} B of shared memory"
        )
    warps = _units(threads, gpu.warp_threads)
    limits: dict[Limiter, int] = {
        "threads": gpu.warps_per_multiprocessor // warps if threads <= gpu.threads_per_block else 0,
        "blocks": gpu.blocks_per_multiprocessor,
        "registers": _blocks_by_registers(gpu, warps, registers),
        "shared memory": _blocks_by_shared_memory(gpu, shared_bytes),
    }
    limiter = min(limits, key=lambda name: limits[name])
    blocks = limits[limiter]
    return Occupancy(blocks, blocks * warps, blocks * warps / gpu.warps_per_multiprocessor, limiter)


def _blocks_by_registers(gpu: Gpu, warps: int, registers: int) -> int:
    """Blocks whose warps find registers: each warp takes all of its own from one partition, in whole units."""
    if registers > gpu.registers_per_thread:
        return 0
    taken = _units(max(registers, 1) * gpu.warp_threads, gpu.register_unit) * gpu.register_unit
    warps_per_partition = gpu.registers_per_multiprocessor // PARTITIONS // taken
    return PARTITIONS * warps_per_partition // warps


def _blocks_by_shared_memory(gpu: Gpu, shared_bytes: int) -> int:
    """Blocks that find shared memory, and what is reserved for each of them."""
    if shared_bytes > gpu.shared_per_block_bytes:
        return 0
    taken = _units(shared_bytes + gpu.shared_reserved_bytes, gpu.shared_unit_bytes) * gpu.shared_unit_bytes
    return gpu.shared_per_multiprocessor_bytes // max(taken, 1)


def _units(amount: int, unit: int) -> int:
    """Units that hold an amount."""
    return -(-amount // unit)

"""What a GPU target adds: the limits of a multiprocessor, and the rates of the device that stands for the architecture.

The limits decide how many blocks of a kernel are resident at once; they hold for every device of an architecture. The
rates (multiprocessors, clock, memory) are those of one device, for estimates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

PARTITIONS = 4
"""Parts of a multiprocessor, each with a quarter of the registers and its own warps: 4 from Maxwell on but for GP100
(cuda_occupancy.h, cudaOccSubPartitionsPerMultiprocessor)."""

_ARCH = re.compile(r"sm_\d{2,3}[a-z]?")


@dataclass(frozen=True)
class Gpu:
    """The limits of a multiprocessor of `arch`, and the rates of `device`.

    Registers are 32 bits wide. A warp gets them in units of `register_unit`; a block gets shared memory in units of
    `shared_unit_bytes`, of which `shared_reserved_bytes` are the system's. `shared_per_block_bytes` is what a kernel
    may declare, without asking for more when it is launched. Raises ValueError for limits that contradict each other.
    """

    arch: str
    device: str
    multiprocessors: int
    clock_hz: float  # boost
    fma_per_clock: int  # float32 multiply-adds per multiprocessor and clock
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

    def __post_init__(self) -> None:
        if not _ARCH.fullmatch(self.arch):
            raise ValueError(f"the arch of a GPU is written like sm_80, not '{self.arch}'")
        for field in fields(self):
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
    def warps_per_multiprocessor(self) -> int:
        """Warps that are resident on a multiprocessor at most."""
        return self.threads_per_multiprocessor // self.warp_threads

    @property
    def peak_flops(self) -> float:
        """float32 operations per second of the whole device; a multiply-add is two."""
        return 2 * self.multiprocessors * self.fma_per_clock * self.clock_hz

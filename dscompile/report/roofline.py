"""The roofline: the least time a layer can take on a target, from its arithmetic and the bytes it must move.

Williams, Waterman, Patterson: Roofline, CACM 52(4), 2009. Clock rates of cores are not known, so the unit is the core's
cycle (for a GPU, that of its clock), and what matters is the share of a layer in the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from dscompile.ir.cost import layer_bytes, layer_flops
from dscompile.ir.network import Layer, Network
from dscompile.ir.tensor import INTEGER_RANGES
from dscompile.target import Target

# Sustained bytes per cycle of one core, rounded down to powers of two: Intel 64 and IA-32 Architectures Optimization
# Reference Manual, cache parameters of the Skylake server core (L2 ~48, L3 ~15); DRAM is 10 GB/s at 2.5 GHz.
_L2_BYTES_PER_CYCLE = 32
_L3_BYTES_PER_CYCLE = 8
_DRAM_BYTES_PER_CYCLE = 4
# A core without caches loads a word per cycle from tightly coupled memory: Cortex-M4 TRM, table 3-1, pipelined LDR.
_WORD_BYTES_PER_CYCLE = 4

# Products of int8 that one instruction adds up, in multiples of the bytes of a vector.
_DOT_PRODUCTS = {"i8mm": 2, "asimddp": 1, "avx512_vnni": 1, "avx_vnni": 1}  # SMMLA; SDOT; VPDPBUSD


@dataclass(frozen=True)
class Level:
    """A memory: what has its working set in `capacity_bytes` (None: anything) moves `bytes_per_cycle`."""

    name: str
    capacity_bytes: int | None
    bytes_per_cycle: float


@dataclass(frozen=True)
class Roofs:
    """What bounds layers on a target: operations per cycle (2 to a multiply-add), and memories from the nearest on."""

    flops_per_cycle: float
    levels: tuple[Level, ...]

    def level(self, working_set_bytes: int) -> Level:
        """The nearest memory that holds the working set."""
        return next(
            level for level in self.levels if level.capacity_bytes is None or working_set_bytes <= level.capacity_bytes
        )


@dataclass(frozen=True)
class Bound:
    """Least cycles of one layer, and what sets them: "fma" or the memory level that holds its working set."""

    cycles: float
    limit: str


def layer_bound(network: Network, layer: Layer, target: Target) -> Bound:
    """The roofline of one layer: max(arithmetic, traffic of the level that its working set fits into)."""
    roofs = target_roofs(target, int8=is_int8(network, layer))
    moved = layer_bytes(network, layer)
    level = roofs.level(moved)
    arithmetic = layer_flops(network, layer) / roofs.flops_per_cycle
    traffic = moved / level.bytes_per_cycle
    return Bound(arithmetic, "fma") if arithmetic >= traffic else Bound(traffic, level.name)


def is_int8(network: Network, layer: Layer) -> bool:
    """Whether a layer computes on integers."""
    return bool(layer.inputs) and network.tensor(layer.inputs[0]).dtype in INTEGER_RANGES


def target_roofs(target: Target, *, int8: bool) -> Roofs:
    """The roofs of one core, or of a whole GPU."""
    if target.gpu is not None:
        gpu = target.gpu
        dram = Level("DRAM", None, gpu.dram_bytes_per_s / gpu.clock_hz)
        return Roofs(2.0 * gpu.multiprocessors * gpu.fma_per_clock, (dram,))
    flops = 2.0 * target.fma_per_cycle * (_int8_products(target) if int8 else target.lanes)
    caches = target.caches
    if not caches.l1d_bytes:
        return Roofs(flops, (Level("memory", None, _WORD_BYTES_PER_CYCLE),))
    levels = (
        Level("L1", caches.l1d_bytes, 2 * target.vector_bytes),  # two loads per cycle
        Level("L2", caches.l2_bytes, _L2_BYTES_PER_CYCLE),
        Level("L3", caches.l3_bytes, _L3_BYTES_PER_CYCLE),
        Level("DRAM", None, _DRAM_BYTES_PER_CYCLE),
    )
    return Roofs(flops, tuple(level for level in levels if level.capacity_bytes != 0))


def _int8_products(target: Target) -> int:
    """Products of int8 per multiplying instruction: as dot products, else as 16-bit numbers in a vector or a word."""
    dots = [factor for feature, factor in _DOT_PRODUCTS.items() if target.has(feature)]
    if dots:
        return max(dots) * target.vector_bytes
    if target.vector_bytes > 4:
        return target.vector_bytes // 2  # PMADDWD, SMLAL
    if target.has("mve"):
        return 8  # VMLADAV, of which half is done in a cycle
    return 2 if target.has("dsp") else 1  # SMLAD

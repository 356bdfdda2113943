"""The roofline: the least time a layer can take on a core, from its arithmetic and the bytes it must move.

Williams, Waterman, Patterson: Roofline, CACM 52(4), 2009. Clock rates are not known, so the unit is the core's cycle,
and what matters is the share of a layer in the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from dscompile.ir.cost import layer_bytes, layer_flops
from dscompile.ir.network import Layer, Network
from dscompile.target import Target

# Sustained bytes per cycle of one core, rounded down to powers of two: Intel 64 and IA-32 Architectures Optimization
# Reference Manual, cache parameters of the Skylake server core (L2 ~48, L3 ~15); DRAM is 10 GB/s at 2.5 GHz.
_L2_BYTES_PER_CYCLE = 32
_L3_BYTES_PER_CYCLE = 8
_DRAM_BYTES_PER_CYCLE = 4


@dataclass(frozen=True)
class Bound:
    """Least cycles of one layer, and what sets them: "fma" or the memory level that holds its working set."""

    cycles: float
    limit: str


def layer_bound(network: Network, layer: Layer, target: Target) -> Bound:
    """The roofline of one layer on one core: max(arithmetic, traffic of the level that its working set fits into).

    Arithmetic counts 2 * lanes * fma_per_cycle operations per cycle.
    """
    moved = layer_bytes(network, layer)
    level, bandwidth = _level(moved, target)
    arithmetic = layer_flops(network, layer) / (2 * target.lanes * target.fma_per_cycle)
    traffic = moved / bandwidth
    return Bound(arithmetic, "fma") if arithmetic >= traffic else Bound(traffic, level)


def _level(working_set_bytes: int, target: Target) -> tuple[str, int]:
    caches = target.caches
    if working_set_bytes <= caches.l1d_bytes:
        return "L1", 2 * target.vector_bytes  # two loads per cycle
    if working_set_bytes <= caches.l2_bytes:
        return "L2", _L2_BYTES_PER_CYCLE
    if working_set_bytes <= caches.l3_bytes:
        return "L3", _L3_BYTES_PER_CYCLE
    return "DRAM", _DRAM_BYTES_PER_CYCLE

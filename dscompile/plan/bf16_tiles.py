"""Bfloat16 tiles: which instruction computes a layer, and how its work is cut.

On arm64 the rule counts instructions (docs/bfloat16.md); with AVX-512 it counts cycles as that of float32 kernels does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dscompile.plan.costs import EXPOSED_L2, ISSUE_PER_CYCLE, L2_BYTES_PER_CYCLE, LOADS_PER_CYCLE
from dscompile.plan.kernels import ELEMENT_BYTES
from dscompile.plan.tiles import Span, cut
from dscompile.target import Target

MAX_PIXELS, MAX_PANEL_BLOCKS = 12, 8
MAX_SUMS = 24  # registers of sums; the other 8 hold pixels and weights
# Instructions that read and round two pixels (LDP, or LDR twice for the second block of a round), finish a vector of
# outputs, stand around a tile, and around a block of channels: counted.
READ, FINISH, TILE, LOOP = 3.5, 4.0, 16.0, 2.0
TILE_CYCLES = 24.0  # addresses, sums set and stored


@dataclass(frozen=True)
class Bf16Tiling:
    """Runs of tiles of pixels, and runs of panels of channel blocks."""

    columns: tuple[Span, ...]
    blocks: tuple[Span, ...]


def bf16_word(target: Target) -> int:
    """Neighboring input channels that an instruction of the target sums: four (BFMMLA) or two (VDPBF16PS)."""
    return 4 if target.has("bf16") else 2


@lru_cache(maxsize=4096)
def bf16_tiling(width: int, blocks: int, channels: int, target: Target) -> Bf16Tiling:
    """The cheapest cut of rows of `width` pixels and `blocks` blocks of output channels."""
    tile_cost = _instructions if target.has("bf16") else _cycles
    choices = [
        (pixels, panel)
        for panel in range(1, min(MAX_PANEL_BLOCKS, blocks) + 1)
        for pixels in range(1, min(MAX_PIXELS, width) + 1)
        if _fits(pixels, panel, target)
    ]

    def cost(choice: tuple[int, int]) -> float:
        return sum(
            columns.count * panels.count * tile_cost(columns.tile, panels.tile, channels, target)
            for columns in cut(width, choice[0])
            for panels in cut(blocks, choice[1])
        )

    pixels, panel = min(choices, key=cost)
    return Bf16Tiling(cut(width, pixels), cut(blocks, panel))


def _fits(pixels: int, panel: int, target: Target) -> bool:
    """Whether sums, what is held of pixels and weights, and what comes one by one, stay in registers."""
    if not target.has("bf16"):
        return pixels * panel + panel + 3 <= target.registers
    pairs, columns = -(-pixels // 2), 2 * panel
    return pairs * columns <= MAX_SUMS and pairs * columns + min(pairs, columns) + 4 <= target.registers


def _instructions(pixels: int, panel: int, channels: int, target: Target) -> float:
    """Of a tile on arm64: products of pairs of pixels and of outputs, weights loaded two at once, pixels read."""
    pairs, columns = -(-pixels // 2), 2 * panel
    block = pairs * (columns + READ) + columns / 2 + LOOP
    return -(-channels // target.lanes) * block + FINISH * pixels * panel + TILE


def _cycles(pixels: int, panel: int, channels: int, target: Target) -> float:
    """Of a tile with AVX-512, as float32 kernels are priced, for a pair of channels at a time: the largest of products,
    loads, instructions, and bytes from the second-level cache.
    """
    products = pixels * panel
    multiply = max(products / target.fma_per_cycle, float(target.fma_latency))
    loads = (pixels + panel) / LOADS_PER_CYCLE
    issue = (products + panel + pixels) / ISSUE_PER_CYCLE
    pairs = -(-channels // 2)
    read = panel * target.vector_bytes + 2 * pixels * ELEMENT_BYTES
    stream = read / L2_BYTES_PER_CYCLE if pairs * read > target.caches.l1d_bytes else 0.0
    rounding = 2 * pixels * -(-channels // target.lanes)
    return pairs * (max(multiply, loads, issue, stream) + EXPOSED_L2 * stream) + rounding + products + TILE_CYCLES

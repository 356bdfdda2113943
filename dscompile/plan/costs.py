"""What tiles cost: how a target multiplies and adds decides which registers a tile needs, and what limits it.

`costs_of(target)` gives the model of a target. Costs of one model compare with each other and with nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from dscompile.ir.ops import Pair
from dscompile.plan.knobs import DepthwiseKnobs
from dscompile.target import Target


@dataclass(frozen=True)
class ConvTile:
    """A register tile of a convolution: `pixels` x `panel` accumulators over `depth` input channels.

    `blocked`: the input is a blocked image, so that neighboring channels of a pixel are one vector.
    """

    pixels: int
    panel: int
    depth: int
    blocked: bool = True


class Costs(Protocol):
    """The model of one target."""

    def fits(self, tile: ConvTile) -> bool:
        """Whether a tile stays in registers."""

    def conv(self, tile: ConvTile) -> float:
        """Cost of one register tile over its input channels, for one tap."""

    def conv_pass(self, weight_bytes: int) -> float:
        """Cost of going once more through all weights, beside that of its tiles."""

    def channel_step(self, depth: int, *, blocked: bool) -> int:
        """How many input channels are unrolled."""

    def channel_steps(self, depth: int, *, blocked: bool) -> tuple[int, ...]:
        """What it might be instead: all that the schedule takes and that might pay."""

    def prefetches(self, weight_bytes: int) -> bool:
        """Whether the next panel of weights is prefetched."""

    def can_prefetch(self) -> bool:
        """Whether prefetching might pay at all."""

    def depthwise_fits(self, rows: int, columns: int, kernel: Pair, stride: Pair) -> bool:
        """Whether a tile of a depthwise kernel stays in registers."""

    def depthwise(self, rows: int, columns: int, kernel: Pair, stride: Pair) -> float:
        """Cost of one tile of a depthwise kernel."""

    def depthwise_knobs(self, rows: int, columns: int, kernel: Pair, stride: Pair) -> DepthwiseKnobs:
        """The knobs of such a tile."""

    def depthwise_sums_fit(self, sums: int) -> bool:
        """Whether a tile of so many sums leaves registers for inputs and taps."""

    def can_reread_taps(self) -> bool:
        """Whether the schedule can read taps for every tile."""


def costs_of(target: Target) -> Costs:
    """The model of a target, by how its multiply-add takes the factor that all lanes share."""
    return ElementCosts(target) if target.multiply == "element" else BroadcastCosts(target)


# Cycles.
LOADS_PER_CYCLE = 1.5  # of two ports; broadcasts that cross with vector loads lose a quarter, measured
ISSUE_PER_CYCLE = 4
L2_BYTES_PER_CYCLE = 24  # sustained, measured on Skylake-SP with a neighbouring core at work
MEMORY_BYTES_PER_CYCLE = 6  # weights from the last-level cache, measured there too
# Shares of these transfers that out-of-order execution does not hide behind multiply-adds (fitted to MobileNetV1/V2
# layers of 7x7 and 14x14 on Skylake-SP, tiles of 7 to 25 pixels and 1 to 3 vectors).
EXPOSED_L2 = 0.2
EXPOSED_MEMORY = 0.3
PREFETCHED_WEIGHT_BYTES = 96 * 1024  # from here on fetching the next panel early pays, measured
TILE_OVERHEAD_CYCLES = 24  # addresses, accumulators set and stored
MAX_DEPTHWISE_TILE = 14  # 16 accumulators and the hoisted taps spill, even of 32 registers


@dataclass(frozen=True)
class BroadcastCosts:
    """A multiply-add takes the factor that all lanes share from memory (x86): cycles of the inner loop.

    These are the largest of its multiply-adds, loads, instructions issued and bytes from the second-level cache.
    """

    target: Target

    def fits(self, tile: ConvTile) -> bool:
        """The spill rule: accumulators, one register per weight vector and one broadcast."""
        return tile.pixels * tile.panel + tile.panel + 1 <= self.target.registers

    def conv(self, tile: ConvTile) -> float:
        """Cycles."""
        target, pixels, panel, depth = self.target, tile.pixels, tile.panel, tile.depth
        products = pixels * panel
        chains = target.fma_latency * target.fma_per_cycle / products  # above 1, the adds wait for each other
        multiply = products / target.fma_per_cycle + chains
        loads = (pixels + panel) / LOADS_PER_CYCLE
        broadcasts = pixels if panel > 1 else 0
        issue = (products + panel + broadcasts) / ISSUE_PER_CYCLE
        footprint = depth * (panel * target.vector_bytes + pixels * 4)  # bytes that a tile passes over
        stream = footprint / depth / L2_BYTES_PER_CYCLE if footprint > target.caches.l1d_bytes else 0.0
        bound = max(multiply, loads, issue, stream)
        return depth * (bound + EXPOSED_L2 * stream) + TILE_OVERHEAD_CYCLES + products

    def conv_pass(self, weight_bytes: int) -> float:
        """What is not hidden of fetching the weights."""
        return EXPOSED_MEMORY * weight_bytes / MEMORY_BYTES_PER_CYCLE

    def channel_step(self, depth: int, *, blocked: bool) -> int:
        """Nothing is gained by unrolling."""
        return 1

    def channel_steps(self, depth: int, *, blocked: bool) -> tuple[int, ...]:
        """None, or a few."""
        return tuple(step for step in (1, 2, 4, 8) if depth % step == 0)

    def prefetches(self, weight_bytes: int) -> bool:
        """From some size on."""
        return weight_bytes >= PREFETCHED_WEIGHT_BYTES

    def can_prefetch(self) -> bool:
        """It can."""
        return True

    def depthwise_fits(self, rows: int, columns: int, kernel: Pair, stride: Pair) -> bool:
        """Half of the registers at most."""
        return rows * columns <= min(MAX_DEPTHWISE_TILE, self.target.registers // 2)

    def depthwise(self, rows: int, columns: int, kernel: Pair, stride: Pair) -> float:
        """Cycles: multiply-adds against loads (inputs once per row of taps, weights once)."""
        taps, outputs = kernel[0] * kernel[1], rows * columns
        multiply = max(outputs / self.target.fma_per_cycle, float(self.target.fma_latency)) * taps
        loads = ((rows + kernel[0] - 1) * columns * kernel[1] + taps) / LOADS_PER_CYCLE
        return max(multiply, loads) + outputs + TILE_OVERHEAD_CYCLES / 2

    def depthwise_knobs(self, rows: int, columns: int, kernel: Pair, stride: Pair) -> DepthwiseKnobs:
        """Nothing but the tile."""
        return DepthwiseKnobs(columns, rows)

    def depthwise_sums_fit(self, sums: int) -> bool:
        """Two are left for an input and a tap."""
        return sums + 2 <= self.target.registers

    def can_reread_taps(self) -> bool:
        """A multiply-add takes them from memory as it is."""
        return False


# Instructions, counted in the code that LLVM 22 makes for Cortex-A72.
LOOP_INSTRUCTIONS = 4  # two pointers, a counter, a branch
TILE_INSTRUCTIONS = 16  # addresses of a tile, and the loops around it
CALL_INSTRUCTIONS = 60  # a call, registers saved, a bias read
OUTPUT_INSTRUCTIONS = 3.7  # an accumulator set, two for the activation, most stores alone
CHANNEL_STEPS = (16, 8, 4)  # from 32 on weights are out of reach of load-pair, below 8 the loop itself shows
PAIRED = 0.5  # two neighboring vectors are one instruction
HALF_PAIRED = 0.8  # where neighbors are not used together, or not soon
# Beyond the plain count of registers: where LLVM's scheduler was found to spill (docs/decisions/arm64-schedules.md).
LOOP_REGISTERS = 1
STRAIGHT_LINE_REGISTERS = 5  # few input channels make no loop, and it mixes their work with what comes next
SCALAR_TILES = {1: 4, 2: 4, 3: 2, 4: 3}  # inputs that are read one by one: pixels -> largest panel
MAX_DEPTHWISE_COLUMNS = 16
SPARE_REGISTERS = 4  # beside accumulators and taps
MOST_HELD = 22  # accumulators and taps; with more, what is between them and the store spills
MIN_STRIDED_COLUMNS = 5  # fewer, and LLVM unrolls the loop over rows and mixes their work


@dataclass(frozen=True)
class ElementCosts:
    """A multiply-add takes the factor that all lanes share from an element of a register (64-bit Arm): instructions.

    Loads are as dear as multiply-adds on cores with two or three instructions a cycle, so the number of instructions
    per multiply-add is what counts.
    """

    target: Target

    def fits(self, tile: ConvTile) -> bool:
        """The spill rule: accumulators, a vector of input channels per pixel, one register per weight vector."""
        if not self._reads_vectors(tile.depth, tile.blocked):
            return tile.panel <= SCALAR_TILES.get(tile.pixels, 0)
        spare = STRAIGHT_LINE_REGISTERS if self._is_straight_line(tile.depth) else LOOP_REGISTERS
        return tile.pixels * tile.panel + tile.pixels + tile.panel + spare <= self.target.registers

    def conv(self, tile: ConvTile) -> float:
        """Instructions; or what could be issued while few accumulators wait for each other."""
        pixels, panel = tile.pixels, tile.panel
        products, weights = pixels * panel, PAIRED * panel
        step = self.channel_step(tile.depth, blocked=tile.blocked)
        inputs = float(pixels)
        if self._reads_vectors(tile.depth, tile.blocked):
            # The vectors of the first block of channels are loaded in pairs; the others are out of its reach.
            inputs = (math.ceil(PAIRED * pixels) + (step // self.target.lanes - 1) * pixels) / step
        instructions = products + weights + inputs + LOOP_INSTRUCTIONS / step
        waiting = float(self.target.fma_latency * self.target.fma_per_cycle)
        return tile.depth * max(instructions, waiting) + products * OUTPUT_INSTRUCTIONS + TILE_INSTRUCTIONS

    def conv_pass(self, weight_bytes: int) -> float:
        """A call."""
        return CALL_INSTRUCTIONS

    def channel_step(self, depth: int, *, blocked: bool) -> int:
        """As many as go evenly; few channels are unrolled as they are."""
        if self._reads_vectors(depth, blocked):
            return depth if self._is_straight_line(depth) else next(n for n in CHANNEL_STEPS if depth % n == 0)
        return depth if depth < self.target.lanes else 1

    def channel_steps(self, depth: int, *, blocked: bool) -> tuple[int, ...]:
        """All that go evenly, where inputs are read as vectors."""
        if not self._reads_vectors(depth, blocked) or self._is_straight_line(depth):
            return (self.channel_step(depth, blocked=blocked),)
        return tuple(step for step in CHANNEL_STEPS if depth % step == 0)

    def prefetches(self, weight_bytes: int) -> bool:
        """Never: that it pays has not been measured on such a core."""
        return False

    def can_prefetch(self) -> bool:
        """It is not offered: see `prefetches`."""
        return False

    def depthwise_fits(self, rows: int, columns: int, kernel: Pair, stride: Pair) -> bool:
        """One row: several save loads, but LLVM spills them. Strides and wide kernels keep more inputs in registers."""
        strided = max(stride) > 1
        limit = MAX_DEPTHWISE_COLUMNS - (2 if strided else 0)
        if not self._holds_taps(columns, kernel, stride):
            limit -= 2 * max(0, kernel[1] - 5) + (2 if strided else 0)
        return rows == 1 and columns <= max(limit, 1)

    def depthwise(self, rows: int, columns: int, kernel: Pair, stride: Pair) -> float:
        """Instructions: taps that fit into registers are read once per block of channels, others once per tile."""
        outputs, (high, wide) = rows * columns, kernel
        inputs = ((rows - 1) * stride[0] + high) * ((columns - 1) * stride[1] + wide)
        work = outputs * (high * wide + OUTPUT_INSTRUCTIONS) + TILE_INSTRUCTIONS
        if not self._holds_taps(outputs, kernel, stride):
            return work + HALF_PAIRED * inputs + PAIRED * high * wide
        return work + (PAIRED if max(stride) == 1 else HALF_PAIRED) * inputs

    def depthwise_knobs(self, rows: int, columns: int, kernel: Pair, stride: Pair) -> DepthwiseKnobs:
        """Taps that do not fit into registers, with room for what the activation takes, are read for every tile."""
        outputs = rows * columns
        reread = not self._holds_taps(outputs, kernel, stride) or outputs + kernel[0] * kernel[1] > MOST_HELD
        return DepthwiseKnobs(columns, rows, reread_taps=reread)

    def depthwise_sums_fit(self, sums: int) -> bool:
        """What spills beside them is found by counting."""
        return sums + SPARE_REGISTERS <= self.target.registers

    def can_reread_taps(self) -> bool:
        """Held in registers or not: counting tells."""
        return True

    def _holds_taps(self, outputs: int, kernel: Pair, stride: Pair) -> bool:
        few = max(stride) > 1 and outputs < MIN_STRIDED_COLUMNS
        return not few and outputs + kernel[0] * kernel[1] + SPARE_REGISTERS <= self.target.registers

    def _reads_vectors(self, depth: int, blocked: bool) -> bool:
        return blocked and depth % self.target.lanes == 0

    def _is_straight_line(self, depth: int) -> bool:
        return depth <= max(CHANNEL_STEPS)

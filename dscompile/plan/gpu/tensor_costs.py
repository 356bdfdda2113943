"""What a pointwise kernel costs on tensor cores, in the same terms as plan/gpu/costs.py, so that both can be compared.

Bytes and shared memory are those of schedule/cuda_tensor.py, exactly. Of a multiprocessor's time, what the products
take and what shared memory takes to feed them are compared; on most devices the latter decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dscompile.gpu import Gpu, Occupancy, occupancy
from dscompile.plan.gpu.costs import GLOBAL_LATENCY_CYCLES, ISSUE_EFFICIENCY, L2_FACTOR, LAUNCH_S, ModuleCost
from dscompile.plan.gpu.kernels import QUAD, Stage
from dscompile.plan.gpu.tensor_kernels import HALVES, PAD, SIDE, SUMS_PITCH, TensorKernel
from dscompile.plan.knobs import TensorKnobs
from dscompile.plan.layout import Strides

BANKS_BYTES = 128  # a wavefront of shared memory
TILE_WAVEFRONTS = SIDE * SIDE * 2 // BANKS_BYTES  # of a tile of halves
ADDRESS_REGISTERS = 24  # beside tiles and what is on its way
SUM_REGISTERS = SIDE * SIDE // 32  # of a thread for a tile of sums
FACTOR_REGISTERS = SUM_REGISTERS // 2  # for a tile of halves
HIDING_TILES = 16  # products that are independent of each other, so that none waits for one before
WARPS = ((2, 2), (4, 1), (1, 4), (4, 2), (2, 4), (8, 1))
TILES = ((1, 1), (1, 2), (2, 1), (2, 2), (1, 4), (4, 1), (2, 4), (4, 2))
STEPS = (16, 32, 64)
MAX_THREAD_TILES = 8
MIN_OCCUPANCY = 0.25  # below, nothing covers the latency of what a block waits for


def tensor_cost(kernel: TensorKernel, knobs: TensorKnobs, gpu: Gpu) -> ModuleCost | None:
    """The cost of a kernel, or None if too few blocks of it fit on a multiprocessor."""
    return TensorTiling(kernel.stage, kernel.residual is not None).cost(knobs, gpu)


@dataclass(frozen=True)
class TensorTiling:
    """A pointwise stage with its pixels in one row."""

    stage: Stage
    residual: bool = False

    def candidates(self) -> Iterator[TensorKnobs]:
        """Knobs that are worth pricing, in a stable order."""
        depth = -(-self.stage.in_channels // SIDE) * SIDE
        for warps in WARPS:
            for tiles in TILES:
                for step in STEPS:
                    if step <= depth and math.prod(tiles) <= MAX_THREAD_TILES:
                        yield TensorKnobs(warps, tiles, step)

    def depth(self, knobs: TensorKnobs) -> int:
        """Input channels in whole steps."""
        return -(-self.stage.in_quads * QUAD // knobs.step) * knobs.step

    def kernel(self, knobs: TensorKnobs) -> TensorKernel:
        """The kernel on dense images."""
        pixels = self.stage.size[1]
        dense = Strides(pixels * QUAD, pixels * QUAD, QUAD)
        residual = dense if self.residual else None
        return TensorKernel(self.stage, knobs.channels, self.depth(knobs), dense, dense, residual)

    def cost(self, knobs: TensorKnobs, gpu: Gpu) -> ModuleCost | None:
        """The cost with these knobs, or None if too few blocks fit on a multiprocessor."""
        shared, registers = self.shared_bytes(knobs), self.registers(knobs)
        if shared > gpu.shared_per_block_bytes or registers > gpu.registers_per_thread:
            return None
        resident = occupancy(gpu, knobs.threads, registers, shared)
        if resident.fraction < MIN_OCCUPANCY:
            return None
        pixels, panels = self.stage.size[1], -(-self.stage.channels // knobs.channels)
        blocks = -(-pixels // knobs.pixels) * panels
        outputs = pixels * self.stage.quads * QUAD * 4
        inputs = pixels * self.stage.in_quads * QUAD * 4 * panels
        weights = blocks * self.depth(knobs) * knobs.channels * 2
        return ModuleCost(
            blocks=blocks,
            threads=knobs.threads,
            input_bytes=inputs,
            residual_bytes=outputs if self.residual else 0,
            output_bytes=outputs,
            weight_bytes=weights,
            shared_bytes=shared,
            registers=registers,
            macs=blocks * knobs.pixels * knobs.channels * self.depth(knobs),
            occupancy=resident,
            time_s=self._time_s(knobs, gpu, resident, blocks, inputs, outputs, weights),
        )

    def shared_bytes(self, knobs: TensorKnobs) -> int:
        """Static shared memory of a block."""
        buffers = min(2, self.depth(knobs) // knobs.step)
        halves = knobs.pixels * (knobs.step + PAD) + knobs.step * (knobs.channels + PAD)
        return max(buffers * halves * 2, knobs.threads // 32 * SIDE * SUMS_PITCH * 4)

    def registers(self, knobs: TensorKnobs) -> int:
        """Registers of a thread, about: its part of the warp's tiles, and what is on its way from global memory."""
        down, across = knobs.tiles
        tiles = SUM_REGISTERS * down * across + FACTOR_REGISTERS * (down + across)
        quads = -(-knobs.pixels * knobs.step // QUAD // knobs.threads)
        vectors = -(-knobs.step * knobs.channels // HALVES // knobs.threads)
        return ADDRESS_REGISTERS + tiles + 4 * (quads + vectors)

    def _time_s(
        self, knobs: TensorKnobs, gpu: Gpu, resident: Occupancy, blocks: int, inputs: int, outputs: int, weights: int
    ) -> float:
        """The launch, the longest of arithmetic and memory, and the waiting that nothing covers."""
        steps = self.depth(knobs) // knobs.step
        at_once = resident.blocks * gpu.multiprocessors
        busy = min(gpu.multiprocessors, blocks)
        rounds = -(-blocks // busy)  # blocks that the busiest multiprocessor has, one after the other
        together = -(-min(at_once, blocks) // busy)
        step_cycles = self._step_cycles(knobs, gpu, together)
        results = 2 * knobs.pixels * knobs.channels * 4 / BANKS_BYTES
        cycles = rounds * (steps * step_cycles + results) / ISSUE_EFFICIENCY
        activations = inputs + outputs * (2 if self.residual else 1)
        memory_s = activations / gpu.dram_bytes_per_s
        cache_s = (activations + weights) / (L2_FACTOR * gpu.dram_bytes_per_s)
        # The next step is on its way while this one is multiplied.
        waiting = GLOBAL_LATENCY_CYCLES + (steps - 1) * max(0.0, GLOBAL_LATENCY_CYCLES - step_cycles * together)
        waiting_s = -(-blocks // at_once) * waiting / gpu.clock_hz
        return LAUNCH_S + max(cycles / gpu.clock_hz, memory_s, cache_s) + waiting_s

    def _step_cycles(self, knobs: TensorKnobs, gpu: Gpu, together: int) -> float:
        """Cycles of a multiprocessor for a step of one block, of which it has `together`."""
        (down, across), warps = knobs.tiles, knobs.threads // 32
        slices = knobs.step // SIDE
        filled = min(1.0, warps * together * down * across / HIDING_TILES)
        products = warps * slices * down * across * SIDE**3 / (gpu.tensor_fma_per_clock * filled)
        loads = warps * slices * (down + across) * TILE_WAVEFRONTS
        stores = knobs.step * (knobs.pixels + knobs.channels) * 2 / BANKS_BYTES
        return max(products, loads + stores)

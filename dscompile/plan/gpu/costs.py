"""What a module costs on a GPU: bytes, shared memory, registers, occupancy, and an estimate of its time.

The bytes are exact for the kernels that schedule/cuda.py makes: every element of a tile is loaded once. The time is a
model: the largest of what arithmetic and memory take, plus waiting and the launch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from dscompile.gpu import Gpu, Occupancy, occupancy
from dscompile.ir.ops import Pair
from dscompile.plan.gpu.kernels import QUAD, ModuleKernel, Stage
from dscompile.plan.kernels import ImageStrides
from dscompile.plan.knobs import ModuleKnobs

LAUNCH_S = 2.0e-6  # from one kernel of a CUDA graph to the next, and its threads' start and end
GLOBAL_LATENCY_CYCLES = 600  # of a load that misses the first-level cache, and of the barrier behind it
L2_FACTOR = 2.5  # bandwidth of the second-level cache as a multiple of that of memory
ISSUE_EFFICIENCY = 0.75  # of the multiply-adds that could be issued; the rest are loads, addresses and loops
LATENCY_HIDING_WARPS = 8  # with fewer a multiprocessor cannot cover the latency of its multiply-adds
SHARED_VECTOR_WAVEFRONTS = 4  # a warp's float4 of different pixels; one where all read the same
MIN_OCCUPANCY = 0.25  # of the warps of a multiprocessor; fewer do not cover the latency of global memory
# Registers that a thread must be allowed, or ptxas 13.0 spills: of kernels that want a half, a third and a quarter of
# the warps to be resident.
LEAST_REGISTERS = {2: 64, 3: 80, 4: 96}
FEW_TAPS = 3  # a side
SPARE_SHARED_BYTES = 512  # what alignment may add


@dataclass(frozen=True)
class ModuleCost:
    """Of one launch. Bytes are those that all blocks load and store together, weights counted once per block.

    `shared_bytes` are per block, `registers` what a thread may have so that a multiprocessor holds `resident_blocks`;
    `macs` include what is computed twice.
    """

    blocks: int
    threads: int
    input_bytes: int
    residual_bytes: int
    output_bytes: int
    weight_bytes: int
    shared_bytes: int
    registers: int
    macs: int
    occupancy: Occupancy
    time_s: float
    resident_blocks: int = 1

    @property
    def activation_bytes(self) -> int:
        """Global memory traffic without weights."""
        return self.input_bytes + self.residual_bytes + self.output_bytes


def register_budget(gpu: Gpu, threads: int, blocks: int) -> int:
    """Registers that a thread may have if a multiprocessor is to hold `blocks` of `threads`."""
    warps = blocks * -(-threads // gpu.warp_threads)
    return min(gpu.registers_per_thread, gpu.registers_per_multiprocessor // (warps * gpu.warp_threads) // 8 * 8)


def module_cost(kernel: ModuleKernel, knobs: ModuleKnobs, gpu: Gpu) -> ModuleCost | None:
    """The cost of a module, or None if no block of it fits on a multiprocessor."""
    flat, int8 = isinstance(kernel.x, ImageStrides), kernel.dtype == "int8"
    tiling = Tiling(kernel.stages, kernel.rows, kernel.columns, flat, int8, kernel.residual is not None)
    return tiling.cost(knobs, gpu) or tiling.cost(knobs, gpu, least_occupancy=0.0)


@dataclass(frozen=True)
class Tiling:
    """A chain of stages in tiles of `rows` x `columns`: what does not depend on how threads share a tile."""

    stages: tuple[Stage, ...]
    rows: int
    columns: int
    flat: bool = False
    int8: bool = False
    residual: bool = False

    @cached_property
    def extents(self) -> tuple[Pair, ...]:
        """Rows and columns of one tile: of the input, then of what each stage makes."""
        extents = [(self.rows, self.columns)]
        for stage in reversed(self.stages):
            extents.insert(0, stage.input_extent(*extents[0]))
        return tuple(extents)

    @cached_property
    def tiles(self) -> Pair:
        """Tiles down and across."""
        height, width = self.last.size
        return -(-height // self.rows), -(-width // self.columns)

    @property
    def last(self) -> Stage:
        """The stage that makes the result."""
        return self.stages[-1]

    @property
    def expands(self) -> bool:
        """Whether the first stage is a convolution that a depthwise one reads."""
        return self.stages[0].role == "expand"

    @property
    def element_bytes(self) -> int:
        """Bytes of an element."""
        return 1 if self.int8 else 4

    @cached_property
    def input_elements(self) -> int:
        """Elements of the image that the tiles load; what lies outside of it is not loaded."""
        first = self.stages[0]
        channels = first.in_channels if self.flat else first.in_quads * QUAD
        return self._inside(0) * self._inside(1) * channels

    def _inside(self, axis: int) -> int:
        """Rows (or columns) inside the image, summed over all tiles along an axis."""
        step, start = (self.rows, self.columns)[axis], 0
        for stage in reversed(self.stages):
            step, start = step * stage.stride[axis], start * stage.stride[axis] - stage.padding[axis]
        size, extent = self.stages[0].in_size[axis], self.extents[0][axis]
        firsts = (tile * step + start for tile in range(self.tiles[axis]))
        return sum(max(0, min(first + extent, size) - max(first, 0)) for first in firsts)

    @cached_property
    def stage_macs(self) -> tuple[int, ...]:
        """Multiply-accumulates of every stage for all tiles; a word of bytes is one."""
        per_word = QUAD if self.int8 else 1
        tiles = math.prod(self.tiles)
        return tuple(
            tiles
            * rows
            * columns
            * stage.quads
            * QUAD
            * math.prod(stage.kernel)
            * (1 if stage.is_depthwise else stage.in_quads * QUAD // per_word)
            for stage, (rows, columns) in zip(self.stages, self.extents[1:], strict=True)
        )

    @cached_property
    def stage_weights(self) -> tuple[int, ...]:
        """Bytes of the weights of every stage."""
        return tuple(
            stage.quads
            * QUAD
            * math.prod(stage.kernel)
            * (4 if stage.is_depthwise else stage.in_quads * QUAD * self.element_bytes)
            for stage in self.stages
        )

    @cached_property
    def areas(self) -> tuple[int, ...]:
        """Pixels of a tile: of the input, then of what each stage makes."""
        return tuple(rows * columns for rows, columns in self.extents)

    def cost(self, knobs: ModuleKnobs, gpu: Gpu, *, least_occupancy: float = MIN_OCCUPANCY) -> ModuleCost | None:
        """The cost with these knobs, or None if too few blocks fit on a multiprocessor."""
        threads, shared = knobs.threads(self.rows, self.columns), self.shared_bytes(knobs)
        if threads > gpu.threads_per_block or shared > gpu.shared_per_block_bytes:
            return None
        wanted = self.resident_blocks(threads, gpu)
        if wanted is None and least_occupancy > 0.0:
            return None
        wanted = wanted or 1
        registers = register_budget(gpu, threads, wanted)
        resident = occupancy(gpu, threads, registers, shared)
        if resident.blocks == 0 or resident.fraction < least_occupancy:
            return None
        height, width = self.last.size
        slices = self.last.quads // (knobs.block_quads * knobs.passes)
        blocks = math.prod(self.tiles) * slices
        outputs = height * width * self.last.quads * QUAD * self.element_bytes
        alone = self.last.is_depthwise and len(self.stages) == 1  # then a slice reads only its own channels
        *before, last = self.stage_weights
        *macs_before, macs_last = self.stage_macs
        inputs = self.input_elements * self.element_bytes * (1 if alone else slices)
        weights = blocks * (sum(before) + last // slices)
        time_s = self._time_s(knobs, gpu, resident, blocks, threads, inputs, outputs, weights, slices)
        return ModuleCost(
            blocks=blocks,
            threads=threads,
            input_bytes=inputs,
            residual_bytes=outputs if self.residual else 0,
            output_bytes=outputs,
            weight_bytes=weights,
            shared_bytes=shared,
            registers=registers,
            macs=sum(macs_before) * slices + macs_last,
            occupancy=resident,
            time_s=time_s,
            resident_blocks=wanted,
        )

    def shared_bytes(self, knobs: ModuleKnobs) -> int:
        """Static shared memory of a block, an upper bound: buffers that do not live at the same time may share."""
        pixel = QUAD * self.element_bytes
        passed = knobs.block_quads if self.last.is_depthwise else knobs.step  # quads of what the last stage reads
        if self.flat:
            patch = self.stages[0].in_channels * 4
        elif self.expands:
            patch = self.stages[0].in_quads * pixel
        else:
            patch = passed * pixel
        total = patch * self.areas[0] + passed * pixel * sum(self.areas[1:-1])
        for index, stage in enumerate(self.stages):
            if stage.is_depthwise:
                continue
            channels = stage.in_channels if self.flat and index == 0 else stage.in_quads * QUAD
            taps = math.prod(stage.kernel) * self.element_bytes
            if stage.role == "expand":
                total += passed * QUAD * channels * taps
            else:
                depth = channels if self.flat and index == 0 else min(channels, knobs.step * QUAD)
                total += knobs.block_quads * QUAD * depth * taps
        return total + SPARE_SHARED_BYTES

    @property
    def _share(self) -> int:
        """Which part of all warps is to be resident at least: pointwise kernels need few registers, modules many."""
        if len(self.stages) > 1 or max(self.last.kernel) > FEW_TAPS:
            return 4
        return 2 if self.last.kernel == (1, 1) else 3

    def resident_blocks(self, threads: int, gpu: Gpu) -> int | None:
        """Blocks that a multiprocessor is to hold, a quarter of its warps at least; ptxas assigns registers by that.

        None where that leaves a thread too few registers.
        """
        warps = -(-threads // gpu.warp_threads)
        for share in range(self._share, 5):
            blocks = -(-gpu.warps_per_multiprocessor // (share * warps))
            if register_budget(gpu, threads, blocks) >= LEAST_REGISTERS[self._share]:
                return blocks
        return None

    def _time_s(
        self,
        knobs: ModuleKnobs,
        gpu: Gpu,
        resident: Occupancy,
        blocks: int,
        threads: int,
        inputs: int,
        outputs: int,
        weights: int,
        slices: int,
    ) -> float:
        """The launch, the longest of arithmetic and memory, and the waiting that nothing covers."""
        at_once = resident.blocks * gpu.multiprocessors
        busy = min(gpu.multiprocessors, blocks)
        warps = -(-threads // gpu.warp_threads)
        filled = min(1.0, warps * -(-min(at_once, blocks) // busy) / LATENCY_HIDING_WARPS)
        active = threads / (warps * gpu.warp_threads)
        balance = blocks / (-(-blocks // busy) * busy)
        rate = busy * gpu.fma_per_clock * ISSUE_EFFICIENCY * filled * active * balance * gpu.clock_hz
        activations = inputs + outputs * (2 if self.residual else 1)
        memory_s = activations / gpu.dram_bytes_per_s
        cache_s = (activations + weights) / (L2_FACTOR * gpu.dram_bytes_per_s)
        waiting_s = -(-blocks // at_once) * self._steps(knobs) * GLOBAL_LATENCY_CYCLES / gpu.clock_hz
        return LAUNCH_S + max(self._weighted_macs(knobs, slices) / rate, memory_s, cache_s) + waiting_s

    def _weighted_macs(self, knobs: ModuleKnobs, slices: int) -> float:
        """Multiply-accumulates, each as often as its loads from shared memory make it cost.

        A multiprocessor issues four warps' multiply-adds while shared memory serves one wavefront.
        """
        total = 0.0
        for index, (stage, macs) in enumerate(zip(self.stages, self.stage_macs, strict=True)):
            is_last = index == len(self.stages) - 1
            if stage.is_depthwise:
                rows = knobs.thread_rows if is_last else 1
                taps = stage.kernel[0]
                loads = SHARED_VECTOR_WAVEFRONTS * (taps - 1 + rows) / (rows * taps)
                slowdown = max(1.0, loads + 0.5)
            else:
                quads, pixels = (knobs.quads, knobs.thread_rows) if is_last else (knobs.expand_quads, 1)
                wavefronts = SHARED_VECTOR_WAVEFRONTS * pixels + QUAD * quads
                slowdown = max(1.0, wavefronts / (QUAD * quads * pixels))
            total += macs * slowdown * (1 if is_last else slices)
        return total

    def _steps(self, knobs: ModuleKnobs) -> int:
        """How often a block waits for global memory."""
        if self.last.is_depthwise:
            return 1 + (knobs.passes if self.expands else 0)
        if self.flat and not self.expands:
            return 1
        return knobs.passes * -(-self.last.in_quads // knobs.step) + (1 if self.expands else 0)

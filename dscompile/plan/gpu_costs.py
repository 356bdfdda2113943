"""What a module costs on a GPU: bytes, shared memory, registers, occupancy, and an estimate of its time.

The bytes are exact for the kernels that schedule/cuda.py makes: every element of a tile is loaded once. The time is a
model: the largest of what arithmetic, global memory and waiting take, plus the launch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dscompile.gpu import Gpu, Occupancy, occupancy
from dscompile.plan.gpu_kernels import QUAD, ModuleKernel, Stage
from dscompile.plan.kernels import ImageStrides
from dscompile.plan.knobs import ModuleKnobs

LAUNCH_S = 2.0e-6  # from one kernel of a CUDA graph to the next, and its threads' start and end
GLOBAL_LATENCY_CYCLES = 600  # of a load that misses the first-level cache, and of the barrier behind it
L2_FACTOR = 2.5  # bandwidth of the second-level cache as a multiple of that of memory
ISSUE_EFFICIENCY = 0.75  # of the multiply-adds that could be issued; the rest are loads, addresses and loops
ADDRESS_REGISTERS = 30  # beside sums and operands
SPARE_SHARED_BYTES = 512  # what alignment may add


@dataclass(frozen=True)
class ModuleCost:
    """Of one launch. Bytes are those that all blocks load and store together, weights counted once per block.

    `shared_bytes` and `registers` are per block and thread, `macs` include what is computed twice.
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

    @property
    def activation_bytes(self) -> int:
        """Global memory traffic without weights."""
        return self.input_bytes + self.residual_bytes + self.output_bytes


def module_cost(kernel: ModuleKernel, knobs: ModuleKnobs, gpu: Gpu) -> ModuleCost | None:
    """The cost of a module, or None if a block of it does not fit on a multiprocessor."""
    threads = knobs.block_quads // knobs.quads * (kernel.rows // knobs.thread_rows) * kernel.columns
    shared = _shared_bytes(kernel, knobs)
    registers = _registers(kernel, knobs)
    if threads > gpu.threads_per_block or shared > gpu.shared_per_block_bytes:
        return None
    if registers > gpu.registers_per_thread:
        return None
    resident = occupancy(gpu, threads, registers, shared)
    if resident.blocks == 0:
        return None
    tiles = math.prod(kernel.tiles)
    last = kernel.stages[-1]
    slices = last.quads // (knobs.block_quads * knobs.passes)
    blocks = tiles * slices
    element = 1 if kernel.dtype == "int8" else 4
    height, width = kernel.size
    outputs = height * width * last.quads * QUAD * element
    inputs = _input_elements(kernel) * element * (1 if last.is_depthwise and len(kernel.stages) == 1 else slices)
    weights = blocks * _weight_bytes(kernel, slices)
    macs = _macs(kernel, slices)
    cost = ModuleCost(
        blocks=blocks,
        threads=threads,
        input_bytes=inputs,
        residual_bytes=0 if kernel.residual is None else outputs,
        output_bytes=outputs,
        weight_bytes=weights,
        shared_bytes=shared,
        registers=registers,
        macs=macs,
        occupancy=resident,
        time_s=0.0,
    )
    return _timed(kernel, knobs, gpu, cost)


def _input_elements(kernel: ModuleKernel) -> int:
    """Elements of the image that the tiles load; what lies outside of it is not loaded."""
    (rows, columns), *_ = kernel.tile_extents()
    first = kernel.stages[0]
    channels = first.in_channels if isinstance(kernel.x, ImageStrides) else first.in_quads * QUAD
    return _inside(kernel, 0, rows) * _inside(kernel, 1, columns) * channels


def _inside(kernel: ModuleKernel, axis: int, extent: int) -> int:
    """Rows (or columns) inside the image, summed over all tiles along an axis."""
    step, start = (kernel.rows, kernel.columns)[axis], 0
    for stage in reversed(kernel.stages):
        step, start = step * stage.stride[axis], start * stage.stride[axis] - stage.padding[axis]
    size = kernel.stages[0].in_size[axis]
    firsts = (tile * step + start for tile in range(kernel.tiles[axis]))
    return sum(max(0, min(first + extent, size) - max(first, 0)) for first in firsts)


def _weight_bytes(kernel: ModuleKernel, slices: int) -> int:
    """Bytes of weights that a block reads."""
    total = 0
    for stage in kernel.stages:
        taps = math.prod(stage.kernel)
        each = taps if stage.is_depthwise else taps * stage.in_quads * QUAD
        size = stage.quads * QUAD * each * (1 if kernel.dtype == "int8" and not stage.is_depthwise else 4)
        total += size // slices if stage is kernel.stages[-1] else size
    return total


def _macs(kernel: ModuleKernel, slices: int) -> int:
    """Multiply-accumulates of all blocks; a quad of bytes is one."""
    extents = kernel.tile_extents()
    tiles, total = math.prod(kernel.tiles), 0
    for stage, (rows, columns) in zip(kernel.stages, extents[1:], strict=True):
        per_word = QUAD if kernel.dtype == "int8" else 1
        depth = 1 if stage.is_depthwise else stage.in_quads * QUAD // per_word
        each = stage.quads * QUAD * math.prod(stage.kernel) * depth
        again = slices if stage is not kernel.stages[-1] else 1
        total += tiles * rows * columns * each * again
    return total


def _shared_bytes(kernel: ModuleKernel, knobs: ModuleKnobs) -> int:
    """Static shared memory of a block, an upper bound: buffers that do not live at the same time may share."""
    extents = kernel.tile_extents()
    pixel = QUAD * (1 if kernel.dtype == "int8" else 4)  # bytes of a quad
    first, last = kernel.stages[0], kernel.stages[-1]
    passed = knobs.block_quads if last.is_depthwise else knobs.step  # quads of what the last stage reads at a time
    if isinstance(kernel.x, ImageStrides):
        patch = first.in_channels * 4
    elif first.role == "expand":
        patch = first.in_quads * pixel
    else:
        patch = passed * pixel
    total = patch * math.prod(extents[0])
    for stage, extent in zip(kernel.stages[:-1], extents[1:], strict=False):
        total += passed * pixel * math.prod(extent)
    for stage in kernel.stages:
        if not stage.is_depthwise:
            total += _shared_weights(kernel, stage, passed, knobs)
    return total + SPARE_SHARED_BYTES


def _shared_weights(kernel: ModuleKernel, stage: Stage, passed: int, knobs: ModuleKnobs) -> int:
    """Bytes of the weights that a conv stage keeps in shared memory at a time."""
    taps = math.prod(stage.kernel)
    flat = isinstance(kernel.x, ImageStrides) and stage is kernel.stages[0]
    channels = stage.in_channels if flat else stage.in_quads * QUAD
    size = 1 if kernel.dtype == "int8" else 4
    if stage.role == "expand":
        return passed * QUAD * channels * taps * size
    depth = channels if flat else min(channels, knobs.step * QUAD)
    return knobs.block_quads * QUAD * depth * taps * size


def _registers(kernel: ModuleKernel, knobs: ModuleKnobs) -> int:
    """Registers of a thread: the larger of what its stages need."""
    last = kernel.stages[-1]
    sums = knobs.quads * knobs.thread_rows * QUAD
    if last.is_depthwise:
        operands = ((knobs.thread_rows - 1) * last.stride[0] + last.kernel[0]) * QUAD + QUAD
    else:
        operands = knobs.thread_rows * QUAD + QUAD * min(knobs.quads, 2)
    before = 0
    for stage in kernel.stages[:-1]:
        before = max(before, 2 * QUAD if stage.is_depthwise else (knobs.expand_quads + 2) * QUAD)
    kept = sums if not last.is_depthwise else 0
    return ADDRESS_REGISTERS + max(sums + operands, kept + before)


def _timed(kernel: ModuleKernel, knobs: ModuleKnobs, gpu: Gpu, cost: ModuleCost) -> ModuleCost:
    """The same with its time."""
    from dataclasses import replace

    at_once = min(cost.occupancy.blocks * gpu.multiprocessors, cost.blocks)
    waves = math.ceil(cost.blocks / (cost.occupancy.blocks * gpu.multiprocessors))
    busy = min(gpu.multiprocessors, cost.blocks)
    warps = math.ceil(cost.threads / gpu.warp_threads)
    resident_warps = warps * math.ceil(at_once / busy)
    # Below eight warps a multiprocessor cannot cover the latency of its multiply-adds.
    filled = min(1.0, resident_warps / 8)
    idle_lanes = cost.threads / (warps * gpu.warp_threads)
    rate = busy * gpu.fma_per_clock * ISSUE_EFFICIENCY * filled * idle_lanes * gpu.clock_hz
    arithmetic_s = _weighted_macs(kernel, knobs, cost) / rate
    balance = cost.blocks / (math.ceil(cost.blocks / busy) * busy)
    dram = cost.activation_bytes / gpu.dram_bytes_per_s
    cache = (cost.activation_bytes + cost.weight_bytes) / (L2_FACTOR * gpu.dram_bytes_per_s)
    waiting_s = waves * _steps(kernel, knobs) * GLOBAL_LATENCY_CYCLES / gpu.clock_hz
    return replace(cost, time_s=LAUNCH_S + max(arithmetic_s / balance, dram, cache) + waiting_s)


def _weighted_macs(kernel: ModuleKernel, knobs: ModuleKnobs, cost: ModuleCost) -> float:
    """Multiply-accumulates, each as many times as its loads from shared memory make it cost."""
    extents = kernel.tile_extents()
    per_word = QUAD if kernel.dtype == "int8" else 1
    total = 0.0
    slices = kernel.stages[-1].quads // (knobs.block_quads * knobs.passes)
    for stage, (rows, columns) in zip(kernel.stages, extents[1:], strict=True):
        is_last = stage is kernel.stages[-1]
        depth = 1 if stage.is_depthwise else stage.in_quads * QUAD // per_word
        macs = math.prod(kernel.tiles) * rows * columns * stage.quads * QUAD * math.prod(stage.kernel) * depth
        macs *= 1 if is_last else slices
        if stage.is_depthwise:
            reuse = knobs.thread_rows if is_last else 1
            loads = 4.0 * (stage.kernel[0] - 1 + reuse) / (reuse * stage.kernel[0])  # wavefronts per quad of sums
            slowdown = max(1.0, (loads + 0.5) / 1.0) / 1.0
        else:
            quads, pixels = (knobs.quads, knobs.thread_rows) if is_last else (knobs.expand_quads, 1)
            # Four channels of a thread's pixels: 4 wavefronts a pixel, and one for each weight vector it multiplies.
            wavefronts = 4 * pixels + QUAD * quads
            cycles = QUAD * quads * pixels * QUAD / 4
            slowdown = max(1.0, wavefronts / cycles)
        total += macs * slowdown
    return total


def _steps(kernel: ModuleKernel, knobs: ModuleKnobs) -> int:
    """How often a block waits for global memory."""
    last = kernel.stages[-1]
    if last.is_depthwise:
        return 1 + (knobs.passes if len(kernel.stages) > 1 else 0)
    if isinstance(kernel.x, ImageStrides) and len(kernel.stages) == 1:
        return 1
    return knobs.passes * math.ceil(last.in_quads / knobs.step) + (1 if kernel.stages[0].role == "expand" else 0)

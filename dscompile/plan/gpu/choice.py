"""Which tile and which knobs a module gets: all that are sensible are priced, the cheapest one is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from dscompile.gpu import Gpu
from dscompile.ir.ops import Pair
from dscompile.ir.tensor import DType, Precision
from dscompile.plan.gpu.costs import MIN_OCCUPANCY, ModuleCost, Tiling
from dscompile.plan.gpu.kernels import QUAD, ModuleKernel, Stage
from dscompile.plan.gpu.tensor_costs import TensorTiling
from dscompile.plan.gpu.tensor_kernels import TensorKernel
from dscompile.plan.kernels import ImageStrides
from dscompile.plan.knobs import ModuleKnobs, TensorKnobs
from dscompile.plan.layout import Strides

# What a second of memory traffic is worth beside a second of time. Tiles and fusions that cost up to a tenth more by
# the estimate are taken where they save much traffic: the bytes are exact, the time is a model.
TRAFFIC_PRICE = 8.0
MIN_THREADS, MAX_THREADS = 32, 512
MAX_SUMS = 64  # float32 or int32 sums of a thread
POWERS = (1, 2, 4, 8, 16, 32)
TILE_SIDES = (1, 2, 4, 7, 8, 14, 16, 28, 32)
MAX_TILE_PIXELS = 512
MAX_STEP = 8  # quads
MAX_BLOCK_QUADS = 128
MIN_COLUMNS = 7  # of a tile: a row of fewer quads is less than a cache line
ROWS = (8, 14, 32)  # wanted pixels of a row of a pointwise module, the last of them a warp's
MIN_ROW, MAX_ROW = 7, 64  # pixels of a row of a pointwise module


@dataclass(frozen=True)
class ModulePlan:
    """A module with everything decided."""

    kernel: ModuleKernel | TensorKernel
    knobs: ModuleKnobs | TensorKnobs
    cost: ModuleCost

    @property
    def tile(self) -> Pair:
        """Rows and columns of pixels that a block makes."""
        if isinstance(self.knobs, TensorKnobs):
            return 1, self.knobs.pixels
        assert isinstance(self.kernel, ModuleKernel)
        return self.kernel.rows, self.kernel.columns


@dataclass(frozen=True)
class ModuleShape:
    """What decides on the tile of a module: its stages, how its input lies, and whether a residual is added.

    Activations, requantizations and zero points do not matter, and are left out. With `precision` float16 tensor cores
    may do what they can.
    """

    stages: tuple[Stage, ...]
    flat: bool = False
    dtype: DType = "float32"
    residual: bool = False
    precision: Precision = "float32"

    @property
    def suits_tensor_cores(self) -> bool:
        """Whether there is a kernel for tensor cores: a pointwise convolution of float32 images by itself."""
        alone = len(self.stages) == 1 and self.stages[0].is_pointwise
        return self.precision == "float16" and alone and not self.flat and self.dtype == "float32"


@cache
def front(shape: ModuleShape, gpu: Gpu) -> tuple[ModulePlan, ...]:
    """The plans of which none is both faster and lighter on memory than another, the fastest first."""
    priced: list[tuple[tuple[float, int, int, int], int, ModuleCost, Callable[[], ModulePlan]]] = []
    for cost, plan in (*_modules(shape, gpu), *_tensor_kernels(shape, gpu)):
        rank = (round(cost.time_s * 1e9), cost.activation_bytes, cost.threads, cost.shared_bytes)
        priced.append((rank, len(priced), cost, plan))
    kept: list[ModulePlan] = []
    for _, _, cost, plan in sorted(priced, key=lambda one: one[:2]):
        if not kept or cost.activation_bytes < kept[-1].cost.activation_bytes:
            kept.append(plan())
    return tuple(kept)


_Priced = tuple[ModuleCost, Callable[[], ModulePlan]]


def _modules(shape: ModuleShape, gpu: Gpu) -> Iterator[_Priced]:
    """All modules that fit, with their costs; of a convolution that has none, all that a multiprocessor can hold."""
    found = False
    for least_threads, least_occupancy in ((MIN_THREADS, MIN_OCCUPANCY), (1, 0.0)):
        for tiling, knobs in candidates(shape, least_threads):
            cost = tiling.cost(knobs, gpu, least_occupancy=least_occupancy)
            if cost is not None:
                found = True
                yield cost, partial(_module_plan, shape, tiling, knobs, cost)
        if found or len(shape.stages) > 1:
            return


def _module_plan(shape: ModuleShape, tiling: Tiling, knobs: ModuleKnobs, cost: ModuleCost) -> ModulePlan:
    return ModulePlan(_kernel(shape, tiling, knobs), knobs, cost)


def _tensor_kernels(shape: ModuleShape, gpu: Gpu) -> Iterator[_Priced]:
    """All kernels for tensor cores that fit, with their costs."""
    if not shape.suits_tensor_cores:
        return
    (stage,) = shape.stages
    tiling = TensorTiling(stage.in_rows_of(stage.size[0] * stage.size[1]), shape.residual)
    for knobs in tiling.candidates():
        cost = tiling.cost(knobs, gpu)
        if cost is not None:
            yield cost, partial(_tensor_plan, tiling, knobs, cost)


def _tensor_plan(tiling: TensorTiling, knobs: TensorKnobs, cost: ModuleCost) -> ModulePlan:
    return ModulePlan(tiling.kernel(knobs), knobs, cost)


def cheapest(shape: ModuleShape, gpu: Gpu) -> ModulePlan | None:
    """The plan with the least price, or None if nothing fits."""
    return min(front(shape, gpu), key=lambda plan: price_s(plan.cost, gpu), default=None)


def price_s(cost: ModuleCost, gpu: Gpu) -> float:
    """Estimated time, and what the traffic of activations is worth beside it."""
    return cost.time_s + TRAFFIC_PRICE * cost.activation_bytes / gpu.dram_bytes_per_s


def candidates(shape: ModuleShape, least_threads: int) -> Iterator[tuple[Tiling, ModuleKnobs]]:
    """Tiles and knobs that are worth pricing, in a stable order; a block has `least_threads` or more."""
    only = shape.stages[-1]
    if len(shape.stages) == 1 and only.is_pointwise and not shape.flat:
        for width in _row_lengths(only.size[0] * only.size[1]):
            yield from _tilings(replace(shape, stages=(only.in_rows_of(width),)), least_threads)
    else:
        yield from _tilings(shape, least_threads)


def _row_lengths(pixels: int) -> list[int]:
    """How many pixels make a row of an image whose rows lie one after another: what divides all of them."""
    lengths = [d for d in _divisors(pixels) if MIN_ROW <= d <= MAX_ROW]
    nearest = (min(lengths, key=lambda length: abs(length - wanted), default=pixels) for wanted in ROWS)
    return sorted(set(nearest))


def _tilings(shape: ModuleShape, least_threads: int) -> Iterator[tuple[Tiling, ModuleKnobs]]:
    height, width = shape.stages[-1].size
    alone = shape.stages[-1].is_pointwise and len(shape.stages) == 1  # then rows are worth nothing of their own
    for rows in [side for side in _sides(height) if side in POWERS or not alone]:
        for columns in [width] if alone and width <= MAX_ROW else _sides(width):
            if rows * columns <= MAX_TILE_PIXELS and columns >= min(MIN_COLUMNS, width):
                tiling = Tiling(shape.stages, rows, columns, shape.flat, shape.dtype == "int8", shape.residual)
                for knobs in _knobs(shape.stages, rows, columns, least_threads):
                    yield tiling, knobs


def _kernel(shape: ModuleShape, tiling: Tiling, knobs: ModuleKnobs) -> ModuleKernel:
    """The kernel of a tiling, with dense images."""
    *before, last = tiling.stages
    if not last.is_depthwise:
        last = replace(last, panel=knobs.block_quads)
    stages = (*before, last)
    (in_height, in_width), (height, width) = stages[0].in_size, last.size
    x: Strides | ImageStrides = _dense_strides(in_height, in_width)
    if shape.flat:
        x = ImageStrides(in_height * in_width, in_width, 1)
    y = _dense_strides(height, width)
    return ModuleKernel(stages, tiling.rows, tiling.columns, x, y, shape.dtype, y if shape.residual else None)


def _dense_strides(height: int, width: int) -> Strides:
    return Strides(height * width * QUAD, width * QUAD, QUAD)


def _sides(size: int) -> list[int]:
    """Sides of tiles along an axis of `size` pixels: the usual ones, and the whole axis where it is short."""
    usual = [side for side in TILE_SIDES if side < size]
    return [*usual, size] if size <= 2 * TILE_SIDES[-1] else usual


def _knobs(stages: Sequence[Stage], rows: int, columns: int, least_threads: int) -> Iterator[ModuleKnobs]:
    last, alone = stages[-1], len(stages) == 1
    fused_project = not alone and not last.is_depthwise
    for thread_rows in _divisors(rows):
        pixels = rows // thread_rows * columns
        if thread_rows > 8 or pixels > MAX_THREADS:
            continue
        for block_quads in [d for d in _divisors(last.quads) if d <= MAX_BLOCK_QUADS]:
            if fused_project and block_quads * 4 < last.quads:
                continue  # the stages before would be done too often
            for quads in _divisors(block_quads):
                threads = block_quads // quads * pixels
                if not least_threads <= threads <= MAX_THREADS or quads * thread_rows * 4 > MAX_SUMS:
                    continue
                yield from _steps(stages, block_quads, quads, thread_rows)


def _steps(stages: Sequence[Stage], block_quads: int, quads: int, thread_rows: int) -> Iterator[ModuleKnobs]:
    last, expands = stages[-1], stages[0].role == "expand"
    expanded = [1, 2] if stages[0].kernel != (1, 1) and not last.is_depthwise else [1, 2, 4]  # with taps they spill
    if last.is_depthwise:
        if quads > 1:
            return
        for passes in _divisors(last.quads // block_quads) if expands else (1,):
            for expand in [e for e in expanded if block_quads % e == 0] if expands else (1,):
                yield ModuleKnobs(quads, thread_rows, block_quads, passes, 1, expand)
        return
    for step in [s for s in _divisors(last.in_quads) if s <= MAX_STEP][-2:]:
        for expand in [e for e in expanded if step % e == 0] if expands else (1,):
            yield ModuleKnobs(quads, thread_rows, block_quads, 1, step, expand)


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]

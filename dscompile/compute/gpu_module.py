"""Chains of convolutions, tile by tile, as GPUs compute them (plan/gpu/kernels.py says what they mean).

Every stage is defined on the tile that the next one needs, so that all extents are constants. A tile may reach beyond
the result: whoever schedules a definition sees to it that nothing is stored there.

Blocks: `patch` (a tile of the input, zero outside of the image), and for every stage `<role>_acc` (its sums) and
`<role>` (what it gives), the last of which is called `y`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tvm import te, tirx

from dscompile.compute.activation import activate, const
from dscompile.compute.dot_product import dot4
from dscompile.compute.requantization import requantized
from dscompile.ir.ops import Activation
from dscompile.plan.gpu.kernels import QUAD, ModuleKernel, Stage
from dscompile.plan.int8_kernels import Requantization
from dscompile.plan.kernels import ImageStrides

Tensor = Any
Expr = Any
PrimFunc = Any
Pixel = Callable[[Expr, Expr, Expr, Expr, Expr], Expr]


def module(kernel: ModuleKernel) -> PrimFunc:
    """The definition of a module.

    x is [quads][rows][columns][4] (or [channels][rows][columns]), y [tile rows][tile columns][quads][rows of a tile]
    [columns of a tile][4]; with int8, words take the place of the last axis.
    """
    arithmetic: _Arithmetic = _Words() if kernel.dtype == "int8" else _Floats()
    regions = _regions(kernel)
    x = arithmetic.image("x", kernel)
    placeholders = [x]
    source = _patch(kernel, regions[0], arithmetic, x)
    for index, stage in enumerate(kernel.stages):
        weights, constants = arithmetic.weights(stage), arithmetic.constants(stage)
        placeholders += [weights, *constants]
        region, is_last = regions[index + 1], index == len(kernel.stages) - 1
        acc = _sums(kernel, stage, region, arithmetic, source, weights)
        if is_last:
            residual = None if kernel.residual is None else te.placeholder(acc.shape, name="residual")
            y = _result(kernel, stage, arithmetic, acc, constants, residual)
            placeholders += [*([] if residual is None else [residual]), y]
        else:
            source = _between(kernel, stage, kernel.stages[index + 1], region, arithmetic, acc, constants)
    return te.create_prim_func(placeholders)


@dataclass(frozen=True)
class _Region:
    """A tile of an image: `rows` x `columns` pixels, the first of which is tile * step + start, down and across."""

    rows: int
    columns: int
    step: tuple[int, int]
    start: tuple[int, int]
    size: tuple[int, int]

    def place(self, tile: tuple[Expr, Expr], pixel: tuple[Expr, Expr]) -> tuple[Expr, Expr]:
        """Where a pixel of a tile lies in the image."""
        down, across = (t * s + o + p for t, s, o, p in zip(tile, self.step, self.start, pixel, strict=True))
        return down, across

    def inside(self, row: Expr, column: Expr) -> Expr:
        """Whether a pixel lies in the image."""
        return tirx.all(row >= 0, row < self.size[0], column >= 0, column < self.size[1])


def _regions(kernel: ModuleKernel) -> list[_Region]:
    """Of the input, and of what every stage makes."""
    rows, columns = kernel.rows, kernel.columns
    regions = [_Region(rows, columns, (rows, columns), (0, 0), kernel.size)]
    for stage in reversed(kernel.stages):
        after = regions[0]
        extent = stage.input_extent(after.rows, after.columns)
        step = (after.step[0] * stage.stride[0], after.step[1] * stage.stride[1])
        start = tuple(o * s - p for o, s, p in zip(after.start, stage.stride, stage.padding, strict=True))
        regions.insert(0, _Region(*extent, step, (start[0], start[1]), stage.in_size))
    return regions


class _Arithmetic(Protocol):
    """What differs between floats and bytes."""

    lanes: int

    def image(self, name: str, kernel: ModuleKernel) -> Tensor:
        """The input."""

    def weights(self, stage: Stage) -> Tensor:
        """The weights of a stage."""

    def constants(self, stage: Stage) -> list[Tensor]:
        """Bias, or constants of the requantization."""

    def zero(self, stage: Stage) -> Expr:
        """What stands for zeros in the input of a stage."""

    def depth(self, stage: Stage, *, flat: bool) -> int:
        """Steps of the sum over input channels."""

    def product(self, stage: Stage, source: Callable[[Expr, Expr], Expr], weight: Expr, k: Expr) -> Expr:
        """One step of the sum; source(quad, lane) is a pixel."""

    def finished(
        self, stage: Stage, sums: Callable[[Expr], Expr], constants: list[Tensor], quad: Expr, lane: Expr
    ) -> Expr:
        """What becomes of the sums of a quad."""


class _Floats:
    """float32, four channels an element each."""

    lanes = QUAD

    def image(self, name: str, kernel: ModuleKernel) -> Tensor:
        stage = kernel.stages[0]
        if isinstance(kernel.x, ImageStrides):
            return te.placeholder((stage.in_channels, *stage.in_size), name=name)
        return te.placeholder((stage.in_quads, *stage.in_size, QUAD), name=name)

    def weights(self, stage: Stage) -> Tensor:
        name = f"{stage.role}_weights"
        if stage.is_depthwise:
            return te.placeholder((stage.quads, *stage.kernel, QUAD), name=name)
        shape = (stage.quads // stage.panel, *stage.kernel, _padded(stage.in_channels), stage.panel, QUAD)
        return te.placeholder(shape, name=name)

    def constants(self, stage: Stage) -> list[Tensor]:
        return [te.placeholder((stage.quads, QUAD), name=f"{stage.role}_bias")]

    def zero(self, stage: Stage) -> Expr:
        return const(0.0)

    def depth(self, stage: Stage, *, flat: bool) -> int:
        return stage.in_channels if flat else _padded(stage.in_channels)

    def product(self, stage: Stage, source: Callable[[Expr, Expr], Expr], weight: Expr, k: Expr) -> Expr:
        return source(k // QUAD, k % QUAD) * weight

    def finished(
        self, stage: Stage, sums: Callable[[Expr], Expr], constants: list[Tensor], quad: Expr, lane: Expr
    ) -> Expr:
        assert isinstance(stage.finish, Activation)
        return activate(sums(lane) + constants[0][quad, lane], stage.finish)


class _Words:
    """int8, four channels in a word, summed with dot4."""

    lanes = 1

    def image(self, name: str, kernel: ModuleKernel) -> Tensor:
        stage = kernel.stages[0]
        return te.placeholder((stage.in_quads, *stage.in_size, 1), "int32", name=name)

    def weights(self, stage: Stage) -> Tensor:
        name = f"{stage.role}_weights"
        if stage.is_depthwise:
            return te.placeholder((stage.quads, *stage.kernel, QUAD), "int32", name=name)
        shape = (stage.quads // stage.panel, *stage.kernel, stage.in_quads, stage.panel, QUAD)
        return te.placeholder(shape, "int32", name=name)

    def constants(self, stage: Stage) -> list[Tensor]:
        assert isinstance(stage.finish, Requantization)
        return [
            te.placeholder((stage.quads, QUAD), p.dtype, name=f"{stage.role}_{p.name}") for p in stage.finish.parameters
        ]

    def zero(self, stage: Stage) -> Expr:
        word = (stage.zero & 0xFF) * 0x01010101
        return tirx.const(word - (1 << 32 if word >= 1 << 31 else 0), "int32")

    def depth(self, stage: Stage, *, flat: bool) -> int:
        return stage.in_quads

    def product(self, stage: Stage, source: Callable[[Expr, Expr], Expr], weight: Expr, k: Expr) -> Expr:
        return dot4(source(k, 0), weight)

    def finished(
        self, stage: Stage, sums: Callable[[Expr], Expr], constants: list[Tensor], quad: Expr, lane: Expr
    ) -> Expr:
        assert isinstance(stage.finish, Requantization)
        word = None
        for byte in range(QUAD):
            value = requantized(sums(byte), [c[quad, byte] for c in constants], stage.finish)
            bits = tirx.shift_left(tirx.Cast("int32", value) & tirx.const(0xFF, "int32"), tirx.const(8 * byte, "int32"))
            word = bits if word is None else word | bits
        return word


def _padded(channels: int) -> int:
    """Channels of whole quads."""
    return -(-channels // QUAD) * QUAD


def _patch(kernel: ModuleKernel, region: _Region, arithmetic: _Arithmetic, x: Tensor) -> Pixel:
    """A tile of the input, with zeros where it reaches beyond the image."""
    stage = kernel.stages[0]
    zero = arithmetic.zero(stage)

    def pixel(ty: Expr, tx: Expr, quad: Expr, i: Expr, j: Expr, *lane: Expr) -> Expr:
        row, column = region.place((ty, tx), (i, j))
        return tirx.if_then_else(region.inside(row, column), x[(quad, row, column, *lane)], zero)

    if isinstance(kernel.x, ImageStrides):
        flat = te.compute((*kernel.tiles, stage.in_channels, region.rows, region.columns), pixel, name="patch")
        return lambda tile, quad, i, j, lane: flat[(*tile, quad * QUAD + lane, i, j)]
    shape = (*kernel.tiles, stage.in_quads, region.rows, region.columns, arithmetic.lanes)
    patch = te.compute(shape, pixel, name="patch")
    return lambda tile, quad, i, j, lane: patch[(*tile, quad, i, j, lane)]


def _sums(
    kernel: ModuleKernel, stage: Stage, region: _Region, arithmetic: _Arithmetic, source: Pixel, weights: Tensor
) -> Tensor:
    """acc[tile, n, i, j, l] = sum_{r, q, k} source[tile, k, i s + r d, j s + q d] weights[n, r, q, k, l].

    A depthwise sum is over the taps only, and k = n.
    """
    (sh, sw), (dh, dw) = stage.stride, stage.dilation
    r, q = te.reduce_axis((0, stage.kernel[0]), name="r"), te.reduce_axis((0, stage.kernel[1]), name="q")
    shape = (*kernel.tiles, stage.quads, region.rows, region.columns, QUAD)
    name = f"{stage.role}_acc"
    if stage.is_depthwise:

        def tap(ty: Expr, tx: Expr, n: Expr, i: Expr, j: Expr, lane: Expr) -> Expr:
            at = (i * sh + r * dh, j * sw + q * dw)
            if arithmetic.lanes == 1:
                return te.sum(dot4(source((ty, tx), n, *at, 0), weights[n, r, q, lane]), axis=[r, q])
            return te.sum(source((ty, tx), n, *at, lane) * weights[n, r, q, lane], axis=[r, q])

        return te.compute(shape, tap, name=name)
    k = te.reduce_axis((0, arithmetic.depth(stage, flat=_reads_flat(kernel, stage))), name="k")

    def product(ty: Expr, tx: Expr, n: Expr, i: Expr, j: Expr, lane: Expr) -> Expr:
        at = (i * sh + r * dh, j * sw + q * dw)
        weight = weights[n // stage.panel, r, q, k, n % stage.panel, lane]
        step = arithmetic.product(stage, lambda quad, part: source((ty, tx), quad, *at, part), weight, k)
        return te.sum(step, axis=[r, q, k])

    return te.compute(shape, product, name=name)


def _reads_flat(kernel: ModuleKernel, stage: Stage) -> bool:
    return stage is kernel.stages[0] and isinstance(kernel.x, ImageStrides)


def _between(
    kernel: ModuleKernel,
    stage: Stage,
    after: Stage,
    region: _Region,
    arithmetic: _Arithmetic,
    acc: Tensor,
    constants: list[Tensor],
) -> Pixel:
    """What the next stage reads: zero outside of the image, because that is its padding."""
    zero = arithmetic.zero(after)
    reaches_out = any(p for p in after.padding) or kernel.has_ragged_tiles or _overhangs(kernel, stage, region)

    def value(ty: Expr, tx: Expr, n: Expr, i: Expr, j: Expr, lane: Expr) -> Expr:
        made = arithmetic.finished(stage, lambda part: acc[ty, tx, n, i, j, part], constants, n, lane)
        if not reaches_out:
            return made
        return tirx.if_then_else(region.inside(*region.place((ty, tx), (i, j))), made, zero)

    shape = (*kernel.tiles, stage.quads, region.rows, region.columns, arithmetic.lanes)
    made = te.compute(shape, value, name=stage.role)
    return lambda tile, quad, i, j, lane: made[(*tile, quad, i, j, lane)]


def _overhangs(kernel: ModuleKernel, stage: Stage, region: _Region) -> bool:
    """Whether the last tile reaches beyond the image that a stage makes."""
    last = [
        (tiles - 1) * step + start + extent
        for tiles, step, start, extent in zip(
            kernel.tiles, region.step, region.start, (region.rows, region.columns), strict=True
        )
    ]
    return last[0] > stage.size[0] or last[1] > stage.size[1]


def _result(
    kernel: ModuleKernel,
    stage: Stage,
    arithmetic: _Arithmetic,
    acc: Tensor,
    constants: list[Tensor],
    residual: Tensor | None,
) -> Tensor:
    """The block `y`."""

    def value(ty: Expr, tx: Expr, n: Expr, i: Expr, j: Expr, lane: Expr) -> Expr:
        made = arithmetic.finished(stage, lambda part: acc[ty, tx, n, i, j, part], constants, n, lane)
        if residual is None:
            return made
        return activate(made + residual[ty, tx, n, i, j, lane], kernel.residual_activation)

    shape = (*kernel.tiles, stage.quads, kernel.rows, kernel.columns, arithmetic.lanes)
    return te.compute(shape, value, name="y")

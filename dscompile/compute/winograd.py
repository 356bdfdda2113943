"""Winograd's F(4 x 4, 3 x 3): 16 outputs of a 3x3 convolution by 36 multiplications, in place of 144.

The points are 0, +-sqrt(1/2), +-sqrt(2) and infinity, with which float32 loses least of those tried: 5 times the error
of direct sums (docs/decisions/winograd.md). Signs in pairs halve the work of the transforms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

from dscompile.compute.activation import activate, const
from dscompile.plan.kernels import WINOGRAD_OUTPUTS as OUTPUTS
from dscompile.plan.kernels import WINOGRAD_POSITIONS as POSITIONS
from dscompile.plan.kernels import WinogradKernel
from dscompile.plan.winograd import LARGE, SMALL

Expr = Any
PrimFunc = Any


def winograd(kernel: WinogradKernel) -> PrimFunc:
    """A 3x3 convolution, tile by tile. Blocks: `columns`, `spread` (the input of a tile), `acc`, `rows` and `y`.

    x [blocks][4 tiles + 2][4 tiles + 2][lanes], y [blocks][tiles][tiles][rows][columns][lanes] of each tile's last
    outputs. With d the 6 x 6 pixels of a tile, spread = B^T d B, acc[i, j] = sum_k spread[i, j, k] weights[i, j, k],
    y = A^T acc A.
    """
    lanes, panel, (high, wide) = kernel.lanes, kernel.panel, kernel.tiles
    blocks = -(-kernel.in_channels // lanes)
    x = te.placeholder((blocks, high * OUTPUTS + 2, wide * OUTPUTS + 2, lanes), name="x")
    weights = te.placeholder(
        (kernel.out_channels // panel, POSITIONS, POSITIONS, kernel.in_channels, panel), name="weights"
    )
    bias = te.placeholder((kernel.out_channels,), name="bias")
    filters = kernel.out_channels // lanes
    columns = te.compute(
        (high, wide, blocks, POSITIONS, POSITIONS, lanes),
        lambda h, w, b, i, q, lane: _spread(
            i, [x[b, h * OUTPUTS + r, w * OUTPUTS + q, lane] for r in range(POSITIONS)]
        ),
        name="columns",
    )
    spread = te.compute(
        (POSITIONS, POSITIONS, high, wide, blocks, lanes),
        lambda i, j, h, w, b, lane: _spread(j, [columns[h, w, b, i, q, lane] for q in range(POSITIONS)]),
        name="spread",
    )
    k = te.reduce_axis((0, kernel.in_channels), name="k")
    acc = te.compute(
        (filters, POSITIONS, POSITIONS, high, wide, lanes),
        lambda b, i, j, h, w, lane: te.sum(
            spread[i, j, h, w, k // lanes, k % lanes]
            * weights[(b * lanes + lane) // panel, i, j, k, (b * lanes + lane) % panel],
            axis=k,
        ),
        name="acc",
    )
    rows = te.compute(
        (filters, high, wide, POSITIONS, kernel.outputs[0], lanes),
        lambda b, h, w, j, p, lane: _gathered(
            p + OUTPUTS - kernel.outputs[0], [acc[b, i, j, h, w, lane] for i in range(POSITIONS)]
        ),
        name="rows",
    )
    shape = (filters, high, wide, *kernel.outputs, lanes)
    epilogue = kernel.epilogue
    residual = None if epilogue.residual is None else te.placeholder(shape, name="residual")

    def value(b: Expr, h: Expr, w: Expr, p: Expr, q: Expr, lane: Expr) -> Expr:
        sums = _gathered(q + OUTPUTS - kernel.outputs[1], [rows[b, h, w, j, p, lane] for j in range(POSITIONS)])
        y = activate(sums + bias[b * lanes + lane], epilogue.activation)
        return y if residual is None else activate(y + residual[b, h, w, p, q, lane], epilogue.residual_activation)

    y = te.compute(shape, value, name="y")
    return te.create_prim_func([x, weights, bias, *([] if residual is None else [residual]), y])


def _spread(index: Expr, d: Sequence[Expr]) -> Expr:
    """Row `index` of B^T times the 6 values d."""
    even = {a: d[4] - const(b * b) * d[2] for a, b in ((SMALL, LARGE), (LARGE, SMALL))}
    odd = {a: d[3] - const(b * b) * d[1] for a, b in ((SMALL, LARGE), (LARGE, SMALL))}
    middle = const(SMALL * SMALL + LARGE * LARGE)
    return _choice(
        index,
        [
            d[0] + d[4] - middle * d[2],
            even[SMALL] + const(SMALL) * odd[SMALL],
            even[SMALL] - const(SMALL) * odd[SMALL],
            even[LARGE] + const(LARGE) * odd[LARGE],
            even[LARGE] - const(LARGE) * odd[LARGE],
            d[1] + d[5] - middle * d[3],
        ],
    )


def _gathered(index: Expr, m: Sequence[Expr]) -> Expr:
    """Row `index` of A^T times the 6 values m."""
    small, large = (m[1] + m[2], m[1] - m[2]), (m[3] + m[4], m[3] - m[4])

    def power(degree: int) -> Expr:
        return const(SMALL**degree) * small[degree % 2] + const(LARGE**degree) * large[degree % 2]

    return _choice(index, [m[0] + (small[0] + large[0]), power(1), power(2), power(3) + m[5]])


def _choice(index: Expr, values: Sequence[Expr]) -> Expr:
    """values[index], of an index that unrolling makes a constant."""
    chosen = values[-1]
    for number in range(len(values) - 2, -1, -1):
        chosen = tirx.Select(index == number, values[number], chosen)
    return chosen

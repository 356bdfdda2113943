"""Int8 kernels without weights as TE: exact integers, and float32 only where the network's own rounding has it."""

from __future__ import annotations

from typing import Any

from tvm import te, tirx

from dscompile.compute.integer import cast, clamp, divide_by_power, round_away, round_to_even, typed_const
from dscompile.compute.requantization import constants, fixed_point, requantized
from dscompile.ir.tensor import INTEGER_RANGES
from dscompile.plan.int8_elementwise import (
    Int8MeanKernel,
    Int8PoolKernel,
    Int8ProductKernel,
    Int8SoftmaxKernel,
    Int8SumKernel,
    LookupKernel,
    QuantizeKernel,
)
from dscompile.plan.integer_sums import Halves
from dscompile.plan.mcu.arithmetic import (
    ClampedProduct,
    FloatBinary,
    IntegerBinary,
    IntegerChoice,
    IntegerSum,
    PairArithmetic,
    Rescale,
)

Expr = Any
PrimFunc = Any

_ADD_SHIFT = 20  # bits by which both terms of a sum are shifted up before they are brought to one scale
_LARGEST_QUOTIENT = 1024.0  # no int8 stands for more, whatever its zero point


def int8_pool(kernel: Int8PoolKernel) -> PrimFunc:
    """Average or maximum of the taps that lie inside the image. Blocks: `acc` and `y`."""
    (taps_h, taps_w), (stride_h, stride_w) = kernel.kernel, kernel.stride
    average = kernel.function == "average"
    x = te.placeholder((kernel.blocks, kernel.in_height, kernel.in_width, kernel.lanes), "int8", name="x")
    r, q = te.reduce_axis((0, taps_h), name="r"), te.reduce_axis((0, taps_w), name="q")
    padded = not _inside(kernel)
    dtype = "int32" if average else "int8"

    def tap(b: Expr, h: Expr, w: Expr, lane: Expr) -> Expr:
        row, column = h * stride_h + r - kernel.pad_top, w * stride_w + q - kernel.pad_left
        value = cast(dtype, x[b, row, column, lane])
        if not padded:
            return value
        inside = tirx.all(row >= 0, row < kernel.in_height, column >= 0, column < kernel.in_width)
        return tirx.if_then_else(inside, value, typed_const(0 if average else -128, dtype))

    reduce = te.sum if average else te.max
    shape = (kernel.blocks, kernel.height, kernel.width, kernel.lanes)
    acc = te.compute(shape, lambda *index: reduce(tap(*index), axis=[r, q]), name="acc")

    def value(b: Expr, h: Expr, w: Expr, lane: Expr) -> Expr:
        total = cast("int32", acc[b, h, w, lane])
        if average:
            taps = typed_const(taps_h * taps_w, "int32")
            if padded:
                rows = _taps_inside(h * stride_h - kernel.pad_top, taps_h, kernel.in_height)
                taps = rows * _taps_inside(w * stride_w - kernel.pad_left, taps_w, kernel.in_width)
            total = _divided(total, taps)
        return cast("int8", clamp(total, kernel.low, kernel.high))

    return te.create_prim_func([x, te.compute(shape, value, name="y")])


def _divided(total: Expr, taps: Expr) -> Expr:
    """total / taps, rounded to nearest, halves away from zero."""
    half = tirx.truncdiv(taps, typed_const(2, "int32"))
    return tirx.truncdiv(
        total + tirx.Select(total < typed_const(0, "int32"), typed_const(0, "int32") - half, half), taps
    )


def _taps_inside(first: Expr, taps: int, size: int) -> Expr:
    """How many of the taps first .. first + taps - 1 lie in [0, size)."""
    return tirx.min(first + taps, size) - tirx.max(first, 0)


def _inside(kernel: Int8PoolKernel) -> bool:
    """Whether every tap of every window lies inside the image."""
    last_row = (kernel.height - 1) * kernel.stride[0] - kernel.pad_top + kernel.kernel[0]
    last_column = (kernel.width - 1) * kernel.stride[1] - kernel.pad_left + kernel.kernel[1]
    before = kernel.pad_top == kernel.pad_left == 0
    return before and last_row <= kernel.in_height and last_column <= kernel.in_width


def int8_mean(kernel: Int8MeanKernel) -> PrimFunc:
    """The sum of all pixels of a channel, requantized. Blocks: `acc` and `y`."""
    lanes = kernel.lanes
    x = te.placeholder((kernel.blocks, kernel.height, kernel.width, lanes), "int8", name="x")
    factors = constants(kernel.requantization, kernel.blocks * lanes)
    h, w = te.reduce_axis((0, kernel.height), name="h"), te.reduce_axis((0, kernel.width), name="w")
    shape = (kernel.blocks, 1, 1, lanes)
    acc = te.compute(shape, lambda b, _h, _w, lane: te.sum(cast("int32", x[b, h, w, lane]), axis=[h, w]), name="acc")

    def value(b: Expr, one: Expr, other: Expr, lane: Expr) -> Expr:
        channel = b * lanes + lane
        return requantized(acc[b, one, other, lane], [f[channel] for f in factors], kernel.requantization)

    return te.create_prim_func([x, *factors, te.compute(shape, value, name="y")])


def int8_sum(kernel: Int8SumKernel) -> PrimFunc:
    """y = a + b in the arithmetic of the kernel. Block: `y`."""
    a, b = te.placeholder(kernel.shape, "int8", name="a"), te.placeholder(kernel.shape, "int8", name="b")
    y = te.compute(kernel.shape, lambda *index: _sum(a[index], b[index], kernel.arithmetic), name="y")
    return te.create_prim_func([a, b, y])


def _sum(a: Expr, b: Expr, rule: PairArithmetic) -> Expr:
    match rule:
        case FloatBinary():
            return _float_sum(a, b, rule)
        case ClampedProduct():
            return _float_product(a, b, rule)
        case IntegerChoice():
            choice = tirx.max if rule.kind == "max" else tirx.min
            return clamp(choice(a, b), rule.low, rule.high)
        case IntegerSum():
            return _searched_sum(a, b, rule)
        case IntegerBinary():
            return _fixed_point_sum(a, b, rule)


def _searched_sum(a: Expr, b: Expr, rule: IntegerSum) -> Expr:
    """Two multiplications in 32 bits, and a shift."""
    first = cast("int32", a) * typed_const(rule.first, "int32")
    second = cast("int32", b) * typed_const(rule.second, "int32")
    total = first + second + typed_const(rule.bias, "int32")
    if rule.halves is not None:
        total = _halved(total, rule.halves, rule.right)
    total = tirx.shift_right(total, typed_const(rule.right, "int32"))
    if rule.zero_point:
        total = total + typed_const(rule.zero_point, "int32")
    return cast("int8", clamp(total, rule.low, rule.high))


def _halved(total: Expr, halves: Halves, right: int) -> Expr:
    """What is shifted to the right (plan/integer_sums.py: Halves)."""
    shift = typed_const(halves.shift, "int32")
    if halves.to == "away":
        unsigned = tirx.shift_right(tirx.reinterpret("uint32", total), typed_const(halves.shift, "uint32"))
        return total - cast("int32", unsigned) + typed_const(halves.start, "int32")
    odd = tirx.bitwise_and(tirx.shift_right(total, typed_const(right, "int32")), typed_const(1, "int32"))
    return total - tirx.shift_left(odd, shift)


def _float_sum(a: Expr, b: Expr, rule: FloatBinary) -> Expr:
    """Two fused multiply-adds, and one rounding to even."""
    inner = fused_multiply_add(_shifted(b, rule), rule.second, typed_const(rule.offset, "float32"))
    total = round_to_even(fused_multiply_add(_shifted(a, rule), rule.first, inner))
    return cast("int8", clamp(cast("int32", total) - typed_const(rule.shift, "int32"), rule.low, rule.high))


def _float_product(a: Expr, b: Expr, rule: ClampedProduct) -> Expr:
    """The product of integers, times the factor, plus the zero point if it is rounded with it; then to even."""
    own = rule.product
    centered = [cast("int32", x) - typed_const(zero, "int32") for x, zero in ((a, own.a_zero), (b, own.b_zero))]
    total = rounded_product(cast("float32", centered[0] * centered[1]), own.factor)
    if own.inner:
        total = total + typed_const(float(own.inner), "float32")
    level = cast("int32", round_to_even(total)) + typed_const(own.outer, "int32")
    return cast("int8", clamp(level, rule.low, rule.high))


def _shifted(x: Expr, rule: FloatBinary) -> Expr:
    return cast("float32", cast("int32", x) + typed_const(rule.shift, "int32"))


def rounded_product(x: Expr, factor: float) -> Expr:
    """x * factor, rounded before anything is added to it."""
    product = x * typed_const(factor, "float32")
    return tirx.call_llvm_pure_intrin("float32", "llvm.arithmetic.fence.f32", product)


def fused_multiply_add(x: Expr, factor: float, addend: Expr) -> Expr:
    """x * factor + addend, rounded once."""
    return tirx.call_llvm_pure_intrin("float32", "llvm.fma.f32", x, typed_const(factor, "float32"), addend)


def _fixed_point_sum(a: Expr, b: Expr, rule: IntegerBinary) -> Expr:
    """Both terms, shifted up, are brought to twice the larger scale, added, and requantized."""
    terms = [
        _rescaled(tirx.shift_left(_centered(x, side), typed_const(_ADD_SHIFT, "int64")), side, rule)
        for x, side in ((a, rule.a), (b, rule.b))
    ]
    total = _rescaled(terms[0] + terms[1], rule.result, rule) + typed_const(rule.result.zero_point, "int64")
    return cast("int8", clamp(total, rule.low, rule.high))


def _centered(x: Expr, side: Rescale) -> Expr:
    return cast("int64", x) - typed_const(side.zero_point, "int64")


def _rescaled(x: Expr, factor: Rescale, rule: IntegerBinary) -> Expr:
    return fixed_point(x, typed_const(factor.multiplier, "int64"), typed_const(factor.shift, "int64"), rule.method)


def int8_product(kernel: Int8ProductKernel) -> PrimFunc:
    """y = (a - zero point) * (b - zero point), requantized. Block: `y`."""
    a, b = te.placeholder(kernel.shape, "int8", name="a"), te.placeholder(kernel.shape, "int8", name="b")
    factors = constants(kernel.requantization, 1)

    def value(*index: Expr) -> Expr:
        x = cast("int32", a[index]) - typed_const(kernel.a_zero, "int32")
        product = x * (cast("int32", b[index]) - typed_const(kernel.b_zero, "int32"))
        return requantized(product, [f[0] for f in factors], kernel.requantization)

    return te.create_prim_func([a, b, *factors, te.compute(kernel.shape, value, name="y")])


def lookup(kernel: LookupKernel) -> PrimFunc:
    """y = table[x - smallest]. Block: `y`."""
    x = te.placeholder(kernel.shape, kernel.given, name="x")
    table = te.placeholder((256,), kernel.made, name="table")
    smallest = INTEGER_RANGES[kernel.given][0]
    y = te.compute(
        kernel.shape, lambda *index: table[cast("int32", x[index]) - typed_const(smallest, "int32")], name="y"
    )
    return te.create_prim_func([x, table, y])


def quantize(kernel: QuantizeKernel) -> PrimFunc:
    """y = clamp(round(x / scale) + zero point). Block: `y`."""
    x = te.placeholder(kernel.shape, name="x")
    low, high = INTEGER_RANGES[kernel.made]
    rounded = round_to_even if kernel.to_even else round_away

    def value(*index: Expr) -> Expr:
        quotient = x[index] / typed_const(kernel.scale, "float32")
        bounded = clamp(quotient, -_LARGEST_QUOTIENT, _LARGEST_QUOTIENT)
        number = tirx.Select(tirx.isnan(x[index]), typed_const(0.0, "float32"), bounded)
        whole = cast("int32", rounded(number)) + typed_const(kernel.zero_point, "int32")
        return cast(kernel.made, clamp(whole, low, high))

    return te.create_prim_func([x, te.compute(kernel.shape, value, name="y")])


def int8_softmax(kernel: Int8SoftmaxKernel) -> PrimFunc:
    """Shares of the exponentials, row by row. Blocks: `largest`, `total`, `headroom`, `reciprocal`, `y`.

    As gemmlowp has it: the sum of exponentials with 12 bits before the point, its first 1 moved to bit 31 by the
    headroom, and 1 / (1 + fraction) by three Newton steps.
    """
    shape = (kernel.rows, kernel.length)
    x = te.placeholder(shape, "int8", name="x")
    powers = te.placeholder((256,), "int32", name="powers")
    i, j = te.reduce_axis((0, kernel.length), name="i"), te.reduce_axis((0, kernel.length), name="j")
    k = te.reduce_axis((0, 32), name="k")
    largest = te.compute((kernel.rows,), lambda row: te.max(x[row, i], axis=i), name="largest")

    def power(row: Expr, n: Expr) -> Expr:
        return cast("int64", powers[cast("int32", largest[row]) - cast("int32", x[row, n])])

    total = te.compute(
        (kernel.rows,),
        lambda row: te.sum(divide_by_power(power(row, j), typed_const(12, "int64")), axis=j),
        name="total",
    )
    headroom = te.compute(
        (kernel.rows,),
        lambda row: te.sum(
            cast("int64", total[row] < tirx.shift_left(typed_const(1, "int64"), cast("int64", k))), axis=k
        ),
        name="headroom",
    )
    reciprocal = te.compute(
        (kernel.rows,),
        lambda row: _reciprocal(tirx.shift_left(total[row], headroom[row]) - typed_const(1 << 31, "int64")),
        name="reciprocal",
    )

    def share(row: Expr, n: Expr) -> Expr:
        product = _high_product(reciprocal[row], power(row, n))
        return divide_by_power(product, typed_const(35, "int64") - headroom[row]) - typed_const(128, "int64")

    y = te.compute(shape, lambda row, n: cast("int8", clamp(share(row, n), -128, 127)), name="y")
    return te.create_prim_func([x, powers, y])


def _reciprocal(fraction: Expr) -> Expr:
    """1 / (1 + fraction) in Q0.31, from 48/17 - 32/17 * d with d = (1 + fraction) / 2."""
    half = tirx.shift_right(fraction + typed_const(1 << 31, "int64"), typed_const(1, "int64"))
    x = typed_const(1515870810, "int64") + _high_product(half, typed_const(-1010580540, "int64"))
    for _ in range(3):
        error = typed_const(1 << 29, "int64") - _high_product(half, x)
        x = x + _saturated(tirx.shift_left(_high_product(x, error), typed_const(2, "int64")))
    return _saturated(tirx.shift_left(x, typed_const(1, "int64")))


def _high_product(a: Expr, b: Expr) -> Expr:
    """The upper half of 2 * a * b, halves rounded up."""
    return tirx.shift_right(a * b + typed_const(1 << 30, "int64"), typed_const(31, "int64"))


def _saturated(x: Expr) -> Expr:
    return clamp(x, -(1 << 31), (1 << 31) - 1)

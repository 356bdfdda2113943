"""Instructions of kernels that are no convolutions: loops in C, as GCC 12 compiles them with -O2.

Rates are those of emulated cores. What depends on the values is taken at its most: of a softmax, that every element
counts. Floats are those of a core that has them; without a float unit nobody can say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dscompile.plan.mcu.arithmetic import IntegerSum
from dscompile.plan.mcu.costs_loops import Isa, of_kinds
from dscompile.plan.mcu.kernels import McuKernel, pixels_of
from dscompile.plan.mcu.mix import NOTHING, Mix, code
from dscompile.plan.mcu.products import DenseKernel
from dscompile.plan.mcu.sets import MOST_TAPS
from dscompile.plan.mcu.small_kernels import (
    ActivateKernel,
    ArgMaxKernel,
    BinaryKernel,
    CopyKernel,
    DequantizeKernel,
    FillKernel,
    LookupKernel,
    MeanKernel,
    MoveKernel,
    PoolKernel,
    QuantizeKernel,
    ResampleKernel,
    RowSumKernel,
    ScaleKernel,
    SoftmaxKernel,
)

_NARROW = 4  # columns up to which a compiler unrolls a pool's row
_WORD = 4
_RUN = 16  # bytes of a turn of memmove


@dataclass(frozen=True)
class _Rates:
    """Of each loop's pass: mixes where cycles are known for the core, else numbers that only count.

    dense: two products; one of a last channel without a partner; a finished sum. pool: a tap, one of a row that is
    unrolled, a row, a result. vectors of pools and means: a tap, a row and four results. softmax: an element, a call.
    moved: 16 bytes. element: of a copy, a lookup, a sum in fixed point, a sum by a plane, other
    arithmetic, a searched product, an element of a softmax whose exponentials are a table.
    """

    dense: Mix
    dense_last: Mix
    dense_result: Mix
    tap: Mix
    narrow_tap: Mix
    row: Mix
    result: Mix
    softmax_element: Mix
    softmax_call: Mix
    moved: Mix
    copied: Mix
    looked_up: Mix
    fixed_sum: Mix
    plane_sum: Mix
    other: Mix
    product: Mix
    softmax_tabled: Mix


def _plain(count: float) -> Mix:
    return of_kinds(count)


_RATES: dict[Isa, _Rates] = {
    "thumb2": _Rates(
        dense=code("3l 2c 4p j"),
        dense_last=code("2l c 3p j"),
        dense_result=code("3l 2c s 11p"),
        tap=code("l 3p j"),
        narrow_tap=code("l p"),
        row=code("4p j"),
        result=code("s 24p d j"),
        softmax_element=code("20l 4s 270p 12p 8j"),
        softmax_call=code("20l 12s 168p 10w 25j"),
        moved=code("4l 4s 5p j"),
        copied=code("l s 2p j"),
        looked_up=code("2l s 3p j"),
        fixed_sum=code("6l s 43p 4j"),
        plane_sum=code("2l s 9p j"),
        other=code("3l s 16p 2j"),
        product=code("2l s 10p j"),
        softmax_tabled=code("5l s 28p 3j"),
    ),
    "thumb1": _Rates(
        *map(
            _plain,
            (10.0, 7.1, 30.0, 6.0, 6.0, 8.0, 60.0, 1075.0, 1427.0, 19.5, 5.0, 8.0, 180.0, 16.0, 28.0, 60.0, 80.0),
        )
    ),
    "rv32": _Rates(
        *map(_plain, (10.4, 7.0, 17.0, 4.0, 2.0, 4.0, 18.0, 372.0, 345.0, 11.9, 5.0, 8.0, 60.0, 14.0, 22.0, 16.0, 30.0))
    ),
    "rv64": _Rates(
        *map(_plain, (10.4, 7.0, 17.0, 4.0, 2.0, 4.0, 18.0, 275.0, 231.0, 11.9, 5.0, 8.0, 60.0, 14.0, 22.0, 16.0, 30.0))
    ),
}
_RATES["helium"] = replace(_RATES["thumb2"], moved=_plain(4.0), copied=_plain(3.0))  # loops without branches, vectors


@dataclass(frozen=True)
class _VectorRates:
    """Of pools and means by vectors of channels: a tap, a row, what four sums become."""

    tap: float
    row: float
    results: float


_HELIUM, _LONG_VECTORS = _VectorRates(4.0, 13.5, 75.0), _VectorRates(4.7, 20.0, 58.0)


_SCALE_CALL = code("9w p 4w 2w 2w 2p p 9w j")
_SCALE_RECORD = code("l 2s 11p j")  # of a channel
_SCALE_PIXEL = code("l 2w 2p s p j")
_SCALE_FOUR = code("l 9w 2p 4p 4p 4s 2p j")  # products of four channels of a pixel
_FOUR_PAIRS = code("2l 3p s") * 4 + code("5p j")  # of elements, that are added
_MEAN_RESULT = code("5l 3c s 36p 2j")  # in the network's own rounding
_SEARCHED_MEAN = code("4l 2c s 7p j")
_FOUR_TAPS, _FOUR_SUMS = code("l 4p j"), code("6p")  # four channels of a pixel; their sums as integers
_DSP_DENSE = code("l 4w 4c 16p j")  # four results, four inputs
_WIDE_DENSE, _WIDENED = (
    code("2w 4w 4c 12p") + code("2p j") * (1 / 8),
    code("l 2s 4p j"),
)  # with a widened input; a word of that
_DENSE_CALL = code("10w 6p j 3p l 4w 4w 10w 8p j")  # of four results
_LONGEST_ROW = 512
_DSP_MAXIMUM = code("l 4p j")  # a tap of four channels


def small_kernel(kernel: McuKernel, isa: Isa) -> Mix:
    """Of one call of a kernel that is no convolution."""
    rates = _RATES[isa]
    match kernel:
        case DenseKernel():
            if kernel.variant == "dsp":
                return _pairs_dense(kernel, rates)
            pairs, last = divmod(kernel.out_channels, 2)
            sums = (rates.dense * pairs + rates.dense_last * last) * kernel.in_channels
            return sums + rates.dense_result * kernel.out_channels
        case PoolKernel():
            return _pool(kernel, rates)
        case MeanKernel():
            return _mean(kernel, rates)
        case RowSumKernel():
            share = 1 / kernel.rows
            each = rates.tap * kernel.columns + code("2l s 6p 2j") + rates.result * share
            return each * kernel.channels
        case SoftmaxKernel() if kernel.tabled:
            return (rates.softmax_tabled * kernel.length + rates.softmax_call) * kernel.rows
        case SoftmaxKernel():
            return (rates.softmax_element * kernel.length + rates.softmax_call) * kernel.rows
        case MoveKernel():
            return rates.moved * (kernel.elements * _size(kernel.element) / _RUN)
        case FillKernel():
            return code("s 2p j") * (kernel.elements * _size(kernel.element) / _WORD)
        case CopyKernel():
            rows = math.prod(kernel.shape[:-1])
            if kernel.words:
                words, rest = divmod(kernel.shape[-1], _WORD)
                return (code("l s 2p j") * words + code("l s") * rest + rates.row) * rows
            return rates.copied * math.prod(kernel.shape) + rates.row * (rows if rows > 1 else 0)
        case LookupKernel():
            return rates.looked_up * (kernel.rows * kernel.channels)
        case BinaryKernel():
            form = kernel.integer.form if kernel.integer is not None else ""
            if kernel.fours:
                halves = isinstance(kernel.integer, IntegerSum) and kernel.integer.halves is not None
                four = _FOUR_PAIRS + (code("2p") * _WORD if halves else NOTHING)
                return four * (math.prod(kernel.shape) / _WORD)
            forms = {"fixed point": rates.fixed_sum, "plane": rates.plane_sum, "searched product": rates.product}
            return forms.get(form, rates.other) * math.prod(kernel.shape)
        case ScaleKernel():
            return _scale(kernel, rates)
        case ActivateKernel():
            return rates.other * (kernel.rows * kernel.channels)
        case ArgMaxKernel():
            return code("2l 4p j") * (kernel.rows * kernel.length)
        case ResampleKernel():
            each = rates.copied if kernel.method == "nearest" else rates.other
            return (each * kernel.channels + rates.row * 2) * (kernel.height * kernel.width)
        case QuantizeKernel() | DequantizeKernel():
            return rates.other * kernel.elements
        case _:
            return NOTHING


def _pairs_dense(kernel: DenseKernel, rates: _Rates) -> Mix:
    fours, words = -(-kernel.out_channels // 4), -(-kernel.in_channels // 4)
    each = _WIDE_DENSE if kernel.wide else _DSP_DENSE
    chunks = _DENSE_CALL * math.ceil(kernel.in_channels / _LONGEST_ROW)
    filled = _WIDENED * words if kernel.wide else rates.copied * kernel.column_bytes
    return (each * words + chunks + code("5p j")) * fours + rates.dense_result * kernel.out_channels + filled


def _scale(kernel: ScaleKernel, rates: _Rates) -> Mix:
    fours, rest = divmod(kernel.channels, _WORD)
    product = kernel.product
    clamps = code("3p") * ((product.low > -128) + (product.high < 127))
    four = _SCALE_FOUR + clamps * _WORD + (code("l 8p") if kernel.line.sign_shift else NOTHING)
    pixel = four * fours + rates.product * rest + _SCALE_PIXEL
    if rest:
        pixel += _SCALE_CALL * (fours > 0)
    return pixel * kernel.pixels + _SCALE_RECORD * (_WORD * fours) + _SCALE_CALL


def _pool(kernel: PoolKernel, rates: _Rates) -> Mix:
    window, pixels, channels = kernel.window, pixels_of(kernel), kernel.out_channels
    rows, columns = window.rows.kernel, window.columns.kernel
    if kernel.variant == "dsp" and kernel.function == "average":
        sums = (_FOUR_TAPS * columns + code("5p j")) * rows + rates.result * _WORD + _FOUR_SUMS
        return sums * (channels // _WORD * pixels)
    if kernel.variant == "dsp":
        return (_DSP_MAXIMUM * (rows * columns) + code("l s 4p j")) * (-(-channels // _WORD) * pixels)
    if kernel.variant != "c99":
        turns = -(-channels // (_RUN if kernel.function == "max" else _WORD))
        each = _LONG_VECTORS if kernel.variant == "rvv" else _HELIUM
        return of_kinds(turns * pixels * (each.tap * rows * columns + each.row * rows + each.results))
    if kernel.from_rows:
        width = window.columns.size
        row = code("l p") * (width // _WORD + width % _WORD) + code("3p j")
        return (row * window.rows.size + code("s 17p 2j")) * channels
    tap = rates.narrow_tap if columns <= _NARROW else rates.tap
    row = tap * columns + (NOTHING if columns <= _NARROW else rates.row)
    return (row * rows + rates.result) * (channels * pixels)


def _mean(kernel: MeanKernel, rates: _Rates) -> Mix:
    if kernel.variant == "dsp":
        chunks, turn = math.ceil(kernel.pixels / MOST_TAPS), kernel.turn
        taps = (
            _FOUR_TAPS * kernel.pixels if chunks > 1 else (code("l 2p") * turn + code("3p j")) * (kernel.pixels / turn)
        )
        result = _SEARCHED_MEAN + code("l c 2p") * (kernel.epilogue.method == "stepped")
        result = result if kernel.epilogue.is_searched else _MEAN_RESULT
        return (taps + _FOUR_SUMS * chunks + result * _WORD) * (kernel.channels // _WORD)
    if kernel.variant != "c99":
        turns = -(-kernel.channels // _WORD)
        each = _LONG_VECTORS if kernel.variant == "rvv" else _HELIUM
        return of_kinds(turns * (each.tap * kernel.pixels + each.row + each.results))
    return (rates.tap * kernel.pixels + rates.dense_result) * kernel.channels


def _size(element: str) -> int:
    return 1 if element in ("int8", "uint8") else 4

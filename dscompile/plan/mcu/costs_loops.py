"""Loops of convolutions without 16-bit SIMD: how often they run, and what one pass of them executes.

How often is known from the kernel. What a pass executes is fitted, by least squares of relative errors, to the layers
of five networks counted on emulated cores, compiled by GCC 12 with -O2; a rate has no meaning of its own where a
compiler unrolls, and those of neighboring loops make up for each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

from dscompile.ir.storage import Storage
from dscompile.plan.mcu.kernels import pixels_of
from dscompile.plan.mcu.mix import NOTHING, Mix, code
from dscompile.plan.mcu.mve import block_of, step_values
from dscompile.plan.mcu.products import (
    ConvKernel,
    DepthwiseKernel,
    SeparableKernel,
    Variant,
)
from dscompile.plan.mcu.windows import Axis

Isa = Literal["thumb2", "helium", "thumb1", "rv32", "rv64"]
"""What C is compiled to: Thumb-2 (Armv7-M, Armv8-M mainline), the same with MVE, Thumb of Armv6-M, RV32IMC, RV64GC."""

CALL = code("7w 2l 2s 6p 7w j")
Rates = TypeVar("Rates")
_LANES = 32  # int32 sums of rvv at 128 bits, eight registers at a time
_WHOLE_TAPS = 9  # windows up to this have their products unrolled where they lie inside


@dataclass(frozen=True)
class ProductRates:
    """Of products of columns with weights.

    `step` is one value of depth (16 of mve, 32 where it leaves out two of four) for a tile of pixels and channels,
    `single_step` the same for pixels that fill no tile; `turn` and `single_turn` are tiles; `result` a finished sum,
    `pixel` a column, `gathered` a byte of a window that is copied there, and `window_row` a row of it.
    """

    step: float
    single_step: float
    turn: float
    single_turn: float
    result: float
    pixel: float
    gathered: float
    window_row: float = 0.0


@dataclass(frozen=True)
class WindowRates:
    """Of depthwise windows.

    `tap` is a tap of a channel (of a vector of channels with rvv), `whole_tap` one of a window that lies inside, where
    that has a loop of its own; `row` a row of taps, `result` a finished sum, `pixel` a pixel. With mve a tap is a
    vector of the image for four outputs; `channel` one of a row of outputs, `moved` a byte that is interleaved, `row` a
    row of the image.
    """

    tap: float
    whole_tap: float
    row: float
    result: float
    pixel: float
    channel: float = 0.0
    moved: float = 0.0


_THUMB_BLOCK = ProductRates(15.3, 10.0, 0.0, 35.4, 13.2, 41.2, 4.5)
_RISCV_BLOCK = ProductRates(42.3, 13.2, 0.0, 187.0, 18.0, 15.7, 5.9)
_THUMB_WINDOWS = WindowRates(6.8, 2.5, 0.0, 20.2, 20.7)
_RISCV_WINDOWS = WindowRates(9.8, 6.06, 0.0, 3.6, 41.2)

_PRODUCTS: dict[Variant, dict[Isa, ProductRates]] = {
    "mve": {"helium": ProductRates(14.73, 0.0, 25.2, 0.0, 0.0, 27.3, 1.53)},
    "rvv": {"rv64": ProductRates(9.9, 9.95, 63.2, 77.6, 0.05, 20.5, 0.0, 15.5)},
    "m0plus": {"thumb1": ProductRates(8.97, 0.0, 72.4, 0.0, 8.83, 0.0, 11.26, 54.3)},
    "block": {"thumb2": _THUMB_BLOCK, "rv32": _RISCV_BLOCK, "rv64": _RISCV_BLOCK},
    "c99": {
        "thumb2": ProductRates(15.2, 8.0, 0.0, 0.0, 11.8, 91.5, 5.0),
        "thumb1": ProductRates(24.0, 14.0, 0.0, 0.0, 45.0, 90.0, 8.0),
        "rv32": ProductRates(16.0, 10.0, 0.0, 0.0, 18.0, 90.0, 6.0),
        "rv64": ProductRates(16.0, 10.0, 0.0, 0.0, 18.0, 90.0, 6.0),
    },
}
# What takes the place of `step` and `single_step` where vectors unpack weights, as their templates are written.
_PACKED_STEPS: dict[tuple[Variant, Storage], tuple[float, float]] = {
    ("mve", "int4"): (15.73, 0.0),
    ("mve", "2:4"): (27.0, 0.0),
    ("mve", "int4-2:4"): (29.0, 0.0),
    ("rvv", "2:4"): (5.6, 4.1),
    ("rvv", "int4-2:4"): (5.6, 4.2),
}
_WINDOWS: dict[Variant, dict[Isa, WindowRates]] = {
    "mve": {"helium": WindowRates(8.89, 0.0, 93.6, 0.0, 0.0, 30.9, 0.44)},
    "rvv": {"rv64": WindowRates(7.75, 0.0, 12.7, 46.6, 25.9)},
    "m0plus": {"thumb1": WindowRates(5.8, 4.6, 0.0, 54.3, 101.4)},
    "block": {"thumb2": _THUMB_WINDOWS, "rv32": _RISCV_WINDOWS, "rv64": _RISCV_WINDOWS},
    "c99": {
        "thumb2": WindowRates(4.92, 0.0, 0.0, 11.8, 65.0),
        "thumb1": WindowRates(8.0, 0.0, 8.0, 50.0, 80.0),
        "rv32": _RISCV_WINDOWS,
        "rv64": _RISCV_WINDOWS,
    },
}

# Kinds of instructions, of all that a loop in C executes on a core with Thumb-2.
_KINDS = Mix(plain=0.68, loads=0.25, pipelined=0.08, stores=0.07, jumps=0.06, constants=0.1)


def of_kinds(instructions: float) -> Mix:
    """Instructions of compiled loops, in the shares that the kinds usually have."""
    return _KINDS * instructions


def products(kernel: ConvKernel | SeparableKernel, isa: Isa) -> Mix:
    """The products of all columns of a call with all channels, and for a convolution how columns are made."""
    variant, channels, pixels = kernel.variant, kernel.out_channels, pixels_of(kernel)
    rates = _of(_PRODUCTS, variant, isa)
    step, single_step = _PACKED_STEPS.get((variant, kernel.storage), (rates.step, rates.single_step))
    group = 4 if variant == "mve" else kernel.group
    groups, single = divmod(pixels, group)
    if variant in ("m0plus", "mve") and single:
        groups, single = groups + 1, 0  # a group that is not full costs as much
    turns = _ceil(channels, {"mve": 2, "rvv": _LANES, "m0plus": 1}.get(variant, kernel.block))
    values = _ceil(kernel.depth, step_values(kernel.storage)) if variant == "mve" else kernel.depth
    tiles = channels / kernel.block if variant in ("block", "c99") else turns
    gathered = isinstance(kernel, ConvKernel) and kernel.gathered
    found = (step * groups + single_step * single) * tiles * values
    found += (rates.turn * groups + rates.single_turn * single) * turns
    found += (rates.result * channels + rates.pixel) * pixels
    if gathered:
        rows = 0 if kernel.window.is_pointwise else kernel.window.rows.kernel
        found += (rates.gathered * kernel.depth + rates.window_row * rows) * pixels
    return of_kinds(found)


def windows(kernel: DepthwiseKernel, isa: Isa, *, by_row: bool = False) -> Mix:
    """All depthwise windows of a call; those of an average row `by_row`."""
    if not kernel.window.pixels:
        return NOTHING
    rates = _of(_WINDOWS, kernel.variant, isa)
    found = _blocks(kernel, rates) if kernel.variant == "mve" else _pixels(kernel, rates)
    return of_kinds(found / (kernel.window.rows.outputs if by_row or kernel.by_row else 1))


def _pixels(kernel: DepthwiseKernel, rates: WindowRates) -> float:
    """Pixel by pixel, channels in turn."""
    window = kernel.window
    lanes = _ceil(kernel.out_channels, _LANES) if kernel.variant == "rvv" else kernel.out_channels
    rows, columns = _inside(window.rows), _inside(window.columns)
    taps, inner = rows[0] * columns[0], 0
    if kernel.variant in ("block", "m0plus") and window.taps <= _WHOLE_TAPS:
        inner = rows[1] * columns[1] * window.taps
    per_lane = rates.tap * (taps - inner) + rates.whole_tap * inner
    per_lane += rates.row * rows[0] * window.columns.outputs + rates.result * window.pixels
    return per_lane * lanes + rates.pixel * window.pixels


def _blocks(kernel: DepthwiseKernel, rates: WindowRates) -> float:
    """Rows of outputs at a time, from rows of the image that are interleaved first."""
    window = kernel.window
    block = block_of(window)
    assert block is not None
    turns = _ceil(window.rows.outputs, block.made)
    image_rows = window.rows.size if block.ring else turns * block.rows
    channels = turns * kernel.out_channels
    found = (rates.tap * block.groups * block.chunks + rates.channel) * channels
    return found + (rates.row + rates.moved * window.columns.size * window.channels) * image_rows


def _inside(axis: Axis) -> tuple[int, int]:
    """Taps inside the image of all outputs together, and how many outputs have all of theirs there."""
    taps = [axis.taps(output) for output in range(axis.outputs)]
    return sum(end - first for first, end in taps), sum(each == (0, axis.kernel) for each in taps)


def _of(table: dict[Variant, dict[Isa, Rates]], variant: Variant, isa: Isa) -> Rates:
    """The rates of a variant; those of its own core where a target of the user's pairs it with another."""
    rates = table[variant]
    return rates.get(isa) or next(iter(rates.values()))


def _ceil(count: int, unit: int) -> int:
    return -(-count // unit)

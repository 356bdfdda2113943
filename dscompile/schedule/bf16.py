"""What the schedules of bfloat16 kernels have in common, whichever instruction multiplies.

All of them go over panels of weights, so that each streams once, then over tiles of pixels, whose sums stay in
registers while input channels pass by.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from dscompile.compute.activation import activate
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.knobs import PixelKnobs
from dscompile.schedule.neon import shuffle
from dscompile.schedule.vector_code import Code, load

Expr = Any
Buffer = Any
PrimFunc = Any


@dataclass(frozen=True)
class Tile:
    """Loop variables: the panel of weights, the row of outputs, and the first of the tile's pixels in it."""

    panel: Expr
    row: Expr
    first: Expr


@contextmanager
def tiles(code: Code, kernel: Bf16ConvKernel, knobs: PixelKnobs) -> Iterator[Tile]:
    """What is written inside runs for every panel and, within it, for every tile of `pixels` outputs of a row."""
    if kernel.width % knobs.pixels:
        raise ValueError(f"knob pixels = {knobs.pixels} does not divide {kernel.width}")
    with (
        code.loop(kernel.out_channels // kernel.panel, "panel") as panel,
        code.loop(kernel.height, "row") as row,
        code.loop(kernel.width // knobs.pixels, "tile", read_anew=knobs.reread_weights) as tile,
    ):
        yield Tile(panel, row, tile * knobs.pixels)


def without_padding(x: Expr, channels: int, lanes: int) -> Expr:
    """Pixels of `lanes` channels each, side by side, with zeros for those from `channels` on, which may be anything."""
    size = int(x.ty.dtype.lanes)
    zeros = tirx.Broadcast(tirx.const(0.0, "float32"), size)
    return shuffle([x, zeros], [i if i % lanes < channels else size + i for i in range(size)])


def store(
    code: Code, kernel: Bf16ConvKernel, function: PrimFunc, tile: Tile, pixels: int, sums: Buffer, *, kept: bool = False
) -> None:
    """Finishes and stores sums [pixel][channel of the panel], bias included: activation and residual.

    `kept`: pixel by pixel in a loop of the machine.
    """
    *_, y = function.params
    residual = None if kernel.epilogue.residual is None else function.params[3]
    lanes, epilogue = kernel.lanes, kernel.epilogue

    def finish(pixel: Expr, block: int) -> None:
        at = [tile.panel * (kernel.panel // lanes) + block, tile.row, tile.first + pixel]
        with code.each(lanes, "lane") as lane:
            value = activate(load(sums, [pixel * kernel.panel + block * lanes + lane], 1), epilogue.activation)
            if residual is not None:
                value = activate(value + load(residual, [*at, lane], 1), epilogue.residual_activation)
            code.store(y, [*at, lane], value)

    if kept:
        with code.loop(pixels, "pixel", kept=True) as pixel:
            for block in range(kernel.panel // lanes):
                finish(pixel, block)
        return
    for pixel in range(pixels):
        for block in range(kernel.panel // lanes):
            finish(pixel, block)

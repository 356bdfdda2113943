"""Convolutions by Winograd's algorithm as kernel calls (plan/winograd.py)."""

from __future__ import annotations

from dscompile.ir.network import Layer
from dscompile.ir.ops import Conv2D
from dscompile.plan.builder import ProgramBuilder
from dscompile.plan.finish import EmitRows, Finish, bias_of
from dscompile.plan.kernels import WINOGRAD_OUTPUTS, WinogradKernel
from dscompile.plan.knobs import WinogradKnobs
from dscompile.plan.packing import pack_conv, pack_vector
from dscompile.plan.storage import BlockedView
from dscompile.plan.tiles import cut
from dscompile.plan.winograd import PANEL_BLOCKS, Tiles, tiles_at_once, transformed_weights, winograd_tiles


def winograd_pixels(
    builder: ProgramBuilder, layer: Layer, op: Conv2D, x: BlockedView, y: BlockedView, finish: Finish
) -> EmitRows:
    """Packs the weights, and returns what appends the calls for some rows, 4 or more."""
    lanes, channels, width = builder.lanes, x.layout.channels, y.layout.width
    weights, bias = transformed_weights(builder.network.weight(layer, "kernel")), bias_of(builder, layer)

    def emit(first: int, count: int) -> None:
        builder.enter(layer)
        for panels in cut(y.layout.blocks, PANEL_BLOCKS):
            start, size, panel = panels.start * lanes, panels.size * lanes, panels.tile * lanes
            tag = f".{start}" if start else ""
            constants = [
                builder.constant(f"kernel{tag}", pack_conv(weights, panel, start, size)),
                builder.constant(f"bias{tag}", pack_vector(bias, start, size)),
            ]
            for tiles in winograd_tiles(count, width, tiles_at_once(channels, lanes)):
                kernel = WinogradKernel(
                    tiles=(tiles.down.count * tiles.down.tile, tiles.across.count * tiles.across.tile),
                    outputs=(tiles.rows, tiles.columns),
                    in_channels=channels,
                    out_channels=size,
                    panel=panel,
                    lanes=lanes,
                    x=x.layout.strides,
                    y=y.layout.strides,
                    epilogue=finish.epilogue,
                )
                pixel = x.at(first + tiles.row - op.pads.top, tiles.column - op.pads.left)
                place = _written(first, tiles)
                results = [*finish.operands(*place, panels.start), y.at(*place, panels.start)]
                knobs = WinogradKnobs(tiles.down.tile, tiles.across.tile)
                builder.call(kernel, [pixel, *constants, *results], knobs)

    return emit


def _written(first: int, tiles: Tiles) -> tuple[int, int]:
    """Row and column of the first output that tiles write."""
    return first + tiles.row + WINOGRAD_OUTPUTS - tiles.rows, tiles.column + WINOGRAD_OUTPUTS - tiles.columns

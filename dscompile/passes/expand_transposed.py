"""A transposed convolution is a convolution that makes all pixels of a block at once, as channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Conv2D, ConvTranspose, DepthToSpace, Pads
from dscompile.ir.shapes import dilated_extent, output_shape
from dscompile.passes.rewrite import apply_everywhere, fresh_name, read_only, substitute


def expand_transposed(network: Network) -> Network:
    """Leaves no ConvTranspose.

    With stride s, output rows q * s + p of all q read the same taps p, p + s, p + 2 s, ... of the kernel: s of these
    phases, each a convolution of stride 1. So the layer becomes one Conv2D that makes every phase as channels of their
    own, with its bias and activation, and a DepthToSpace that lays them beside each other and cuts the padding off.
    Both multiply nothing by inserted zeros; a kernel that s does not divide has taps of zero in its shorter phases.
    """
    return apply_everywhere(_expand, network)


@dataclass(frozen=True)
class _Axis:
    """An axis of the convolution: `taps` over the input with `before` and `after` of padding, `crop` cut off behind.

    `crop` are elements of the result before and after what is wanted.
    """

    taps: int
    before: int
    after: int
    crop: tuple[int, int]


def _axis(op: ConvTranspose, axis: int, size: int, wanted: int) -> _Axis:
    """Output o is o + pad = q * s + p; phase p adds kernel[p + s * t] times input q - t for all t."""
    step, before = op.stride[axis], (op.pads.top, op.pads.left)[axis]
    taps = -(-dilated_extent(op.kernel[axis], op.dilation[axis]) // step)
    skipped = min(before // step, taps - 1)  # whole blocks that nobody wants
    blocks = -(-(before + wanted) // step) - skipped
    # Outputs of a convolution of stride 1: size + before + after - (taps - 1).
    after = max(0, blocks + skipped - size)
    made = size + after - skipped
    crop = before - skipped * step
    return _Axis(taps, taps - 1 - skipped, after, (crop, made * step - crop - wanted))


def _expand(network: Network, layer: Layer) -> Network | None:
    op = layer.op
    if not isinstance(op, ConvTranspose):
        return None
    given, made = network.shape(layer.inputs[0]), network.shape(layer.output)
    rows, columns = (_axis(op, axis, given[axis + 1], made[axis + 1]) for axis in (0, 1))
    places = op.stride[0] * op.stride[1]
    # The channels of a group must stay together: there, the phases of a channel come one after the other.
    order: Literal["dcr", "crd"] = "dcr" if op.groups == 1 else "crd"
    convolution = Conv2D(
        op.out_channels * places,
        (rows.taps, columns.taps),
        pads=Pads(rows.before, rows.after, columns.before, columns.after),
        groups=op.groups,
        activation=op.activation,
    )
    crops = Pads(*rows.crop, *columns.crop)
    spread = DepthToSpace(op.stride, order, crops)
    phases = fresh_name(network, f"{layer.name}.phases")
    tensor = replace(network.tensor(layer.output), name=phases, shape=output_shape(convolution, [given]))
    weights = {
        f"{phases}.kernel": read_only(_phases(network.weight(layer, "kernel"), op, rows.taps, columns.taps, order))
    }
    for role in ("bias", "kernel_scale"):
        if network.has_weight(layer, role):
            values = network.weight(layer, role)
            weights[f"{phases}.{role}"] = read_only(
                np.tile(values, places) if order == "dcr" else np.repeat(values, places)
            )
    layers = [
        Layer(phases, convolution, layer.inputs, phases),
        Layer(layer.name, spread, (phases,), layer.output),
    ]
    return substitute(network, {layer.name: layers}, weights, [tensor])


def _phases(kernel: Array, op: ConvTranspose, rows: int, columns: int, order: str) -> Array:
    """Kernel [kh, kw, C_in / groups, C_out] -> [rows, columns, C_in / groups, phases and C_out in `order`]."""
    (s, t), inputs, outputs = op.stride, kernel.shape[2], kernel.shape[3]
    spread = np.zeros((rows * s, columns * t, inputs, outputs), kernel.dtype)
    for i in range(op.kernel[0]):
        for j in range(op.kernel[1]):
            spread[i * op.dilation[0], j * op.dilation[1]] = kernel[i, j]
    # Tap a of the convolution reads input q - t with t = rows - 1 - a.
    taps = spread.reshape(rows, s, columns, t, inputs, outputs)[::-1, :, ::-1]
    axes = (0, 2, 4, 1, 3, 5) if order == "dcr" else (0, 2, 4, 5, 1, 3)
    return taps.transpose(axes).reshape(rows, columns, inputs, s * t * outputs)

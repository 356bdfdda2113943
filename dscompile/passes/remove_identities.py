"""Layers that do nothing go; chains of reshapes or transposes become one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import (
    Activate,
    Activation,
    DepthToSpace,
    Pad,
    Pool,
    Quantize,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    SpaceToDepth,
    Transpose,
)
from dscompile.ir.resampling import nearest_indices, source_coordinates
from dscompile.ir.tensor import Shape
from dscompile.passes.rewrite import apply_everywhere, bypass, substitute


def remove_identities(network: Network) -> Network:
    """Removes reshapes to the same shape, transposes that move nothing, empty pads, pools over 1x1, Activate none.

    And slices of everything, resizes that keep every pixel, shuffles of one group or of single channels, blocks of
    one pixel, and Quantize layers that keep type, scale and zero point.

    A transpose that only moves axes of size 1 becomes a reshape. A reshape of a reshape reads the first one's input,
    and so do a transpose of a transpose and a slice of a slice. A pool over 1x1 that has an activation becomes that
    Activate.
    """
    return apply_everywhere(_simplify, network)


def _simplify(network: Network, layer: Layer) -> Network | None:
    if not layer.inputs:
        return None
    shape = network.shape(layer.inputs[0])
    before = network.producers.get(layer.inputs[0])
    match layer.op:
        case Reshape(shape=target) if target == shape:
            return bypass(network, layer)
        case Transpose(permutation=permutation) if _moves_only_ones(permutation, shape):
            return _with(network, replace(layer, op=Reshape(network.shape(layer.output))))
        case Reshape() if before is not None and isinstance(before.op, Reshape):
            return _with(network, replace(layer, inputs=before.inputs))
        case Transpose(permutation=permutation) if before is not None and isinstance(before.op, Transpose):
            combined = tuple(before.op.permutation[axis] for axis in permutation)
            return _with(network, replace(layer, op=Transpose(combined), inputs=before.inputs))
        case Slice(sizes=sizes) if sizes == shape:
            return bypass(network, layer)
        case Slice() as op if before is not None and isinstance(before.op, Slice):
            return _with(network, replace(layer, op=_slice_of(before.op, op), inputs=before.inputs))
        case Shuffle(groups=groups) if groups in (1, *shape[-1:]):
            return bypass(network, layer)
        case Resize() as op if _keeps_pixels(op, shape):
            return bypass(network, layer)
        case DepthToSpace(block=(1, 1), crops=crops) if not crops:
            return bypass(network, layer)
        case SpaceToDepth(block=(1, 1)):
            return bypass(network, layer)
        case Pad(pads=pads) if not pads:
            return bypass(network, layer)
        case Pool() as op if _is_over_one_pixel(op, shape):
            return _only_activation(network, layer, op.activation)
        case Activate(activation=activation) if not activation and _keeps_type(network, layer):
            return bypass(network, layer)
        case Quantize() if _keeps_type(network, layer):
            return bypass(network, layer)
        case _:
            return None


def _slice_of(outer: Slice, inner: Slice) -> Slice:
    """A slice of a slice as one of the whole."""
    begins = (
        first + begin * step for first, begin, step in zip(outer.begins, inner.begins, outer.strides, strict=True)
    )
    steps = tuple(one * other for one, other in zip(outer.strides, inner.strides, strict=True))
    return Slice(tuple(begins), inner.sizes, () if max(steps) == 1 else steps)


def _keeps_type(network: Network, layer: Layer) -> bool:
    given, made = network.tensor(layer.inputs[0]), network.tensor(layer.output)
    return given.dtype == made.dtype and given.quantization == made.quantization


def _moves_only_ones(permutation: tuple[int, ...], shape: Shape) -> bool:
    """Whether the axes longer than 1 keep their order, so that no element moves; also true of the identity."""
    long = [axis for axis in permutation if shape[axis] > 1]
    return long == sorted(long)


def _keeps_pixels(op: Resize, shape: Shape) -> bool:
    """Whether every output pixel lies on the input pixel of the same place."""
    if op.size != shape[1:3]:
        return False
    return all(
        np.array_equal(
            nearest_indices(op, axis, size) if op.method == "nearest" else source_coordinates(op, axis, size),
            np.arange(size),
        )
        for axis, size in enumerate(op.size)
    )


def _is_over_one_pixel(op: Pool, shape: Shape) -> bool:
    return op.window(shape[1], shape[2]) == (1, 1) and (op.stride == (1, 1) or shape[1:3] == (1, 1))


def _only_activation(network: Network, layer: Layer, activation: Activation) -> Network | None:
    if not activation:
        return bypass(network, layer)
    return _with(network, replace(layer, op=Activate(activation)))


def _with(network: Network, layer: Layer) -> Network:
    return substitute(network, {layer.name: [layer]})

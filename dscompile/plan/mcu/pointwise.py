"""Pointwise layers of pairs that go by group, or whose columns stay in registers: where that is fewer instructions.

A group is a product of its own over some channels of the image, which stay where they are: pixels of both tensors have
channels of other groups between them. A call for each, in one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Conv2D
from dscompile.plan.mcu.arithmetic import Residual
from dscompile.plan.mcu.convolutions import (
    MatrixProduct,
    image_window,
    lookup_tables,
    matrix_product,
)
from dscompile.plan.mcu.costs_dsp import conv_mix, held_mix
from dscompile.plan.mcu.epilogues import IntegerEpilogue
from dscompile.plan.mcu.fusion import Fused
from dscompile.plan.mcu.held import held_pixels, held_records, takes_rows
from dscompile.plan.mcu.lowering import McuLowering
from dscompile.plan.mcu.prepared import columns_held, prepared_weights
from dscompile.plan.mcu.products import ConvKernel
from dscompile.plan.mcu.quantized import quantized_weights
from dscompile.plan.mcu.sets import KernelSet, has_pairs, kernel_sets, vector_variant
from dscompile.plan.packing import grouped_as_dense
from dscompile.plan.program import Operand
from dscompile.target import Target

_SUM = 8  # instructions for an element of a sum that nothing is fused with


def goes_by_group(network: Network, layer: Layer, target: Target) -> bool:
    """Whether the groups of a layer can be products over the channels of an image where they lie."""
    if not _takes(kernel_sets(target), network, layer):
        return False
    assert isinstance(layer.op, Conv2D)
    return layer.op.groups > 1 and quantized_weights(network, layer, centered=False, affine=True).epilogue.is_searched


def _takes(sets: Sequence[KernelSet], network: Network, layer: Layer) -> bool:
    """Whether there is code for a layer: pairs, without vectors; pointwise, of int8 with a byte for each weight."""
    op = layer.op
    if not has_pairs(sets) or vector_variant(sets) != "c99" or not isinstance(op, Conv2D):
        return False
    if op.is_depthwise(network.shape(layer.inputs[0])[3]):
        return False
    pointwise = op.kernel == op.stride == (1, 1) and not op.pads
    return pointwise and network.is_quantized_layer(layer) and layer.storage == "plain"


def pointwise_kernel(lowering: McuLowering, fused: Fused, residual: Residual | None) -> ConvKernel | None:
    """The kernel of each group of a layer, without its residual; None if one product over all channels is as good."""
    network, layer = lowering.network, fused.layer
    if not _takes(lowering.sets, network, layer):
        return None
    op = layer.op
    assert isinstance(op, Conv2D)
    x, y = network.shape(layer.inputs[0]), network.shape(layer.output)
    in_rows = fused.layers[-1].output in lowering.in_rows
    if residual is not None and op.groups == 1:
        return None  # its sum in a step of its own would want room for one tensor more
    if in_rows and (op.groups > 1 or fused.lookup is not None or not takes_rows(x[3], y[2])):
        return None
    weights, epilogue, constants = prepared_weights(lowering, layer, centered=False)
    if not isinstance(epilogue, IntegerEpilogue) or not epilogue.is_searched:
        return None
    found = []
    held = columns_held(lowering, layer)
    if held is not None:
        kernel = _group_product(lowering, layer, 0).kernel
        group = held_pixels(kernel.depth)
        found.append(replace(kernel, variant="held", epilogue=held.epilogue, group=group, apart=False, short=False))
    if op.groups > 1:
        products = [_group_product(lowering, layer, group).kernel for group in range(op.groups)]
        found.append(replace(products[0], apart=any(each.apart for each in products)))
    if not found:
        return None
    best = replace(min(found, key=_instructions), lookup=fused.lookup is not None, in_rows=in_rows)
    dense = grouped_as_dense(weights, op.groups) if op.groups > 1 else weights
    window = image_window(x, y, op.kernel, op.stride, op.pads)
    matrix = dense.reshape(-1, op.out_channels)
    whole = matrix_product(lowering, layer, window, matrix, epilogue, constants, residual).kernel
    whole = replace(whole, residual=residual, lookup=best.lookup, in_rows=in_rows)
    sum_apart = _SUM * whole.window.pixels * op.out_channels if residual is not None else 0
    return best if op.groups * _instructions(best) + sum_apart < _instructions(whole) else None


def _instructions(kernel: ConvKernel) -> float:
    return (held_mix(kernel) if kernel.variant == "held" else conv_mix(kernel)).instructions


def _group_product(lowering: McuLowering, layer: Layer, group: int) -> MatrixProduct:
    """The product of a group, with `x_step` and `step` if there are several."""
    op = layer.op
    assert isinstance(op, Conv2D)
    weights, epilogue, constants = prepared_weights(lowering, layer, centered=False)
    x, y = (lowering.network.shape(name) for name in (layer.inputs[0], layer.output))
    filters = op.out_channels // op.groups
    own = slice(group * filters, (group + 1) * filters)
    window = image_window((*x[:3], weights.shape[2]), y, op.kernel, op.stride, op.pads)
    matrix: Array = np.ascontiguousarray(weights[0, 0, :, own])
    kept = tuple(each[own] for each in constants)
    product = matrix_product(lowering, layer, window, matrix, epilogue, kept, None)
    if op.groups == 1:
        return product
    return replace(product, kernel=replace(product.kernel, x_step=x[3], step=op.out_channels))


def lower_pointwise(lowering: McuLowering, fused: Fused, kernel: ConvKernel) -> None:
    """The calls of a layer, one for each group."""
    layer, op = fused.layer, fused.layer.op
    assert isinstance(op, Conv2D)
    x, y = lowering.dense(layer.inputs[0]), lowering.new(fused.layers[-1].output)
    kernel = replace(kernel, step=y.step or kernel.step)
    scratch = [lowering.scratch(kernel.column_bytes)] if kernel.gathered else []
    operands = []
    for group in range(op.groups):
        if op.groups > 1:
            lowering.enter_group(layer, group)
        operands.append([*_constants(lowering, layer, kernel, group), *scratch])
    tables = lookup_tables(lowering, fused.lookup)
    for group, own in enumerate(operands):
        given, made = x.at(group * kernel.depth), y.at(group * kernel.out_channels)
        lowering.call(kernel, [given, *own, *tables, made])


def _constants(lowering: McuLowering, layer: Layer, kernel: ConvKernel, group: int) -> list[Operand]:
    """Weights and constants of a group, or its records."""
    if kernel.variant != "held":
        return replace(_group_product(lowering, layer, group), kernel=kernel).operands(lowering)
    held = columns_held(lowering, layer)
    assert held is not None
    own = slice(group * kernel.out_channels, (group + 1) * kernel.out_channels)
    constants = tuple(each[own] for each in held.constants)
    records = held_records(held.kernel[0, 0, :, own], held.epilogue, constants, in_rows=kernel.in_rows)
    return [lowering.constant("records", records)]

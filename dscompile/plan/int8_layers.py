"""How operators over int8 (and those that make it) become kernel calls; convolutions are in plan/int8_convolutions.py.

What only moves elements is the same for all types, and in plan/layers.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dscompile.ir.fixed_point import layer_clamp, requantize, tensor_quantization
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Activate, Binary, Dense, Dequantize, Lookup, Mean, Pool, Quantize, Softmax
from dscompile.ir.tensor import DType
from dscompile.plan.builder import ProgramBuilder, is_constant
from dscompile.plan.int8_convolutions import lower_int8_dense, scaling_constants
from dscompile.plan.int8_elementwise import (
    AxisStrides,
    Int8MeanKernel,
    Int8PoolKernel,
    Int8ProductKernel,
    Int8SoftmaxKernel,
    Int8SumKernel,
    LookupKernel,
    QuantizeKernel,
)
from dscompile.plan.int8_kernels import Requantization
from dscompile.plan.int8_packing import pack_int8_vector
from dscompile.plan.int8_requantization import Scaled, search_scaling
from dscompile.plan.integer_softmax import softmax_powers
from dscompile.plan.integer_tables import activation_table, dequantization_table, requantization_table
from dscompile.plan.mcu.arithmetic import IntegerBinary, PairArithmetic
from dscompile.plan.mcu.quantized import integer_mean, integer_softmax
from dscompile.plan.mcu.sums import integer_binary, integer_sum
from dscompile.plan.program import Operand
from dscompile.plan.requantization import Integers, Range
from dscompile.plan.storage import BlockedView, View, broadcast_strides


def lower_int8_layer(builder: ProgramBuilder, layer: Layer) -> None:
    """Appends the calls of a layer that `computes_on_integers` to the current step and places its result."""
    match layer.op:
        case Dense():
            lower_int8_dense(builder, layer)
        case Pool() as op:
            _pool(builder, layer, op)
        case Mean():
            _mean(builder, layer)
        case Binary() as op:
            _binary(builder, layer, op)
        case Lookup():
            _lookup(builder, layer, builder.network.weight(layer, "table"))
        case Activate() as op:
            _lookup(builder, layer, activation_table(builder.network, layer, op.activation))
        case Softmax() as op:
            _softmax(builder, layer, op)
        case Quantize():
            _quantize(builder, layer)
        case Dequantize():
            _lookup(builder, layer, dequantization_table(builder.network, layer))


def _pool(builder: ProgramBuilder, layer: Layer, op: Pool) -> None:
    x = builder.blocked(layer.inputs[0])
    y = builder.new_blocked(layer.output, builder.network.shape(layer.output))
    image, result, clamp = x.layout, y.layout, layer_clamp(builder.network, layer)
    kernel = Int8PoolKernel(
        function=op.kind,
        in_height=image.height,
        in_width=image.width,
        height=result.height,
        width=result.width,
        blocks=image.blocks,
        lanes=image.lanes,
        kernel=op.window(image.height, image.width),
        stride=op.stride,
        pad_top=op.pads.top,
        pad_left=op.pads.left,
        low=clamp.low,
        high=clamp.high,
        x=image.strides,
        y=result.strides,
    )
    builder.call(kernel, [x.at(), y.at()])
    builder.place(layer.output, y)


def _mean(builder: ProgramBuilder, layer: Layer) -> None:
    x = builder.blocked(layer.inputs[0])
    y = builder.new_blocked(layer.output, builder.network.shape(layer.output))
    own, constants = integer_mean(builder.network, layer)
    layout, rule = x.layout, own.epilogue
    assert builder.network.rounding is not None  # which is the method of every mean
    requantization = Requantization(builder.network.rounding, rule.low, rule.high, rule.zero_point)
    kernel = Int8MeanKernel(
        layout.height, layout.width, layout.blocks, layout.lanes, layout.strides, y.layout.strides, requantization
    )
    typed = tuple(
        array.astype(parameter.dtype) for array, parameter in zip(constants, requantization.parameters, strict=True)
    )
    scaling = scaling_constants(builder, Scaled(requantization, typed), 0, layout.blocks * layout.lanes)
    builder.call(kernel, [x.at(), *scaling, y.at()])
    builder.place(layer.output, y)


# Sums and products


@dataclass(frozen=True)
class _Axes:
    """An element-wise operand: where it begins, and its strides along the axes of the result."""

    operand: Operand
    strides: AxisStrides


def _binary(builder: ProgramBuilder, layer: Layer, op: Binary) -> None:
    result = builder.network.shape(layer.output)
    if len(result) == 4 and all(_is_image_or_vector(builder.network.shape(name), result) for name in layer.inputs):
        image = builder.new_blocked(layer.output, result)
        sides = [_blocked_side(builder, name, image) for name in layer.inputs]
        y: View = image
    else:
        y = builder.new_flat(layer.output, result)
        views = [builder.flat(name) for name in layer.inputs]
        sides = [_Axes(view.at(), broadcast_strides(view, result or (1,))) for view in views]
    a, b = sides
    shape, strides = _axes(y)
    own = integer_binary(builder.network, layer, op)
    if isinstance(own, IntegerBinary) and op.kind == "mul":
        scaled = _product_scaling(builder.network, layer, own)
        product = Int8ProductKernel(
            shape, a.strides, b.strides, strides, own.a.zero_point, own.b.zero_point, scaled.requantization
        )
        builder.call(product, [a.operand, b.operand, *scaling_constants(builder, scaled, 0, 1), y.at()])
    else:
        rule = _cheapest(builder.network, layer, op, own)
        builder.call(Int8SumKernel(shape, a.strides, b.strides, strides, rule), [a.operand, b.operand, y.at()])
    builder.place(layer.output, y)


def _cheapest(network: Network, layer: Layer, op: Binary, own: PairArithmetic) -> PairArithmetic:
    """A sum is two multiply-adds: of float32 where the network's own rounding has them, else searched integers."""
    return own if not isinstance(own, IntegerBinary) else integer_sum(network, layer, op) or own


def _is_image_or_vector(shape: tuple[int, ...], result: tuple[int, ...]) -> bool:
    return shape == result or (math.prod(shape[:-1]) == 1 and shape[-1:] in ((), (1,), result[-1:]))


def _axes(view: View) -> tuple[tuple[int, ...], AxisStrides]:
    """Shape and strides of a view as element-wise kernels take them."""
    if isinstance(view, BlockedView):
        layout, strides = view.layout, view.layout.strides
        shape = (layout.blocks, layout.height, layout.width, layout.lanes)
        return shape, (strides.block, strides.row, strides.pixel, 1)
    return view.shape or (1,), view.strides or (1,)


def _blocked_side(builder: ProgramBuilder, name: str, like: BlockedView) -> _Axes:
    """An image like `like`, a vector of its channels for all pixels, or one element for all."""
    network, layout = builder.network, like.layout
    shape = network.shape(name)
    if math.prod(shape) == 1:
        return _Axes(builder.flat(name).at(), (0, 0, 0, 0))
    if shape == (1, layout.height, layout.width, layout.channels):
        view = builder.blocked(name)
        return _Axes(view.at(), _axes(view)[1])
    if is_constant(network, name):
        value = np.asarray(network.weight(network.producers[name], "value")).reshape(-1)
        packed = pack_int8_vector(value, layout.blocks * layout.lanes)
        return _Axes(builder.constant("operand", packed), (layout.lanes, 0, 0, 1))
    view = builder.blocked(name)
    return _Axes(view.at(), (view.layout.strides.block, 0, 0, 1))


def _product_scaling(network: Network, layer: Layer, own: IntegerBinary) -> Scaled:
    """What becomes of a product of two integers without their zero points: searched, else the network's own."""
    factor, zero_point = own.result, own.result.zero_point
    sides = [np.array([-128, 127]) - side.zero_point for side in (own.a, own.b)]
    corners = np.outer(*sides)
    multiplier, shift = np.array([factor.multiplier]), np.array([factor.shift])
    clamp = layer_clamp(network, layer)

    def staircase(products: Integers) -> Integers:
        scaled = requantize(products, multiplier, shift, own.method) + zero_point
        return np.asarray(np.clip(scaled, clamp.low, clamp.high))

    slope = np.array([factor.multiplier * 2.0 ** (factor.shift - 31)])
    sums = Range(corners.min(keepdims=True)[0], corners.max(keepdims=True)[0])
    if staircase(sums.low[None])[0] != staircase(sums.high[None])[0]:
        found = search_scaling(staircase, sums, slope, zero_point, clamp, floats=False)
        if found is not None:
            return found
    constants = tuple(array.astype(np.int32) for array in (np.zeros(1), multiplier, shift))
    return Scaled(Requantization(own.method, clamp.low, clamp.high, zero_point), constants)


# Functions of one integer, and softmax


def _lookup(builder: ProgramBuilder, layer: Layer, table: Array) -> None:
    """Element by element where the tensor lives, unless types with other blocks are involved."""
    given, made = builder.network.tensor(layer.inputs[0]).dtype, builder.network.tensor(layer.output).dtype
    x = builder.home(layer.inputs[0])
    if isinstance(x, BlockedView) and made == "int8":
        y: View = builder.new_blocked(layer.output, builder.network.shape(layer.output))
    else:
        x = builder.flat(layer.inputs[0])
        y = builder.new_flat(layer.output, x.shape)
    shape, strides = _axes(x)
    kernel = LookupKernel(shape, strides, _axes(y)[1], given, made)
    builder.call(kernel, [x.at(), builder.constant("table", table), y.at()])
    builder.place(layer.output, y)


def _softmax(builder: ProgramBuilder, layer: Layer, op: Softmax) -> None:
    x = builder.dense(layer.inputs[0])
    y = builder.new_flat(layer.output, x.shape)
    scaling = integer_softmax(builder.network, layer, op)
    table = softmax_powers(scaling.multiplier, scaling.shift, scaling.smallest)
    kernel = Int8SoftmaxKernel(scaling.rows, scaling.length)
    builder.call(kernel, [x.at(), builder.constant("powers", table), y.at()])
    builder.place(layer.output, y)


def _quantize(builder: ProgramBuilder, layer: Layer) -> None:
    network = builder.network
    if network.tensor(layer.inputs[0]).dtype != "float32":
        _lookup(builder, layer, requantization_table(network, layer))
        return
    x = builder.flat(layer.inputs[0])
    y = builder.new_flat(layer.output, x.shape)
    made: DType = network.tensor(layer.output).dtype
    quantization = tensor_quantization(network, layer.output)
    to_even = network.rounding == "float32"
    shape, strides = _axes(x)
    kernel = QuantizeKernel(
        shape, strides, y.strides or (1,), made, quantization.scale, quantization.zero_point, to_even
    )
    builder.call(kernel, [x.at(), y.at()])
    builder.place(layer.output, y)

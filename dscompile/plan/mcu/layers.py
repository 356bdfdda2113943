"""How each operator becomes calls of standalone C kernels (convolutions are in plan/mcu/convolutions.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from dscompile.errors import UnsupportedError
from dscompile.ir.cost import layer_kind
from dscompile.ir.fixed_point import layer_clamp, quantized_value, tensor_quantization
from dscompile.ir.network import Array, Layer
from dscompile.ir.ops import (
    Activate,
    ArgMax,
    BatchNorm,
    Binary,
    Concat,
    Constant,
    Conv2D,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Dequantize,
    Lookup,
    Mean,
    Pad,
    Pool,
    Quantize,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    Softmax,
    SpaceToDepth,
    Transpose,
)
from dscompile.ir.tensor import Shape
from dscompile.plan.integer_softmax import softmax_powers
from dscompile.plan.kernels import ResampleMethod
from dscompile.plan.mcu.arithmetic import IntegerSum, Residual, SearchedProduct
from dscompile.plan.mcu.convolutions import (
    image_window,
    lower_as_dense,
    lower_conv,
    lower_dense,
    lower_separable,
    takes_shuffled,
    takes_tables,
)
from dscompile.plan.mcu.fusion import fused_layers
from dscompile.plan.mcu.lookups import lookup_table
from dscompile.plan.mcu.lowering import McuLowering
from dscompile.plan.mcu.pointwise import lower_pointwise, pointwise_kernel
from dscompile.plan.mcu.quantized import integer_mean, integer_softmax, searched_mean
from dscompile.plan.mcu.scaling import RECORD_BYTES, is_scaled, scale_kernel
from dscompile.plan.mcu.sets import has_pairs, mean_variant, pool_variant, vector_variant
from dscompile.plan.mcu.small_kernels import (
    ActivateKernel,
    ArgMaxKernel,
    BinaryKernel,
    DequantizeKernel,
    FillKernel,
    LookupKernel,
    PoolKernel,
    QuantizeKernel,
    ResampleKernel,
    SoftmaxKernel,
)
from dscompile.plan.mcu.storage import Place, broadcast_strides, dense_strides, merge_axes
from dscompile.plan.mcu.sums import integer_binary, integer_lines, integer_product, integer_sum
from dscompile.plan.movement import block_places
from dscompile.plan.resampling import grid_of, padded_grid

_MANY_POWERS = 256  # elements of an int8 softmax for which 1 KiB of exponentials pays


def lower_network(lowering: McuLowering) -> None:
    """All layers in order, one step each, but for those that are fused (plan/mcu/fusion.py)."""
    absorbed: set[str] = set()
    for layer in lowering.network.layers:
        if layer.name in absorbed:
            continue
        fused = fused_layers(lowering.network, layer, tables=True)
        if fused.has_tables and not takes_tables(lowering, fused):
            fused = fused_layers(lowering.network, layer)
        residual = None
        if fused.sum is not None:
            residual = _residual(lowering, fused.sum)
            kernel = pointwise_kernel(lowering, fused, residual) if residual is not None else None
            if residual is None or kernel is not None:
                fused, residual = replace(fused, sum=None), None
        absorbed.update(each.name for each in fused.layers)
        lowering.begin(layer)
        if fused.pointwise is not None:
            lower_separable(lowering, fused, residual)
        elif isinstance(layer.op, Conv2D):
            pointwise = pointwise_kernel(lowering, fused, None) if residual is None else None
            if pointwise is not None:
                lower_pointwise(lowering, fused, pointwise)
            elif residual is not None or not lower_as_dense(lowering, fused):
                lower_conv(lowering, fused, residual)
        else:
            _lower_layer(lowering, layer)
        lowering.end(fused.layers)


def _residual(lowering: McuLowering, layer: Layer) -> Residual | None:
    """How a convolution adds its result to the other operand of the sum `layer`; None: not in its own step."""
    assert isinstance(layer.op, Binary)
    if not _is_quantized(lowering, layer):
        return Residual(layer.op.activation)
    integer = integer_sum(lowering.network, layer, layer.op) if lowering.affine else None
    return Residual(integer=integer) if integer is not None and _fuses(lowering, integer) else None


def _fuses(lowering: McuLowering, integer: IntegerSum) -> bool:
    """Whether the convolutions of the target's sets can add it; vectors have no rounding of halves."""
    return not integer.zero_point and (integer.halves is None or vector_variant(lowering.sets) == "c99")


def _lower_layer(lowering: McuLowering, layer: Layer) -> None:
    match layer.op:
        case Dense() as op:
            lower_dense(lowering, layer, op)
        case Pool() as op:
            _pool(lowering, layer, op)
        case Mean():
            _mean(lowering, layer)
        case Binary() as op:
            _binary(lowering, layer, op)
        case Activate() as op:
            _activate(lowering, layer, op)
        case Lookup():
            _lookup(lowering, layer)
        case Softmax() as op:
            _softmax(lowering, layer, op)
        case ArgMax() as op:
            _argmax(lowering, layer, op)
        case Concat() as op:
            _concat(lowering, layer, op)
        case Slice() as op:
            _slice(lowering, layer, op)
        case Shuffle() as op:
            _shuffle(lowering, layer, op)
        case DepthToSpace() as op:
            _depth_to_space(lowering, layer, op)
        case SpaceToDepth() as op:
            _space_to_depth(lowering, layer, op)
        case Pad() as op:
            _pad(lowering, layer, op)
        case Resize() as op:
            _resize(lowering, layer, op)
        case Reshape() as op:
            lowering.alias(layer.output, lowering.dense(layer.inputs[0]).reshaped(op.shape))
        case Transpose() as op:
            _transpose(lowering, layer, op)
        case Constant():
            _constant(lowering, layer)
        case Quantize():
            _quantize(lowering, layer)
        case Dequantize():
            _dequantize(lowering, layer)
        case BatchNorm() | ConvTranspose():
            raise UnsupportedError(
                f"a {layer_kind(lowering.network, layer)} is left in the network; fold it first "
                "(dscompile.passes.canonicalize)",
                layer=layer.name,
            )


def _is_quantized(lowering: McuLowering, layer: Layer) -> bool:
    return lowering.network.is_quantized_layer(layer)


def _pool(lowering: McuLowering, layer: Layer, op: Pool) -> None:
    x = lowering.dense(layer.inputs[0])
    y = lowering.new(layer.output)
    kernel = op.window(x.shape[1], x.shape[2])
    window = image_window(x.shape, y.shape, kernel, op.stride, op.pads)
    divisor = math.prod(kernel) if op.count_pads else 0
    if _is_quantized(lowering, layer):
        clamp = layer_clamp(lowering.network, layer)
        variant = "c99" if x.in_rows else pool_variant(lowering.sets, op.kind, window, clamp)
        pool = PoolKernel(
            op.kind, window, "int8", divisor, low=clamp.low, high=clamp.high, variant=variant, step=y.step
        )
        pool = replace(pool, from_rows=x.in_rows)
    else:
        pool = PoolKernel(op.kind, window, "float32", divisor, op.activation, step=y.step)
    lowering.call(pool, [x.operand, y.operand])


def _mean(lowering: McuLowering, layer: Layer) -> None:
    x = lowering.dense(layer.inputs[0])
    y = lowering.new(layer.output)
    variant = mean_variant(lowering.sets, lowering.network.shape(layer.inputs[0])[3])
    searched = searched_mean(lowering.network, layer) if variant == "dsp" and lowering.affine else None
    kernel, constants = searched or integer_mean(lowering.network, layer)
    kernel = replace(kernel, variant=variant)
    names = [parameter.name for parameter in kernel.epilogue.constants()]
    operands = [lowering.constant(name, array) for name, array in zip(names, constants, strict=True)]
    lowering.call(kernel, [x.operand, *operands, y.operand])


def _binary(lowering: McuLowering, layer: Layer, op: Binary) -> None:
    a, b = (lowering.dense(name) for name in layer.inputs)
    y = lowering.new(layer.output)
    shape, first, second, made = merge_axes(
        y.shape, broadcast_strides(a.shape, y.shape), broadcast_strides(b.shape, y.shape), y.strides
    )
    if _is_quantized(lowering, layer):
        searched = _searched(lowering, layer, op)
        if isinstance(searched, SearchedProduct) and has_pairs(lowering.sets):
            for swapped, (x, x_strides), (factors, strides) in (
                (False, (a, first), (b, second)),
                (True, (b, second), (a, first)),
            ):
                if not is_scaled(shape, x_strides, strides, made):
                    continue
                line = integer_lines(lowering.network, layer, op, swapped=swapped)
                if line is not None:
                    product = searched.swapped if swapped else searched
                    scale = scale_kernel(product, line, shape, made)
                    records = lowering.scratch(RECORD_BYTES * max(scale.channels // 4, 1))
                    lowering.call(scale, [x.operand, factors.operand, records, y.operand])
                    return
        integer = searched or integer_binary(lowering.network, layer, op)
        dense = first == second == made == (1,)
        fours = has_pairs(lowering.sets) and dense and isinstance(integer, IntegerSum) and not integer.zero_point
        kernel = BinaryKernel(op.kind, shape, first, second, made, "int8", integer=integer, fours=fours)
    else:
        kernel = BinaryKernel(op.kind, shape, first, second, made, "float32", op.activation)
    lowering.call(kernel, [a.operand, b.operand, y.operand])


def _searched(lowering: McuLowering, layer: Layer, op: Binary) -> IntegerSum | SearchedProduct | None:
    """The arithmetic of an int8 layer in a form that was searched, if there is one."""
    if not lowering.affine:
        return None
    match op.kind:
        case "add" | "sub":
            return integer_sum(lowering.network, layer, op)
        case "mul":
            return integer_product(lowering.network, layer, op)
        case _:
            return None


def _activate(lowering: McuLowering, layer: Layer, op: Activate) -> None:
    x = lowering.dense(layer.inputs[0])
    if _is_quantized(lowering, layer):
        _lookup(lowering, layer)
        return
    y = lowering.new(layer.output)
    channels = y.shape[-1] if y.shape else 1
    extra = []
    if op.activation.kind == "prelu":
        extra = [lowering.constant("slope", np.asarray(lowering.network.weight(layer, "slope"), np.float32))]
    kernel = ActivateKernel(y.elements // channels, channels, op.activation, y.step)
    lowering.call(kernel, [x.operand, *extra, y.operand])


def _lookup(lowering: McuLowering, layer: Layer) -> None:
    x = lowering.dense(layer.inputs[0])
    y = lowering.new(layer.output)
    channels = y.shape[-1] if y.step else y.elements
    kernel = LookupKernel(y.elements // channels, channels, x.dtype, y.dtype, y.step)
    table = lowering.constant("table", lookup_table(lowering.network, layer))
    lowering.call(kernel, [x.operand, table, y.operand])


def _softmax(lowering: McuLowering, layer: Layer, op: Softmax) -> None:
    x = lowering.dense(layer.inputs[0])
    y = lowering.new(layer.output)
    if _is_quantized(lowering, layer):
        kernel = integer_softmax(lowering.network, layer, op)
        if kernel.rows * kernel.length >= _MANY_POWERS:
            powers = softmax_powers(kernel.multiplier, kernel.shift, kernel.smallest)
            tabled = replace(kernel, tabled=True)
            lowering.call(tabled, [x.operand, lowering.constant("powers", powers), y.operand])
            return
    else:
        kernel = SoftmaxKernel(y.elements // y.shape[-1], y.shape[-1], "float32", op.beta)
    lowering.call(kernel, [x.operand, y.operand])


def _argmax(lowering: McuLowering, layer: Layer, op: ArgMax) -> None:
    x = lowering.dense(layer.inputs[0])
    y = lowering.new(layer.output)
    lowering.call(ArgMaxKernel(y.elements, x.shape[-1], x.dtype, op.last), [x.operand, y.operand])


def _concat(lowering: McuLowering, layer: Layer, op: Concat) -> None:
    """Copies of what does not lie in its place yet."""
    places = [lowering.dense(name) for name in layer.inputs]
    y = lowering.joined(layer.output)
    start = 0
    for place in places:
        target = y.at(start * y.strides[op.axis])
        if place.operand != target:
            lowering.copy(place.operand, place.strides, target, y.strides, place.shape, y.dtype)
        start += place.shape[op.axis]


def _slice(lowering: McuLowering, layer: Layer, op: Slice) -> None:
    """Where its elements are one run, they stay; they are copied where others lie between them."""
    x = lowering.dense(layer.inputs[0])
    strides = dense_strides(x.shape)
    start = x.at(sum(begin * stride for begin, stride in zip(op.begins, strides, strict=True)))
    strides = tuple(stride * step for stride, step in zip(strides, op.strides, strict=True))
    if merge_axes(op.sizes, strides)[1] == (1,) and not lowering.is_inside(layer.output):
        lowering.alias(layer.output, Place(start, op.sizes, x.dtype))
        return
    y = lowering.new(layer.output)
    lowering.copy(start, strides, y.operand, y.strides, op.sizes, y.dtype)


def _shuffle(lowering: McuLowering, layer: Layer, op: Shuffle) -> None:
    """A copy, unless the only reader writes its channels in the order of the shuffle."""
    x = lowering.dense(layer.inputs[0])
    readers = lowering.network.consumers[layer.output]
    inside = lowering.is_inside(layer.output) or layer.output in lowering.network.outputs
    if len(readers) == 1 and not inside and takes_shuffled(lowering, readers[0]):
        lowering.alias(layer.output, x)
        lowering.shuffled[layer.output] = op.groups
        return
    y = lowering.new(layer.output)
    count = x.shape[-1] // op.groups
    shape = (*x.shape[:-1], count, op.groups)
    strides = (*dense_strides(x.shape)[:-1], 1, count)
    lowering.copy(x.operand, strides, y.operand, (*y.strides[:-1], op.groups, 1), shape, y.dtype)


def _depth_to_space(lowering: McuLowering, layer: Layer, op: DepthToSpace) -> None:
    """The channels of every place in a block go to the pixels of that place."""
    x = lowering.dense(layer.inputs[0])
    y = lowering.new(layer.output)
    _, height, width, channels = y.shape
    given, places = dense_strides(x.shape), op.block[0] * op.block[1]
    made = (y.strides[0], y.strides[1] * op.block[0], y.strides[2] * op.block[1], 1)
    for number, place in enumerate(block_places(op.block, op.crops, (height, width))):
        first, apart = (number * channels, 1) if op.order == "dcr" else (number, places)
        if min(place.size) > 0:
            source = x.at(_offset(given, place.block) + first)
            target = y.at(_offset(y.strides, place.pixel))
            lowering.copy(source, (*given[:3], apart), target, made, (1, *place.size, channels), y.dtype)


def _space_to_depth(lowering: McuLowering, layer: Layer, op: SpaceToDepth) -> None:
    """Blocks of pixels become channels: row i of all blocks is one copy, whose pixels lie in the order of channels."""
    x = lowering.dense(layer.inputs[0])
    y = lowering.new(layer.output)
    _, height, width, channels = x.shape
    (rows, columns), (_, row, pixel, _) = op.block, dense_strides(x.shape)
    for i in range(rows):
        shape = (height // rows, width // columns, columns * channels)
        target = y.at(i * columns * channels)
        lowering.copy(x.at(i * row), (rows * row, columns * pixel, 1), target, y.strides[1:], shape, y.dtype)


def _offset(strides: Shape, pixel: tuple[int, int]) -> int:
    """Elements from the start of an image to a pixel."""
    return strides[1] * pixel[0] + strides[2] * pixel[1]


def _pad(lowering: McuLowering, layer: Layer, op: Pad) -> None:
    x = lowering.dense(layer.inputs[0])
    if op.mode != "constant":
        _resample(lowering, layer, "nearest", padded_grid(op, (x.shape[1], x.shape[2])))
        return
    y = lowering.new(layer.output)
    value = op.value
    if _is_quantized(lowering, layer):
        quantization = tensor_quantization(lowering.network, layer.output)
        value = quantized_value(op.value, quantization)
    lowering.call(FillKernel(y.elements, value, y.dtype), [y.operand])
    strides = dense_strides(y.shape)
    start = op.pads.top * strides[1] + op.pads.left * strides[2]
    lowering.copy(x.operand, dense_strides(x.shape), y.at(start), strides, x.shape, y.dtype)


def _resize(lowering: McuLowering, layer: Layer, op: Resize) -> None:
    x = lowering.dense(layer.inputs[0])
    _resample(lowering, layer, op.method, grid_of(op, (x.shape[1], x.shape[2]), x.dtype))


def _resample(lowering: McuLowering, layer: Layer, method: ResampleMethod, grid: Mapping[str, Array]) -> None:
    x = lowering.dense(layer.inputs[0])
    y = lowering.new(layer.output)
    _, height, width, channels = y.shape
    kernel = ResampleKernel(method, x.shape[2], height, width, channels, y.dtype, y.step)
    tables = [lowering.constant(name, table) for name, table in grid.items()]
    lowering.call(kernel, [x.operand, *tables, y.operand])


def _transpose(lowering: McuLowering, layer: Layer, op: Transpose) -> None:
    x = lowering.dense(layer.inputs[0])
    y = lowering.new(layer.output)
    given = dense_strides(x.shape)
    strides: Shape = tuple(given[axis] for axis in op.permutation)
    lowering.copy(x.operand, strides, y.operand, dense_strides(y.shape), y.shape, y.dtype)


def _constant(lowering: McuLowering, layer: Layer) -> None:
    tensor = lowering.network.tensor(layer.output)
    value = np.asarray(lowering.network.weight(layer, "value"))
    lowering.alias(layer.output, Place(lowering.constant("value", value), tensor.shape, tensor.dtype))


def _quantize(lowering: McuLowering, layer: Layer) -> None:
    x = lowering.dense(layer.inputs[0])
    if x.dtype != "float32":
        _lookup(lowering, layer)
        return
    y = lowering.new(layer.output)
    quantization = tensor_quantization(lowering.network, layer.output)
    to_even = lowering.network.rounding == "float32"
    kernel = QuantizeKernel(y.elements, quantization.scale, quantization.zero_point, to_even, y.dtype)
    lowering.call(kernel, [x.operand, y.operand])


def _dequantize(lowering: McuLowering, layer: Layer) -> None:
    x = lowering.dense(layer.inputs[0])
    y = lowering.new(layer.output)
    quantization = tensor_quantization(lowering.network, layer.inputs[0])
    kernel = DequantizeKernel(y.elements, quantization.scale, quantization.zero_point, x.dtype)
    lowering.call(kernel, [x.operand, y.operand])

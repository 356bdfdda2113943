"""Convolutions and dense layers as standalone C kernels, and their weights in the order in which those read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dscompile.ir.fixed_point import tensor_quantization
from dscompile.ir.network import Array, Layer
from dscompile.ir.ops import Conv2D, Dense, Pads, Pair
from dscompile.ir.storage import Storage, fitting_storage
from dscompile.ir.tensor import Shape
from dscompile.plan.mcu.arithmetic import Residual
from dscompile.plan.mcu.costs_dsp import SHARED_STEPS, SHORT_STEPS, column_steps, depthwise_mix, separable_mix
from dscompile.plan.mcu.epilogues import Epilogue, IntegerEpilogue
from dscompile.plan.mcu.fusion import Fused, fused_layers
from dscompile.plan.mcu.late_choice import best_way
from dscompile.plan.mcu.lookups import lookup_table
from dscompile.plan.mcu.lowering import McuLowering
from dscompile.plan.mcu.mve import batch_pixels, mve_scratch_bytes, mve_taps
from dscompile.plan.mcu.packing import (
    channel_rows,
    packed_blocks,
    packed_halves,
    packed_pairs,
    packed_rows,
    vector_steps,
)
from dscompile.plan.mcu.pairs import (
    as_words,
    channel_constants,
    fit_halves,
    four_rows,
    four_weights,
    half_weights,
    pair_constants,
    pair_weights,
    shared_halves,
    with_repeated_channel,
    words_first,
)
from dscompile.plan.mcu.planes import ROOMS, planes_record_words, planes_records, planes_room, takes_planes
from dscompile.plan.mcu.prepared import depthwise_rows, depthwise_shifted, prepared_weights
from dscompile.plan.mcu.products import (
    ConvKernel,
    DenseKernel,
    DepthwiseKernel,
    SeparableKernel,
    planes_bytes,
    repeats_channel,
)
from dscompile.plan.mcu.quantized import QuantizedWeights
from dscompile.plan.mcu.rows import GROUP, LARGEST_SHIFT, lowered_bias, row_records
from dscompile.plan.mcu.sets import (
    VECTOR_VARIANTS,
    KernelSet,
    combined_sets,
    dense_set,
    depthwise_set,
    has_pairs,
    matrix_set,
)
from dscompile.plan.mcu.small_kernels import LookupKernel
from dscompile.plan.mcu.storage import Place
from dscompile.plan.mcu.turned import ring_bytes, takes_turned, turned_records
from dscompile.plan.mcu.windows import Axis, Window
from dscompile.plan.packing import grouped_as_dense
from dscompile.plan.program import Operand

_MANY_UNITS = 16  # of a dense layer, for which it pays to widen its input first
_WIDEST = 1280  # inputs that are widened: 2.5 KiB of scratch


def image_window(x: Shape, y: Shape, kernel: Pair, stride: Pair, pads: Pads, dilation: Pair = (1, 1)) -> Window:
    """The window that makes an image of shape `y` from one of shape `x`."""
    rows = Axis(x[1], y[1], kernel[0], stride[0], pads.top, dilation[0])
    columns = Axis(x[2], y[2], kernel[1], stride[1], pads.left, dilation[1])
    return Window(rows, columns, x[3])


def lower_conv(lowering: McuLowering, fused: Fused, residual: Residual | None) -> None:
    """A convolution of any kind, with the sum that is fused into it."""
    layer, op = fused.layer, fused.layer.op
    assert isinstance(op, Conv2D)
    x = lowering.dense(layer.inputs[0])
    shape = lowering.network.shape(layer.output)
    window = image_window(x.shape, shape, op.kernel, op.stride, op.pads, op.dilation)
    if op.is_depthwise(x.shape[3]):
        y = lowering.new(fused.layers[-1].output)
        for sets, centered in _ways(lowering):
            taps, epilogue, constants = prepared_weights(lowering, layer, centered=centered)
            chosen = depthwise_set(sets, epilogue, window, op.out_channels)
            if chosen.variant == "mve":
                break
        kernel = _depthwise(lowering, layer, window, epilogue, chosen)
        if chosen.variant == "dsp" and lowering.turns and goes_by_planes(lowering, kernel):
            kernel = replace(kernel, variant="planes", shuffled=lowering.shuffled.get(layer.inputs[0], 0))
            lowering.has_turned = True
            taps, epilogue, constants = _shifted_less(lowering, layer, taps, epilogue, constants)
            kernel = replace(kernel, epilogue=epilogue)
        operands = _taps(lowering, taps, epilogue, constants, kernel)
        if kernel.variant == "mve":
            operands.append(lowering.scratch(mve_scratch_bytes(kernel)))
        if kernel.variant == "planes":
            operands.append(lowering.scratch(planes_bytes(window)))
        tables = lookup_tables(lowering, fused.lookup)
        kernel = replace(kernel, step=y.step, lookup=fused.lookup is not None)
        lowering.call(kernel, [x.operand, *operands, *tables, y.operand])
        return
    weights, epilogue, constants = prepared_weights(lowering, layer, centered=False)
    dense = grouped_as_dense(weights, op.groups) if op.groups > 1 else weights
    product = matrix_product(lowering, layer, window, dense.reshape(-1, op.out_channels), epilogue, constants, residual)
    conv = product.kernel
    operands = product.operands(lowering)
    if conv.gathered:
        size = mve_scratch_bytes(conv) if conv.variant == "mve" else conv.column_bytes
        operands = [*operands, lowering.scratch(size)]
    _finish(lowering, conv, [x.operand, *operands], fused, residual)


@dataclass(frozen=True)
class MatrixProduct:
    """A ConvKernel with its weights [depth, C_out] and constants [C_out] in the order that it wants, and its set."""

    kernel: ConvKernel
    weights: Array
    constants: tuple[Array, ...]
    chosen: KernelSet

    def operands(self, lowering: McuLowering) -> list[Operand]:
        """Weights and constants."""
        kernel = self.kernel
        return _matrix(
            lowering, self.weights, kernel.epilogue, self.constants, self.chosen, kernel.storage, apart=kernel.apart
        )


def matrix_product(
    lowering: McuLowering,
    layer: Layer,
    window: Window,
    matrix: Array,
    epilogue: Epilogue,
    constants: tuple[Array, ...],
    residual: Residual | None,
) -> MatrixProduct:
    """The kernel of a convolution with weights [depth, C_out], or of a group of its channels."""
    storage = fitting_storage(layer.storage, matrix)
    chosen = matrix_set(lowering.sets, epilogue, matrix, storage)
    storage = chosen.storage(storage, len(matrix))
    quantized = lowering.network.is_quantized_layer(layer)
    conv = ConvKernel(
        window=window,
        out_channels=matrix.shape[1],
        epilogue=epilogue,
        padding=tensor_quantization(lowering.network, layer.inputs[0]).zero_point if quantized else 0,
        group=chosen.group,
        variant=chosen.variant,
        block=chosen.block,
        storage=storage,
    )
    ordered = words_first(matrix, window) if conv.by_words else matrix
    ordered, constants = _in_pairs(conv, residual, ordered, constants)
    short = chosen.variant == "dsp" and storage == "plain" and lowering.has_short and column_steps(conv) <= SHORT_STEPS
    spread = short and column_steps(conv) < SHARED_STEPS
    conv = replace(conv, short=short, apart=chosen.variant == "dsp" and (spread or _lie_apart(ordered, storage)))
    return MatrixProduct(conv, ordered, constants, chosen)


def lower_separable(lowering: McuLowering, fused: Fused, residual: Residual | None) -> None:
    """A depthwise layer and the pointwise one after it, in one step, with the sum that is fused into it."""
    layer, follower = fused.layer, fused.pointwise
    assert follower is not None
    op, after = layer.op, follower.op
    assert isinstance(op, Conv2D)
    assert isinstance(after, Conv2D)
    x = lowering.dense(layer.inputs[0])
    window = image_window(x.shape, lowering.network.shape(layer.output), op.kernel, op.stride, op.pads, op.dilation)
    if x.in_rows:
        _lower_rows(lowering, x, window, fused, residual)
        return
    weights, epilogue, constants = prepared_weights(lowering, follower, centered=False)
    matrix = weights.reshape(-1, after.out_channels)
    storage = fitting_storage(follower.storage, matrix)
    for sets, centered in _ways(lowering):
        taps, taps_epilogue, taps_constants = prepared_weights(lowering, layer, centered=centered)
        first, second = combined_sets(sets, taps_epilogue, window, epilogue, matrix, storage)
        if first.variant == "mve":
            break
    storage = second.storage(storage, len(matrix))
    depthwise = replace(_depthwise(lowering, layer, window, taps_epilogue, first), lookup=fused.middle is not None)
    separable = SeparableKernel(
        depthwise=depthwise,
        out_channels=after.out_channels,
        epilogue=epilogue,
        group=depthwise.group if first.variant == "mve" else second.group,
        variant=second.variant,
        block=second.block,
        storage=storage,
    )
    if lowering.turns and first.variant == "dsp" and second.variant == "dsp":
        turned = _turned_way(lowering, layer, separable)
        if turned is not None:
            _lower_turned(lowering, x, turned, fused, residual)
            return
    matrix, constants = _in_pairs(separable, residual, matrix, constants)
    separable = replace(separable, apart=second.variant == "dsp" and _lie_apart(matrix, storage))
    operands = _taps(lowering, taps, taps_epilogue, taps_constants, depthwise)
    operands += lookup_tables(lowering, fused.middle)
    lowering.enter(follower)
    operands += _matrix(lowering, matrix, epilogue, constants, second, storage, apart=separable.apart)
    size = mve_scratch_bytes(separable) if separable.variant == "mve" else separable.column_bytes
    columns = lowering.scratch(size)
    _finish(lowering, separable, [x.operand, *operands, columns], fused, residual)


def _ways(lowering: McuLowering) -> list[tuple[Sequence[KernelSet], bool]]:
    """Sets to choose from for a depthwise layer, and whether its sums are of x less its zero point.

    In the blocks of MVE the padding has the value of the zero point; it is the first way where the target has it.
    """
    others = [each for each in lowering.sets if each.variant != "mve"]
    ways: list[tuple[Sequence[KernelSet], bool]] = [(others, True)]
    return ways if len(others) == len(lowering.sets) else [(lowering.sets, False), *ways]


def _rows_kernel(lowering: McuLowering, window: Window, fused: Fused, found: QuantizedWeights) -> SeparableKernel:
    """The kernel of an image in rows, before its weights are in order."""
    assert fused.pointwise is not None
    weights, epilogue, _ = prepared_weights(lowering, fused.pointwise, centered=False)
    assert isinstance(epilogue, IntegerEpilogue)
    return SeparableKernel(
        depthwise=DepthwiseKernel(window, 1, found.epilogue, variant="rows"),
        out_channels=weights.shape[-1],
        epilogue=epilogue,
        group=GROUP,
        variant="dsp",
        storage=fitting_storage(fused.pointwise.storage, weights.reshape(-1, weights.shape[-1])),
    )


def _lower_rows(lowering: McuLowering, x: Place, window: Window, fused: Fused, residual: Residual | None) -> None:
    """As `lower_separable`, of an image in rows."""
    layer, follower = fused.layer, fused.pointwise
    assert follower is not None
    found = depthwise_rows(lowering, layer)
    assert found is not None
    weights, epilogue, constants = prepared_weights(lowering, follower, centered=False)
    assert isinstance(epilogue, IntegerEpilogue)
    matrix = weights.reshape(-1, weights.shape[-1])
    separable = _rows_kernel(lowering, window, fused, found)
    storage = separable.storage
    bias = lowered_bias(constants[0], matrix, epilogue.left)
    matrix, constants = _in_pairs(separable, residual, matrix, (bias, *constants[1:]))
    apart = storage == "int4" or not fit_halves(matrix, 0, 255)
    separable = replace(separable, apart=apart)
    records = row_records(found.kernel[:, :, 0], found.epilogue.left, *as_words(found.constants))
    operands = [lowering.constant("records", records)]
    lowering.enter(follower)
    operands += [
        lowering.constant("weights", _words(matrix, storage, apart=apart, rows=True)),
        lowering.constant("constants", pair_constants(*constants)),
    ]
    columns = lowering.scratch(separable.column_bytes)
    _finish(lowering, separable, [x.operand, *operands, columns], fused, residual)


def _turned_way(lowering: McuLowering, layer: Layer, kernel: SeparableKernel) -> SeparableKernel | None:
    """A kernel with dsp by a turned image (plan/mcu/turned.py), if there is one that takes fewer instructions."""
    window = kernel.window
    found = depthwise_shifted(lowering, layer) if takes_turned(window) else None
    if found is None:
        return None
    zero_point = tensor_quantization(lowering.network, layer.inputs[0]).zero_point
    depthwise = replace(kernel.depthwise, epilogue=found.epilogue, zero_point=zero_point, variant="turned")
    turned = replace(kernel, depthwise=depthwise, ring_bytes=ring_bytes(window))
    return turned if pays_turned(kernel, turned) else None


def pays_turned(kernel: SeparableKernel, turned: SeparableKernel) -> bool:
    """Whether a kernel with dsp takes fewer instructions with a turned image."""
    dense, other = (sum(part.instructions for part in separable_mix(way)) for way in (kernel, turned))
    return other < dense


def _lower_turned(
    lowering: McuLowering, x: Place, separable: SeparableKernel, fused: Fused, residual: Residual | None
) -> None:
    """As `lower_separable`, of an image whose rows are turned first (plan/mcu/turned.py)."""
    layer, follower = fused.layer, fused.pointwise
    assert follower is not None
    found = depthwise_shifted(lowering, layer)
    assert found is not None
    weights, _, constants = prepared_weights(lowering, follower, centered=False)
    matrix, constants = _in_pairs(separable, residual, weights.reshape(-1, weights.shape[-1]), constants)
    apart = _lie_apart(matrix, separable.storage)
    separable = replace(separable, apart=apart)
    records = turned_records(found.kernel[:, :, 0], found.epilogue.left, *as_words(found.constants))
    operands = [lowering.constant("records", records), *lookup_tables(lowering, fused.middle)]
    lowering.enter(follower)
    operands += [
        lowering.constant("weights", _words(matrix, separable.storage, apart=apart, rows=True)),
        lowering.constant("constants", pair_constants(*constants)),
    ]
    scratch = [lowering.scratch(separable.column_bytes), lowering.scratch(separable.ring_bytes, "ring")]
    lowering.has_turned = True
    _finish(lowering, separable, [x.operand, *operands, *scratch], fused, residual)


def _finish(
    lowering: McuLowering,
    kernel: ConvKernel | SeparableKernel,
    operands: list[Operand],
    fused: Fused,
    residual: Residual | None,
) -> None:
    """The call of a kernel, with the sum in it if there is one; `residual` is in the order of the sum's operands."""
    layer = fused.layers[-1]
    y = lowering.new(layer.output)
    if residual is not None:
        producer = fused.layers[-2]
        first, second = layer.inputs
        if residual.integer is not None and second == producer.output:
            residual = replace(residual, integer=residual.integer.swapped)
        kernel = replace(kernel, residual=residual)
        operands = [*operands, lowering.dense(second if first == producer.output else first).operand]
    operands = [*operands, *lookup_tables(lowering, fused.lookup)]
    kernel = replace(kernel, step=y.step, in_rows=y.in_rows, lookup=fused.lookup is not None)
    if isinstance(kernel, SeparableKernel):
        kernel = best_way(kernel, lowering.target)
    lowering.call(kernel, [*operands, y.operand])


def lookup_tables(lowering: McuLowering, layer: Layer | None) -> list[Operand]:
    """The table of a layer that is fused into the current step, if there is one."""
    if layer is None:
        return []
    lowering.enter(layer)
    return [lowering.constant("table", lookup_table(lowering.network, layer))]


def takes_tables(lowering: McuLowering, fused: Fused) -> bool:
    """Whether a convolution has kernels of int16 in pairs, which read what they made from a table."""
    network, layer, op = lowering.network, fused.layer, fused.layer.op
    assert isinstance(op, Conv2D)
    if not network.is_quantized_layer(layer) or not has_pairs(lowering.sets) or layer.inputs[0] in lowering.in_rows:
        return False
    if not op.is_depthwise(network.shape(layer.inputs[0])[3]):
        return multiplies_pairs(lowering, layer)
    if not has_pairs_of_taps(lowering, layer):
        return False
    return fused.pointwise is None or multiplies_pairs(lowering, fused.pointwise)


def has_pairs_of_taps(lowering: McuLowering, layer: Layer) -> bool:
    """Whether a depthwise layer has a kernel of int16 in pairs."""
    op = layer.op
    assert isinstance(op, Conv2D)
    x, y = lowering.network.shape(layer.inputs[0]), lowering.network.shape(layer.output)
    window = image_window(x, y, op.kernel, op.stride, op.pads, op.dilation)
    _, epilogue, _ = prepared_weights(lowering, layer, centered=True)
    return depthwise_set(lowering.sets, epilogue, window, op.out_channels).variant == "dsp"


def multiplies_pairs(lowering: McuLowering, layer: Layer) -> bool:
    """Whether the matrix product of a convolution is one of int16 in pairs."""
    if not lowering.network.is_quantized_layer(layer):
        return False
    weights, epilogue, _ = prepared_weights(lowering, layer, centered=False)
    matrix = weights.reshape(-1, weights.shape[-1])
    return matrix_set(lowering.sets, epilogue, matrix, fitting_storage(layer.storage, matrix)).variant == "dsp"


def lower_dense(lowering: McuLowering, layer: Layer, op: Dense) -> None:
    """A dense layer; by vectors a convolution of one pixel."""
    x = lowering.dense(layer.inputs[0])
    weights, epilogue, constants = prepared_weights(lowering, layer, centered=False)
    storage = fitting_storage(layer.storage, weights)
    chosen = dense_set(lowering.sets, epilogue, weights, storage)
    storage = chosen.storage(storage, len(weights))
    if chosen.variant in VECTOR_VARIANTS:
        one = Axis(1, 1, 1, 1, 0)
        conv = ConvKernel(
            window=Window(one, one, x.shape[1]),
            out_channels=op.units,
            epilogue=epilogue,
            group=1 if chosen.variant == "mve" else chosen.group,
            variant=chosen.variant,
            storage=storage,
        )
        operands = _matrix(lowering, weights, epilogue, constants, chosen, storage)
        columns = [lowering.scratch(mve_scratch_bytes(conv))] if conv.gathered else []
        lowering.call(conv, [x.operand, *operands, *columns, lowering.new(layer.output).operand])
        return
    y = lowering.new(layer.output)
    _call_dense(lowering, x.operand, weights, epilogue, constants, chosen, storage, y.operand)


def lower_as_dense(lowering: McuLowering, fused: Fused) -> bool:
    """A convolution of one pixel as a dense layer, and then its table; whether that has code with dsp.

    Single pixels take 7 instructions for four products, dense layers 14 for sixteen.
    """
    layer, op, network = fused.layer, fused.layer.op, lowering.network
    assert isinstance(op, Conv2D)
    shapes = network.shape(layer.inputs[0])[1:3], network.shape(layer.output)[1:3]
    if shapes != ((1, 1), (1, 1)) or op.kernel != (1, 1) or op.groups > 1 or not network.is_quantized_layer(layer):
        return False
    weights, epilogue, constants = prepared_weights(lowering, layer, centered=False)
    matrix = weights.reshape(-1, op.out_channels)
    storage = fitting_storage(layer.storage, matrix)
    chosen = dense_set(lowering.sets, epilogue, matrix, storage)
    if chosen.variant != "dsp":
        return False
    x, y = lowering.dense(layer.inputs[0]).operand, lowering.new(fused.layers[-1].output).operand
    _call_dense(lowering, x, matrix, epilogue, constants, chosen, storage, y)
    for table in lookup_tables(lowering, fused.lookup):
        lowering.call(LookupKernel(1, op.out_channels, "int8", "int8"), [y, table, y])
    return True


def _call_dense(
    lowering: McuLowering,
    x: Operand,
    weights: Array,
    epilogue: Epilogue,
    constants: tuple[Array, ...],
    chosen: KernelSet,
    storage: Storage,
    y: Operand,
) -> None:
    """The call of a dense layer with weights [depth, C_out]."""
    depth, units = weights.shape
    wide = chosen.variant == "dsp" and units >= _MANY_UNITS and depth <= _WIDEST
    kernel = DenseKernel(depth, units, epilogue, chosen.variant, storage, wide)
    ordered: Array
    match chosen.variant:
        case "dsp":
            ordered = four_rows(weights)
        case "block":
            ordered = packed_blocks(weights, chosen.block, storage)
        case _:
            ordered = weights.T
    operands = _operands(lowering, ordered, epilogue, constants)
    columns = [lowering.scratch(kernel.column_bytes)] if kernel.gathered else []
    lowering.call(kernel, [x, *operands, *columns, y])


def _depthwise(
    lowering: McuLowering, layer: Layer, window: Window, epilogue: Epilogue, chosen: KernelSet
) -> DepthwiseKernel:
    """The depthwise kernel of a layer."""
    quantized = lowering.network.is_quantized_layer(layer)
    return DepthwiseKernel(
        window=window,
        multiplier=lowering.network.shape(layer.output)[3] // window.channels,
        epilogue=epilogue,
        zero_point=tensor_quantization(lowering.network, layer.inputs[0]).zero_point if quantized else 0,
        variant=chosen.variant,
        group=batch_pixels(window) if chosen.variant == "mve" else 1,
    )


def takes_shuffled(lowering: McuLowering, layer: Layer) -> bool:
    """Whether a layer can read channels as they were before a shuffle: a depthwise one by planes."""
    op = layer.op
    if not isinstance(op, Conv2D) or not lowering.turns or not lowering.network.is_quantized_layer(layer):
        return False
    x, y = lowering.network.shape(layer.inputs[0]), lowering.network.shape(layer.output)
    fused = fused_layers(lowering.network, layer, tables=True)
    if not op.is_depthwise(x[3]) or fused.pointwise is not None:
        return False
    window = image_window(x, y, op.kernel, op.stride, op.pads, op.dilation)
    _, epilogue, _ = prepared_weights(lowering, layer, centered=True)
    chosen = depthwise_set(lowering.sets, epilogue, window, op.out_channels)
    return chosen.variant == "dsp" and goes_by_planes(lowering, _depthwise(lowering, layer, window, epilogue, chosen))


def goes_by_planes(lowering: McuLowering, kernel: DepthwiseKernel) -> bool:
    """Whether a depthwise kernel with dsp takes fewer instructions by planes, and there is room for these.

    If only room is missing, the lowering has that noted.
    """
    if not takes_planes(kernel.window):
        return False
    if depthwise_mix(replace(kernel, variant="planes")).instructions >= depthwise_mix(kernel).instructions:
        return False
    room = planes_room(kernel.window)
    if room > lowering.planes_room:
        lowering.wanted_rooms.add(min(each for each in ROOMS if each >= room))
    return room <= lowering.planes_room


def _shifted_less(
    lowering: McuLowering, layer: Layer, taps: Array, epilogue: Epilogue, constants: tuple[Array, ...]
) -> tuple[Array, Epilogue, tuple[Array, ...]]:
    """What a depthwise layer by planes takes; its weights have the whole shift of sums if that can be."""
    assert isinstance(epilogue, IntegerEpilogue)
    found = depthwise_shifted(lowering, layer) if epilogue.left > LARGEST_SHIFT else None
    if found is None or found.epilogue.method != epilogue.method:
        return taps, epilogue, constants
    return found.kernel, found.epilogue, found.constants


def _taps(
    lowering: McuLowering, weights: Array, epilogue: Epilogue, constants: tuple[Array, ...], kernel: DepthwiseKernel
) -> list[Operand]:
    """Weights [kh, kw, 1, C_out] in the order of the kernel, and the constants, as operands of a depthwise kernel."""
    taps = weights[:, :, 0, :]
    if kernel.variant == "planes":
        assert isinstance(epilogue, IntegerEpilogue)
        records = planes_records(taps, epilogue.left, *as_words(constants))
        if kernel.shuffled:  # those of the channels of y in the order of x
            records = records.reshape(-1, kernel.shuffled, records.shape[1]).swapaxes(0, 1)
        return [lowering.constant("records", records.reshape(-1, planes_record_words(kernel)))]
    if kernel.variant in ("dsp", "mve"):
        ordered = four_weights(taps).view(np.int8) if kernel.variant == "dsp" else mve_taps(taps, kernel.window)
        return [
            lowering.constant("weights", ordered),
            lowering.constant("constants", channel_constants(*constants)),
        ]
    return _operands(lowering, taps, epilogue, constants)


def _matrix(
    lowering: McuLowering,
    weights: Array,
    epilogue: Epilogue,
    constants: tuple[Array, ...],
    chosen: KernelSet,
    storage: Storage,
    *,
    apart: bool = False,
) -> list[Operand]:
    """Weights [depth, C_out] in the order of the kernel, and the constants, as operands of a matrix product."""
    ordered: Array
    match chosen.variant:
        case "dsp" | "mve":
            is_vector = chosen.variant == "mve"
            ordered = vector_steps(weights, storage) if is_vector else _words(weights, storage, apart=apart)
            return [lowering.constant("weights", ordered), lowering.constant("constants", pair_constants(*constants))]
        case "m0plus" if storage == "int4":
            ordered = packed_rows(weights)
        case "m0plus":
            padding = -weights.shape[1] % chosen.block
            ordered = block_weights(np.pad(weights, ((0, 0), (0, padding))), chosen.block)
        case "block" if storage != "plain":
            ordered = packed_blocks(weights, chosen.block, storage)
        case "block":
            ordered = block_weights(weights, chosen.block)
        case "rvv":
            ordered = weights if storage == "plain" else channel_rows(weights, storage)
        case "c99":
            ordered = weights.T
    return _operands(lowering, ordered, epilogue, constants)


def _in_pairs(
    kernel: ConvKernel | SeparableKernel, residual: Residual | None, weights: Array, constants: tuple[Array, ...]
) -> tuple[Array, tuple[Array, ...]]:
    """Weights [depth, C_out] and constants [C_out] with the channel that is made twice, if the kernel does that."""
    if not repeats_channel(replace(kernel, residual=residual)):
        return weights, constants
    return with_repeated_channel(weights), tuple(with_repeated_channel(array) for array in constants)


def _words(weights: Array, storage: Storage, *, apart: bool, rows: bool = False) -> Array:
    """Weights [depth, C_out] for columns of int16 pairs: of int8, or of an image in `rows`."""
    if storage == "int4":
        return packed_halves(weights) if rows else packed_pairs(weights)
    words = half_weights(weights) if rows else pair_weights(weights)
    return words if apart else shared_halves(words)


def _lie_apart(weights: Array, storage: Storage) -> bool:
    """Whether two weights do not share a half of a word, for columns of int8."""
    return storage == "int4" or not fit_halves(weights, -128, 127)


def _operands(lowering: McuLowering, weights: Array, epilogue: Epilogue, constants: tuple[Array, ...]) -> list[Operand]:
    """Weights as they are, and the constants of an epilogue, as operands."""
    names = ["weights", *(parameter.name for parameter in epilogue.constants())]
    return [lowering.constant(name, array) for name, array in zip(names, (weights, *constants), strict=True)]


def block_weights(weights: Array, block: int) -> Array:
    """[depth, C_out] -> for every `block` channels [depth][block], then [depth][C_out % block]; all in one row."""
    starts = range(0, weights.shape[1], block)
    return np.concatenate([weights[:, start : start + block].reshape(-1) for start in starts])

"""From a canonical network to a program of GPU kernels: modules, dense layers, and what is the same on CPUs."""

from __future__ import annotations

from dataclasses import replace

from dscompile.errors import UnsupportedError
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import NONE, Activation, ArgMax, Binary, Conv2D, Dense, Pair
from dscompile.ir.tensor import Precision
from dscompile.plan.bands import Segment
from dscompile.plan.builder import ProgramBuilder
from dscompile.plan.convolutions import conv_input, depthwise_input
from dscompile.plan.finish import bias_of
from dscompile.plan.fusion import Work
from dscompile.plan.gpu.choice import cheapest
from dscompile.plan.gpu.kernels import DENSE_PANEL, QUAD, GpuDenseKernel, ModuleKernel, Stage
from dscompile.plan.gpu.modules import Group, conv_stage, find_groups, module_shape
from dscompile.plan.gpu.packing import pack_depthwise_words, pack_halves, pack_module_conv
from dscompile.plan.gpu.tensor_kernels import TensorKernel
from dscompile.plan.int8_convolutions import scaling_constants
from dscompile.plan.int8_packing import pack_int8_conv, pack_int8_dense
from dscompile.plan.int8_requantization import int8_weights
from dscompile.plan.knobs import ModuleKnobs, TensorKnobs
from dscompile.plan.layers import lower_layer
from dscompile.plan.layout import Strides
from dscompile.plan.packing import grouped_as_dense, pack_dense, pack_depthwise, pack_vector
from dscompile.plan.program import Operand, Program
from dscompile.plan.storage import BlockedView, FlatView, Halos
from dscompile.target import Target


def plan_gpu_program(
    network: Network, target: Target, *, fuse: bool = True, precision: Precision = "float32"
) -> Program:
    """The program of a canonical network for a GPU; without `fuse` every convolution is a kernel of its own.

    With `precision` float16 tensor cores do what they are faster at (plan/gpu/tensor_kernels.py).
    Raises UnsupportedError for what has no kernel, such as batches, and for int8 sums that could leave 32 bits.
    """
    if target.gpu is None:
        raise ValueError(f"target {target.name} is no GPU")
    builder = ProgramBuilder(network, target, Halos())
    for group in find_groups(network, target.gpu, fuse=fuse, precision=precision):
        segment = Segment(group.work, remark=group.remark)
        builder.begin(segment)
        _lower(builder, group)
        builder.end(segment)
    program = builder.finish()
    uses_halves = any(isinstance(function.kernel, TensorKernel) for function in program.functions)
    return replace(program, precision="float16" if uses_halves else "float32")


def _lower(builder: ProgramBuilder, group: Group) -> None:
    work = group.work[-1]
    builder.enter(work.layer)
    if group.plan is not None:
        _module(builder, group)
        return
    match work.layer.op:
        case Conv2D() as op if op.groups > 1:
            _grouped(builder, work, op)
        case Conv2D() as op:
            _pixel(builder, work.layer, op.activation)
        case Dense() as op:
            _dense(builder, work.layer, op.activation)
        case ArgMax():
            raise UnsupportedError(
                f"an argmax has no kernel for {builder.target.name}",
                layer=work.layer.name,
                help="make what it reads an output, and take the index of the largest element on the host",
            )
        case _:
            lower_layer(builder, work)


# Modules


def _module(builder: ProgramBuilder, group: Group) -> None:
    """The one call of a module."""
    plan, works = group.plan, group.work
    assert plan is not None
    stages, constants = [], []
    for stage, work in zip(plan.kernel.stages, works, strict=True):
        finished, operands = _finished(builder, work.layer, stage, halves=_half_matrix(plan.kernel))
        stages.append(finished)
        constants += operands
    builder.enter(works[-1].layer)
    x = _source(builder, works[0])
    y = builder.uncleared_blocked(works[-1].result, builder.network.shape(works[-1].result))
    _call(builder, plan.kernel.with_stages(tuple(stages)), plan.knobs, works[-1], x, constants, y)
    builder.place(works[-1].result, y)


def _source(builder: ProgramBuilder, work: Work) -> BlockedView | FlatView:
    layer, op = work.layer, work.layer.op
    assert isinstance(op, Conv2D)
    channels = builder.network.shape(layer.inputs[0])[3]
    if op.is_depthwise(channels):
        return depthwise_input(builder, layer, op, channels)
    if builder.network.is_quantized_layer(layer):
        return builder.blocked(layer.inputs[0])
    return conv_input(builder, layer, op)


def _call(
    builder: ProgramBuilder,
    kernel: ModuleKernel | TensorKernel,
    knobs: ModuleKnobs | TensorKnobs,
    work: Work,
    x: BlockedView | FlatView,
    constants: list[Operand],
    y: BlockedView,
    x_quad: int = 0,
    y_quad: int = 0,
) -> None:
    """Calls a kernel that was planned for dense images on the views that the images really have."""
    shape = builder.network.shape(work.result)
    in_rows = kernel.size != shape[1:3]  # a pointwise module, its pixels in rows of another length
    columns = kernel.size[1]

    def view(image: BlockedView) -> Strides:
        strides = image.layout.strides
        return Strides(strides.block, columns * strides.pixel, strides.pixel) if in_rows else strides

    operands = [x.at(0, 0, x_quad) if isinstance(x, BlockedView) else x.at(), *constants]
    residual, outer = None, NONE
    if work.residual is not None:
        other = builder.blocked(work.residual.other)
        residual, addition = view(other), work.residual.layer.op
        outer = addition.activation if isinstance(addition, Binary) else NONE
        operands.append(other.at(0, 0, y_quad))
    finished: ModuleKernel | TensorKernel = replace(kernel, y=view(y), residual=residual, residual_activation=outer)
    if isinstance(x, BlockedView):
        finished = replace(finished, x=view(x))
    elif isinstance(finished, ModuleKernel):
        finished = replace(finished, x=x.image)
    builder.call(finished, [*operands, y.at(0, 0, y_quad)], knobs)


def _finished(
    builder: ProgramBuilder,
    layer: Layer,
    stage: Stage,
    first: int = 0,
    kernel: Array | None = None,
    halves: Pair | None = None,
) -> tuple[Stage, list[Operand]]:
    """The stage with what finishes it, and the operands of its weights and constants.

    Output channels are those from `first` on; `kernel` stands for the layer's own where only a part of it is meant.
    With `halves` (depth and panel) weights are packed for tensor cores.
    """
    builder.enter(layer)
    op, count = layer.op, stage.quads * QUAD
    assert isinstance(op, Conv2D)
    if not builder.network.is_quantized_layer(layer):
        whole = builder.network.weight(layer, "kernel") if kernel is None else kernel
        tag = f".{first}" if first else ""
        if halves is not None:
            weights = builder.constant(f"halves{tag}", pack_halves(whole, *halves))
        else:
            packed = pack_depthwise(whole, QUAD) if stage.is_depthwise else pack_module_conv(whole, stage)
            weights = builder.constant(f"kernel{tag}", packed)
        bias = builder.constant(f"bias{tag}", pack_vector(bias_of(builder, layer), first, count))
        return replace(stage, finish=op.activation), [weights, bias]
    integers = int8_weights(builder.network, layer)
    whole = integers.kernel if kernel is None else kernel
    packed = (
        pack_depthwise_words(whole)
        if stage.is_depthwise
        else pack_int8_conv(whole.reshape(*stage.kernel, -1, whole.shape[-1]), stage.panel * QUAD, count, QUAD)
    )
    finished = replace(stage, finish=integers.scaled.requantization, zero=int(builder.element(layer.inputs[0]).zero))
    return finished, [builder.constant("kernel", packed), *scaling_constants(builder, integers.scaled, 0, count)]


def _half_matrix(kernel: ModuleKernel | TensorKernel) -> Pair | None:
    """Depth and panel of the weights of a kernel for tensor cores."""
    return (kernel.depth, kernel.panel) if isinstance(kernel, TensorKernel) else None


# Grouped convolutions


def _grouped(builder: ProgramBuilder, work: Work, op: Conv2D) -> None:
    """One module for every group whose channels are whole quads; other groups become one dense convolution."""
    layer, network = work.layer, builder.network
    channels = network.shape(layer.inputs[0])[3]
    inner, filters = channels // op.groups, op.out_channels // op.groups
    stage = conv_stage(network, work, "project")
    quantized = network.is_quantized_layer(layer)
    kernel = int8_weights(network, layer).kernel if quantized else network.weight(layer, "kernel")
    if inner % QUAD or filters % QUAD or quantized:
        builder.fallbacks.append(layer.name)
        kernel = grouped_as_dense(kernel, op.groups)
        stage = replace(stage, in_channels=channels, channels=op.out_channels)
        inner, filters = channels, op.out_channels
    x, gpu = builder.blocked(layer.inputs[0]), builder.target.gpu
    y = builder.uncleared_blocked(work.result, network.shape(work.result))
    shape = module_shape(network, [work])
    assert shape is not None
    assert gpu is not None
    plan = cheapest(replace(shape, stages=(stage,), flat=False), gpu)
    assert plan is not None
    for group in range(op.out_channels // filters):
        part = kernel[..., group * filters : (group + 1) * filters]
        finished, constants = _finished(builder, layer, plan.kernel.stages[0], group * filters, part)
        own = plan.kernel.with_stages((finished,))
        _call(builder, own, plan.knobs, work, x, constants, y, group * inner // QUAD, group * filters // QUAD)
    builder.place(work.result, y)


# Matrix-vector products


def _dense(builder: ProgramBuilder, layer: Layer, activation: Activation) -> None:
    x = builder.dense(layer.inputs[0])
    y = builder.new_flat(layer.output, builder.network.shape(layer.output))
    _matrix_vector(builder, layer, x.at(), y.at(), y.shape[-1], activation)
    builder.place(layer.output, y)


def _pixel(builder: ProgramBuilder, layer: Layer, activation: Activation) -> None:
    """A pointwise convolution on one pixel, padded to whole quads."""
    x = builder.dense(layer.inputs[0])
    y = builder.uncleared_blocked(layer.output, builder.network.shape(layer.output))
    units = y.layout.blocks * QUAD
    if y.layout.blocks > 1 and y.layout.strides.block != QUAD:
        raise AssertionError(f"{layer.name}: the quads of a pixel do not lie together")
    _matrix_vector(builder, layer, x.at(), y.at(), units, activation)
    builder.place(layer.output, y)


def _matrix_vector(
    builder: ProgramBuilder, layer: Layer, x: Operand, y: Operand, units: int, activation: Activation
) -> None:
    """y = finish(kernel^T x), `units` of them."""
    panels = -(-units // DENSE_PANEL) * DENSE_PANEL
    if builder.network.is_quantized_layer(layer):
        weights = int8_weights(builder.network, layer)
        matrix = weights.kernel.reshape(-1, weights.kernel.shape[-1])
        in_words = matrix.shape[0] % QUAD == 0 and x.space == "arena"  # the user's bytes may begin anywhere
        kernel = GpuDenseKernel(matrix.shape[0], units, weights.scaled.requantization, "int8", in_words)
        packed = builder.constant("kernel", pack_int8_dense(matrix, DENSE_PANEL, panels, QUAD))
        constants = scaling_constants(builder, weights.scaled, 0, panels)
    else:
        matrix = builder.network.weight(layer, "kernel")
        matrix = matrix.reshape(-1, matrix.shape[-1])
        kernel = GpuDenseKernel(matrix.shape[0], units, activation)
        packed = builder.constant("kernel", pack_dense(matrix, DENSE_PANEL, 0, panels))
        constants = [builder.constant("bias", pack_vector(bias_of(builder, layer), 0, panels))]
    builder.call(kernel, [x, packed, *constants, y])

"""Convolutions as kernel calls: pointwise, dense, grouped, depthwise; on a 1x1 image, a matrix-vector product.

A convolution is prepared once (buffers, packed weights) and then emits calls for any run of its rows, so that segments
can go band by band (plan/rows.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from dscompile.ir.network import Array, Layer
from dscompile.ir.ops import Activation, Conv2D
from dscompile.plan.builder import ProgramBuilder
from dscompile.plan.choices import ConvChoice, DenseChoice, DepthwiseChoice
from dscompile.plan.finish import EmitRows, Finish, bias_of, finish_of
from dscompile.plan.fusion import Work
from dscompile.plan.kernels import (
    ELEMENT_BYTES,
    ConvKernel,
    DenseKernel,
    DepthwiseKernel,
    Epilogue,
    FlatKernel,
    ImageStrides,
)
from dscompile.plan.knobs import TileKnobs
from dscompile.plan.layout import Strides, TileStrides
from dscompile.plan.packing import filter_runs, is_padded, pack_conv, pack_dense, pack_depthwise, pack_vector
from dscompile.plan.peeling import TapRun, rows_of, tap_runs
from dscompile.plan.program import Operand
from dscompile.plan.row_tiles import TiledView, tiled_conv, tiled_depthwise
from dscompile.plan.storage import BlockedView, FlatView, GatheredView
from dscompile.plan.tiles import DepthwiseTile, Span, conv_pieces, conv_tiling, dense_panels, depthwise_tiling
from dscompile.plan.winograd import takes_winograd
from dscompile.plan.workloads import ConvWorkload, DenseWorkload, DepthwiseWorkload

Source = BlockedView | FlatView | GatheredView | TiledView


@dataclass(frozen=True)
class RowWork:
    """A convolution whose buffers and constants stand ready: `emit(first, count)` appends the calls for some rows."""

    work: Work
    height: int
    emit: Callable[[int, int], None]


def lower_conv(builder: ProgramBuilder, work: Work, op: Conv2D) -> None:
    """Appends all calls of a convolution (with a fused addition, if any) and places its result."""
    layer = work.layer
    one_pixel = builder.network.shape(layer.inputs[0])[1:3] == (1, 1)
    floats = not builder.network.is_quantized_layer(layer)
    if floats and one_pixel and op.is_pointwise and work.residual is None:
        _pixel(builder, layer, op)
        return
    prepared = prepare_conv(builder, work)
    prepared.emit(0, prepared.height)


def prepare_conv(
    builder: ProgramBuilder, work: Work, window: BlockedView | None = None, *, whole: BlockedView | None = None
) -> RowWork:
    """Makes room for the result of a convolution, packs its weights, and returns what emits its rows.

    `window` is where the result goes if it has no buffer of its own; its halo is the caller's business. `whole` is the
    buffer of its own, if there is one already.
    """
    network, layer, op = builder.network, work.layer, work.layer.op
    if not isinstance(op, Conv2D):
        raise TypeError(f"layer {layer.name} is no convolution")
    channels, shape = network.shape(layer.inputs[0])[3], network.shape(work.result)
    depthwise = op.is_depthwise(channels)
    quantized = network.is_quantized_layer(layer)
    gathered = None
    if quantized and not depthwise:
        from dscompile.plan.int8_columns import gather_columns  # float32 networks do without

        gathered = gather_columns(builder, layer, op)
    source: Source
    if gathered is not None:
        source, op = gathered
    elif depthwise:
        source = depthwise_input(builder, layer, op, channels)
    else:
        scattered = builder.gathered(layer.inputs[0]) if op.is_pointwise else None
        source = builder.tiled(layer.inputs[0]) or scattered or conv_input(builder, layer, op)
    epilogue = finish_of(builder, work, op)
    tiled = builder.tiled(work.result)
    if tiled is not None and isinstance(source, BlockedView):
        builder.place_tiled(tiled)
        return RowWork(work, shape[1], _depthwise_tiles(builder, layer, op, source, tiled, epilogue))
    y = window or whole or builder.uncleared_blocked(work.result, shape)
    owns_halo = window is None and not builder.is_part_of_any(work.result)
    if isinstance(source, BlockedView) and quantized:
        from dscompile.plan.int8_convolutions import int8_pixels  # float32 networks do without

        emit_pixels = int8_pixels(builder, layer, op, source, y)
    elif depthwise and isinstance(source, BlockedView):
        emit_pixels = _depthwise(builder, layer, op, source, y, epilogue)
    elif isinstance(source, BlockedView) and builder.precision == "bfloat16" and _is_matrix(op):
        from dscompile.plan.bf16_layers import bf16_pixels  # float32 networks do without

        emit_pixels = bf16_pixels(builder, layer, op, source, y, epilogue)
    elif isinstance(source, BlockedView) and takes_winograd(network, builder.target, layer):
        from dscompile.plan.winograd_layers import winograd_pixels  # most networks do without

        emit_pixels = winograd_pixels(builder, layer, op, source, y, epilogue)
    else:
        factors = None if work.scale is None else builder.dense(work.scale.factors)
        emit_pixels = _dense_conv(builder, layer, op, source, y, epilogue, factors)

    def emit(first: int, count: int) -> None:
        if owns_halo:
            builder.clear_halo(work.result, y, first, count)
        emit_pixels(first, count)

    builder.place(work.result, y)
    return RowWork(work, shape[1], emit)


def lower_matrix_vector(
    builder: ProgramBuilder, layer: Layer, kernel: Array, x: Operand, y: FlatView, activation: Activation
) -> None:
    """y = activation(kernel^T x + bias), cut into panels; kernel [K, N]."""
    channels, units = kernel.shape
    bias = bias_of(builder, layer)
    done = 0
    if builder.precision == "bfloat16":
        from dscompile.plan.bf16_layers import bf16_units  # float32 networks do without

        done = bf16_units(builder, layer, kernel, x, y, activation)
    if done == units:
        return
    workload = DenseWorkload(channels, units - done)
    for panels in dense_panels(workload, builder.choose(workload, DenseChoice), builder.target):
        kind = DenseKernel(channels, panels.units, panels.panel, panels.lanes, activation)
        start = done + panels.start
        tag = f".{start}" if start else ""
        packed = pack_dense(kernel, panels.panel, start, panels.units)
        operands = [
            x,
            builder.constant(f"kernel{tag}", packed),
            builder.constant(f"bias{tag}", pack_vector(bias, start, panels.units)),
            y.at(*(0,) * (len(y.shape) - 1), start),
        ]
        builder.call(kind, operands, panels.knobs)


def _is_matrix(op: Conv2D) -> bool:
    """Whether every output sees one pixel, with all its channels."""
    return op.kernel == (1, 1) and op.groups == 1 and not op.pads


def _pixel(builder: ProgramBuilder, layer: Layer, op: Conv2D) -> None:
    """A pointwise convolution on one pixel: a matrix-vector product, padded to whole blocks of channels."""
    y = builder.new_blocked(layer.output, builder.network.shape(layer.output))
    x = builder.dense(layer.inputs[0])
    kernel = builder.network.weight(layer, "kernel")[0, 0]
    units = y.layout.blocks * builder.lanes
    padded = np.pad(kernel, [(0, 0), (0, units - kernel.shape[1])])
    apart = y.layout.blocks > 1 and y.layout.strides.block != builder.lanes
    flat = FlatView((units,), (1,), y.dtype, "arena", y.store.name, y.base + y.layout.offset(), y.store)
    if apart:
        flat = builder.new_flat(layer.output, (units,), tag=".flat")
    lower_matrix_vector(builder, layer, padded, x.at(), flat, op.activation)
    if apart:
        shape, strides = (y.layout.blocks, builder.lanes), (y.layout.strides.block, 1)
        builder.call(FlatKernel("copy", shape, (builder.lanes, 1), strides), [flat.at(), y.at()])
    builder.place(layer.output, y)


# Dense convolutions


@dataclass(frozen=True)
class _Window:
    """A rectangle of outputs that see the same taps, and where the first of these taps lies in the input."""

    rows: TapRun
    columns: TapRun


def conv_input(builder: ProgramBuilder, layer: Layer, op: Conv2D) -> BlockedView | FlatView:
    """The input as the user passes it if it is float32 and has few channels, else blocked."""
    view = builder.home(layer.inputs[0])
    if isinstance(view, FlatView) and view.dtype == "float32" and len(view.shape) == 4:
        few = view.shape[3] < builder.lanes and op.groups == 1
        return view if few else builder.blocked(layer.inputs[0])
    return builder.blocked(layer.inputs[0])


def _dense_conv(
    builder: ProgramBuilder,
    layer: Layer,
    op: Conv2D,
    source: Source,
    y: BlockedView,
    finish: Finish,
    factors: FlatView | None,
) -> EmitRows:
    """A convolution over the channels that its groups see; a flat source has no halo, so its border is peeled.

    `factors` [C_in] are multiplied into the weights.
    """
    channels, lanes = builder.network.shape(layer.inputs[0])[3], builder.lanes
    if is_padded(channels, op.out_channels, op.groups, lanes):
        builder.fallbacks.append(layer.name)
    groups = [
        _Group(builder, layer, op, run.kernel, source, y, finish, factors, run.channel, run.start, run.count)
        for run in filter_runs(builder.network.weight(layer, "kernel"), op.groups, lanes)
    ]

    def emit(first: int, count: int) -> None:
        builder.enter(layer)
        for group in groups:
            group.emit(first, count)

    return emit


@dataclass(frozen=True)
class _Group:
    """A run of filters of a convolution: from input channel `channel`, output channels `start` .. + `count`."""

    builder: ProgramBuilder
    layer: Layer
    op: Conv2D
    kernel: Array
    source: Source
    y: BlockedView
    finish: Finish
    factors: FlatView | None
    channel: int
    start: int
    count: int
    tag: str = ""
    packed: dict[tuple[str, int, int, int], list[Operand]] = field(default_factory=dict, compare=False)

    def strides(self, pixels: int) -> Strides | ImageStrides | TileStrides:
        """Strides of the source; of one in tiles, those of tiles of so many pixels."""
        match self.source:
            case BlockedView() as source:
                return source.layout.strides
            case GatheredView() as source:
                return source.strides
            case TiledView() as source:
                return source.layout.strides(pixels)
            case source:
                return source.image

    def emit(self, first: int, count: int) -> None:
        """Appends the calls for `count` rows of outputs from `first` on."""
        for window in self._windows():
            rows = rows_of(window.rows, first, count, self.op.stride[0])
            if rows is not None:
                self._emit_window(_Window(rows, window.columns))

    def _windows(self) -> Iterator[_Window]:
        op = self.op
        _, result_height, result_width, _ = self.builder.network.shape(self.layer.output)
        if not isinstance(self.source, FlatView):
            rows = TapRun(0, result_height, 0, op.kernel[0], -op.pads.top)
            yield _Window(rows, TapRun(0, result_width, 0, op.kernel[1], -op.pads.left))
            return
        _, height, width, _ = self.source.shape
        for rows in tap_runs(height, result_height, op.kernel[0], op.stride[0], op.pads.top, op.dilation[0]):
            for columns in tap_runs(width, result_width, op.kernel[1], op.stride[1], op.pads.left, op.dilation[1]):
                yield _Window(rows, columns)

    def _emit_window(self, window: _Window) -> None:
        rows, columns = window.rows, window.columns
        height, width = rows.count, columns.count
        taps = self.kernel[
            rows.first_tap : rows.first_tap + rows.taps, columns.first_tap : columns.first_tap + columns.taps
        ]
        if not taps.size:
            self._outside()._emit_window(_Window(_zero_tap(rows), _zero_tap(columns)))
            return
        if self._is_flattenable():
            height, width = 1, height * width
        lanes = self.builder.lanes
        blocked = not isinstance(self.source, FlatView)
        blocks = -(-self.count // lanes)
        window_of_taps = (taps.shape[0], taps.shape[1])
        workload = ConvWorkload(
            height, width, blocks, taps.shape[2], window_of_taps, self.op.stride, self.op.dilation, blocked
        )
        if isinstance(self.source, TiledView):
            tiling, pieces = tiled_conv(workload, self.source.layout, self.builder.target)
        else:
            choice = self.builder.choose(workload, ConvChoice)
            tiling, pieces = conv_tiling(workload, choice), conv_pieces(workload, choice, self.builder.target)
        for piece in pieces:
            first_input = rows.first_input + piece.row * self.op.stride[0]
            part = TapRun(rows.start + piece.row, piece.rows, rows.first_tap, rows.taps, first_input)
            for panels in tiling.blocks:
                for span in piece.columns:
                    knobs = tiling.knobs(span)
                    if self.factors is not None:  # its weights have just been written
                        knobs = replace(knobs, prefetch=False)
                    self._call(_Window(part, columns), (piece.rows, span), panels, taps, knobs)

    def _outside(self) -> _Group:
        """The group for windows that lie wholly in the padding, of which only the bias is left.

        One zero tap stands for them, and a zero for what it reads: the image may have fewer pixels than they are.
        """
        zero = self.builder.constant("outside", np.zeros(1, np.float32))
        source = FlatView((1, 1, 1, 1), (0, 0, 0, 0), "float32", zero.space, zero.name)
        kernel = np.zeros((1, 1, 1, self.kernel.shape[3]), np.float32)
        return replace(self, source=source, kernel=kernel, factors=None, channel=0, tag=".outside", packed={})

    def _call(self, window: _Window, pixels: tuple[int, Span], panels: Span, taps: Array, knobs: TileKnobs) -> None:
        height, span = pixels
        op, lanes, layout = self.op, self.builder.lanes, self.y.layout
        start, size, panel = self.start + panels.start * lanes, panels.size * lanes, panels.tile * lanes
        kernel = ConvKernel(
            height=height,
            width=span.size,
            in_channels=taps.shape[2],
            out_channels=size,
            panel=panel,
            lanes=lanes,
            kernel=(taps.shape[0], taps.shape[1]),
            stride=op.stride,
            dilation=op.dilation,
            x=self.strides(span.tile),
            y=layout.strides,
            epilogue=self.finish.epilogue,
            span=self.source.span if isinstance(self.source, GatheredView) else 0,
        )
        row, column = window.rows.start, window.columns.start
        x = self._input(window, span)
        along = span.start * layout.strides.pixel
        operands = [x, *self._offsets(), *self._weights(window, taps, start, size, panel)]
        block = start // lanes
        residual = self.finish.residual
        if residual is not None:
            operands.append(_further(residual.at(row, column, block), span.start * residual.layout.strides.pixel))
        self.builder.call(kernel, [*operands, _further(self.y.at(row, column, block), along)], knobs)

    def _input(self, window: _Window, span: Span) -> Operand:
        """Pointer to the first tap of the first output of a run of tiles."""
        row, column = window.rows.first_input, window.columns.first_input
        if isinstance(self.source, TiledView):
            return self.source.at(row, span)
        if isinstance(self.source, BlockedView):
            begin = self.source.at(row, column, self.channel // self.builder.lanes)
        elif isinstance(self.source, GatheredView):
            begin = self.source.at(row, column)
        else:
            begin = self.source.at(0, row, column, self.channel)
        return _further(begin, span.start * self.op.stride[1] * self.strides(span.tile).pixel)

    def _offsets(self) -> list[Operand]:
        """Where the channels of a scattered input are."""
        if not isinstance(self.source, GatheredView):
            return []
        return [self.builder.constant("offsets", np.array(self.source.offsets, np.int32))]

    def _weights(self, window: _Window, taps: Array, start: int, size: int, panel: int) -> list[Operand]:
        """Packed taps and bias; windows at the border have constants of their own."""
        whole = taps.shape[:2] == self.kernel.shape[:2]
        rows, columns = window.rows, window.columns
        place = self.tag if whole else f".{rows.first_tap}_{columns.first_tap}_{taps.shape[0]}x{taps.shape[1]}"
        known = self.packed.get((place, start, size, panel))
        if known is not None:
            return known
        tag = (f".{start}" if start else "") + place + ("" if panel == size else f".{panel}")
        part = taps[..., : self.start + self.count]
        bias = bias_of(self.builder, self.layer)
        clipped = None if bias is None else bias[: self.start + self.count]
        weights = packed = self.builder.constant(f"kernel{tag}", pack_conv(part, panel, start, size))
        factors, shape = self.factors, (size // panel, taps.shape[2], panel)
        if factors is not None:
            packed = self.builder.scaled(weights, lambda: self._scaled(weights, factors, shape, tag))
        operands = [packed, self.builder.constant(f"bias{tag}", pack_vector(clipped, start, size))]
        self.packed[place, start, size, panel] = operands
        return operands

    def _scaled(self, weights: Operand, factors: FlatView, shape: tuple[int, int, int], tag: str) -> Operand:
        """Weights [panels][C_in][panel] of a pointwise convolution times the factors of their input channels."""
        result = self.builder.new_flat(self.layer.output, shape, tag=f".kernel{tag}")
        kernel = FlatKernel("mul", shape, result.strides, result.strides, (0, 1, 0))
        self.builder.call_ahead(kernel, [weights, factors.at(), result.at()])
        return result.at()

    def _is_flattenable(self) -> bool:
        """Whether all pixels of all images lie in one row without gaps, so that tiles need not respect rows."""
        op, width = self.op, self.y.layout.width
        if op.kernel != (1, 1) or op.stride != (1, 1) or op.pads or isinstance(self.source, TiledView):
            return False
        residual = self.finish.residual
        views = [self.strides(1), self.y.layout.strides, *([] if residual is None else [residual.layout.strides])]
        return all(strides.row == width * strides.pixel for strides in views)


def _zero_tap(run: TapRun) -> TapRun:
    """The outputs of a run with the only tap of `_Group._outside`."""
    return TapRun(run.start, run.count, first_tap=0, taps=1, first_input=0)


def _further(operand: Operand, elements: int) -> Operand:
    return Operand(operand.space, operand.name, operand.offset_bytes + ELEMENT_BYTES * elements)


# Depthwise convolutions


def depthwise_input(builder: ProgramBuilder, layer: Layer, op: Conv2D, channels: int) -> BlockedView:
    """The blocked input; with a multiplier, every channel is repeated first."""
    multiplier = op.out_channels // channels
    name = layer.inputs[0]
    if multiplier == 1:
        return builder.blocked(name)
    builder.fallbacks.append(layer.name)
    source = builder.flat(name)
    _, height, width, _ = source.shape
    repeated = builder.new_flat(name, (1, height, width, channels * multiplier), tag=".repeated")
    copy = FlatKernel(
        "copy",
        (height, width, channels, multiplier),
        (*source.strides[1:], 0),
        (*repeated.strides[1:3], multiplier, 1),
        dtype=source.dtype,
    )
    builder.call(copy, [source.at(), repeated.at()])
    return builder.pack(repeated, builder.new_blocked(name, repeated.shape, op.pads, tag=".repeated.blocked"))


def _depthwise(
    builder: ProgramBuilder, layer: Layer, op: Conv2D, x: BlockedView, y: BlockedView, finish: Finish
) -> EmitRows:
    layout, call = y.layout, _depthwise_call(builder, layer, op, x)

    def emit(first: int, count: int) -> None:
        builder.enter(layer)
        workload = DepthwiseWorkload(count, layout.width, layout.blocks, op.kernel, op.stride, op.dilation)
        for tile in depthwise_tiling(workload, builder.choose(workload, DepthwiseChoice), builder.target):
            row, column = first + tile.rows.start, tile.columns.start
            results = [*finish.operands(row, column), y.at(row, column)]
            call(first, tile, layout.strides, finish.epilogue, results)

    return emit


def _depthwise_tiles(
    builder: ProgramBuilder, layer: Layer, op: Conv2D, x: BlockedView, y: TiledView, finish: Finish
) -> EmitRows:
    """As `_depthwise`, into an image in tiles."""
    layout, call = y.layout, _depthwise_call(builder, layer, op, x)

    def emit(first: int, count: int) -> None:
        builder.enter(layer)
        for tile in tiled_depthwise(layout, count, op.kernel, op.stride, builder.target):
            strides = layout.strides(tile.columns.tile)
            call(first, tile, strides, finish.epilogue, [y.at(first + tile.rows.start, tile.columns)])

    return emit


def _depthwise_call(
    builder: ProgramBuilder, layer: Layer, op: Conv2D, x: BlockedView
) -> Callable[[int, DepthwiseTile, Strides | TileStrides, Epilogue, list[Operand]], None]:
    """Packs the weights, and returns what appends the call for a rectangle that begins `first` rows further down."""
    lanes, blocks = builder.lanes, x.layout.blocks
    weights = builder.constant("kernel", pack_depthwise(builder.network.weight(layer, "kernel"), lanes))
    bias = builder.constant("bias", pack_vector(bias_of(builder, layer), 0, blocks * lanes))

    def call(
        first: int, tile: DepthwiseTile, strides: Strides | TileStrides, epilogue: Epilogue, results: list[Operand]
    ) -> None:
        kernel = DepthwiseKernel(
            height=tile.rows.size,
            width=tile.columns.size,
            blocks=blocks,
            lanes=lanes,
            kernel=op.kernel,
            stride=op.stride,
            dilation=op.dilation,
            x=x.layout.strides,
            y=strides,
            epilogue=epilogue,
        )
        row, column = first + tile.rows.start, tile.columns.start
        begin = x.at(row * op.stride[0] - op.pads.top, column * op.stride[1] - op.pads.left)
        builder.call(kernel, [begin, weights, bias, *results], tile.knobs)

    return call

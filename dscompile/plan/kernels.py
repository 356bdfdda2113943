"""Kernels: hashable workloads. One key joins compute definition, schedule, tuning record and benchmark.

A kernel says what is computed on which views, never how. Sizes are in elements; `lanes` is the block of channels that
lies contiguous in a blocked image (plan/layout.py). What computes is float32 (int8 kernels are in
plan/int8_kernels.py and plan/int8_elementwise.py); what only moves elements has a `dtype`.

`parameters` lists the pointers a kernel takes. A parameter with strides is a view: the compute definition indexes it
as a dense array, and its strides are bound when the kernel is compiled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from dscompile.ir.ops import NONE, Activation, Pair
from dscompile.ir.tensor import DTYPE_BYTES, DType, ElementType
from dscompile.plan.layout import Strides, TileStrides

ELEMENT_BYTES = 4


@dataclass(frozen=True)
class Parameter:
    """A pointer parameter: its name in the compute definition, and the view behind it.

    `alignment` is what the pointer is known to be a multiple of, in bytes.
    """

    name: str
    dtype: ElementType = "float32"
    written: bool = False
    strides: tuple[int, ...] = ()
    alignment: int = ELEMENT_BYTES


@dataclass(frozen=True)
class ImageStrides:
    """Elements from one channel, row and pixel to the next in an image that is not blocked (NHWC or NCHW)."""

    channel: int
    row: int
    pixel: int


def blocked_parameter(
    name: str, view: Strides | TileStrides, lanes: int, written: bool = False, dtype: DType = "float32"
) -> Parameter:
    """An image [blocks][rows][columns][lanes], or with rows in tiles [blocks][rows][tiles][pixels][lanes]."""
    tiles = (view.tile,) if isinstance(view, TileStrides) else ()
    return Parameter(name, dtype, written, (view.block, view.row, *tiles, view.pixel, 1), lanes * DTYPE_BYTES[dtype])


def strided_parameter(
    name: str, strides: tuple[int, ...], written: bool = False, dtype: DType = "float32"
) -> Parameter:
    """A view of any rank that is aligned as its elements are, no more."""
    return Parameter(name, dtype, written, strides, DTYPE_BYTES[dtype])


def _image(name: str, view: ImageStrides, dtype: DType, written: bool = False) -> Parameter:
    return strided_parameter(name, (view.channel, view.row, view.pixel), written, dtype)


def _packed(name: str, lanes: int) -> Parameter:
    return Parameter(name, alignment=lanes * ELEMENT_BYTES)


@dataclass(frozen=True)
class Epilogue:
    """What happens to an accumulator before it is stored: y = outer(inner(acc + bias) + residual).

    Without a residual only `activation` (inner) applies.
    """

    activation: Activation = NONE
    residual: Strides | None = None
    residual_activation: Activation = NONE

    def parameters(self, lanes: int) -> tuple[Parameter, ...]:
        """The pointer to the residual, if there is one."""
        return () if self.residual is None else (blocked_parameter("residual", self.residual, lanes),)


@dataclass(frozen=True)
class ConvKernel:
    """Dense convolution into a blocked image; the input is already padded, blocked or flat.

    Weights [N / panel][kh][kw][C_in][panel], bias [N]; N is a whole number of panels, C_in the true number of channels.
    A 1x1 convolution of stride 1 is the pointwise kernel; its x may lie in tiles, which are those of its knobs. With a
    `span`, channel k of x is `offsets[k]` elements from its pixel, less than `span` of them, and `x.channel` is 1.
    """

    height: int
    width: int
    in_channels: int
    out_channels: int
    panel: int
    lanes: int
    kernel: Pair
    stride: Pair
    dilation: Pair
    x: Strides | ImageStrides | TileStrides
    y: Strides
    epilogue: Epilogue = Epilogue()
    span: int = 0

    @property
    def kind(self) -> str:
        """The field's word: pointwise or conv."""
        return "pointwise" if self.kernel == (1, 1) and self.stride == (1, 1) else "conv"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, [offsets], weights, bias, [residual], y."""
        return (
            _image("x", self.x, "float32")
            if isinstance(self.x, ImageStrides)
            else blocked_parameter("x", self.x, self.lanes),
            *((Parameter("offsets", "int32"),) if self.span else ()),
            _packed("weights", self.lanes),
            _packed("bias", self.lanes),
            *self.epilogue.parameters(self.lanes),
            blocked_parameter("y", self.y, self.lanes, written=True),
        )


WINOGRAD_OUTPUTS = 4  # of a tile along each axis
WINOGRAD_POSITIONS = WINOGRAD_OUTPUTS + 2  # pixels that a tile of a 3x3 convolution reads along each axis, and products


@dataclass(frozen=True)
class WinogradKernel:
    """3x3 convolution of stride 1 on a blocked, padded image, by Winograd's F(4 x 4, 3 x 3): `tiles` of 4 x 4 outputs.

    Of every tile, only the last `outputs` rows and columns are written. Weights [N / panel][6][6][C_in][panel] are
    transformed (plan/winograd.py), bias [N]; N is a whole number of panels, C_in the true number of channels.
    """

    kind: ClassVar[str] = "winograd"
    tiles: Pair
    outputs: Pair
    in_channels: int
    out_channels: int
    panel: int
    lanes: int
    x: Strides
    y: Strides
    epilogue: Epilogue = Epilogue()

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights, bias, [residual], y; the last two are [blocks][tiles][tiles][rows][columns][lanes]."""
        residual = self.epilogue.residual
        return (
            blocked_parameter("x", self.x, self.lanes),
            _packed("weights", self.lanes),
            _packed("bias", self.lanes),
            *(() if residual is None else (self._in_tiles("residual", residual),)),
            self._in_tiles("y", self.y, written=True),
        )

    def _in_tiles(self, name: str, view: Strides, *, written: bool = False) -> Parameter:
        row, pixel = WINOGRAD_OUTPUTS * view.row, WINOGRAD_OUTPUTS * view.pixel
        strides = (view.block, row, pixel, view.row, view.pixel, 1)
        return Parameter(name, "float32", written, strides, self.lanes * ELEMENT_BYTES)


@dataclass(frozen=True)
class DepthwiseKernel:
    """One filter per channel on a blocked, padded image. Weights [blocks][kh][kw][lanes], bias [blocks][lanes].

    A y in tiles, which are those of its knobs, has no residual.
    """

    kind: ClassVar[str] = "depthwise"
    height: int
    width: int
    blocks: int
    lanes: int
    kernel: Pair
    stride: Pair
    dilation: Pair
    x: Strides
    y: Strides | TileStrides
    epilogue: Epilogue = Epilogue()

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights, bias, [residual], y."""
        return (
            blocked_parameter("x", self.x, self.lanes),
            _packed("weights", self.lanes),
            _packed("bias", self.lanes),
            *self.epilogue.parameters(self.lanes),
            blocked_parameter("y", self.y, self.lanes, written=True),
        )


@dataclass(frozen=True)
class DenseKernel:
    """y[n] = activation(sum_k x[k] * w[k, n] + bias[n]). Weights [N / panel][K][panel], bias [N], x [K], y [N]."""

    kind: ClassVar[str] = "dense"
    in_channels: int
    out_channels: int
    panel: int
    lanes: int
    activation: Activation = NONE

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights, bias, y."""
        return (
            Parameter("x"),
            _packed("weights", self.lanes),
            _packed("bias", self.lanes),
            Parameter("y", written=True),
        )


@dataclass(frozen=True)
class PoolKernel:
    """Average or maximum over windows of a blocked image; taps outside [0, in_*) do not take part.

    `divisor` 0 divides an average by the number of taps inside the image, else by `divisor`.
    """

    kind: ClassVar[str] = "pool"
    function: Literal["average", "max"]
    in_height: int
    in_width: int
    height: int
    width: int
    blocks: int
    lanes: int
    kernel: Pair
    stride: Pair
    pad_top: int
    pad_left: int
    divisor: int
    x: Strides
    y: Strides
    activation: Activation = NONE

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (blocked_parameter("x", self.x, self.lanes), blocked_parameter("y", self.y, self.lanes, written=True))


Function = Literal["copy", "add", "mul", "sub", "rsub", "div", "rdiv", "max", "min"]
"""What an element-wise kernel does with a and b; rsub is b - a, rdiv is b / a."""


@dataclass(frozen=True)
class ElementwiseKernel:
    """Blocked images, element by element: y = activation(a) if `b` is None, else activation(a op b).

    A `b` with row and pixel strides 0 is one vector of channels for all pixels. prelu takes its slopes
    [blocks][lanes] as the parameter `slope`. Other types than float32 can only be copied.
    """

    kind: ClassVar[str] = "elementwise"
    function: Function
    height: int
    width: int
    blocks: int
    lanes: int
    a: Strides
    y: Strides
    b: Strides | None = None
    activation: Activation = NONE
    dtype: DType = "float32"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """a, [b], [slope], y."""
        second = () if self.b is None else (blocked_parameter("b", self.b, self.lanes),)
        slope = (_packed("slope", self.lanes),) if self.activation.kind == "prelu" else ()
        a = blocked_parameter("a", self.a, self.lanes, dtype=self.dtype)
        return (a, *second, *slope, blocked_parameter("y", self.y, self.lanes, True, self.dtype))


ResampleMethod = Literal["nearest", "bilinear"]


def grid_parameters(method: ResampleMethod, dtype: DType) -> tuple[Parameter, ...]:
    """Where pixels are read: rows and columns of x, and for bilinear those after them and how near they are.

    rows [H'] or [2][H'], columns [W'] or [2][W'], weights [H'] and [W']: of the second, from 0 to 1; of int8 in 2^-10.
    """
    if method == "nearest":
        return (Parameter("rows", "int32"), Parameter("columns", "int32"))
    weight: ElementType = "float32" if dtype == "float32" else "int32"
    return (
        Parameter("rows", "int32"),
        Parameter("row_weights", weight),
        Parameter("columns", "int32"),
        Parameter("column_weights", weight),
    )


@dataclass(frozen=True)
class ResampleKernel:
    """A blocked image read at the rows and columns that tables name, or between two of each (see grid_parameters)."""

    kind: ClassVar[str] = "resample"
    method: ResampleMethod
    in_height: int
    in_width: int
    height: int
    width: int
    blocks: int
    lanes: int
    x: Strides
    y: Strides
    dtype: DType = "float32"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, rows, [row_weights], columns, [column_weights], y."""
        return (
            blocked_parameter("x", self.x, self.lanes, dtype=self.dtype),
            *grid_parameters(self.method, self.dtype),
            blocked_parameter("y", self.y, self.lanes, True, self.dtype),
        )


@dataclass(frozen=True)
class GatherKernel:
    """Channels that lie in one buffer in any order -> blocked image.

    Lane l of block b is `offsets[b lanes + l]` elements from its pixel in x, less than `span` of them.
    """

    kind: ClassVar[str] = "gather"
    height: int
    width: int
    blocks: int
    lanes: int
    span: int
    x: ImageStrides
    y: Strides

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, offsets, y."""
        y = blocked_parameter("y", self.y, self.lanes, written=True)
        return (_image("x", self.x, "float32"), Parameter("offsets", "int32"), y)


@dataclass(frozen=True)
class PackKernel:
    """Flat image (NHWC or NCHW) -> blocked image; lanes beyond the last channel become 0."""

    kind: ClassVar[str] = "pack"
    height: int
    width: int
    channels: int
    lanes: int
    x: ImageStrides
    y: Strides
    dtype: DType = "float32"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (_image("x", self.x, self.dtype), blocked_parameter("y", self.y, self.lanes, True, self.dtype))


@dataclass(frozen=True)
class UnpackKernel:
    """Blocked image -> flat image (NHWC or NCHW)."""

    kind: ClassVar[str] = "unpack"
    height: int
    width: int
    channels: int
    lanes: int
    x: Strides
    y: ImageStrides
    dtype: DType = "float32"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        x = blocked_parameter("x", self.x, self.lanes, dtype=self.dtype)
        return (x, _image("y", self.y, self.dtype, written=True))


@dataclass(frozen=True)
class FillKernel:
    """Writes `value` to [outer][rows][length] elements, of which the last axis is contiguous."""

    kind: ClassVar[str] = "fill"
    outer: int
    rows: int
    length: int
    outer_stride: int
    row_stride: int
    value: float = 0.0
    dtype: DType = "float32"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The written rows, y."""
        return (strided_parameter("y", (self.outer_stride, self.row_stride, 1), True, self.dtype),)


@dataclass(frozen=True)
class FlatKernel:
    """Flat tensors, element by element over `shape`, any strides (0 repeats): y = activation(a) or activation(a op b).

    Transposes, concatenations, slices, paddings and broadcasts are copies with the right strides. prelu takes one
    slope per element of the last axis as the parameter `slope`. Other types than float32 can only be copied.
    """

    kind: ClassVar[str] = "flat"
    function: Function
    shape: tuple[int, ...]
    a: tuple[int, ...]
    y: tuple[int, ...]
    b: tuple[int, ...] | None = None
    activation: Activation = NONE
    dtype: DType = "float32"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """a, [b], [slope], y."""
        second = () if self.b is None else (Parameter("b", strides=self.b),)
        slope = (Parameter("slope"),) if self.activation.kind == "prelu" else ()
        a, y = strided_parameter("a", self.a, dtype=self.dtype), strided_parameter("y", self.y, True, self.dtype)
        return (a, *second, *slope, y)


@dataclass(frozen=True)
class SoftmaxKernel:
    """exp(beta * (x - max)) normalized over the last axis of [rows][length]."""

    kind: ClassVar[str] = "softmax"
    rows: int
    length: int
    beta: float

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (Parameter("x"), Parameter("y", written=True))


@dataclass(frozen=True)
class ArgMaxKernel:
    """Where the largest of `channels` channels of every pixel lies: blocked image -> [height][width], int32.

    Of equal ones the first, or the `last`. A flat tensor is an image of one channel per block, with lanes 1.
    """

    kind: ClassVar[str] = "argmax"
    height: int
    width: int
    channels: int
    lanes: int
    x: Strides
    last: bool
    dtype: DType = "float32"

    @property
    def blocks(self) -> int:
        """Blocks of `lanes` channels."""
        return -(-self.channels // self.lanes)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (blocked_parameter("x", self.x, self.lanes, dtype=self.dtype), Parameter("y", "int32", written=True))


Kernel = (
    ConvKernel
    | WinogradKernel
    | DepthwiseKernel
    | DenseKernel
    | PoolKernel
    | ElementwiseKernel
    | ResampleKernel
    | GatherKernel
    | PackKernel
    | UnpackKernel
    | FillKernel
    | FlatKernel
    | SoftmaxKernel
    | ArgMaxKernel
)

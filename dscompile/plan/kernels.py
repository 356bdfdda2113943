"""Kernels: hashable workloads. One key joins compute definition, schedule, tuning record and benchmark.

A kernel says what is computed on which views, never how. Sizes are in elements; `lanes` is the block of channels that
lies contiguous in a blocked image (plan/layout.py). All of these are float32.

`parameters` lists the pointers a kernel takes. A parameter with strides is a view: the compute definition indexes it
as a dense array, and its strides are bound when the kernel is compiled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from dscompile.ir.ops import NONE, Activation, Pair
from dscompile.ir.tensor import DType
from dscompile.plan.layout import Strides

ELEMENT_BYTES = 4


@dataclass(frozen=True)
class Parameter:
    """A pointer parameter: its name in the compute definition, and the view behind it.

    `alignment` is what the pointer is known to be a multiple of, in bytes.
    """

    name: str
    dtype: DType = "float32"
    written: bool = False
    strides: tuple[int, ...] = ()
    alignment: int = ELEMENT_BYTES


@dataclass(frozen=True)
class ImageStrides:
    """Elements from one channel, row and pixel to the next in an image that is not blocked (NHWC or NCHW)."""

    channel: int
    row: int
    pixel: int


def _blocked(name: str, view: Strides, lanes: int, written: bool = False) -> Parameter:
    strides = (view.block, view.row, view.pixel, 1)
    return Parameter(name, written=written, strides=strides, alignment=lanes * ELEMENT_BYTES)


def _image(name: str, view: ImageStrides, written: bool = False) -> Parameter:
    return Parameter(name, written=written, strides=(view.channel, view.row, view.pixel))


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
        return () if self.residual is None else (_blocked("residual", self.residual, lanes),)


@dataclass(frozen=True)
class ConvKernel:
    """Dense convolution into a blocked image; the input is already padded, blocked or flat.

    Weights [N / panel][kh][kw][C_in][panel], bias [N]; N is a whole number of panels, C_in the true number of channels.
    A 1x1 convolution of stride 1 is the pointwise kernel.
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
    x: Strides | ImageStrides
    y: Strides
    epilogue: Epilogue = Epilogue()

    @property
    def kind(self) -> str:
        """The field's word: pointwise or conv."""
        return "pointwise" if self.kernel == (1, 1) and self.stride == (1, 1) else "conv"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights, bias, [residual], y."""
        return (
            _blocked("x", self.x, self.lanes) if isinstance(self.x, Strides) else _image("x", self.x),
            _packed("weights", self.lanes),
            _packed("bias", self.lanes),
            *self.epilogue.parameters(self.lanes),
            _blocked("y", self.y, self.lanes, written=True),
        )


@dataclass(frozen=True)
class DepthwiseKernel:
    """One filter per channel on a blocked, padded image. Weights [blocks][kh][kw][lanes], bias [blocks][lanes]."""

    kind: ClassVar[str] = "depthwise"
    height: int
    width: int
    blocks: int
    lanes: int
    kernel: Pair
    stride: Pair
    dilation: Pair
    x: Strides
    y: Strides
    epilogue: Epilogue = Epilogue()

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights, bias, [residual], y."""
        return (
            _blocked("x", self.x, self.lanes),
            _packed("weights", self.lanes),
            _packed("bias", self.lanes),
            *self.epilogue.parameters(self.lanes),
            _blocked("y", self.y, self.lanes, written=True),
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
        return (_blocked("x", self.x, self.lanes), _blocked("y", self.y, self.lanes, written=True))


Function = Literal["copy", "add", "mul"]


@dataclass(frozen=True)
class ElementwiseKernel:
    """Blocked images, element by element: y = activation(a), a + b or a * b; unary if `b` is None.

    A `b` with row and pixel strides 0 is one vector of channels for all pixels. prelu takes its slopes
    [blocks][lanes] as the parameter `slope`.
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

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """a, [b], [slope], y."""
        second = () if self.b is None else (_blocked("b", self.b, self.lanes),)
        slope = (_packed("slope", self.lanes),) if self.activation.kind == "prelu" else ()
        return (_blocked("a", self.a, self.lanes), *second, *slope, _blocked("y", self.y, self.lanes, written=True))


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

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (_image("x", self.x), _blocked("y", self.y, self.lanes, written=True))


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

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, y."""
        return (_blocked("x", self.x, self.lanes), _image("y", self.y, written=True))


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

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The written rows, y."""
        return (Parameter("y", written=True, strides=(self.outer_stride, self.row_stride, 1)),)


@dataclass(frozen=True)
class FlatKernel:
    """Flat tensors, element by element over `shape` with any strides (0 repeats): y = activation(a), a + b or a * b.

    Transposes, concatenations, slices, paddings and broadcasts are copies with the right strides. prelu takes one
    slope per element of the last axis as the parameter `slope`.
    """

    kind: ClassVar[str] = "flat"
    function: Function
    shape: tuple[int, ...]
    a: tuple[int, ...]
    y: tuple[int, ...]
    b: tuple[int, ...] | None = None
    activation: Activation = NONE

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """a, [b], [slope], y."""
        second = () if self.b is None else (Parameter("b", strides=self.b),)
        slope = (Parameter("slope"),) if self.activation.kind == "prelu" else ()
        return (Parameter("a", strides=self.a), *second, *slope, Parameter("y", written=True, strides=self.y))


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


Kernel = (
    ConvKernel
    | DepthwiseKernel
    | DenseKernel
    | PoolKernel
    | ElementwiseKernel
    | PackKernel
    | UnpackKernel
    | FillKernel
    | FlatKernel
    | SoftmaxKernel
)

"""Kernels: hashable workloads. One key joins compute definition, schedule, tuning record and benchmark.

A kernel says what is computed on which views, never how. Sizes are in elements; `lanes` is the block of channels that
lies contiguous in a blocked image (plan/layout.py). All of these are float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from dscompile.ir.ops import NONE, Activation, Pair
from dscompile.plan.layout import Strides


@dataclass(frozen=True)
class PointwiseKernel:
    """y[n] = activation(sum_k x[k] * w[k, n] + bias[n]) + residual[n], at every pixel of a blocked image.

    Weights [N / panel][K][panel], bias [N]; N is a whole number of panels, K the true number of channels. With
    `residual`, a view like the output's is added after the activation.
    """

    kind: ClassVar[str] = "pointwise"
    height: int
    width: int
    in_channels: int
    out_channels: int
    panel: int
    lanes: int
    activation: Activation
    x: Strides
    y: Strides
    residual: Strides | None = None


@dataclass(frozen=True)
class ImageStrides:
    """Elements from one channel, row and pixel to the next in an image that is not blocked (NHWC or NCHW)."""

    channel: int
    row: int
    pixel: int


@dataclass(frozen=True)
class ConvKernel:
    """Dense convolution into a blocked image; the input is already padded, blocked or flat.

    Weights [N / panel][kh][kw][C_in][panel], bias [N].
    """

    kind: ClassVar[str] = "conv"
    height: int
    width: int
    in_channels: int
    out_channels: int
    panel: int
    lanes: int
    kernel: Pair
    stride: Pair
    dilation: Pair
    activation: Activation
    x: Strides | ImageStrides
    y: Strides
    residual: Strides | None = None


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
    activation: Activation
    x: Strides
    y: Strides
    residual: Strides | None = None


@dataclass(frozen=True)
class DenseKernel:
    """y[n] = activation(sum_k x[k] * w[k, n] + bias[n]). Weights [N / panel][K][panel], bias [N], x [K], y [N]."""

    kind: ClassVar[str] = "dense"
    in_channels: int
    out_channels: int
    panel: int
    lanes: int
    activation: Activation


@dataclass(frozen=True)
class PoolKernel:
    """Average or maximum over windows of a blocked image without halo use: taps outside [0, in_*) do not take part.

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
    activation: Activation
    x: Strides
    y: Strides


@dataclass(frozen=True)
class ElementwiseKernel:
    """Blocked images, element by element: y = activation(a), a + b or a * b.

    `b` None with `function` "copy" is unary. `b_pixels` False means that b is one vector of channels for all pixels.
    prelu takes its slopes [blocks][lanes] as a further parameter.
    """

    kind: ClassVar[str] = "elementwise"
    function: Literal["copy", "add", "mul"]
    height: int
    width: int
    blocks: int
    lanes: int
    activation: Activation
    a: Strides
    y: Strides
    b: Strides | None = None
    b_pixels: bool = True


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


@dataclass(frozen=True)
class FillKernel:
    """Writes `value` to rows of contiguous elements: [outer][rows][length]."""

    kind: ClassVar[str] = "fill"
    outer: int
    rows: int
    length: int
    outer_stride: int
    row_stride: int
    value: float


@dataclass(frozen=True)
class StridedCopyKernel:
    """y[i...] = x[i...] over up to five axes with any strides: transpose, concat and slices of flat tensors."""

    kind: ClassVar[str] = "copy"
    shape: tuple[int, ...]
    x: tuple[int, ...]
    y: tuple[int, ...]


@dataclass(frozen=True)
class FlatKernel:
    """Flat tensors, element by element with broadcasting strides (0 repeats): y = activation(a), a + b or a * b.

    prelu takes one slope per element of the last axis as a further parameter.
    """

    kind: ClassVar[str] = "flat"
    function: Literal["copy", "add", "mul"]
    shape: tuple[int, ...]
    activation: Activation = NONE
    a: tuple[int, ...] = ()
    b: tuple[int, ...] | None = None


@dataclass(frozen=True)
class SoftmaxKernel:
    """exp(beta * (x - max)) normalized over the last axis of [rows][length]."""

    kind: ClassVar[str] = "softmax"
    rows: int
    length: int
    beta: float
    lanes: int


Kernel = (
    PointwiseKernel
    | ConvKernel
    | DepthwiseKernel
    | DenseKernel
    | PoolKernel
    | ElementwiseKernel
    | PackKernel
    | UnpackKernel
    | FillKernel
    | StridedCopyKernel
    | FlatKernel
    | SoftmaxKernel
)

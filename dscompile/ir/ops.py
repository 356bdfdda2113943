"""Operators: small frozen dataclasses. What a layer computes, without names, shapes of its inputs or weights.

Weights of a layer are found by role (`Network.weight(layer, "kernel")`):

| op | roles and shapes |
|---|---|
| Conv2D | kernel [kh, kw, C_in / groups, C_out], bias [C_out] (optional) |
| ConvTranspose | kernel [kh, kw, C_in / groups, C_out], bias [C_out] (optional) |
| Dense | kernel [C_in, C_out], bias [C_out] (optional) |
| BatchNorm | gamma, beta, mean, variance [C] |
| Constant | value |
| Activate(prelu) | slope [C] |
| Lookup | table [256] int8 |

Weights are float32. Where the input is int8, Conv2D, ConvTranspose and Dense have instead: kernel int8, kernel_scale
float32 [C_out], bias int32 whose scale is input scale * kernel_scale; and Constant has int8 with its tensor's
quantization. Activations, the value of a Pad and the beta of a Softmax are real numbers also there.

A depthwise convolution *is* a Conv2D with groups = C_in; its multiplier is C_out / C_in, and output channel
c * multiplier + m reads input channel c (the order of TFLite and of ONNX).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

Pair = tuple[int, int]

MAX_SIZE = 1 << 24  # no axis, kernel, stride or channel count of a net.yaml is larger


@dataclass(frozen=True)
class Pads:
    """Rows and columns added around an image, counted from the border of the tensor."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def __post_init__(self) -> None:
        if min(self.top, self.bottom, self.left, self.right) < 0:
            raise ValueError(f"padding must not be negative: {self}")

    def __bool__(self) -> bool:
        return bool(self.top or self.bottom or self.left or self.right)


ActivationKind = Literal[
    "none",
    "clip",
    "hard_swish",
    "hard_sigmoid",
    "swish",
    "sigmoid",
    "tanh",
    "leaky_relu",
    "prelu",
    "elu",
    "gelu",
    "gelu_tanh",
    "erf",
]


@dataclass(frozen=True)
class Activation:
    """An element-wise function.

    clip: min(max(x, low), high), which is ReLU (0, inf) and ReLU6 (0, 6); leaky_relu: x if x > 0 else alpha * x;
    hard_sigmoid: clip(alpha * x + 0.5, 0, 1); hard_swish: x * clip(x / 6 + 0.5, 0, 1); swish: x * sigmoid(x);
    prelu: as leaky_relu with one alpha per channel, the weight `slope`; elu: x if x > 0 else alpha * (e^x - 1);
    gelu: x * (1 + erf(x / sqrt 2)) / 2; gelu_tanh: the same with tanh(sqrt(2 / pi) * (x + 0.044715 x^3)) for the erf.
    """

    kind: ActivationKind = "none"
    low: float = -math.inf
    high: float = math.inf
    alpha: float = 0.0

    @property
    def name(self) -> str:
        """The name a user would give it: relu, relu6, clip, hard_swish, ..."""
        if self.kind == "clip" and self.low == 0.0:
            return {math.inf: "relu", 6.0: "relu6"}.get(self.high, "clip")
        return self.kind

    @property
    def is_exponential(self) -> bool:
        """Whether it is computed through e**x, which takes tens of instructions and a dozen constants."""
        return self.kind in ("swish", "sigmoid", "tanh")

    def __bool__(self) -> bool:
        return self.kind != "none"


NONE = Activation()
RELU = Activation("clip", 0.0, math.inf)
RELU6 = Activation("clip", 0.0, 6.0)
HARD_SWISH = Activation("hard_swish")
HARD_SIGMOID = Activation("hard_sigmoid", alpha=1.0 / 6.0)
SWISH = Activation("swish")
SIGMOID = Activation("sigmoid")
TANH = Activation("tanh")
GELU = Activation("gelu")
GELU_TANH = Activation("gelu_tanh")
ERF = Activation("erf")
NAMED_ACTIVATIONS: dict[str, Activation] = {
    "none": NONE,
    "relu": RELU,
    "relu6": RELU6,
    "hard_swish": HARD_SWISH,
    "hard_sigmoid": HARD_SIGMOID,
    "swish": SWISH,
    "sigmoid": SIGMOID,
    "tanh": TANH,
    "gelu": GELU,
    "gelu_tanh": GELU_TANH,
    "erf": ERF,
}


@dataclass(frozen=True)
class Conv2D:
    """2-D convolution with C_out filters: y = activation(conv(x, kernel) + bias)."""

    out_channels: int
    kernel: Pair
    stride: Pair = (1, 1)
    pads: Pads = field(default_factory=Pads)
    dilation: Pair = (1, 1)
    groups: int = 1
    activation: Activation = NONE

    @property
    def is_pointwise(self) -> bool:
        """A 1x1 convolution of stride 1 over all channels."""
        return self.kernel == (1, 1) and self.stride == (1, 1) and self.groups == 1 and not self.pads

    def is_depthwise(self, in_channels: int) -> bool:
        """Every input channel has filters of its own."""
        return self.groups == in_channels and in_channels > 1


@dataclass(frozen=True)
class ConvTranspose:
    """Transposed 2-D convolution: what Conv2D of the same fields makes of its input, backwards.

    Every input pixel (i, j) adds its channels, times the filters, to the outputs (i * stride + tap * dilation - top,
    ...). The result has (in - 1) * stride + extent of the kernel - pads + `output_padding` rows and columns.
    """

    out_channels: int
    kernel: Pair
    stride: Pair = (1, 1)
    pads: Pads = field(default_factory=Pads)
    dilation: Pair = (1, 1)
    groups: int = 1
    output_padding: Pair = (0, 0)
    activation: Activation = NONE


@dataclass(frozen=True)
class Dense:
    """Fully connected layer on [1, C_in] -> [1, units]."""

    units: int
    activation: Activation = NONE


@dataclass(frozen=True)
class Pool:
    """Average or maximum over windows. `kernel` (0, 0) means the whole image.

    Average divides by the number of taps inside the image, or by all taps when `count_pads` is set (ONNX's
    count_include_pad). Maximum never takes a padded tap.
    """

    kind: Literal["average", "max"]
    kernel: Pair = (0, 0)
    stride: Pair = (1, 1)
    pads: Pads = field(default_factory=Pads)
    count_pads: bool = False
    activation: Activation = NONE

    def window(self, height: int, width: int) -> Pair:
        """The kernel, with (0, 0) replaced by the size of the image."""
        return (height, width) if self.kernel == (0, 0) else self.kernel


BinaryKind = Literal["add", "mul", "sub", "div", "max", "min"]
RoundedAs = Literal["int8", "uint8", "centered"]
ROUNDED_AS: tuple[RoundedAs, ...] = get_args(RoundedAs)


@dataclass(frozen=True)
class Binary:
    """Element-wise sum, product, difference, ... of two tensors, with NumPy broadcasting: y = activation(a op b).

    `rounded_as` matters for int8 sums and products in the rounding `float32` only, where it decides about
    halves: the result is rounded as the integer that is stored (`int8`), as that plus 128, as onnxruntime does with
    uint8 tensors (`uint8`), or before its zero point is added (`centered`), as XNNPACK does, whose sums are integers.
    See dscompile.ir.fixed_point: float_sum, fixed_sum, float_product.
    """

    kind: BinaryKind
    activation: Activation = NONE
    rounded_as: RoundedAs = "int8"


@dataclass(frozen=True)
class Concat:
    """Joins tensors along `axis` (counted in channels-last order, not negative)."""

    axis: int


@dataclass(frozen=True)
class Slice:
    """A box of the input: along axis i (channels-last order) `sizes[i]` elements from `begins[i]` on.

    These are neighbors, or every `steps[i]`-th where there are `steps`.
    """

    begins: tuple[int, ...]
    sizes: tuple[int, ...]
    steps: tuple[int, ...] = ()

    @property
    def strides(self) -> tuple[int, ...]:
        """The steps, which are 1 where there are none."""
        return self.steps or (1,) * len(self.begins)

    @property
    def box(self) -> tuple[slice, ...]:
        """As an index of an array."""
        axes = zip(self.begins, self.sizes, self.strides, strict=True)
        return tuple(slice(begin, begin + (size - 1) * step + 1, step) for begin, size, step in axes)


@dataclass(frozen=True)
class Shuffle:
    """Channel shuffle (Zhang et al. 2018, figure 1): channels in `groups` equal runs take turns.

    With n = C / groups, channel c * groups + g of the result is channel g * n + c of the input.
    """

    groups: int


@dataclass(frozen=True)
class DepthToSpace:
    """Channels become `block` rows and columns of pixels, of which `crops` are cut off at the sides.

    With block (s, t) and C channels of the result, y[h * s + i, w * t + j, c] is channel (i * t + j) * C + c of x[h, w]
    in the order `dcr` (TFLite, ONNX's default) and c * s * t + i * t + j in the order `crd` (PyTorch's pixel shuffle).
    """

    block: Pair
    order: Literal["dcr", "crd"] = "dcr"
    crops: Pads = field(default_factory=Pads)


@dataclass(frozen=True)
class SpaceToDepth:
    """Pixels become channels: channel (i * t + j) * C + c of y[h, w] is x[h * s + i, w * t + j, c], block (s, t)."""

    block: Pair


@dataclass(frozen=True)
class Activate:
    """An activation as a layer of its own."""

    activation: Activation


@dataclass(frozen=True)
class Lookup:
    """y = table[x + 128] of an int8 tensor, element by element: any function of one int8."""


@dataclass(frozen=True)
class Softmax:
    """exp(beta * x) normalised over the last axis."""

    beta: float = 1.0


@dataclass(frozen=True)
class ArgMax:
    """Where the largest element of the last axis lies, as int32: of equal ones the first, or the `last`.

    The axis goes, unless `keep_axis` leaves it with one element.
    """

    keep_axis: bool = False
    last: bool = False


PadMode = Literal["constant", "reflect", "symmetric", "edge", "wrap"]


@dataclass(frozen=True)
class Pad:
    """Padding of an image's height and width: by a value, or by what is inside.

    reflect: pixels in reverse order, without the one at the border; symmetric: with it; edge: that one alone; wrap:
    from the other side.
    """

    pads: Pads
    value: float = 0.0
    mode: PadMode = "constant"


ResizeCoordinates = Literal[
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
]
ResizeRounding = Literal["round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple"]


@dataclass(frozen=True)
class Resize:
    """An image on another grid, of `size` rows and columns: the nearest pixel, or between the four around (bilinear).

    `coordinates` says where in the input an output pixel o lies, with the factor s from input to output: half_pixel
    (o + 0.5) / s - 0.5, half_pixel_symmetric the same around the middle of the image, pytorch_half_pixel the same but 0
    where the output has one pixel, align_corners o * (in - 1) / (out - 1), asymmetric o / s, tf_half_pixel_for_nn
    (o + 0.5) / s. Beyond the image its border is repeated.

    `rounding` says which pixel is the nearest: round_prefer_floor and round_prefer_ceil differ in halves; simple is
    floor where the image grows and ceil where it shrinks, as ONNX had it before opset 11. `scale` is s for rows and
    columns where it is not size / size of the input. `arithmetic` is whose float32 operations find coordinates, and
    matters where they fall between two pixels: ONNX divides by s, TFLite multiplies by 1 / s.
    """

    size: Pair
    method: Literal["nearest", "bilinear"] = "nearest"
    coordinates: ResizeCoordinates = "half_pixel"
    rounding: ResizeRounding = "round_prefer_floor"
    scale: tuple[float, float] | None = None
    arithmetic: Literal["onnx", "tflite"] = "onnx"


@dataclass(frozen=True)
class Reshape:
    """Same elements in channels-last order, another shape (all sizes given)."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Transpose:
    """Permutes axes: y.shape[i] = x.shape[permutation[i]]."""

    permutation: tuple[int, ...]


@dataclass(frozen=True)
class BatchNorm:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta per channel; folded before code generation."""

    epsilon: float = 1e-3


@dataclass(frozen=True)
class Constant:
    """A tensor known at compile time (weight role `value`); no inputs."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Mean:
    """Mean over height and width of an int8 image [1, H, W, C] -> [1, 1, 1, C], requantized to the output's scale.

    A Pool("average") keeps scale and zero point and rounds otherwise; float32 networks have only that.
    """


@dataclass(frozen=True)
class Quantize:
    """Float32, int8 or uint8 -> int8 (or uint8, at the border) with the quantization of the output tensor."""


@dataclass(frozen=True)
class Dequantize:
    """Int8 or uint8 -> float32: scale * (q - zero_point) of the input tensor."""


Op = (
    Conv2D
    | ConvTranspose
    | Dense
    | Pool
    | Binary
    | Concat
    | Slice
    | Shuffle
    | DepthToSpace
    | SpaceToDepth
    | Activate
    | Lookup
    | Softmax
    | ArgMax
    | Pad
    | Resize
    | Reshape
    | Transpose
    | BatchNorm
    | Constant
    | Mean
    | Quantize
    | Dequantize
)

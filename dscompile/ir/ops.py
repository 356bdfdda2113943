"""Operators: small frozen dataclasses. What a layer computes, without names, shapes of its inputs or weights.

Weights of a layer are found by role (`Network.weight(layer, "kernel")`):

| op | roles and shapes |
|---|---|
| Conv2D | kernel [kh, kw, C_in / groups, C_out], bias [C_out] (optional) |
| Dense | kernel [C_in, C_out], bias [C_out] (optional) |
| BatchNorm | gamma, beta, mean, variance [C] |
| Constant | value |
| Activate(prelu) | slope [C] |

Weights are float32. Where the input is int8, Conv2D and Dense have instead: kernel int8, kernel_scale float32 [C_out],
bias int32 whose scale is input scale * kernel_scale; and Constant has int8 with its tensor's quantization.
Activations, the value of a Pad and the beta of a Softmax are real numbers also there.

A depthwise convolution *is* a Conv2D with groups = C_in; its multiplier is C_out / C_in, and output channel
c * multiplier + m reads input channel c (the order of TFLite and of ONNX).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

Pair = tuple[int, int]


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
    "none", "clip", "hard_swish", "hard_sigmoid", "swish", "sigmoid", "tanh", "leaky_relu", "prelu"
]


@dataclass(frozen=True)
class Activation:
    """An element-wise function.

    clip: min(max(x, low), high), which is ReLU (0, inf) and ReLU6 (0, 6); leaky_relu: x if x > 0 else alpha * x;
    hard_sigmoid: clip(alpha * x + 0.5, 0, 1); hard_swish: x * clip(x / 6 + 0.5, 0, 1); swish: x * sigmoid(x);
    prelu: as leaky_relu with one alpha per channel, the weight `slope`.
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
NAMED_ACTIVATIONS: dict[str, Activation] = {
    "none": NONE,
    "relu": RELU,
    "relu6": RELU6,
    "hard_swish": HARD_SWISH,
    "hard_sigmoid": HARD_SIGMOID,
    "swish": SWISH,
    "sigmoid": SIGMOID,
    "tanh": TANH,
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


@dataclass(frozen=True)
class Binary:
    """Element-wise sum or product of two tensors, with NumPy broadcasting: y = activation(a op b).

    `unsigned` matters for int8 sums in the rounding `float32` only: whether they are computed on the integers plus 128,
    as onnxruntime does with uint8 tensors (see dscompile.ir.fixed_point.float_sum).
    """

    kind: Literal["add", "mul"]
    activation: Activation = NONE
    unsigned: bool = False


@dataclass(frozen=True)
class Concat:
    """Joins tensors along `axis` (counted in channels-last order, not negative)."""

    axis: int


@dataclass(frozen=True)
class Slice:
    """A box of the input: along axis i (channels-last order) the `sizes[i]` elements from `begins[i]` on."""

    begins: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Shuffle:
    """Channel shuffle (Zhang et al. 2018, figure 1): channels in `groups` equal runs take turns.

    With n = C / groups, channel c * groups + g of the result is channel g * n + c of the input.
    """

    groups: int


@dataclass(frozen=True)
class Activate:
    """An activation as a layer of its own."""

    activation: Activation


@dataclass(frozen=True)
class Softmax:
    """exp(beta * x) normalised over the last axis."""

    beta: float = 1.0


@dataclass(frozen=True)
class Pad:
    """Constant padding of an image's height and width."""

    pads: Pads
    value: float = 0.0


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
    | Dense
    | Pool
    | Binary
    | Concat
    | Slice
    | Shuffle
    | Activate
    | Softmax
    | Pad
    | Reshape
    | Transpose
    | BatchNorm
    | Constant
    | Mean
    | Quantize
    | Dequantize
)

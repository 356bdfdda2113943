"""Int8 kernels of CPUs with vector units: the same workloads as plan/kernels.py, on bytes, with int32 sums.

Images are blocked as float ones are, `lanes` channels to a block, one byte each; the halo holds the zero point. Zero
points of inputs are folded into the constants, so that a kernel sums plain products of bytes.

Products are summed in words: `word` neighbouring channels of a pixel (1, 2, 4 or 8) against as many weights that lie
together. Input channels beyond the last meet weights of 0.

`smallest_weight` says whether any weight is -128. Where none is, two products of bytes fit 16 bits together, which
plain NEON makes use of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from dscompile.ir.ops import Pair
from dscompile.plan.kernels import Parameter
from dscompile.plan.layout import Strides

Scaling = Literal["affine", "integer", "stepped", "tflite", "half-up", "single", "float32"]


@dataclass(frozen=True)
class Requantization:
    """From the int32 sum of a channel to its int8: y = clamp(scaled(sum), low, high).

    Three forms were searched so that they equal the network's own rounding on every sum that can occur; bias and zero
    point are contained in their constants. None leaves 32 bits before the clamp.

    - affine: rint(fma(float32(sum), scale, offset)), halves to even, with one scale and offset per channel
      (plan/affine_requantization.py).
    - integer: ((zero_point << right) + (((bias + (sum << left)) * multiplier) >> 32)) >> right, with one bias and
      multiplier per channel, for what float32 is too coarse for (plan/requantization.py). `bias + (sum << left)` stays
      in 32 bits, the product in 64.
    - stepped: the same, with `step`, a third constant per channel, added to bias + (sum << left) where that is not
      negative.

    The others are that rounding itself (A, C, B and D of the specification) of sum + bias, plus `zero_point`.
    `float32` takes a bias and a scale per channel; the fixed-point ones a bias, a multiplier and a shift, for the
    factor multiplier * 2^(shift - 31).
    """

    scaling: Scaling
    low: int
    high: int
    zero_point: int = 0
    left: int = 0
    right: int = 0

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The constants, one element per output channel each."""
        match self.scaling:
            case "affine":
                return (Parameter("scale"), Parameter("offset"))
            case "integer":
                return (Parameter("bias", "int32"), Parameter("multiplier", "int32"))
            case "stepped":
                return (Parameter("bias", "int32"), Parameter("multiplier", "int32"), Parameter("step", "int32"))
            case "float32":
                return (Parameter("bias", "int32"), Parameter("scale"))
            case _:
                return (Parameter("bias", "int32"), Parameter("multiplier", "int32"), Parameter("shift", "int32"))


def blocked_bytes(name: str, view: Strides, lanes: int, written: bool = False) -> Parameter:
    """An int8 image [blocks][rows][columns][lanes]; strides in elements, which are bytes."""
    return Parameter(name, "int8", written, (view.block, view.row, view.pixel, 1), lanes)


def _packed(name: str, step: int) -> Parameter:
    """Packed int8 weights that are read in steps of so many bytes, from the beginning of a cache line on."""
    return Parameter(name, "int8", alignment=min(step & -step, 64))


@dataclass(frozen=True)
class Int8ConvKernel:
    """Dense convolution of a blocked, padded image. Weights int8 [N / panel][kh][kw][ceil(C_in / word)][panel][word].

    N is a whole number of panels, a panel a whole number of blocks of `lanes`. Outputs from `used` on, a multiple of 8,
    belong to no channel and may become anything; where `used` is 0, there are none of them.

    `unsigned`: pixels are multiplied as bytes with 128 added, for instructions that want one factor without a sign;
    `start`, a constant [N], is what sums begin with in their place: -128 times the sum of the weights.
    """

    height: int
    width: int
    in_channels: int
    out_channels: int
    panel: int
    lanes: int
    word: int
    kernel: Pair
    stride: Pair
    dilation: Pair
    x: Strides
    y: Strides
    requantization: Requantization
    smallest_weight: int = -128
    used: int = 0
    unsigned: bool = False

    @property
    def kind(self) -> str:
        """The field's word: pointwise or conv."""
        return "int8_pointwise" if self.kernel == (1, 1) and self.stride == (1, 1) else "int8_conv"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights, the start of sums if there is one, constants of the requantization, y."""
        return (
            blocked_bytes("x", self.x, self.lanes),
            _packed("weights", self.panel * self.word),
            *((Parameter("start", "int32"),) if self.unsigned else ()),
            *self.requantization.parameters,
            blocked_bytes("y", self.y, self.lanes, written=True),
        )


@dataclass(frozen=True)
class Int8DepthwiseKernel:
    """One filter per channel on a blocked, padded image. Weights int8 [blocks][kh][kw][lanes] where `word` is 1.

    Channels from `used` on may become anything, as in `Int8ConvKernel`.

    Larger, rows of taps are words: [blocks][kh][2][ceil((kw + 1) / word)][lanes][word], zeros beyond kw. The second of
    two copies is moved by one tap, for outputs that begin in the middle of a pair of pixels.
    """

    kind: ClassVar[str] = "int8_depthwise"
    height: int
    width: int
    blocks: int
    lanes: int
    kernel: Pair
    stride: Pair
    dilation: Pair
    x: Strides
    y: Strides
    requantization: Requantization
    smallest_weight: int = -128
    word: int = 1
    used: int = 0

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights, constants of the requantization, y."""
        return (
            blocked_bytes("x", self.x, self.lanes),
            _packed("weights", self.lanes * self.word),
            *self.requantization.parameters,
            blocked_bytes("y", self.y, self.lanes, written=True),
        )


@dataclass(frozen=True)
class Int8DenseKernel:
    """y[n] = requantized(sum_k x[k] w[k, n]). Weights int8 [N / panel][ceil(K / word)][panel][word], y [N].

    x is [K], and readable up to a whole number of words, the rest of which meets weights of 0.
    """

    kind: ClassVar[str] = "int8_dense"
    in_channels: int
    out_channels: int
    panel: int
    word: int
    requantization: Requantization
    smallest_weight: int = -128

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights, constants of the requantization, y."""
        return (
            Parameter("x", "int8", alignment=1),
            _packed("weights", self.panel * self.word),
            *self.requantization.parameters,
            Parameter("y", "int8", written=True, alignment=1),
        )


Int8Kernel = Int8ConvKernel | Int8DepthwiseKernel | Int8DenseKernel

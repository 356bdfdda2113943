"""Tiny networks that between them use every template of standalone C.

Their weights are integers, and fractions of powers of two, so that no machine rounds them otherwise.
"""

from __future__ import annotations

import numpy as np

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import (
    GELU,
    HARD_SWISH,
    NONE,
    RELU,
    RELU6,
    SIGMOID,
    SWISH,
    TANH,
    Activate,
    Activation,
    ArgMax,
    Binary,
    Concat,
    Conv2D,
    Dense,
    DepthToSpace,
    Dequantize,
    Mean,
    Op,
    Pad,
    Pads,
    Pool,
    Quantize,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    Softmax,
)
from dscompile.ir.tensor import Quantization, Rounding, Tensor

Q = Quantization((0.061,), -3)
POSITIVE = Quantization((0.0303,), -128)
SOFTMAX = Quantization((1 / 256,), -128)
AROUND = Pads(1, 1, 1, 1)


class Tiny(NetworkBuilder):
    """A network of float32, or of int8 where there is a rounding."""

    def __init__(self, name: str, rounding: Rounding | None = None) -> None:
        super().__init__(name, rounding)
        self.rng = np.random.default_rng(5)

    @property
    def is_int8(self) -> bool:
        return self.rounding is not None

    def image(self, name: str, *shape: int) -> str:
        return self.input(Tensor(name, (1, *shape), "int8", Q) if self.is_int8 else Tensor(name, (1, *shape)))

    def layer(self, name: str, op: Op, *sources: str, made: Quantization | None = Q) -> str:
        """A layer without weights; `made` is None where the result keeps its input's quantization."""
        return self.add(name, op, list(sources), quantization=made if self.is_int8 else None)

    def linear(self, name: str, op: Conv2D | Dense, source: str, made: Quantization = Q) -> str:
        """A convolution or dense layer of random weights."""
        depth = self.tensors[source].shape[-1]
        shape = (depth, op.units) if isinstance(op, Dense) else (*op.kernel, depth // op.groups, op.out_channels)
        kernel, bias = self.rng.integers(-127, 128, shape), self.rng.integers(-2000, 2000, shape[-1])
        if not self.is_int8:
            return self.add(
                name, op, [source], kernel=(kernel / 128).astype(np.float32), bias=(bias / 1024).astype(np.float32)
            )
        scales = (self.rng.integers(70, 130, shape[-1]) / 16384).astype(np.float32)
        return self.add(
            name,
            op,
            [source],
            quantization=made,
            kernel=kernel.astype(np.int8),
            kernel_scale=scales,
            bias=bias.astype(np.int32),
        )


def depthwise(channels: int, activation: Activation = NONE, multiplier: int = 1, pads: Pads = AROUND) -> Conv2D:
    return Conv2D(channels * multiplier, (3, 3), pads=pads, groups=channels, activation=activation)


def backbone(name: str, rounding: Rounding | None = None) -> Network:
    """What mobile networks are made of: stem, separable block, residual, depthwise layers, pools, classifier."""
    net = Tiny(name, rounding)
    x = net.image("image", 7, 6, 3)
    x = net.linear("stem", Conv2D(6, (3, 3), (2, 2), Pads(1, 1, 0, 1), activation=RELU), x, POSITIVE)
    x = net.linear("block.depthwise", depthwise(6, RELU6), x, POSITIVE)
    block = net.linear("block.pointwise", Conv2D(6, (1, 1), activation=RELU), x, POSITIVE)
    x = net.linear("linear", Conv2D(6, (1, 1)), block)
    x = net.layer("residual", Binary("add"), block, x)
    x = net.layer("swish", Activate(HARD_SWISH), x)
    x = net.linear("multiplied", depthwise(6, multiplier=2), x)
    x = net.layer("largest", Pool("max", (2, 2), (2, 2)), x, made=None)
    x = net.linear("depthwise", depthwise(12, RELU), x, POSITIVE)
    x = net.layer("average", Pool("average"), x, made=None)
    x = net.layer("flat", Reshape((1, 12)), x, made=None)
    x = net.linear("classifier", Dense(3), x)
    return net.build([net.layer("softmax", Softmax(), x, made=SOFTMAX)], ["up", "down", "on"])


def separables(name: str, rounding: Rounding) -> Network:
    """Depthwise and pointwise layers: of an image in rows and of a dense one, and an average of rows."""
    net = Tiny(name, rounding)
    x = net.image("image", 8, 8, 3)
    x = net.linear("stem", Conv2D(8, (3, 3), pads=AROUND, activation=RELU), x, POSITIVE)
    x = net.linear("wide.depthwise", Conv2D(8, (5, 5), pads=Pads(2, 2, 2, 2), groups=8, activation=RELU), x, POSITIVE)
    x = net.linear("wide.pointwise", Conv2D(6, (1, 1), activation=RELU), x, POSITIVE)
    x = net.linear("rows.depthwise", depthwise(6, RELU6), x, POSITIVE)
    x = net.linear("rows.pointwise", Conv2D(7, (1, 1), activation=RELU), x, POSITIVE)
    return net.build([net.layer("average", Pool("average"), x, made=None)])


def rows_of_five(name: str, rounding: Rounding) -> Network:
    """Separable layers with a pixel of each row beside the groups of four, to the average of the last one."""
    net = Tiny(name, rounding)
    x = net.linear("stem", Conv2D(6, (3, 3), pads=AROUND, activation=RELU), net.image("image", 6, 5, 1), POSITIVE)
    for block in ("first", "second"):
        x = net.linear(f"{block}.depthwise", depthwise(6, RELU), x, POSITIVE)
        x = net.linear(f"{block}.pointwise", Conv2D(6, (1, 1), activation=RELU), x, POSITIVE)
    return net.build([net.layer("average", Pool("average"), x, made=None)])


def large_windows(name: str, rounding: Rounding) -> Network:
    """A linear depthwise layer of 5x5 windows on an image that is worth turning, then one of windows that cannot be."""
    net = Tiny(name, rounding)
    x = net.image("image", 16, 12, 4)
    windows = Conv2D(4, (5, 5), pads=Pads(2, 2, 2, 2), groups=4)
    x = net.linear("large.depthwise", windows, x)
    x = net.linear("large.pointwise", Conv2D(6, (1, 1), activation=RELU), x, POSITIVE)
    x = net.linear("dilated.depthwise", Conv2D(6, (3, 3), pads=Pads(2, 2, 2, 2), dilation=(2, 2), groups=6), x)
    return net.build([net.linear("dilated.pointwise", Conv2D(4, (1, 1), activation=RELU), x, POSITIVE)])


def squeezed(name: str, rounding: Rounding) -> Network:
    """Channels multiplied by what becomes of their averages, behind a hard-swish; many dense results."""
    net = Tiny(name, rounding)
    x = net.linear("stem", Conv2D(8, (3, 3), (2, 2), pads=AROUND), net.image("image", 8, 8, 3))
    x = net.layer("stem.act", Activate(HARD_SWISH), x)
    gate = net.linear("excite", Conv2D(8, (1, 1)), net.layer("squeeze", Pool("average"), x, made=None))
    x = net.layer("scaled", Binary("mul"), x, net.layer("gate", Activate(SIGMOID), gate, made=SOFTMAX))
    x = net.layer("flat", Reshape((1, 8)), net.layer("mean", Mean(), x), made=None)
    return net.build([net.linear("scores", Dense(16), x)])


def by_channel(name: str, rounding: Rounding) -> Network:
    """Channels that are shuffled and convolved alone, joined with a part of others, and added to them."""
    net = Tiny(name, rounding)
    image = net.image("image", 6, 6, 8)
    x = net.linear("expand", Conv2D(8, (1, 1)), image)
    x = net.layer("shuffled", Shuffle(2), x)
    x = net.linear("alone", Conv2D(8, (5, 5), pads=Pads(2, 2, 2, 2), groups=8), x)
    x = net.layer("joined", Concat(3), x, net.layer("part", Slice((0, 0, 0, 4), (1, 6, 6, 4)), image, made=None))
    x = net.layer("first", Slice((0, 0, 0, 0), (1, 6, 6, 8)), x, made=None)
    return net.build([net.layer("sum", Binary("add"), image, x)])


def pushed(name: str, rounding: Rounding) -> Network:
    """An image that comes row by row, down to its average, whose sums are kept from row to row."""
    net = Tiny(name, rounding)
    x = net.image("image", 16, 16, 3)
    x = net.linear("stem", Conv2D(8, (3, 3), pads=AROUND, activation=RELU), x, POSITIVE)
    x = net.linear("rows.depthwise", depthwise(8, RELU), x, POSITIVE)
    x = net.linear("rows.pointwise", Conv2D(8, (1, 1), activation=RELU), x, POSITIVE)
    return net.build([net.layer("average", Pool("average"), x, made=None)])


def borders(name: str) -> Network:
    """Float outside and int8 inside, rounded in float32: conversions, copies, paddings, sums, means, products."""
    net = Tiny(name, "float32")
    real = net.input(Tensor("image", (1, 4, 5, 2), border="nchw"))
    x = net.add("quantize", Quantize(), [real], dtype="int8", quantization=Q)
    a = net.linear("conv", Conv2D(2, (3, 3), pads=AROUND), x)
    b = net.layer("padded", Pad(Pads(1, 0, 0, 1)), net.layer("valid", Pool("average", (2, 2)), x, made=None), made=None)
    x = net.layer("sum", Binary("add", RELU), a, b, made=POSITIVE)
    c = net.layer("sigmoid", Activate(SIGMOID), x)
    x = net.layer("joined", Concat(3), a, c, made=None)
    x = net.layer("gated", Binary("mul"), x, net.layer("mean", Mean(), x))
    return net.build([net.add("real", Dequantize(), [x])])


def activations(name: str) -> Network:
    """Float activations, as layers and inside others; a product that repeats one factor."""
    net = Tiny(name)
    image = net.image("image", 3, 4, 2)
    x = net.linear("conv", Conv2D(2, (1, 1), activation=SWISH), image)
    x = net.layer("leaky", Activate(Activation("leaky_relu", alpha=0.125)), x)
    x = net.add("prelu", Activate(Activation("prelu")), [x], slope=np.array([0.25, 0.5], np.float32))
    gate = net.layer("gate", Pool("average", activation=TANH), x)
    x = net.layer("gated", Binary("mul", RELU6), x, gate)
    return net.build([net.layer("smooth", Pool("average", (2, 2), pads=Pads(1, 0, 0, 1), count_pads=True), x)])


def streaming(name: str) -> Network:
    """States: a ring of rows, which moves in place, and a sum, whose new value waits for the old one to be read."""
    net = Tiny(name, "tflite")
    x, last = net.image("row", 1, 1, 4), net.image("last", 3, 1, 4)
    row = net.linear("row_conv", Conv2D(4, (1, 1)), x)
    rows = net.layer("rows", Concat(1), last, row, made=None)
    kept = net.layer("kept", Slice((0, 1, 0, 0), (1, 3, 1, 4)), rows, made=None)
    now = net.linear("window", Conv2D(4, (4, 1), groups=4), rows)
    old = net.input(Tensor("total", (1, 1, 1, 4), "int8", Q))
    new = net.layer("new", Binary("add"), now, old)
    net.keep("last", kept, np.full((1, 3, 1, 4), -3, np.int8))
    net.keep("total", new, np.array([[[[-3, 7, 17, -128]]]], np.int8))
    return net.build([net.layer("both", Concat(3), new, old, made=None)])


def sums(name: str, rounding: Rounding) -> Network:
    """Each rounding's own arithmetic in a sum, a product, and a convolution whose requantization is not searched."""
    net = Tiny(name, rounding)
    left = net.image("left", 2, 3, 2)
    right = net.add("right", Quantize(), [net.input(Tensor("real", (1, 2, 3, 2)))], dtype="int8", quantization=Q)
    x = net.layer("sum", Binary("add"), left, right)
    x = net.layer("product", Binary("mul", RELU), x, right)
    return net.build([net.linear("pointwise", Conv2D(3, (1, 1)), x)])


def grids(name: str, rounding: Rounding | None = None) -> Network:
    """Images on other grids, nearest, bilinear and mirrored; channels as pixels; a difference and an extreme."""
    net = Tiny(name, rounding)
    image = net.image("image", 3, 2, 4)
    x = net.layer("bilinear", Resize((4, 5), "bilinear"), image, made=None)
    y = net.layer("nearest", Resize((4, 5), "nearest"), image, made=None)
    x = net.layer("difference", Binary("sub"), x, y)
    x = net.layer("largest", Binary("max", RELU), x, y, made=None)
    x = net.layer("mirrored", Pad(Pads(1, 0, 0, 1), mode="reflect"), x, made=None)
    x = net.layer("pixels", DepthToSpace((2, 2)), x, made=None)
    return net.build([net.layer("gelu", Activate(GELU), x)])


def indices(name: str) -> Network:
    """The first of the largest channels, and the last, of floats and of integers."""
    net = Tiny(name, "tflite")
    real = net.input(Tensor("real", (1, 2, 3, 5)))
    integers = net.add("integers", Quantize(), [real], dtype="int8", quantization=Q)
    first, last = net.add("first", ArgMax(), [real]), net.add("last", ArgMax(keep_axis=True, last=True), [integers])
    return net.build([first, last])

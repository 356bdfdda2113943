"""Small random networks for property tests: every operator, odd shapes, seeded weights.

    network = random_network(seed=7)
    inputs = random_inputs(network, seed=7)

One seed gives one network, on every machine. With hypothesis, draw the seed and `max_layers`: fewer layers make a
smaller counterexample. `steps` chooses what may be built, by the names in STEPS.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from dscompile.ir.network import Array, Network, NetworkBuilder
from dscompile.ir.ops import (
    ERF,
    GELU,
    GELU_TANH,
    HARD_SIGMOID,
    HARD_SWISH,
    NONE,
    RELU,
    RELU6,
    SIGMOID,
    SWISH,
    TANH,
    Activate,
    Activation,
    BatchNorm,
    Binary,
    Concat,
    Constant,
    Conv2D,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Op,
    Pad,
    Pads,
    Pair,
    Pool,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    Softmax,
    SpaceToDepth,
    Transpose,
)
from dscompile.ir.shapes import ShapeError, output_shape, same_pads
from dscompile.ir.tensor import Shape, Tensor

T = TypeVar("T")

SIZES = (1, 2, 3, 4, 5, 7, 8, 11, 13, 17)
CHANNELS = (1, 2, 3, 8, 16, 17, 32, 33, 100)
KERNELS: tuple[Pair, ...] = ((1, 1), (3, 3), (5, 5), (7, 7), (2, 2), (3, 1), (1, 5))
STRIDES: tuple[Pair, ...] = ((1, 1), (1, 1), (2, 2), (2, 2), (2, 1), (3, 3))
DILATIONS: tuple[Pair, ...] = ((1, 1), (1, 1), (1, 1), (2, 2), (1, 2))
ACTIVATIONS = (
    RELU,
    RELU6,
    Activation("clip", -1.0, 0.5),
    HARD_SWISH,
    HARD_SIGMOID,
    Activation("hard_sigmoid", alpha=0.2),
    SWISH,
    SIGMOID,
    TANH,
    Activation("leaky_relu", alpha=0.1),
    Activation("elu", alpha=0.7),
    GELU,
    GELU_TANH,
    ERF,
)
MAX_WEIGHTS = 200_000  # elements of one kernel
MAX_MACS = 4_000_000  # of one layer
MAX_ELEMENTS = 60_000  # of one tensor
MAX_SOFTMAX = 8191  # elements: more are refused in int8
ATTEMPTS_PER_LAYER = 20


def random_network(
    seed: int, *, max_layers: int = 12, steps: Collection[str] | None = None, nchw_borders: bool = True
) -> Network:
    """A valid float32 network of 1 to `max_layers` layers, made of `steps` (default: all of STEPS).

    Every tensor that no layer reads is an output, and sometimes one more. With `nchw_borders`, some inputs and
    outputs have that layout outside. Weights are scaled so that values stay near 1.
    """
    allowed = {name: STEPS[name] for name in (STEPS if steps is None else sorted(steps))}
    grower = Grower(np.random.default_rng(seed), f"random_{seed}")
    starts_with_image = any(step.rank != 2 for step in allowed.values())
    grower.input((1, grower.pick(SIZES), grower.pick(SIZES), grower.pick(CHANNELS)) if starts_with_image else (1, 17))
    wanted = int(grower.rng.integers(1, max_layers + 1))
    for _ in range(ATTEMPTS_PER_LAYER * wanted):
        room = max_layers - len(grower.builder.layers)
        fitting = [step for step in allowed.values() if step.layers <= room and grower.has_rank(step.rank)]
        last_rank = len(grower.shape(grower.tensors[-1]))
        if last_rank == 2 and grower.chance(0.8):  # go on from a vector rather than from an image before it
            fitting = [step for step in fitting if step.rank != 4] or fitting
        if len(grower.builder.layers) >= wanted or not fitting:
            break
        grower.pick(fitting).grow(grower)
    if not grower.builder.layers:
        raise ValueError(f"no layer could be made of {sorted(allowed)} within {max_layers} layers")
    return grower.finish(nchw_borders)


def random_inputs(network: Network, seed: int) -> dict[str, Array]:
    """Normally distributed inputs for a network, in channels-last order."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=network.shape(name)).astype(np.float32) for name in network.inputs}


class Grower:
    """A network in the making. Steps mostly read the tensor made last."""

    def __init__(self, rng: np.random.Generator, name: str) -> None:
        self.rng = rng
        self.builder = NetworkBuilder(name)
        self.tensors: list[str] = []

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self.rng.integers(len(choices)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def normal(self, shape: Shape, scale: float = 1.0) -> Array:
        return (scale * self.rng.normal(size=shape)).astype(np.float32)

    def activation(self) -> Activation:
        return NONE if self.chance(0.5) else self.pick(ACTIVATIONS)

    def shape(self, tensor: str) -> Shape:
        return self.builder.tensors[tensor].shape

    def has_rank(self, rank: int | None) -> bool:
        return any(rank in (None, len(self.shape(name))) for name in self.tensors)

    def source(self, rank: int | None = None) -> str:
        """The last tensor (of `rank`), or now and then another one, so that the graph branches."""
        fitting = [name for name in self.tensors if rank in (None, len(self.shape(name)))]
        return fitting[-1] if self.chance(0.8) else self.pick(fitting)

    def input(self, shape: Shape) -> str:
        name = self.builder.input(Tensor(f"in{len(self.builder.inputs)}", shape))
        self.tensors.append(name)
        return name

    def fits(self, op: Op, inputs: Sequence[str]) -> bool:
        """Whether the operator takes these inputs, and neither result nor work is too large for a quick test."""
        shapes = [self.shape(name) for name in inputs]
        try:
            result = output_shape(op, shapes)
        except ShapeError:
            return False
        weights = 0
        if isinstance(op, Conv2D | ConvTranspose):
            weights = op.kernel[0] * op.kernel[1] * shapes[0][3] // op.groups * op.out_channels
        if isinstance(op, Dense):
            weights = shapes[0][1] * op.units
        pixels = int(np.prod(result[:-1]))
        return np.prod(result) <= MAX_ELEMENTS and weights <= MAX_WEIGHTS and weights * pixels <= MAX_MACS

    def add(self, op: Op, *inputs: str, **weights: Array | None) -> str:
        number = len(self.builder.layers)
        name = self.builder.add(f"{type(op).__name__.lower()}{number}", op, inputs, f"t{number}", **weights)
        self.tensors.append(name)
        return name

    def constant(self, value: Array) -> str:
        """A Constant, which later layers do not read by chance."""
        name = self.add(Constant(value.shape), value=value)
        self.tensors.remove(name)
        return name

    def convolution(self, x: str, op: Conv2D | ConvTranspose) -> str | None:
        if not self.fits(op, [x]):
            return None
        fan_in = op.kernel[0] * op.kernel[1] * self.shape(x)[3] // op.groups
        if isinstance(op, ConvTranspose):
            fan_in = max(1, fan_in // (op.stride[0] * op.stride[1]))
        kernel = self.normal((*op.kernel, self.shape(x)[3] // op.groups, op.out_channels), fan_in**-0.5)
        return self.add(op, x, kernel=kernel, bias=self.normal((op.out_channels,)) if self.chance(0.8) else None)

    def pads(self, shape: Shape, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Pads:
        """SAME, VALID or anything, as long as it is smaller than the kernel."""
        match self.pick(("same", "valid", "explicit")):
            case "same":
                return same_pads(shape[1], shape[2], kernel, stride, dilation)
            case "valid":
                return Pads()
            case _:
                top, bottom = (int(n) for n in self.rng.integers(kernel[0], size=2))
                left, right = (int(n) for n in self.rng.integers(kernel[1], size=2))
                return Pads(top, bottom, left, right)

    def finish(self, nchw_borders: bool) -> Network:
        read = {name for layer in self.builder.layers for name in layer.inputs}
        made = [layer.output for layer in self.builder.layers]
        outputs = [name for name in made if name not in read]
        others = [name for name in made if name in read]
        if others and self.chance(0.3):
            outputs.append(self.pick(others))
        for name in (*self.builder.inputs, *outputs):
            if nchw_borders and self.chance(0.3):
                self.builder.tensors[name] = replace(self.builder.tensors[name], border="nchw")
        return self.builder.build(outputs)


def _conv(grower: Grower) -> None:
    x = grower.source(rank=4)
    channels = grower.shape(x)[3]
    groups = grower.pick([n for n in (1, 1, 2, 3, 4) if channels % n == 0])
    _windowed_conv(grower, x, groups, groups * grower.pick(CHANNELS) if groups > 1 else grower.pick(CHANNELS))


def _depthwise(grower: Grower) -> None:
    x = grower.source(rank=4)
    channels = grower.shape(x)[3]
    _windowed_conv(grower, x, channels, channels * grower.pick((1, 1, 1, 2)))


def _windowed_conv(grower: Grower, x: str, groups: int, out_channels: int) -> None:
    kernel, stride, dilation = grower.pick(KERNELS), grower.pick(STRIDES), grower.pick(DILATIONS)
    pads = grower.pads(grower.shape(x), kernel, stride, dilation)
    grower.convolution(x, Conv2D(out_channels, kernel, stride, pads, dilation, groups, grower.activation()))


def _pointwise(grower: Grower) -> None:
    grower.convolution(grower.source(rank=4), Conv2D(grower.pick(CHANNELS), (1, 1), activation=grower.activation()))


def _dense(grower: Grower) -> None:
    x = grower.source(rank=2)
    op = Dense(grower.pick((1, 3, 10, 17, 100)), grower.activation())
    if grower.fits(op, [x]):
        features = grower.shape(x)[1]
        bias = grower.normal((op.units,)) if grower.chance(0.8) else None
        grower.add(op, x, kernel=grower.normal((features, op.units), features**-0.5), bias=bias)


def _pool(grower: Grower) -> None:
    x = grower.source(rank=4)
    shape = grower.shape(x)
    kind = grower.pick(("average", "max"))
    if grower.chance(0.3):
        grower.add(Pool(kind, activation=grower.activation()), x)
        return
    kernel, stride = grower.pick(KERNELS), grower.pick(STRIDES)
    counts = kind == "average" and grower.chance(0.3)
    op = Pool(kind, kernel, stride, grower.pads(shape, kernel, stride), counts, grower.activation())
    if grower.fits(op, [x]):
        grower.add(op, x)


def _binary(grower: Grower) -> None:
    """Two tensors that happen to have the same shape, or a tensor with itself."""
    x = grower.source()
    partner = grower.pick([name for name in grower.tensors if grower.shape(name) == grower.shape(x)])
    grower.add(Binary(grower.pick(("add", "mul", "sub", "max", "min")), grower.activation()), x, partner)


def _quotient(grower: Grower) -> None:
    """A tensor divided by what keeps away from 0."""
    x = grower.source()
    partner = grower.pick([name for name in grower.tensors if grower.shape(name) == grower.shape(x)])
    divisor = grower.add(Activate(Activation("clip", 0.5, 2.0)), partner)
    grower.add(Binary("div", grower.activation()), *grower.pick(((x, divisor), (divisor, divisor))))


def _transposed(grower: Grower) -> None:
    x = grower.source(rank=4)
    channels = grower.shape(x)[3]
    groups = grower.pick([n for n in (1, 1, 2, 3, channels) if channels % n == 0])
    kernel, stride, dilation = grower.pick(KERNELS), grower.pick(STRIDES), grower.pick(DILATIONS)
    rows, columns = (int(n) for n in grower.rng.integers(kernel, size=2))
    pads = Pads(rows // 2, rows - rows // 2, columns - columns // 2, columns // 2)
    out = groups * grower.pick((1, 2) if groups > 1 else (1, 3, 8, 17))
    added = (int(grower.rng.integers(stride[0])), int(grower.rng.integers(stride[1])))
    op = ConvTranspose(out, kernel, stride, pads, dilation, groups, added, grower.activation())
    grower.convolution(x, op)


def _resize(grower: Grower) -> None:
    x = grower.source(rank=4)
    size = (grower.pick(SIZES), grower.pick(SIZES))
    if grower.chance(0.5):
        op = Resize(size, "bilinear", grower.pick(("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")))
    else:
        kinds = (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("align_corners", "round_prefer_ceil"))
        op = Resize(size, "nearest", *grower.pick(kinds))
    if grower.fits(op, [x]):
        grower.add(op, x)


def _blocks(grower: Grower) -> None:
    """Channels become pixels, or pixels channels."""
    x = grower.source(rank=4)
    block = grower.pick(((2, 2), (1, 2), (4, 1), (3, 3)))
    crops = Pads(*(int(n) for n in grower.rng.integers(2, size=4))) if grower.chance(0.3) else Pads()
    ops = [SpaceToDepth(block), DepthToSpace(block, grower.pick(("dcr", "crd")), crops)]
    fitting = [op for op in ops if grower.fits(op, [x])]
    grower.add(grower.pick(fitting or [SpaceToDepth((1, 1))]), x)


def _strided_slice(grower: Grower) -> None:
    x = grower.source(rank=4)
    shape = grower.shape(x)
    steps = (1, *(grower.pick((1, 2, 3)) for _ in range(3)))
    begins = (0, *(int(grower.rng.integers(size)) for size in shape[1:]))
    sizes = tuple(-(-(size - begin) // step) for size, begin, step in zip(shape, begins, steps, strict=True))
    grower.add(Slice(begins, sizes, steps if max(steps) > 1 else ()), x)


def _mirror(grower: Grower) -> None:
    x = grower.source(rank=4)
    op = Pad(Pads(*(int(n) for n in grower.rng.integers(4, size=4))), mode=grower.pick(("reflect", "edge")))
    if grower.fits(op, [x]):
        grower.add(op, x)


def _residual(grower: Grower) -> None:
    x = grower.source(rank=4)
    result = grower.convolution(x, Conv2D(grower.shape(x)[3], (1, 1)))
    if result is not None:
        grower.add(Binary("add", grower.activation()), result, x)


def _binary_with_constant(grower: Grower) -> None:
    x = grower.source()
    shape = grower.shape(x)
    op = Binary(grower.pick(("add", "mul")), grower.activation())
    if grower.chance(0.2):
        value = np.full((1,), 0.0 if op.kind == "add" else 1.0, np.float32)
    else:
        value = grower.normal(grower.pick(((1,), shape[-1:], (1,) * (len(shape) - 1) + shape[-1:], shape)))
    constant = grower.constant(value)
    grower.add(op, *(grower.pick(((x, constant), (constant, x)))))


def _concat(grower: Grower) -> None:
    x = grower.source(rank=4)
    axis = grower.pick((1, 2, 3, 3, 3))
    others = [name for name in grower.tensors if grower.fits(Concat(axis), [x, name])]
    if others:
        grower.add(Concat(axis), x, *(grower.pick(others) for _ in range(grower.pick((1, 1, 2)))))


def _slice(grower: Grower) -> None:
    """A range of channels, often from a whole block on; sometimes a box."""
    x = grower.source()
    shape = grower.shape(x)
    begins, sizes = [0] * len(shape), list(shape)
    for axis in {len(shape) - 1, *(axis for axis in range(1, len(shape) - 1) if grower.chance(0.2))}:
        starts = [start for start in (0, 1, 4, 8, 16, 17, 58) if start < shape[axis]]
        begins[axis] = grower.pick(starts)
        sizes[axis] = int(grower.rng.integers(1, shape[axis] - begins[axis] + 1))
    grower.add(Slice(tuple(begins), tuple(sizes)), x)


def _split(grower: Grower) -> None:
    """Two parts of the channels, or a slice of the only one."""
    x = grower.source()
    shape = grower.shape(x)
    middle = grower.pick([size for size in (1, shape[-1] // 2, 16) if 0 < size < shape[-1]] or [0])
    for begin, end in ((0, middle), (middle, shape[-1])):
        if begin < end:
            grower.add(Slice((*(0,) * (len(shape) - 1), begin), (*shape[:-1], end - begin)), x)


def _shuffle(grower: Grower) -> None:
    x = grower.source()
    channels = grower.shape(x)[-1]
    grower.add(Shuffle(grower.pick([groups for groups in (1, 2, 3, 4, 5, 17) if channels % groups == 0])), x)


def _activate(grower: Grower) -> None:
    grower.add(Activate(grower.pick((*ACTIVATIONS, NONE))), grower.source())


def _prelu(grower: Grower) -> None:
    x = grower.source()
    grower.add(Activate(Activation("prelu")), x, slope=grower.normal(grower.shape(x)[-1:], 0.3))


def _softmax(grower: Grower) -> None:
    op, x = Softmax(grower.pick((1.0, 1.0, 0.5))), grower.source()
    if grower.shape(x)[-1] <= MAX_SOFTMAX:
        grower.add(op, x)


def _pad(grower: Grower) -> None:
    x = grower.source(rank=4)
    op = Pad(Pads(*(int(n) for n in grower.rng.integers(3, size=4))), grower.pick((0.0, 0.0, 0.0, -1.5)))
    if grower.fits(op, [x]):
        grower.add(op, x)


def _reshape(grower: Grower) -> None:
    x = grower.source(rank=4)
    _, height, width, channels = grower.shape(x)
    shapes = ((1, height * width, 1, channels), (1, width, height, channels), (1, height, 1, width * channels))
    grower.add(Reshape(grower.pick((*shapes, grower.shape(x)))), x)


def _flatten(grower: Grower) -> None:
    x = grower.source(rank=4)
    grower.add(Reshape((1, int(np.prod(grower.shape(x))))), x)


def _transpose(grower: Grower) -> None:
    permutations = ((0, 2, 1, 3), (0, 3, 1, 2), (0, 2, 3, 1), (0, 1, 2, 3))
    grower.add(Transpose(grower.pick(permutations)), grower.source(rank=4))


def _batch_norm(grower: Grower) -> None:
    x = grower.source()
    shape = grower.shape(x)[-1:]
    weights = {role: grower.normal(shape, 0.5) for role in ("gamma", "beta", "mean")}
    variance = grower.rng.uniform(0.25, 2.0, shape).astype(np.float32)
    grower.add(BatchNorm(grower.pick((1e-3, 1e-5))), x, variance=variance, **weights)


def _squeeze_excite(grower: Grower) -> None:
    x = grower.source(rank=4)
    channels = grower.shape(x)[3]
    reduce = Conv2D(max(1, channels // 4), (1, 1), activation=RELU)
    expand = Conv2D(channels, (1, 1), activation=grower.pick((HARD_SIGMOID, SIGMOID)))
    if not grower.fits(reduce, [x]):
        return
    reduced = grower.convolution(grower.add(Pool("average"), x), reduce)
    gate = reduced and grower.convolution(reduced, expand)
    if gate:
        grower.add(Binary("mul"), x, gate)


def _spelled_hard_swish(grower: Grower) -> None:
    """x * clip(x + 3, 0, 6) * (1 / 6), as exporters without hard-swish write it."""
    x = grower.source()
    three = grower.constant(np.float32([3.0]))
    sixth = grower.constant(np.float32([1 / 6]))
    clipped = grower.add(Activate(RELU6), grower.add(Binary("add"), x, three))
    grower.add(Binary("mul"), grower.add(Binary("mul"), x, clipped), sixth)


def _second_input(grower: Grower) -> None:
    x = grower.tensors[-1]
    grower.add(Binary("add"), x, grower.input(grower.shape(x)))


@dataclass(frozen=True)
class Step:
    """Something that may happen to a growing network: at most `layers` layers, from a tensor of `rank`."""

    grow: Callable[[Grower], None]
    layers: int = 1
    rank: int | None = 4


STEPS: dict[str, Step] = {
    "conv": Step(_conv),
    "depthwise": Step(_depthwise),
    "pointwise": Step(_pointwise),
    "dense": Step(_dense, rank=2),
    "pool": Step(_pool),
    "binary": Step(_binary, rank=None),
    "residual": Step(_residual, layers=2),
    "binary_with_constant": Step(_binary_with_constant, layers=2, rank=None),
    "concat": Step(_concat),
    "slice": Step(_slice, rank=None),
    "split": Step(_split, layers=2, rank=None),
    "shuffle": Step(_shuffle, rank=None),
    "activate": Step(_activate, rank=None),
    "prelu": Step(_prelu, rank=None),
    "softmax": Step(_softmax, rank=None),
    "pad": Step(_pad),
    "reshape": Step(_reshape),
    "flatten": Step(_flatten),
    "transpose": Step(_transpose),
    "batch_norm": Step(_batch_norm, rank=None),
    "squeeze_excite": Step(_squeeze_excite, layers=4),
    "spelled_hard_swish": Step(_spelled_hard_swish, layers=6, rank=None),
    "second_input": Step(_second_input, rank=None),
    "quotient": Step(_quotient, layers=2, rank=None),
    "transposed": Step(_transposed),
    "resize": Step(_resize),
    "blocks": Step(_blocks),
    "strided_slice": Step(_strided_slice),
    "mirror": Step(_mirror),
}

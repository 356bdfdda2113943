"""The harness of a workload: a network of one layer that asks for exactly this workload, and its right answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dscompile import oracle
from dscompile.ir.network import Array, Network, NetworkBuilder
from dscompile.ir.ops import RELU6, Conv2D, Dense, Pads, Pair, Pool
from dscompile.ir.shapes import dilated_extent
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.plan.choices import Choice
from dscompile.plan.lowering import plan_program
from dscompile.plan.program import Program
from dscompile.plan.storage import Halos
from dscompile.plan.tuning import Tuning
from dscompile.plan.workloads import (
    ConvWorkload,
    DenseWorkload,
    DepthwiseWorkload,
    Int8ConvWorkload,
    Int8DepthwiseWorkload,
    Workload,
)
from dscompile.target import Target

SEED = 0
_STEP = 1 / 64  # scale of int8 inputs


@dataclass(frozen=True)
class Harness:
    """A network of one layer. `halos` are paddings around its images that make it the wanted workload."""

    network: Network
    halos: Halos

    def program(self, workload: Workload, choice: Choice, target: Target) -> Program:
        """The network planned with `choice` for its layer. Raises ValueError if it is another workload."""
        program = plan_program(self.network, target, Tuning({workload: choice}), halos=self.halos)
        if [chosen.workload for chosen in program.chosen] != [workload]:
            raise ValueError(f"{workload} became {[chosen.workload for chosen in program.chosen]}")
        return program

    def input(self) -> Array:
        """The input of every measurement: the same numbers each time."""
        (name,) = self.network.inputs
        tensor = self.network.tensor(name)
        rng = np.random.default_rng(SEED)
        if tensor.dtype == "int8":
            return rng.integers(-128, 128, tensor.shape, np.int8)
        return rng.uniform(-1, 1, tensor.shape).astype(np.float32)

    @property
    def output(self) -> Tensor:
        """What the layer makes."""
        return self.network.tensor(self.network.outputs[0])

    def expected(self) -> Array:
        """What the oracle makes of it."""
        return oracle.run(self.network, {self.network.inputs[0]: self.input()})[self.output.name]


@lru_cache(maxsize=256)
def harness(workload: Workload, target: Target) -> Harness:
    """The network of a workload on a target."""
    match workload:
        case DenseWorkload():
            return _dense(workload)
        case ConvWorkload() | Int8ConvWorkload():
            return _conv(workload, target)
        case DepthwiseWorkload() | Int8DepthwiseWorkload():
            return _depthwise(workload, target)


def _dense(workload: DenseWorkload) -> Harness:
    net = NetworkBuilder("harness")
    x = net.input(Tensor("x", (1, workload.channels)))
    kernel = _weights((workload.channels, workload.units), workload.channels)
    y = net.add("layer", Dense(workload.units), [x], kernel=kernel, bias=_bias(workload.units))
    return Harness(net.build([y]), Halos())


def _conv(workload: ConvWorkload | Int8ConvWorkload, target: Target) -> Harness:
    quantized = isinstance(workload, Int8ConvWorkload)
    lanes = _lanes(target, quantized)
    filters = workload.blocks * lanes
    op = Conv2D(filters, workload.kernel, workload.stride, dilation=workload.dilation, activation=RELU6)
    net, x = _image(workload, workload.channels, quantized)
    if _must_be_blocked(workload, lanes):
        x = net.add("blocked", Pool("max", (1, 1)), [x])  # its result is blocked
    y = _layer(net, x, op, workload.channels, quantized)
    return Harness(net.build([y]), _halo_against_one_row(workload, net.layers[-1].inputs[0]))


def _must_be_blocked(workload: ConvWorkload | Int8ConvWorkload, lanes: int) -> bool:
    """Whether the planner would take an image another way than blocked if it came as the user passes it."""
    if isinstance(workload, Int8ConvWorkload):
        return workload.kernel[1] > 1  # its columns might be gathered
    return workload.blocked and workload.channels < lanes


def _depthwise(workload: DepthwiseWorkload | Int8DepthwiseWorkload, target: Target) -> Harness:
    quantized = isinstance(workload, Int8DepthwiseWorkload)
    channels = workload.blocks * _lanes(target, quantized)
    op = Conv2D(
        channels, workload.kernel, workload.stride, dilation=workload.dilation, groups=channels, activation=RELU6
    )
    net, x = _image(workload, channels, quantized)
    y = _layer(net, x, op, channels, quantized)
    return Harness(net.build([y]), Halos())


_Spatial = ConvWorkload | Int8ConvWorkload | DepthwiseWorkload | Int8DepthwiseWorkload


def _lanes(target: Target, quantized: bool) -> int:
    from dscompile.plan.elements import element_of

    kind = Tensor("x", (1,), "int8", Quantization((_STEP,), 0)) if quantized else Tensor("x", (1,))
    return element_of(kind, target).lanes


def _image(workload: _Spatial, channels: int, quantized: bool) -> tuple[NetworkBuilder, str]:
    """A network with an input that is just large enough for the result."""
    net = NetworkBuilder("harness", "tflite" if quantized else None)
    sizes = zip((workload.height, workload.width), workload.kernel, workload.stride, workload.dilation, strict=True)
    height, width = ((n - 1) * step + dilated_extent(taps, gap) for n, taps, step, gap in sizes)
    shape = (1, height, width, channels)
    tensor = Tensor("x", shape, "int8", Quantization((_STEP,), 3)) if quantized else Tensor("x", shape)
    return net, net.input(tensor)


def _layer(net: NetworkBuilder, x: str, op: Conv2D, channels: int, quantized: bool) -> str:
    rng = np.random.default_rng(SEED)
    shape = (*op.kernel, channels // op.groups, op.out_channels)
    depth = op.kernel[0] * op.kernel[1] * channels // op.groups
    if not quantized:
        return net.add("layer", op, [x], kernel=_weights(shape, depth), bias=_bias(op.out_channels))
    return net.add(
        "layer",
        op,
        [x],
        quantization=Quantization((6 / 255,), -128),
        kernel=rng.integers(-127, 128, shape, np.int8),
        kernel_scale=rng.uniform(0.01, 0.02, op.out_channels).astype(np.float32) / np.float32(np.sqrt(depth)),
        bias=rng.integers(-1000, 1000, op.out_channels, np.int32),
    )


def _weights(shape: tuple[int, ...], depth: int) -> Array:
    """Such that sums of `depth` products are about 1, so that clamping hides little."""
    scale = np.sqrt(3 / depth)
    return np.random.default_rng(SEED).uniform(-scale, scale, shape).astype(np.float32)


def _bias(channels: int) -> Array:
    return np.linspace(0, 3, channels, dtype=np.float32)


def _halo_against_one_row(workload: ConvWorkload | Int8ConvWorkload, image: str) -> Halos:
    """A pointwise convolution over several rows is one whose image has gaps between rows."""
    pointwise: tuple[Pair, Pair] = (workload.kernel, workload.stride)
    if pointwise == ((1, 1), (1, 1)) and workload.height > 1:
        return Halos({image: Pads(1, 1, 1, 1)})
    return Halos()

"""Small int8 networks for tests, and random ones."""

from __future__ import annotations

import numpy as np

from dscompile import oracle
from dscompile.ir.network import Array, Network, NetworkBuilder
from dscompile.ir.ops import (
    NONE,
    RELU,
    RELU6,
    Activate,
    Activation,
    Binary,
    Conv2D,
    Dense,
    Mean,
    Op,
    Pad,
    Pads,
    Pool,
    Reshape,
)
from dscompile.ir.tensor import Quantization, Rounding, Tensor

Q = Quantization((0.05,), -3)


class Int8Net(NetworkBuilder):
    """A network that begins with the int8 input `x`."""

    def __init__(self, shape: tuple[int, ...] = (1, 4, 4, 3), rounding: Rounding = "tflite") -> None:
        super().__init__("tiny", rounding)
        self.input(Tensor("x", shape, "int8", Q))

    def linear(
        self,
        name: str,
        op: Conv2D | Dense,
        source: str,
        kernel: Array,
        bias: Array | None = None,
        scale: float = 0.01,
        made: Quantization = Q,
    ) -> str:
        """A convolution or dense layer with one scale for all channels."""
        channels = kernel.shape[-1]
        return self.add(
            name,
            op,
            [source],
            quantization=made,
            kernel=kernel.astype(np.int8),
            kernel_scale=np.full(channels, scale, np.float32),
            bias=None if bias is None else np.asarray(bias, np.int32),
        )


def random_input(network: Network, seed: int) -> dict[str, Array]:
    """Uniform integers, or for the seeds 0 and 1 the smallest and the largest."""
    rng = np.random.default_rng(seed)
    (name,) = network.inputs
    shape = network.shape(name)
    if seed < 2:
        return {name: np.full(shape, -128 if seed == 0 else 127, np.int8)}
    return {name: rng.integers(-128, 128, shape).astype(np.int8)}


def assert_same(first: Network, second: Network, seeds: int = 6) -> None:
    """Both networks make the same integers."""
    for seed in range(seeds):
        x = random_input(first, seed)
        wanted, got = oracle.run(first, x), oracle.run(second, x)
        assert list(wanted) == list(got)
        for name in wanted:
            np.testing.assert_array_equal(wanted[name], got[name])


def random_int8_network(seed: int) -> Network:
    """A chain with side branches, many of whose channels are constant: large biases and few weights."""
    rng = np.random.default_rng(seed)
    net = Int8Net((1, int(rng.integers(4, 9)), int(rng.integers(4, 9)), int(rng.integers(1, 5))), _rounding(rng))
    tensor = "x"
    for index in range(int(rng.integers(3, 8))):
        tensor = _random_layer(net, rng, tensor, f"layer{index}")
    channels = net.tensors[tensor].shape[-1]
    pooled = net.add("mean", Mean() if rng.integers(2) else Pool("average"), [tensor])
    flat = net.add("flat", Reshape((1, channels)), [pooled])
    _random_linear(net, rng, "dense", Dense(5), flat)
    return net.build(["dense"] + (["layer1"] if rng.integers(4) == 0 else []))


def _rounding(rng: np.random.Generator) -> Rounding:
    return (("tflite", "float32", "half-up", "single") * 2)[rng.integers(8)]  # type: ignore[return-value]


def _random_quantization(rng: np.random.Generator) -> Quantization:
    return Quantization((float(np.float32(rng.uniform(0.01, 0.1))),), int(rng.choice([-128, -128, 0, 17])))


def _random_linear(net: Int8Net, rng: np.random.Generator, name: str, op: Conv2D | Dense, source: str) -> str:
    depth = net.tensors[source].shape[-1]
    shape = (depth, op.units) if isinstance(op, Dense) else (*op.kernel, depth // op.groups, op.out_channels)
    kernel = rng.integers(-127, 128, shape) * (rng.random(shape) < 0.5)
    bias = rng.integers(-40000, 40000, shape[-1])
    return net.linear(name, op, source, kernel, bias, float(rng.uniform(0.0005, 0.01)), _random_quantization(rng))


def _random_layer(net: Int8Net, rng: np.random.Generator, source: str, name: str) -> str:
    _, height, width, channels = net.tensors[source].shape
    activation: Activation = (NONE, RELU, RELU6)[rng.integers(3)]
    pads = Pads(1, 1, 1, 1) if rng.integers(2) else Pads()
    small = min(height, width) < 4
    kernel = (1, 1) if small or rng.integers(2) else (3, 3)
    op: Op
    match int(rng.integers(6)):
        case 0 | 1:
            op = Conv2D(int(rng.integers(1, 9)), kernel, pads=pads, activation=activation)
            return _random_linear(net, rng, name, op, source)
        case 2 | 3 if channels > 1:
            multiplier = int(rng.integers(1, 3))
            op = Conv2D(channels * multiplier, kernel, pads=pads, groups=channels, activation=activation)
            return _random_linear(net, rng, name, op, source)
        case 4 if not small:
            return net.add(name, Pool("max", (2, 2), activation=activation), [source])
        case _:
            padded = net.add(f"{name}.pad", Pad(Pads(0, 1, 1, 0)), [source])
            clipped = net.add(f"{name}.clip", Activate(RELU), [padded])
            return net.add(name, Binary("add", activation), [clipped, padded])

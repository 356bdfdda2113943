"""Networks over a window of frames, window by window, beside networks that take new frames alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dscompile import NetworkBuilder
from dscompile.api.sliding import slid
from dscompile.ir.network import Array, Network
from dscompile.oracle import run
from dscompile.oracle.stream import Stream
from dscompile.passes.slide import Slid
from dscompile.quantization import Settings, quantize_network

TOLERANCE = 1e-5  # float32: of the largest magnitude of an output over all windows


def keyword_network(channels: int = 16, rows: int = 49, *, softmax: bool = True) -> Network:
    """Keyword spotting as MLPerf Tiny has it, but without padding over time: two frames a step."""
    net = NetworkBuilder("kws", defaults={"activation": "relu"})
    x = net.input("mfcc", [1, rows, 10, 1])
    x = net.conv(x, out=channels, kernel=[10, 4], stride=2, padding=[0, 0, 1, 2])
    for _ in range(4):
        x = net.depthwise(x, kernel=3, padding=[0, 0, 1, 1])
        x = net.pointwise(x, out=channels)
    x = net.pool(x, kind="average", over="all")
    x = net.dense(x, out=12, activation="none")
    return net.build(net.softmax(x) if softmax else x, seed=7)


def temporal_network() -> Network:
    """As TC-ResNet (Choi et al. 2019): coefficients are channels, a frame a row; residuals in strides, cropped."""
    net = NetworkBuilder("temporal", defaults={"activation": "relu", "padding": "valid"})
    x = net.conv(net.input("mfcc", [1, 61, 1, 40]), out=8, kernel=[3, 1])
    for channels in (12, 16):
        y = net.conv(x, out=channels, kernel=[5, 1], stride=[2, 1])
        y = net.conv(y, out=channels, kernel=[5, 1], activation="none")
        crop = net.slice(x, rows=[6, 6 + 2 * net.shape(y)[1] - 1])
        x = net.add(net.conv(crop, out=channels, kernel=1, stride=[2, 1]), y)
    return net.build(net.dense(net.pool(x, kind="average", over="all"), out=12, activation="none"), seed=3)


def broadcast_network() -> Network:
    """As BC-ResNet (Kim et al. 2021): frames are columns; dilated means over bands are added to all bands."""
    net = NetworkBuilder("broadcast", defaults={"activation": "relu"})
    x = net.input("bands", [1, 1, 16, 44], layout="nchw")
    x = net.conv(x, out=6, kernel=[5, 5], stride=[2, 1], padding=[2, 2, 0, 0])
    for dilation in (1, 2, 4):
        y = net.depthwise(x, kernel=[3, 1], padding=[1, 1, 0, 0], activation="none")
        mean = net.pool(y, kind="average", kernel=[net.shape(y)[1], 1], stride=1, padding="valid")
        mean = net.depthwise(mean, kernel=[1, 3], dilation=[1, dilation], padding="valid")
        columns = [dilation, dilation + net.shape(mean)[2]]
        x = net.add(net.slice(y, columns=columns), net.pointwise(mean, out=6))
    x = net.pool(net.conv(x, out=6, kernel=[5, 5], padding="valid"), kind="average", over="all")
    return net.build(net.dense(x, out=5, activation="none"), seed=3)


def quantized(network: Network, settings: Settings | None = None) -> Network:
    """A float network as `dscompile quantize` makes it int8, calibrated on random frames."""
    rng = np.random.default_rng(3)
    (name,) = network.inputs
    samples = [{name: rng.standard_normal(network.shape(name)).astype(np.float32)} for _ in range(8)]
    return quantize_network(network, samples, settings or Settings(weight_rounding="nearest")).network


def sound(network: Network, frames: int, axis: int, seed: int = 5) -> Array:
    """Random frames for the input of a network, one after the other along `axis` (channels last), loud and quiet."""
    rng = np.random.default_rng(seed)
    tensor = network.tensor(network.inputs[0])
    shape = (*tensor.shape[:axis], frames, *tensor.shape[axis + 1 :])
    loudness = np.abs(np.sin(np.arange(frames) / 9.0)) + 0.05
    values = rng.standard_normal(shape) * loudness.reshape([-1 if each == axis else 1 for each in range(len(shape))])
    if tensor.quantization is None:
        return values.astype(np.float32)
    low, high = (0, 255) if tensor.dtype == "uint8" else (-128, 127)
    integers = np.rint(values / tensor.quantization.scale) + tensor.quantization.zero_point
    return np.clip(integers, low, high).astype(tensor.dtype)


@dataclass(frozen=True)
class Windows:
    """A stream of frames: the new ones of each step, and the window that ends with them. Zeros come before all."""

    network: Network
    axis: int
    step: int
    frames: Array

    def __iter__(self) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
        """The inputs of a step, and what the network makes of its window; channels last."""
        (name,) = self.network.inputs
        tensor = self.network.tensor(name)
        length = tensor.shape[self.axis]
        zero = tensor.quantization.zero_point if tensor.quantization is not None else 0
        before = np.full(tensor.shape, zero, tensor.dtype)
        all_frames = np.concatenate([before, self.frames], self.axis)
        for first in range(0, self.frames.shape[self.axis] - self.step + 1, self.step):
            new = np.take(self.frames, range(first, first + self.step), self.axis)
            window = np.take(all_frames, range(first + self.step, first + self.step + length), self.axis)
            yield {name: new}, run(self.network, {name: window})


def newest(window: Array, made: Array) -> Array:
    """Of an output with rows over time the last ones, as many as a step makes of them."""
    return window[tuple(slice(whole - new, None) for whole, new in zip(window.shape, made.shape, strict=True))]


def assert_slides(network: Network, axis: int | None = None, step: int | None = None, steps: int = 60) -> Slid:
    """The network of a step gives in each what the network gives on its window: integers to the bit."""
    made = slid(network, step=step, axis=axis)
    along = next(
        place
        for place, (old, new) in enumerate(
            zip(network.shape(network.inputs[0]), made.network.shape(network.inputs[0]), strict=True)
        )
        if old != new
    )
    stream = Stream(made.network)
    frames = sound(network, steps * made.step, along)
    pairs: list[tuple[dict[str, Array], dict[str, Array]]] = []
    for inputs, window in Windows(network, along, made.step, frames):
        results = stream.step(inputs)
        pairs.append(({name: newest(window[name], results[name]) for name in network.outputs}, results))
    assert_same(pairs, network.outputs)
    return made


def assert_same(pairs: Sequence[tuple[dict[str, Array], dict[str, Array]]], outputs: Sequence[str]) -> None:
    """Outputs of all steps beside those of all windows; they must move, so that a wrong state would show."""
    for name in outputs:
        want = np.stack([window[name] for window, _ in pairs])
        got = np.stack([results[name] for _, results in pairs])
        assert len(np.unique(want)) > 1
        if want.dtype == np.float32:
            np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE * float(np.abs(want).max()))
        else:
            np.testing.assert_array_equal(got, want)


def random_window(seed: int) -> Network:
    """Random convolutions and pools over time with branches that are cropped, joined, gated; nothing pads time."""
    rng = np.random.default_rng(seed)
    net = NetworkBuilder("random")
    x = net.input("x", [1, int(rng.integers(14, 26)), int(rng.integers(1, 4)), int(rng.choice([1, 3, 5]))])
    x = net.conv(x, out=int(rng.choice([2, 5, 8])), kernel=[int(rng.integers(1, 4)), 1], padding="valid")
    for _ in range(int(rng.integers(2, 6))):
        _, rows, _, channels = net.shape(x)
        kind = rng.choice(["conv", "depthwise", "pool", "residual", "branches", "activation", "pointwise"])
        kernel, dilation, stride = int(rng.integers(1, 4)), int(rng.integers(1, 3)), int(rng.choice([1, 1, 1, 2, 3]))
        if rows < 2 * ((kernel - 1) * dilation + 1) + 4:
            kind = "activation"
        window = {"kernel": [kernel, 1], "padding": "valid"}
        match kind:
            case "conv":
                out = int(rng.integers(1, 7))
                x = net.conv(x, out=out, dilation=[dilation, 1], stride=[stride, 1], activation="relu", **window)
            case "depthwise":
                x = net.depthwise(x, multiplier=int(rng.integers(1, 3)), dilation=[dilation, 1], **window)
            case "pool":
                x = net.pool(x, kind=str(rng.choice(["average", "max"])), stride=[stride, 1], **window)
            case "residual":
                y = net.conv(x, out=channels, dilation=[dilation, 1], **window)
                first = int(rng.integers(0, rows - net.shape(y)[1] + 1))
                crop = net.slice(x, rows=[first, first + net.shape(y)[1]])
                x = net.add(crop, y, activation="relu")
            case "branches":
                y = net.conv(x, out=3, dilation=[dilation, 1], **window)
                z = net.depthwise(x, kernel=[(kernel - 1) * dilation + 1, 1], padding="valid")
                x = net.concat(y, z)
            case "pointwise":
                x = net.pointwise(x, out=int(rng.integers(1, 7)), activation="hard_swish")
            case _:
                x = net.activation(x, kind="tanh")
    if rng.random() < 0.3:
        gate = net.pool(x, kind="average", over="all")
        x = net.mul(x, net.pointwise(gate, out=net.shape(x)[3], activation="sigmoid"))
    x = net.pool(x, kind="average", over="all") if rng.random() < 0.5 else x
    return net.build(net.dense(net.flatten(x), out=4), seed=seed)

"""Networks that keep state, small enough to be checked by hand, and runs of them beside the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dscompile.api.models import Stream
from dscompile.api.reference import OracleStream
from dscompile.ir.network import Array, Layer, Network, NetworkBuilder
from dscompile.ir.ops import RELU, TANH, Activate, Binary, Concat, Conv2D, Op, Pads, Reshape, Slice
from dscompile.ir.state import State
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.report.vectors import seeded_inputs
from tests.networks import random_network

Q = Quantization((0.05,), -3)


def ring(
    rows: int = 4, new: int = 1, channels: int = 6, *, int8: bool = False, initial: Array | None = None
) -> Network:
    """A depthwise convolution over the last `rows` + `new` rows of a stream, then a pointwise one."""
    net = NetworkBuilder("ring", "tflite" if int8 else None)
    rng = np.random.default_rng(7)
    kind = {"dtype": "int8", "quantization": Q} if int8 else {}

    def weights(*shape: int) -> dict[str, Array]:
        if not int8:
            return {"kernel": rng.standard_normal(shape).astype(np.float32)}
        scales = np.full(shape[-1], 0.01, np.float32)
        return {"kernel": rng.integers(-127, 128, shape).astype(np.int8), "kernel_scale": scales}

    made = {"quantization": Q} if int8 else {}
    net.input(Tensor("x", (1, new, 1, channels), **kind))
    net.input(Tensor("last", (1, rows, 1, channels), **kind))
    mixed = net.add(
        "mix", Conv2D(channels, (1, 1), activation=RELU), ["x"], **made, **weights(1, 1, channels, channels)
    )
    joined = net.add("rows", Concat(1), ["last", mixed])
    kept = net.add("kept", Slice((0, new, 0, 0), (1, rows, 1, channels)), [joined])
    depthwise = Conv2D(channels, (rows + new, 1), groups=channels)
    y = net.add("depthwise", depthwise, [joined], **made, **weights(rows + new, 1, 1, channels))
    y = net.add("y", Conv2D(3, (1, 1)), [y], **made, **weights(1, 1, channels, 3))
    first = np.full((1, rows, 1, channels), -3 if int8 else 0.0, np.int8 if int8 else np.float32)
    net.keep("last", kept, first if initial is None else initial)
    return net.build([y])


def total() -> Network:
    """y is the sum of all inputs so far; the old sum is read after the new one is ready."""
    net = NetworkBuilder("total")
    for name in ("x", "sum"):
        net.input(Tensor(name, (1, 2, 3, 4)))
    grown = net.add("grown", Binary("add"), ["x", "sum"])
    y = net.add("both", Concat(3), [grown, "sum"])
    net.keep("sum", grown, np.full((1, 2, 3, 4), 0.5, np.float32))
    return net.build([y])


def delay_line() -> Network:
    """y is the input of two inferences ago: one state hands its value to the next."""
    net = NetworkBuilder("delay")
    for name in ("x", "one", "two"):
        net.input(Tensor(name, (1, 3)))
    first = net.add("first", Reshape((1, 3)), ["x"])
    second = net.add("second", Reshape((1, 3)), ["one"])
    y = net.add("y", Binary("add"), ["two", "two"])
    net.keep("one", first, np.zeros((1, 3), np.float32))
    net.keep("two", second, np.ones((1, 3), np.float32))
    return net.build([y])


def swapped() -> Network:
    """Two states take each other's value."""
    net = NetworkBuilder("swapped")
    for name in ("x", "one", "two"):
        net.input(Tensor(name, (1, 3)))
    net.keep("one", net.add("first", Reshape((1, 3)), ["two"]), np.zeros((1, 3), np.float32))
    net.keep("two", net.add("second", Reshape((1, 3)), ["one"]), np.ones((1, 3), np.float32))
    return net.build([net.add("y", Binary("add"), ["x", "one"])])


def gated() -> Network:
    """A small recurrent cell: h' = relu(conv(x) + conv(h)) with a padded convolution over the state, read twice."""
    net = NetworkBuilder("gated")
    rng = np.random.default_rng(3)
    for name in ("x", "h"):
        net.input(Tensor(name, (1, 5, 4, 8)))
    around = Pads(1, 1, 1, 1)
    kernels = [0.1 * rng.standard_normal((3, 3, 8, 8)).astype(np.float32) for _ in range(2)]
    a = net.add("from_x", Conv2D(8, (3, 3), pads=around), ["x"], kernel=kernels[0])
    b = net.add("from_h", Conv2D(8, (3, 3), pads=around), ["h"], kernel=kernels[1])
    new = net.add("new", Binary("add", RELU), [a, b])
    y = net.add("y", Binary("mul"), [new, "h"])
    net.keep("h", new, rng.standard_normal((1, 5, 4, 8)).astype(np.float32))
    return net.build([y])


NETWORKS = {
    "float ring": ring,
    "int8 ring": lambda: ring(int8=True),
    "ring of two new rows": lambda: ring(5, 2, 17),
    "more new rows than old": lambda: ring(1, 3),
    "total": total,
    "delay line": delay_line,
    "gated": gated,
}


def random_streaming(seed: int) -> Network:
    """A random network with a state: it is added to a tensor, perhaps read late, and becomes what some layer made."""
    base, rng = random_network(seed, nchw_borders=False), np.random.default_rng(seed)
    inner = [layer.output for layer in base.layers if layer.output not in base.outputs]
    mixed = str(rng.choice(inner or [layer.output for layer in base.layers]))
    shape = base.shape(mixed)
    tensors = {**base.tensors, "state": Tensor("state", shape), "mixed": Tensor("mixed", shape)}
    layers: list[Layer] = []
    for layer in base.layers:
        inputs = tuple("mixed" if name == mixed else name for name in layer.inputs)
        layers.append(replace(layer, inputs=inputs))
        if layer.output == mixed:
            layers.append(Layer("mixer", Binary("add"), (mixed, "state"), "mixed"))
    alike = [layer.output for layer in layers if tensors[layer.output].shape == shape]
    outputs = list(base.outputs)

    def add(name: str, op: Op, *inputs: str) -> None:
        tensors[name] = Tensor(name, shape)
        layers.append(Layer(f"{name}_layer", op, inputs, name))

    made = str(rng.choice(alike))
    if rng.integers(2):
        add("product", Binary("mul"), made, "state")
        outputs.append("product")
    add("next", Activate(TANH) if rng.integers(2) else Reshape(shape), made)
    if rng.integers(2):
        add("late", Binary("add"), "state", "next")
        outputs.append("late")
    state = State("state", "next", rng.standard_normal(shape).astype(np.float32))
    borders = ((*base.inputs, "state"), (*outputs, "next"))
    return Network(base.name, *borders, tensors, tuple(layers), base.weights, states=(state,)).validate()


def frames(network: Network, count: int) -> list[dict[str, Array]]:
    """Inputs of consecutive inferences, in border shapes."""
    tensors = [network.tensor(name) for name in network.user_inputs]
    return [seeded_inputs(tensors, seed) for seed in range(count)]


def differing_frames(stream: Stream, network: Network, inputs: Sequence[dict[str, Array]]) -> list[int]:
    """The numbers of the inferences whose outputs are not the oracle's: integers exactly, floats to 1e-4."""
    oracle, wrong = OracleStream(network), []
    for number, feeds in enumerate(inputs):
        want, got = oracle.step(feeds), stream.run(feeds)
        for name in network.user_outputs:
            limit = 0.0 if want[name].dtype != np.float32 else 1e-4 * max(1.0, float(np.abs(want[name]).max()))
            if not np.abs(got[name].astype(np.float64) - want[name].astype(np.float64)).max() <= limit:
                wrong.append(number)
    return wrong

"""From a failing network to a small one that fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import NONE, Activation, Constant, Op, Pads
from dscompile.ir.tensor import Shape
from tests.generate.rebuild import Changes, rebuilt

MOST_TRIALS = 400


def minimized(network: Network, fails: Callable[[Network], bool], most_trials: int = MOST_TRIALS) -> Network:
    """The smallest network that was found by taking steps that leave it failing, until no step does.

    A step takes layers away, makes an input of a tensor, drops a bias, an activation or padding, or makes kernels,
    strides, channels and images smaller. Every one makes `weight_of` smaller, so this ends; `most_trials` ends it
    sooner.
    """
    trials = 0
    while True:
        for candidate in _candidates(network):
            if weight_of(candidate) >= weight_of(network):
                continue
            trials += 1
            if fails(candidate):
                network = candidate
                break
            if trials >= most_trials:
                return network
        else:
            return network


def weight_of(network: Network) -> tuple[int, int, int, int]:
    """Layers, then inputs and outputs, then what is special about operators, then numbers of all kinds."""
    numbers = sum(t.elements for t in network.tensors.values()) + sum(array.size for array in network.weights.values())
    special = sum(_specials(layer.op) for layer in network.layers)
    biases = sum(key.endswith(".bias") for key in network.weights)
    layouts = sum(network.tensor(name).border != "nhwc" for name in (*network.inputs, *network.outputs))
    borders = len(network.inputs) + len(network.outputs)
    return len(network.layers), borders, special + biases + layouts, numbers


def _candidates(network: Network) -> Iterator[Network]:
    """Networks that are one step smaller, those of the largest steps first."""
    yield from filter(None, (_alone(network, layer) for layer in network.layers if layer.inputs))
    for layer in network.layers:
        yield _with_outputs(network, (layer.output,))
    for name in network.outputs if len(network.outputs) > 1 else ():
        yield _with_outputs(network, tuple(other for other in network.outputs if other != name))
    for layer in reversed(network.layers):
        yield from filter(None, (_from(network, layer), _around(network, layer)))
    for changes in _changes(network):
        made = rebuilt(network, changes)
        if made is not None:
            yield made
    for name in (*network.inputs, *network.outputs):
        if network.tensor(name).border != "nhwc":
            plain = replace(network.tensor(name), border="nhwc")
            yield replace(network, tensors={**network.tensors, name: plain})


def _with_outputs(network: Network, outputs: tuple[str, ...]) -> Network:
    """The network without the layers and inputs that lead to no output."""
    needed = set(outputs)
    kept: list[Layer] = []
    for layer in reversed(network.layers):
        if layer.output in needed:
            kept.insert(0, layer)
            needed.update(layer.inputs)
    inputs = tuple(name for name in network.inputs if name in needed) or network.inputs[:1]
    return _typed(replace(network, outputs=outputs, inputs=inputs, labels=()).with_layers(kept))


def _alone(network: Network, layer: Layer) -> Network | None:
    """Only this layer, and the constants it reads."""
    constants = [la for la in network.layers if isinstance(la.op, Constant) and la.output in layer.inputs]
    made = {la.output for la in constants}
    inputs = tuple(dict.fromkeys(name for name in layer.inputs if name not in made))
    if not inputs:
        return None
    only = replace(network, inputs=inputs, outputs=(layer.output,), labels=()).with_layers([*constants, layer])
    return _typed(only)


def _from(network: Network, layer: Layer) -> Network | None:
    """The result of this layer as an input; what only led to it goes."""
    if layer.output in network.outputs:
        return None
    rest = [other for other in network.layers if other is not layer]
    grown = replace(network, inputs=(*network.inputs, layer.output)).with_layers(rest)
    return _with_outputs(grown, network.outputs)


def _around(network: Network, layer: Layer) -> Network | None:
    """Readers of this layer read its first input instead."""
    if not layer.inputs or layer.output in network.outputs:
        return None
    given, made = network.tensor(layer.inputs[0]), network.tensor(layer.output)
    if (given.shape, given.dtype, given.quantization) != (made.shape, made.dtype, made.quantization):
        return None
    kept = [
        replace(la, inputs=tuple(given.name if name == made.name else name for name in la.inputs))
        for la in network.layers
        if la is not layer
    ]
    return _with_outputs(network.with_layers(kept), network.outputs)


def _typed(network: Network) -> Network:
    """A network whose integers are gone needs no rounding any more."""
    return replace(network, rounding=network.rounding if network.is_quantized else None)


def _changes(network: Network) -> Iterator[Changes]:
    for layer in network.layers:
        if network.has_weight(layer, "bias"):
            yield Changes(without_bias=frozenset({layer.name}))
        for op in _simpler(layer.op):
            yield Changes(ops={layer.name: op})
    for name in network.inputs:
        shape = network.shape(name)
        for axis in range(1, len(shape)):
            for size in _smaller(shape[axis]):
                yield Changes(shapes=_everywhere(network, name, axis, size))


def _everywhere(network: Network, name: str, axis: int, size: int) -> dict[str, Shape]:
    """An axis of an input made smaller, also of the other inputs of its shape: they may be added."""
    shape = network.shape(name)
    return {
        other: (*shape[:axis], size, *shape[axis + 1 :]) for other in network.inputs if network.shape(other) == shape
    }


def _smaller(size: int) -> Iterable[int]:
    return sorted({1, size // 2, size - 1} - {0, size}) if size > 1 else ()


def _specials(op: Op) -> int:
    """How many fields of an operator are not the simplest."""
    return sum(1 for _ in _simple_fields(op))


def _simple_fields(op: Op) -> Iterator[tuple[str, object]]:
    """Fields with their simplest value, of those that have another."""
    for one in fields(op):
        value = getattr(op, one.name)
        match value:
            case Activation() if value and one.name != "activation":
                continue
            case Activation() if value.kind not in ("none", "prelu"):
                yield one.name, NONE
            case Pads() if value:
                yield one.name, Pads()
            case True:
                yield one.name, False
            case (int(), int()) if (
                one.name in ("kernel", "stride", "dilation", "block") and min(value) > 0 and value != (1, 1)
            ):
                yield one.name, (1, 1)
            case int() if one.name == "groups" and value > 1:
                yield one.name, 1


def _simpler(op: Op) -> Iterator[Op]:
    """Operators with all fields as simple as they can be, then with one of them, or smaller."""
    simple = dict(_simple_fields(op))
    if len(simple) > 1:
        yield replace(op, **simple)
    if {"kernel", "pads"} <= simple.keys():  # smaller kernels often allow no padding, and no padding larger ones
        yield replace(op, kernel=simple["kernel"], pads=simple["pads"])
    for name, value in simple.items():
        yield replace(op, **{name: value})
    for one in fields(op):
        value = getattr(op, one.name)
        if one.name in ("out_channels", "units"):
            yield from (replace(op, **{one.name: size}) for size in _smaller(value))
        if one.name == "kernel" and isinstance(value, tuple):
            for axis in (0, 1):
                for size in _smaller(value[axis]):
                    yield replace(op, kernel=(size, value[1]) if axis == 0 else (value[0], size))

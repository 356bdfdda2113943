"""One layer as a network of its own, so that the oracle can run layer after layer while values change between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dscompile.ir.network import Array, Layer, Network
from dscompile.oracle import run


def layer_alone(network: Network, layer: Layer) -> Network:
    """The network that is only `layer`: its inputs are the layer's, its output is the layer's."""
    names = dict.fromkeys((*layer.inputs, layer.output))
    prefix = f"{layer.name}."
    return replace(
        network,
        inputs=tuple(dict.fromkeys(layer.inputs)),
        outputs=(layer.output,),
        tensors={name: network.tensor(name) for name in names},
        layers=(layer,),
        weights={
            key: value
            for key, value in network.weights.items()
            if key.startswith(prefix) and key.rpartition(".")[0] == layer.name
        },
        labels=(),
    )


def run_layer(alone: Network, values: Mapping[str, Array]) -> Array:
    """The result of a network of one layer, from `values` that hold at least its inputs."""
    return run(alone, {name: values[name] for name in alone.inputs})[alone.outputs[0]]

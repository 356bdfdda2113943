"""Layers that lead nowhere go."""

from __future__ import annotations

from dscompile.ir.network import Network


def drop_unused(network: Network) -> Network:
    """Removes every layer from which no output of the network can be reached. Inputs stay, read or not."""
    needed = set(network.outputs)
    kept = []
    for layer in reversed(network.layers):
        if layer.output in needed:
            kept.append(layer)
            needed.update(layer.inputs)
    return network if len(kept) == len(network.layers) else network.with_layers(reversed(kept))

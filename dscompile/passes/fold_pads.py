"""Padding layers become the padding of the convolutions that read them."""

from __future__ import annotations

from dataclasses import replace

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Conv2D, Pad, Pads
from dscompile.passes.rewrite import apply_everywhere, substitute


def fold_pads(network: Network) -> Network:
    """Removes every Pad of zeros that only Conv2D layers read; their own padding grows by it.

    Not for pools: a maximum never takes a padded tap, and an average counts it or not.
    """
    return apply_everywhere(_fold, network)


def _fold(network: Network, layer: Layer) -> Network | None:
    if (
        not isinstance(layer.op, Pad)
        or layer.op.mode != "constant"
        or layer.op.value != 0
        or layer.output in network.outputs
    ):
        return None
    changes: dict[str, list[Layer]] = {layer.name: []}
    for reader in network.consumers[layer.output]:
        if not isinstance(reader.op, Conv2D):
            return None
        op = replace(reader.op, pads=_sum(reader.op.pads, layer.op.pads))
        changes[reader.name] = [replace(reader, op=op, inputs=layer.inputs)]
    return substitute(network, changes)


def _sum(first: Pads, second: Pads) -> Pads:
    return Pads(
        first.top + second.top, first.bottom + second.bottom, first.left + second.left, first.right + second.right
    )

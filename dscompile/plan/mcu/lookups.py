"""Functions of one int8 element as tables of 256 bytes, as layers of their own or after a convolution."""

from __future__ import annotations

import numpy as np

from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Activate, Lookup, Quantize
from dscompile.plan.integer_tables import activation_table, requantization_table


def is_lookup(network: Network, layer: Layer) -> bool:
    """Whether a layer is a table from int8 to int8."""
    if any(network.tensor(name).dtype != "int8" for name in (*layer.inputs, layer.output)):
        return False
    return isinstance(layer.op, Activate | Lookup | Quantize)


def lookup_table(network: Network, layer: Layer) -> Array:
    """[256]: the results of such a layer for -128, -127, ..."""
    match layer.op:
        case Activate():
            return activation_table(network, layer, layer.op.activation)
        case Lookup():
            return np.asarray(network.weight(layer, "table"))
        case _:
            return requantization_table(network, layer)

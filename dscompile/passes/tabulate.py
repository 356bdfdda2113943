"""Functions of a single int8 become tables: what is spelled out in float32 between two int8 tensors costs a lookup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.fixed_point import float_product, tensor_quantization
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Activate, Binary, Dequantize, Lookup, Quantize
from dscompile.ir.tensor import INTEGER_RANGES
from dscompile.passes.evaluate import evaluate
from dscompile.passes.rewrite import constant_value, read_only, substitute

Values = NDArray[np.float64]

_EVERY = np.arange(-128, 128, dtype=np.float64)


def tabulate(network: Network) -> Network:
    """Puts one Lookup in the place of every int8 tensor that depends on one other int8 tensor, element by element.

    Models in QDQ format have their activations in float32: x * sigmoid(x) is a Dequantize, an Activate, a Quantize, and
    a product; all of it is a function of one int8. Layers are evaluated for all 256 numbers in the arithmetic that they
    have, so that no result changes: float32 layers in float64, rounded to float32 as the oracle does, int8 products in
    the rounding `float32`. What nobody reads any more stays, for `drop_unused`.
    """
    if not network.is_quantized:
        return network
    tables = _Tables(network)
    changes, weights = {}, {}
    for layer in network.layers:
        found = tables.of(layer.output)
        if found is None or not _saves_work(network, layer, found.source):
            continue
        changes[layer.name] = [Layer(layer.name, Lookup(), (found.source,), layer.output)]
        weights[f"{layer.name}.table"] = read_only(found.values.astype(np.int8))
    return substitute(network, changes, weights) if changes else network


def _saves_work(network: Network, layer: Layer, source: str) -> bool:
    """Whether a layer makes int8 of something else than its source, or is a table behind a table."""
    if network.tensor(layer.output).dtype != "int8":
        return False
    return isinstance(layer.op, Quantize | Binary) or (isinstance(layer.op, Lookup) and layer.inputs != (source,))


@dataclass(frozen=True)
class _Table:
    """A tensor as a function of `source`: `values` [256], integers or reals, for the integers -128 to 127."""

    source: str
    values: Values


class _Tables:
    """Which tensors of a network are functions of one int8 tensor, and which functions."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._found: dict[str, _Table | None] = {}
        for layer in network.layers:
            self._found[layer.output] = self._made(layer)

    def of(self, tensor: str) -> _Table | None:
        """The table of a tensor, or None: it is an input, or made of more than one int8."""
        return self._found[tensor]

    def _made(self, layer: Layer) -> _Table | None:
        network, shape = self._network, self._network.shape(layer.output)
        operands: list[_Table] = []
        constants: dict[int, np.float64] = {}
        for index, name in enumerate(layer.inputs):
            table = self._operand(name)
            if table is not None and network.shape(name) == shape:
                operands.append(table)
            elif (single := _single(network, name)) is not None:
                constants[index] = single
            else:
                return None
        if len({table.source for table in operands}) != 1:
            return None
        values = self._value(layer, [table.values for table in operands], constants)
        return None if values is None else _Table(operands[0].source, values)

    def _operand(self, name: str) -> _Table | None:
        """A function of an earlier tensor, or an int8 tensor as itself."""
        found = self._found.get(name)
        if found is None and self._network.tensor(name).dtype == "int8":
            return _Table(name, _EVERY)
        return found

    def _value(self, layer: Layer, given: Sequence[Values], constants: Mapping[int, np.float64]) -> Values | None:
        network = self._network
        made = network.tensor(layer.output)
        match layer.op:
            case Lookup():
                return network.weight(layer, "table").astype(np.float64)[given[0].astype(np.int64) + 128]
            case Dequantize():
                quantization = tensor_quantization(network, layer.inputs[0])
                return _rounded(quantization.scale * (given[0] - quantization.zero_point))
            case Quantize() if network.tensor(layer.inputs[0]).dtype == "float32" and made.dtype in INTEGER_RANGES:
                return _quantized(network, layer, given[0].astype(np.float32))
            case Binary(kind="mul", activation=activation) if (
                made.dtype == "int8" and network.rounding == "float32" and not activation and len(given) == 2
            ):
                return _product(network, layer, given[0], given[1])
            case Activate() | Binary() if made.dtype == "float32":
                operands = list(given)
                for index, constant in sorted(constants.items()):
                    operands.insert(index, np.full(256, constant))
                result = evaluate(layer, operands)
                return None if result is None else _rounded(result)
            case _:
                return None


def _single(network: Network, name: str) -> np.float64 | None:
    """The only element of a float32 constant."""
    value = constant_value(network, name)
    if value is None or value.size != 1 or value.dtype != np.float32:
        return None
    return np.float64(value.reshape(-1)[0])


def _product(network: Network, layer: Layer, a: Values, b: Values) -> Values:
    level = float_product(network, layer).level(a.astype(np.int64), b.astype(np.int64))
    return np.clip(level, -128, 127).astype(np.float64)


def _quantized(network: Network, layer: Layer, reals: NDArray[np.float32]) -> Values:
    """Round(x / scale) + zero point in float32: halves to even in the rounding `float32`, else away from zero."""
    quantization = tensor_quantization(network, layer.output)
    scaled = (reals / np.float32(quantization.scale)).astype(np.float64)
    half_away = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
    rounded = np.rint(scaled) if network.rounding == "float32" else half_away
    low, high = INTEGER_RANGES[network.tensor(layer.output).dtype]
    return np.asarray(np.clip(rounded + quantization.zero_point, low, high))


def _rounded(values: Values) -> Values:
    return values.astype(np.float32).astype(np.float64)

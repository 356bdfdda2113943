"""Runs a network layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from dscompile.errors import BadInputError, Diagnostic, did_you_mean
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Quantize
from dscompile.oracle.float_ops import FLOAT_OPS
from dscompile.oracle.int8_operands import Int8Operands
from dscompile.oracle.int8_ops import INT8_OPS
from dscompile.oracle.operands import Operands


def run(network: Network, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of `network`, by name.

    Inputs and outputs have the types of their tensors and the IR's channels-last order, [1, H, W, C] for images (see
    `to_border` and `from_border` for the user's order). Raises BadInputError with all that is wrong with `inputs`.
    """
    values = run_all(network, inputs)
    return {name: values[name] for name in network.outputs}


def run_all(network: Network, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor of `network`, by name, in the order of computation; inputs and errors as for `run`."""
    _check_inputs(network, inputs)
    values: dict[str, Array] = {name: inputs[name] for name in network.inputs}
    with np.errstate(over="ignore", invalid="ignore"):  # infinities and NaNs go their way, as in float32 code
        for layer in network.layers:
            run_layer = _run_int8 if _is_int8(network, layer) else _run_float
            values[layer.output] = run_layer(network, layer, [values[name] for name in layer.inputs])
    return values


def _is_int8(network: Network, layer: Layer) -> bool:
    return network.is_quantized_layer(layer) or isinstance(layer.op, Quantize)


def _run_int8(network: Network, layer: Layer, inputs: Iterable[Array]) -> Array:
    """The layer's result in integers of 64 bits, which must fit the type of its tensor."""
    assert network.rounding is not None
    prefix = f"{layer.name}."
    tensor = network.tensor(layer.output)
    operands = Int8Operands(
        inputs=tuple(inputs),
        tensors=tuple(network.tensor(name) for name in layer.inputs),
        weights={
            key.removeprefix(prefix): array
            for key, array in network.weights.items()
            if key.rpartition(".")[0] == layer.name
        },
        output=tensor,
        rounding=network.rounding,
    )
    result = INT8_OPS[type(layer.op)](layer.op, operands)
    typed = result.astype(tensor.dtype)
    assert np.array_equal(typed, result), f"{layer.name} leaves {tensor.dtype}"
    return typed


def _run_float(network: Network, layer: Layer, inputs: Iterable[Array]) -> Array:
    """The layer's result: all of it, with bias and activation, in float64, then rounded once to float32 (or int32)."""
    prefix = f"{layer.name}."
    operands = Operands(
        inputs=tuple(np.asarray(array, np.float64) for array in inputs),
        weights={
            key.removeprefix(prefix): np.asarray(array, np.float64)
            for key, array in network.weights.items()
            if key.rpartition(".")[0] == layer.name
        },
    )
    compute = FLOAT_OPS[type(layer.op)]
    return compute(layer.op, operands).astype(network.tensor(layer.output).dtype)


def _check_inputs(network: Network, inputs: Mapping[str, Array]) -> None:
    problems = []
    for name in network.inputs:
        tensor = network.tensor(name)
        array = inputs.get(name)
        if array is None:
            problems.append(Diagnostic(f"input '{name}' is missing; it must be {tensor.dtype} {list(tensor.shape)}"))
            continue
        if array.shape != tensor.shape:
            problems.append(
                Diagnostic(f"input '{name}' has shape {list(array.shape)}, it must be {list(tensor.shape)}")
            )
        if array.dtype != tensor.dtype:
            problems.append(Diagnostic(f"input '{name}' is {array.dtype}, it must be {tensor.dtype}"))
    for name in inputs:
        if name not in network.inputs:
            problems.append(Diagnostic(f"the network has no input '{name}'", help=did_you_mean(name, network.inputs)))
    if problems:
        raise BadInputError(problems)

"""What LiteRT computes for an int8 model, layer by layer, beside what the oracle computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from ai_edge_litert import interpreter

from dscompile import oracle
from dscompile.ir.network import Array, Network
from dscompile.ir.ops import Concat, Constant, Pad, Reshape, Transpose

Kernels = Literal["reference", "optimized", "xnnpack"]

# Operators that move elements. An importer may drop them, or need others.
_MOVES = {"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "PAD", "PADV2", "CONCATENATION", "DELEGATE"}


def interpreter_of(path: Path, kernels: Kernels) -> interpreter.Interpreter:
    """TFLite's reference kernels with every tensor kept, its optimized ones, or LiteRT as it runs by default."""
    resolvers = {
        "reference": interpreter.OpResolverType.BUILTIN_REF,
        "optimized": interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        "xnnpack": interpreter.OpResolverType.AUTO,
    }
    runner = interpreter.Interpreter(
        str(path),
        num_threads=1,
        experimental_op_resolver_type=resolvers[kernels],
        experimental_preserve_all_tensors=kernels == "reference",
    )
    runner.allocate_tensors()
    return runner


def integer_inputs(network: Network, seed: int) -> dict[str, Array]:
    """Random inputs in the order of the source: uniform, or for odd seeds around the middle; floats are normal."""
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for name in network.inputs:
        tensor = network.tensor(name)
        low, high = (0, 256) if tensor.dtype == "uint8" else (-128, 128)
        if tensor.dtype == "float32":
            made[name] = rng.standard_normal(tensor.border_shape).astype(np.float32)
        elif seed % 2:
            centered = rng.normal((low + high) / 2, 40, tensor.border_shape)
            made[name] = np.clip(np.rint(centered), low, high - 1).astype(tensor.dtype)
        else:
            made[name] = rng.integers(low, high, tensor.border_shape).astype(tensor.dtype)
    return made


def oracle_tensors(network: Network, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """All tensors of the network, in the order of the IR."""
    return oracle.run_all(
        network, {name: oracle.from_border(network.tensor(name), array) for name, array in inputs.items()}
    )


def run_litert(runner: interpreter.Interpreter, inputs: Iterable[Array]) -> None:
    """One inference."""
    for detail, array in zip(runner.get_input_details(), inputs, strict=True):
        runner.set_tensor(detail["index"], array)
    runner.invoke()


def differing_outputs(network: Network, runner: interpreter.Interpreter, seeds: Iterable[int]) -> list[int]:
    """Elements of all outputs that differ, per seed."""
    counts = []
    for seed in seeds:
        inputs = integer_inputs(network, seed)
        run_litert(runner, inputs.values())
        values = oracle_tensors(network, inputs)
        different = 0
        for name, detail in zip(network.outputs, runner.get_output_details(), strict=True):
            got, want = oracle.to_border(network.tensor(name), values[name]), runner.get_tensor(detail["index"])
            assert got.shape == want.shape
            assert got.dtype == want.dtype
            different += int(np.sum(got != want))
        counts.append(different)
    return counts


def differing_layers(network: Network, runner: interpreter.Interpreter, seeds: Iterable[int]) -> tuple[list[str], int]:
    """Layers with an element that differs from the reference (as "name: count"), and how many elements were compared.

    Layers that compute are compared in order; those that only move elements on either side are left out.
    """
    operators = [found for found in runner._get_ops_details() if found["op_name"] not in _MOVES]
    layers = [la for la in network.layers if not isinstance(la.op, Reshape | Transpose | Pad | Concat | Constant)]
    assert len(operators) == len(layers)
    bad: list[str] = []
    compared = 0
    for seed in seeds:
        inputs = integer_inputs(network, seed)
        run_litert(runner, inputs.values())
        values = oracle_tensors(network, inputs)
        for operator, layer in zip(operators, layers, strict=True):
            got, want = values[layer.output], runner.get_tensor(operator["outputs"][0])
            assert got.size == want.size
            different = int(np.sum(got.reshape(-1) != want.reshape(-1)))
            compared += want.size
            if different:
                bad.append(f"{layer.name}: {different}")
    return bad, compared

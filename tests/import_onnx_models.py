"""ONNX models made for the importer's tests, and what onnxruntime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from dscompile import oracle
from dscompile.frontend.onnx.importer import import_onnx
from dscompile.ir.network import Array, Network

Shape = Sequence[int | str]


def node(op: str, inputs: str, outputs: str = "y", **attributes: object) -> onnx.NodeProto:
    """A node; names are separated by blanks, `_` is an absent input."""
    names = ["" if name == "_" else name for name in inputs.split()]
    return helper.make_node(op, names, outputs.split(), **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Shape],
    constants: Mapping[str, Array] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
) -> onnx.ModelProto:
    """A model over float32 inputs; shapes of outputs are left open, so that nothing can be read from them."""
    graph = helper.make_graph(
        list(nodes),
        "made_for_a_test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.array(value, order="C"), name) for name, value in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def saved(made: onnx.ModelProto | bytes, folder: Path) -> Path:
    """The model as a file."""
    path = folder / "net.onnx"
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return path


def imported(made: onnx.ModelProto, folder: Path) -> Network:
    """The imported network."""
    return import_onnx(saved(made, folder))


def assert_equals_onnxruntime(network: Network, path: Path, relative: float, seeds: Sequence[int] = (0,)) -> None:
    """Names, order, shapes and values of all outputs, on random inputs in the order of the source."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    sources = session.get_inputs()
    for seed in seeds:
        rng = np.random.default_rng(seed)
        arrays = [rng.standard_normal(network.tensor(name).border_shape).astype(np.float32) for name in network.inputs]
        wanted = session.run(None, {source.name: array for source, array in zip(sources, arrays, strict=True)})
        inside = {
            name: oracle.from_border(network.tensor(name), array)
            for name, array in zip(network.inputs, arrays, strict=True)
        }
        results = oracle.run(network, inside)
        assert len(wanted) == len(network.outputs)
        for name, want in zip(network.outputs, wanted, strict=True):
            got = oracle.to_border(network.tensor(name), results[name])
            assert got.shape == want.shape == network.tensor(name).border_shape
            np.testing.assert_allclose(got, want, rtol=0, atol=relative * max(1e-6, float(np.abs(want).max())))


def checked(made: onnx.ModelProto, folder: Path, relative: float = 1e-5) -> Network:
    """The imported network, after the oracle gave for it what onnxruntime gives for the file."""
    network = imported(made, folder)
    assert_equals_onnxruntime(network, saved(made, folder), relative)
    return network


def op_names(network: Network) -> list[str]:
    """The operators of a network, in order."""
    return [type(layer.op).__name__ for layer in network.layers]


def randoms(*shape: int, seed: int = 1) -> Array:
    """Random float32 constants."""
    values: Array = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return values

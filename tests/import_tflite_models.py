"""TFLite models made for the importer's tests, and what LiteRT makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import interpreter
from ai_edge_litert import schema_py_generated as schema

from dscompile import oracle
from dscompile.frontend.tflite.importer import import_tflite
from dscompile.ir.network import Array, Network

_TYPES = {
    "float32": 0,
    "float16": 1,
    "int32": 2,
    "uint8": 3,
    "int64": 4,
    "bool": 6,
    "int16": 7,
    "int8": 9,
    "resource": 13,
    "int4": 17,
}


class ModelMaker:
    """Grows a TFLite model; tensors are known by their names."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version, self.model.operatorCodes, self.model.buffers = 3, [], [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.inputs, self.graph.outputs = [], [], [], []
        self.model.subgraphs = [self.graph]

    def tensor(
        self, name: str, shape: Sequence[int], dtype: str = "float32", signature: Sequence[int] | None = None
    ) -> str:
        """A computed tensor."""
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), _TYPES[dtype], 0
        made.shapeSignature = None if signature is None else list(signature)
        self.graph.tensors.append(made)
        return name

    def quantized(
        self,
        name: str,
        shape: Sequence[int],
        scale: float | Sequence[float] = 1.0,
        zero_point: int | Sequence[int] = 0,
        dtype: str = "int8",
        values: Array | None = None,
        axis: int = 0,
    ) -> str:
        """A tensor of integers, with `values` a constant; several scales lie along `axis`."""
        if values is None:
            self.tensor(name, shape, dtype)
        else:
            self.constant(name, values)
        scales = np.atleast_1d(np.asarray(scale, np.float32))
        made = schema.QuantizationParametersT()
        made.scale = scales
        made.zeroPoint = np.broadcast_to(np.asarray(zero_point, np.int64), scales.shape)
        made.quantizedDimension = axis
        self.graph.tensors[-1].quantization = made
        return name

    def constant(self, name: str, values: Array) -> str:
        """A constant."""
        self.tensor(name, values.shape, str(values.dtype))
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.graph.tensors[-1].buffer = len(self.model.buffers)
        self.model.buffers.append(buffer)
        return name

    def four_bits(self, name: str, values: Array, scale: float | Sequence[float]) -> str:
        """A constant of int4, two to a byte; several scales lie along axis 0."""
        self.quantized(name, values.shape, scale, dtype="int4")
        flat = np.append(values.reshape(-1), np.zeros(values.size % 2, values.dtype)) & 15
        buffer = schema.BufferT()
        buffer.data = (flat[0::2] | flat[1::2] << 4).astype(np.uint8)
        self.graph.tensors[-1].buffer = len(self.model.buffers)
        self.model.buffers.append(buffer)
        return name

    def sparse(self, name: str, dense: Array, block: Sequence[int] = ()) -> str:
        """A constant of two axes that is stored sparsely: which columns each row has; whole `block`s if given."""
        self.tensor(name, dense.shape, str(dense.dtype))
        rows, columns = block or (1, 1)
        blocks = dense.reshape(dense.shape[0] // rows, rows, dense.shape[1] // columns, columns).swapaxes(1, 2)
        used = np.abs(blocks).reshape(*blocks.shape[:2], -1).any(axis=2)
        made = schema.SparsityParametersT()
        made.traversalOrder = list(range(4 if block else 2))
        made.blockMap = [0, 1] if block else []
        made.dimMetadata = [_dense_level(blocks.shape[0]), _compressed_level(used)]
        if block:
            made.dimMetadata += [_dense_level(rows), _dense_level(columns)]
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(blocks[used]).tobytes(), np.uint8)
        self.graph.tensors[-1].sparsity = made
        self.graph.tensors[-1].buffer = len(self.model.buffers)
        self.model.buffers.append(buffer)
        return name

    def operator(self, op: str, inputs: str, outputs: str = "y", options: str = "", **fields: object) -> None:
        """An operator; names are separated by blanks, `_` is an absent input; `options` is a class without OptionsT."""
        made = schema.OperatorT()
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, op)
        code.deprecatedBuiltinCode, code.version = min(127, code.builtinCode), 1
        made.opcodeIndex = len(self.model.operatorCodes)
        self.model.operatorCodes.append(code)
        made.inputs, made.outputs = self.indices(inputs), self.indices(outputs)
        if options:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, f"{options}Options")
            made.builtinOptions = getattr(schema, f"{options}OptionsT")()
            for name, value in fields.items():
                assert hasattr(made.builtinOptions, name)
                setattr(made.builtinOptions, name, value)
        self.graph.operators.append(made)

    def variable(self, handle: str, name: str) -> str:
        """A handle of the variable of this name, and the operator that makes it."""
        self.tensor(handle, (), "resource")
        self.operator("VAR_HANDLE", "", handle, "VarHandle", container="", sharedName=name)
        return handle

    def initializer(self, values: Mapping[str, Array], op: str = "ASSIGN_VARIABLE") -> None:
        """A subgraph that gives variables their first values, and the operator that calls it."""
        main, self.graph = self.graph, schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.inputs, self.graph.outputs = [], [], [], []
        for index, (name, array) in enumerate(values.items()):
            self.variable(f"handle{index}", name)
            self.constant(f"value{index}", array)
            self.operator(op, f"handle{index} value{index}", "")
        self.model.subgraphs.append(self.graph)
        self.graph = main
        self.operator("CALL_ONCE", "", "", "CallOnce", initSubgraphIndex=len(self.model.subgraphs) - 1)

    def indices(self, names: str) -> list[int]:
        """Indices of tensors by name."""
        known = [tensor.name for tensor in self.graph.tensors]
        return [-1 if name == "_" else known.index(name) for name in names.split()]

    def content(self, inputs: str = "x", outputs: str = "y") -> bytes:
        """The finished file."""
        self.graph.inputs, self.graph.outputs = self.indices(inputs), self.indices(outputs)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _dense_level(size: int) -> schema.DimensionMetadataT:
    level = schema.DimensionMetadataT()
    level.format, level.denseSize = schema.DimensionType.DENSE, size
    return level


def _compressed_level(used: Array) -> schema.DimensionMetadataT:
    """Which columns each row has."""
    level = schema.DimensionMetadataT()
    level.format = schema.DimensionType.SPARSE_CSR
    level.arraySegmentsType = level.arrayIndicesType = schema.SparseIndexVector.Uint8Vector
    level.arraySegments, level.arrayIndices = schema.Uint8VectorT(), schema.Uint8VectorT()
    level.arraySegments.values = np.concatenate([[0], np.cumsum(used.sum(axis=1))]).astype(np.uint8)
    level.arrayIndices.values = np.nonzero(used)[1].astype(np.uint8)
    return level


def saved(content: bytes, folder: Path) -> Path:
    """The model as a file."""
    path = folder / "net.tflite"
    path.write_bytes(content)
    return path


def assert_equals_litert(network: Network, path: Path, relative: float, seeds: Sequence[int] = (0,)) -> None:
    """Shapes and values of all outputs, on random inputs in the order of the source."""
    runner = interpreter.Interpreter(str(path), num_threads=1)
    runner.allocate_tensors()
    sources = runner.get_input_details()
    for seed in seeds:
        rng = np.random.default_rng(seed)
        inside = {}
        for name, source in zip(network.inputs, sources, strict=True):
            array = rng.standard_normal(network.tensor(name).border_shape).astype(np.float32)
            runner.set_tensor(source["index"], array)
            inside[name] = oracle.from_border(network.tensor(name), array)
        runner.invoke()
        results = oracle.run(network, inside)
        for name, detail in zip(network.outputs, runner.get_output_details(), strict=True):
            want = runner.get_tensor(detail["index"])
            got = oracle.to_border(network.tensor(name), results[name])
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=0, atol=relative * max(1e-6, float(np.abs(want).max())))


def checked(maker: ModelMaker, folder: Path, inputs: str = "x", outputs: str = "y") -> Network:
    """The imported network, after the oracle gave for it what LiteRT gives for the file."""
    path = saved(maker.content(inputs, outputs), folder)
    network = import_tflite(path)
    assert_equals_litert(network, path, 1e-5)
    return network


def randoms(*shape: int, seed: int = 1) -> Array:
    """Random float32 constants."""
    values: Array = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return values


def int32(*values: object) -> Array:
    """Constant integers."""
    return np.array(values, np.int32)

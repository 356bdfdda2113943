"""TFLite files as plain records. What a file claims is checked here; readers of the records need not doubt it."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import ToolError
from dscompile.frontend.import_errors import invalid_file, read_bytes
from dscompile.frontend.import_graph import Array
from dscompile.frontend.tflite.options import OptionReader, Options, OptionsError, Table, names, sizes, text
from dscompile.frontend.tflite.sparse import Level, Sparsity, densify
from dscompile.ir.tensor import Shape

# Only models of more than 2 GB store data behind the flatbuffer; offsets 0 and 1 mean "inside".
_FIRST_OUTSIDE_OFFSET = 2

_DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "float64": np.dtype("<f8"),
    "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "bool": np.dtype("?"),
}


@dataclass(frozen=True)
class TfliteQuantization:
    """value = scale * (q - zero point), with one scale and zero point, or one of each per index of `axis`."""

    scales: NDArray[np.float32]
    zero_points: tuple[int, ...]
    axis: int


@dataclass(frozen=True)
class TfliteTensor:
    """A tensor. `dynamic` are the axes whose size the file leaves open; `data` is None for computed tensors.

    `stateful` tensors keep their contents from one inference to the next. `data` of sparse constants are dense, those
    of int4 constants int8.
    """

    name: str
    shape: Shape
    dtype: str
    data: Array | None
    dynamic: tuple[int, ...]
    stateful: bool
    quantization: TfliteQuantization | None = None


@dataclass(frozen=True)
class TfliteOperator:
    """One operator over tensors given by index; an absent optional input is None."""

    op: str
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    options: Options


@dataclass(frozen=True)
class TfliteModel:
    """A subgraph of a file, its main one; operators are in the order in which they run.

    `initializers` run once before the first inference, to give variables their first values.
    """

    tensors: tuple[TfliteTensor, ...]
    operators: tuple[TfliteOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    initializers: tuple[TfliteModel, ...] = ()


def read_tflite(path: Path) -> TfliteModel:
    """Reads a .tflite file.

    Raises ToolError if the tflite package is missing, BadInputError if the file is not a valid model.
    """
    try:
        import tflite
    except ImportError as error:
        raise ToolError(
            "reading .tflite files needs the tflite package", help="install it with: pip install 'dscompile[tflite]'"
        ) from error
    data = read_bytes(path, "TFLite")
    if data[4:8] != b"TFL3":
        raise invalid_file(path, "TFLite", "it does not have the identifier TFL3 at byte 4")
    try:
        return _Reader(data, tflite).model()
    except (_BrokenError, OptionsError) as error:
        raise invalid_file(path, "TFLite", str(error)) from error
    except (struct.error, ValueError, TypeError, IndexError, OverflowError) as error:
        # What the generated reader raises when an offset leaves the file.
        raise invalid_file(path, "TFLite", "an offset in it leads outside; it may be cut off") from error


class _BrokenError(Exception):
    """Something in the file contradicts itself; the message says what."""


class _Reader:
    """Reads one file."""

    def __init__(self, data: bytes, tflite: Any) -> None:  # noqa: ANN401 - a module, imported late
        self.data = data
        self.tflite = tflite
        self.file = tflite.Model.GetRootAs(data, 0)
        self.options = OptionReader(tflite)
        self.operator_names = names(tflite.BuiltinOperator)
        self.type_names = {code: name.lower() for code, name in names(tflite.TensorType).items()}

    def model(self) -> TfliteModel:
        """Everything of the main subgraph, and of those that it calls once."""
        if not self._length(self.file.SubgraphsLength()):
            raise _BrokenError("it holds no graph")
        main = self._graph(0)
        if not main.outputs:
            raise _BrokenError("its graph has no output")
        called = [operator.options.subgraph for operator in main.operators if operator.op == "CALL_ONCE"]
        return replace(main, initializers=tuple(self._graph(index) for index in dict.fromkeys(called)))

    def _graph(self, index: int) -> TfliteModel:
        if not 0 <= index < self.file.SubgraphsLength():
            raise _BrokenError(f"it calls subgraph {index}, which does not exist")
        graph = self.file.Subgraphs(index)
        codes = [
            self._operator_name(self.file.OperatorCodes(i))
            for i in range(self._length(self.file.OperatorCodesLength()))
        ]
        tensors = tuple(self._tensor(graph.Tensors(i)) for i in range(self._length(graph.TensorsLength())))
        operators = tuple(
            self._operator(graph.Operators(i), codes, len(tensors))
            for i in range(self._length(graph.OperatorsLength()))
        )
        inputs = self._indices(graph.InputsAsNumpy(), len(tensors))
        outputs = self._indices(graph.OutputsAsNumpy(), len(tensors))
        if len(set(inputs)) != len(inputs):
            raise _BrokenError("its graph names an input twice")
        return TfliteModel(tensors, operators, inputs, outputs)

    def _length(self, length: int) -> int:
        """The length of a vector of offsets, 4 bytes each, which must fit into the file."""
        if length * 4 > len(self.data):
            raise _BrokenError(f"it claims a list of {length} entries")
        return length

    def _operator_name(self, code: Table) -> str:
        # Files from before 2020 have only the 8-bit code, later ones the larger of both.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = self.operator_names.get(number, f"operator number {number}")
        if name == "CUSTOM":
            return f"CUSTOM {text(code.CustomCode())}"
        return name

    def _indices(self, found: Any, count: int) -> tuple[int, ...]:  # noqa: ANN401 - 0 stands for "no vector"
        indices = tuple(int(index) for index in found) if isinstance(found, np.ndarray) else ()
        if any(not 0 <= index < count for index in indices):
            raise _BrokenError(f"it refers to a tensor outside its {count} tensors")
        return indices

    def _tensor(self, table: Table) -> TfliteTensor:
        shape, signature = sizes(table.ShapeAsNumpy()), sizes(table.ShapeSignatureAsNumpy())
        name = text(table.Name())
        open_axes = signature if len(signature) == len(shape) else shape
        dtype = self.type_names.get(table.Type(), f"type {table.Type()}")
        return TfliteTensor(
            name,
            shape,
            dtype,
            self._contents(name, dtype, shape, table),
            tuple(axis for axis, size in enumerate(open_axes) if size < 0),
            bool(table.IsVariable()),
            self._quantization(name, table.Quantization()),
        )

    def _quantization(self, name: str, table: Table | None) -> TfliteQuantization | None:
        """Scales and zero points; None where the file has no scales."""
        scales = None if table is None else table.ScaleAsNumpy()
        if table is None or not isinstance(scales, np.ndarray) or not scales.size:
            return None
        scales = scales.astype(np.float32)
        if not (np.isfinite(scales).all() and (scales > 0).all()):
            raise _BrokenError(f"tensor '{name}' has scales that are not positive")
        found = sizes(table.ZeroPointAsNumpy()) or (0,) * scales.size
        if len(found) != scales.size:
            raise _BrokenError(f"tensor '{name}' has {scales.size} scales and {len(found)} zero points")
        return TfliteQuantization(scales, found, int(table.QuantizedDimension()))

    def _contents(self, name: str, dtype: str, shape: Shape, table: Table) -> Array | None:
        """The data of a constant; None for computed tensors, and for constants of types that nothing here reads."""
        index = table.Buffer()
        if index >= self.file.BuffersLength():
            raise _BrokenError(f"tensor '{name}' lies in buffer {index}, which does not exist")
        buffer = self.file.Buffers(index)
        start, size = buffer.Offset(), buffer.Size()
        if start >= _FIRST_OUTSIDE_OFFSET:
            if start + size > len(self.data):
                raise _BrokenError(f"the data of tensor '{name}' end behind the end of the file")
            raw = np.frombuffer(self.data, np.uint8, size, start)
        else:
            found = buffer.DataAsNumpy()
            raw = found if isinstance(found, np.ndarray) else np.zeros(0, np.uint8)
        if dtype not in (*_DTYPES, "int4") or (not raw.size and (index == 0 or 0 not in shape)):
            return None
        if table.Sparsity() is not None and dtype != "int4":
            return self._dense(name, dtype, shape, raw, table.Sparsity())
        if dtype == "int4":
            return self._nibbles(name, shape, raw)
        wanted = math.prod(shape) * _DTYPES[dtype].itemsize
        if min(shape, default=1) < 0 or raw.size != wanted:
            raise _BrokenError(f"tensor '{name}', {dtype} {list(shape)}, has {raw.size} B of data instead of {wanted}")
        return np.asarray(raw.view(_DTYPES[dtype]).reshape(shape))

    def _nibbles(self, name: str, shape: Shape, raw: NDArray[np.uint8]) -> Array:
        """Two int4 of a byte, the first in its lower half, as int8."""
        count = math.prod(shape)
        if min(shape, default=1) < 0 or raw.size != (count + 1) // 2:
            raise _BrokenError(
                f"tensor '{name}', int4 {list(shape)}, has {raw.size} B of data instead of {(count + 1) // 2}"
            )
        halves = np.stack([raw & 15, raw >> 4], axis=-1).reshape(-1)[:count].astype(np.int8)
        return np.where(halves > 7, halves - 16, halves).astype(np.int8).reshape(shape)

    def _dense(self, name: str, dtype: str, shape: Shape, raw: NDArray[np.uint8], table: Table) -> Array:
        """A sparse constant with all its elements."""
        levels = tuple(self._level(table.DimMetadata(i)) for i in range(self._length(table.DimMetadataLength())))
        order, blocked = sizes(table.TraversalOrderAsNumpy()), sizes(table.BlockMapAsNumpy())
        if raw.size % _DTYPES[dtype].itemsize or min(shape, default=1) < 0:
            raise _BrokenError(f"sparse tensor '{name}', {dtype} {list(shape)}, has {raw.size} B of data")
        try:
            return densify(raw.view(_DTYPES[dtype]), shape, Sparsity(order, blocked, levels))
        except ValueError as error:
            raise _BrokenError(f"sparse tensor '{name}' contradicts itself: {error}") from error

    def _level(self, table: Table) -> Level:
        if table.Format() == self.tflite.DimensionType.DENSE:
            return Level(table.DenseSize())
        segments = self._vector(table.ArraySegmentsType(), table.ArraySegments())
        return Level(0, segments, self._vector(table.ArrayIndicesType(), table.ArrayIndices()))

    def _vector(self, kind: int, union: Table | None) -> NDArray[np.int64]:
        """The integers of a vector, which files store in 8, 16 or 32 bits."""
        name = names(self.tflite.SparseIndexVector).get(kind, "NONE")
        if union is None or name == "NONE":
            return np.zeros(0, np.int64)
        vector = getattr(self.tflite, name)()
        vector.Init(union.Bytes, union.Pos)
        return np.asarray(sizes(vector.ValuesAsNumpy()), np.int64)

    def _operator(self, table: Table, codes: list[str], tensors: int) -> TfliteOperator:
        code = table.OpcodeIndex()
        if code >= len(codes):
            raise _BrokenError(f"it refers to operator code {code} of {len(codes)}")
        op = codes[code]
        found = table.InputsAsNumpy()
        inputs = tuple(int(index) for index in found) if isinstance(found, np.ndarray) else ()
        if any(not -1 <= index < tensors for index in inputs):
            raise _BrokenError(f"{op} refers to a tensor outside its {tensors} tensors")
        outputs = self._indices(table.OutputsAsNumpy(), tensors)
        return TfliteOperator(
            op, tuple(None if index < 0 else index for index in inputs), outputs, self.options.read(op, table)
        )

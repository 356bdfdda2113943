"""ONNX files as plain records: checked, without what no output needs, in an order in which they can be computed.

Nothing in a file is believed: sizes are compared with the data that is there, external data may not leave the model's
directory, and every error of the protobuf reader becomes a `BadInputError`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from dscompile.errors import BadInputError, Position, ToolError, UnsupportedError
from dscompile.frontend.import_errors import Problems, invalid_file, read_bytes
from dscompile.frontend.import_graph import Array
from dscompile.frontend.input_shapes import NO_SHAPES, InputShapes, check_names, given_shape
from dscompile.ir.tensor import DType, Shape

OLDEST_OPSET = 7
_BATCH_HELP = "export the model for a batch of 1, or with an open batch, which becomes 1"
Proto = Any  # a protobuf message; that package has no types
_DEFAULT_DOMAINS = ("", "ai.onnx")

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | Array | None


@dataclass(frozen=True)
class OnnxNode:
    """One node. `op` carries its domain where that is not ONNX's own; an absent optional input is ''."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    @property
    def label(self) -> str:
        """What errors call the node: its name, or that of its first result."""
        return self.name or next((name for name in self.outputs if name), "(without a name)")

    def integer(self, name: str, default: int) -> int:
        """An attribute of type INT."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise BadInputError(f"attribute '{name}' must be an integer")
        return value

    def real(self, name: str, default: float) -> float:
        """An attribute of type FLOAT."""
        value = self.attributes.get(name, default)
        if not isinstance(value, float):
            raise BadInputError(f"attribute '{name}' must be a number")
        return value

    def finite(self, name: str, default: float) -> float:
        """An attribute of type FLOAT that is neither infinite nor NaN."""
        value = self.real(name, default)
        if not math.isfinite(value):
            raise BadInputError(f"attribute '{name}' is {value}; it must be finite")
        return value

    def text(self, name: str, default: str) -> str:
        """An attribute of type STRING."""
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise BadInputError(f"attribute '{name}' must be a string")
        return value

    def reals(self, name: str) -> tuple[float, ...] | None:
        """An attribute of type FLOATS, or None if it is not given."""
        value = self.attributes.get(name)
        if value is None and name not in self.attributes:
            return None
        if not isinstance(value, tuple) or not all(isinstance(item, float) for item in value):
            raise BadInputError(f"attribute '{name}' must be a list of numbers")
        return tuple(float(item) for item in value)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """An attribute of type INTS, or None if it is not given."""
        value = self.attributes.get(name)
        if value is None and name not in self.attributes:
            return None
        if not isinstance(value, tuple) or not all(isinstance(item, int) for item in value):
            raise BadInputError(f"attribute '{name}' must be a list of integers")
        return tuple(int(item) for item in value)


@dataclass(frozen=True)
class OnnxModel:
    """What of a file is needed: inputs with their (fixed) shapes, outputs, nodes in order of computation.

    `hints` are the shapes that the file declares for intermediate tensors; nothing relies on them. `integers` are the
    inputs that are int8 or uint8, with that type; only a DequantizeLinear reads them.
    """

    opset: int
    inputs: tuple[tuple[str, Shape], ...]
    outputs: tuple[str, ...]
    nodes: tuple[OnnxNode, ...]
    hints: Mapping[str, Shape]
    constants: Constants
    integers: Mapping[str, DType]


class Constants:
    """The initializers of a model, decoded when asked for."""

    def __init__(self, directory: Path, tensors: Mapping[str, Any]) -> None:
        self._directory = directory
        self._tensors = tensors

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __getitem__(self, name: str) -> Array:
        """The initializer as an array. Raises BadInputError if its data do not fit its shape and type."""
        return decoded(self._tensors[name], self._directory)


def read_onnx(path: Path, operators: Collection[str], shapes: InputShapes = NO_SHAPES) -> OnnxModel:
    """Reads and checks an .onnx file; `shapes` are those of inputs whose sizes it leaves open.

    Raises ToolError if the onnx package is missing, BadInputError if the file is not a valid model, UnsupportedError
    for dynamic shapes other than the batch, batches other than 1, and opsets before 7, UsageError if `shapes` do not
    fit the file. Errors about inputs also name the nodes that are none of `operators`.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise ToolError(
            "reading .onnx files needs the onnx package", help="install it with: pip install 'dscompile[onnx]'"
        ) from error
    data = read_bytes(path, "ONNX")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise invalid_file(path, "ONNX", "its protobuf encoding is broken") from error
    return read_model(model, path, operators, shapes)


def read_model(model: Proto, path: Path, operators: Collection[str], shapes: InputShapes = NO_SHAPES) -> OnnxModel:
    """A model that is in memory already; `path` is what errors call it, and what external data lie beside.

    Functions that the model brings along are replaced by their nodes. Raises as `read_onnx`.
    """
    if not model.HasField("graph") or not model.graph.output:
        raise invalid_file(path, "ONNX", "it holds no graph")
    opset = _opset(model, path)
    if model.functions:
        model = _without_functions(model, path)
    proto = model.graph
    tensors = {_text(tensor.name): tensor for tensor in proto.initializer}
    if proto.sparse_initializer:
        raise UnsupportedError("sparse initializers are not supported", position=Position(str(path)))
    infos = [info for info in proto.input if _text(info.name) not in tensors]
    integers = dict(_integer_inputs(infos, proto.node))
    problems = Problems(path)
    inputs = _inputs(infos, path, shapes, integers, problems)
    nodes = [_node(node, path) for node in proto.node]
    outputs = tuple(_text(info.name) for info in proto.output)
    ordered = tuple(_in_order(nodes, {*tensors, *(_text(info.name) for info in infos)}, outputs, path))
    if problems:
        for node in ordered:
            if node.op not in operators:
                problems.unsupported(f"{node.op}: this operator is not supported", node.label)
        problems.raise_if_any()
    return OnnxModel(
        opset,
        inputs,
        outputs,
        ordered,
        dict(_hints([*proto.value_info, *proto.output])),
        Constants(path.parent, tensors),
        integers,
    )


def _without_functions(model: Proto, path: Path) -> Proto:
    """The model with the nodes of its functions in the places where these are called."""
    from onnx import checker, inliner

    try:
        return inliner.inline_local_functions(model)
    except (checker.ValidationError, RuntimeError) as error:
        why = str(error).rpartition(": ")[2]
        raise invalid_file(path, "ONNX", f"its functions cannot be put in place: {why}") from error


def _text(raw: str | bytes) -> str:
    """A string of the file; protobuf hands out bytes where they are not UTF-8."""
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw


def _opset(model: Proto, path: Path) -> int:
    for entry in model.opset_import:
        if entry.domain in _DEFAULT_DOMAINS:
            if entry.version < OLDEST_OPSET:
                raise UnsupportedError(
                    f"opset {entry.version} is older than {OLDEST_OPSET}, the oldest that is supported",
                    position=Position(str(path)),
                    help="convert the model with onnx.version_converter, or export it again",
                )
            return int(entry.version)
    raise invalid_file(path, "ONNX", "it names no opset")


def _integer_inputs(infos: Sequence[Any], nodes: Sequence[Any]) -> Iterable[tuple[str, DType]]:
    """Names and types of the int8 and uint8 inputs that only DequantizeLinear reads, as what it dequantizes."""
    types: dict[int, DType] = {2: "uint8", 3: "int8"}
    for info in infos:
        name, kind = info.name, info.type.tensor_type.elem_type
        readers = [node for node in nodes if name in node.input]
        if kind in types and all(node.op_type == "DequantizeLinear" and node.input[0] == name for node in readers):
            yield _text(name), types[kind]


def _inputs(
    infos: Sequence[Any], path: Path, shapes: InputShapes, integers: Collection[str], problems: Problems
) -> tuple[tuple[str, Shape], ...]:
    """Names and shapes of the inputs, a symbolic batch set to 1. Everything that does not fit goes to `problems`."""
    check_names(shapes, (_text(info.name) for info in infos))
    found: list[tuple[str, Shape]] = []

    def note(message: str, help: str | None = None) -> None:
        problems.unsupported(message, help=help)

    for info in infos:
        name, kind = _text(info.name), info.type.tensor_type
        if not info.type.HasField("tensor_type") or not kind.HasField("shape"):
            note(f"input '{name}' has no shape", "give it one where the model is exported")
            continue
        if kind.elem_type != 1 and name not in integers:
            note(
                f"input '{name}' is {_type_name(kind.elem_type)}; only float32 is supported",
                "export the model with float32 inputs; int8 and uint8 ones can be read by a DequantizeLinear only",
            )
        shape = []
        dims = kind.shape.dim
        declared = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims]
        for axis, (dim, size) in enumerate(zip(dims, given_shape(shapes, name, declared) or declared, strict=True)):
            if size is None and axis > 0:
                symbol = f" ({_text(dim.dim_param)!r})" if dim.dim_param else ""
                note(
                    f"axis {axis} of input '{name}' is dynamic{symbol}",
                    f"say how large it is: --input-shape {_example(name, declared)}",
                )
            elif axis == 0 and size not in (None, 1):
                note(f"input '{name}' has batch {size}; only batch 1 is supported", _BATCH_HELP)
            shape.append(size or 1)
        if not shape:
            note(f"input '{name}' is a scalar", "make it a constant, or a tensor of shape [1, 1]")
        elif math.prod(shape) >= 2**31:
            note(f"input '{name}' has {math.prod(shape)} elements, more than any buffer holds")
        found.append((name, tuple(shape)))
    if len({name for name, _ in found}) != len(found):
        raise invalid_file(path, "ONNX", "two inputs have the same name")
    return tuple(found)


def _example(name: str, declared: Sequence[int | None]) -> str:
    """How a user gives the shape of an input: a batch of 1, and a letter for every size to be chosen."""
    sizes = [1 if axis == 0 and size is None else size for axis, size in enumerate(declared)]
    return f"{name}:{'x'.join('N' if size is None else str(size) for size in sizes)}"


def _type_name(elem_type: int) -> str:
    import onnx

    try:
        return str(onnx.TensorProto.DataType.Name(elem_type)).lower()
    except ValueError:
        return f"of unknown type {elem_type}"


def _hints(infos: Iterable[Any]) -> Iterable[tuple[str, Shape]]:
    for info in infos:
        dims = info.type.tensor_type.shape.dim
        sizes = [dim.dim_value if dim.dim_value > 0 else (1 if axis == 0 else 0) for axis, dim in enumerate(dims)]
        if sizes and all(sizes):
            yield _text(info.name), tuple(sizes)


_QUANTIZING = ("QuantizeLinear", "DequantizeLinear")  # looked at before they are imported


def _node(proto: Proto, path: Path) -> OnnxNode:
    op, domain, name = _text(proto.op_type), _text(proto.domain), _text(proto.name)
    op = op if domain in _DEFAULT_DOMAINS else f"{domain}.{op}"
    inputs, outputs = tuple(map(_text, proto.input)), tuple(map(_text, proto.output))
    try:
        attributes = {_text(entry.name): _attribute(entry, path.parent) for entry in proto.attribute}
    except BadInputError as error:
        raise invalid_file(path, "ONNX", f"{op} {name}: {error.diagnostics[0].message}") from error
    if op in _QUANTIZING and (len(inputs) not in (2, 3) or len(outputs) != 1):
        raise invalid_file(path, "ONNX", f"{op} {name} has {len(inputs)} inputs and {len(outputs)} results")
    return OnnxNode(op, name, inputs, outputs, attributes)


def _attribute(entry: Proto, directory: Path) -> Attribute:
    """The value of an attribute; None for kinds that no supported operator has (graphs, sparse tensors, ...)."""
    match entry.type:
        case 1:
            return float(entry.f)
        case 2:
            return int(entry.i)
        case 3:
            return _text(entry.s)
        case 4:
            return decoded(entry.t, directory)
        case 6:
            return tuple(float(item) for item in entry.floats)
        case 7:
            return tuple(int(item) for item in entry.ints)
        case _:
            return None


def _in_order(nodes: list[OnnxNode], known: set[str], outputs: tuple[str, ...], path: Path) -> Iterable[OnnxNode]:
    """The nodes that outputs need, each after those it reads, otherwise as in the file."""
    makers: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in filter(None, node.outputs):
            if name in makers or name in known:
                raise invalid_file(path, "ONNX", f"'{name}' is made twice (node {node.label})")
            makers[name] = index
    missing = [f"output '{name}'" for name in outputs if name not in makers and name not in known]
    needed: set[int] = set()
    waiting = [makers[name] for name in outputs if name in makers]
    while waiting:
        index = waiting.pop()
        if index in needed:
            continue
        needed.add(index)
        for name in filter(None, nodes[index].inputs):
            if name in makers:
                waiting.append(makers[name])
            elif name not in known:
                missing.append(f"'{name}', which {nodes[index].label} reads,")
    if missing:
        raise invalid_file(path, "ONNX", f"{missing[0]} is made by no node and held by no initializer")

    sources = {index: {makers[name] for name in nodes[index].inputs if name in makers} for index in needed}
    readers: dict[int, list[int]] = {index: [] for index in needed}
    for index, made_by in sources.items():
        for source in made_by:
            readers[source].append(index)
    ready = [index for index, made_by in sources.items() if not made_by]
    heapq.heapify(ready)
    order: list[OnnxNode] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(nodes[index])
        for reader in readers[index]:
            sources[reader].discard(index)
            if not sources[reader]:
                heapq.heappush(ready, reader)
    if len(order) != len(needed):
        stuck = min(index for index, made_by in sources.items() if made_by)
        raise invalid_file(path, "ONNX", f"its graph has a cycle through {nodes[stuck].label}")
    return order


def decoded(tensor: Proto, directory: Path) -> Array:
    """A TensorProto as an array; external data lie in `directory` or below.

    Raises BadInputError if data, shape and type do not fit each other, or the data lie elsewhere.
    """
    from onnx import helper, numpy_helper

    name = _text(tensor.name) or "(without a name)"
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise BadInputError(f"tensor '{name}' has shape {list(shape)}")
    try:
        if tensor.data_location == 1:
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
            data = _external(tensor, directory, math.prod(shape) * dtype.itemsize)
            return np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape).astype(dtype, copy=False)
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise BadInputError(f"the data of tensor '{name}' do not fit its shape {list(shape)}") from error


def _external(tensor: Proto, directory: Path, size: int) -> bytes:
    """The bytes of a tensor that is stored beside the model."""
    entries = {_text(entry.key): _text(entry.value) for entry in tensor.external_data}
    name = _text(tensor.name)
    location = entries.get("location", "")
    root = directory.resolve()
    if not location or PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive:
        raise BadInputError(f"tensor '{name}' lies in '{location}', which is not beside the model")
    file = (root / location).resolve()
    if not file.is_relative_to(root):
        raise BadInputError(f"tensor '{name}' lies in '{location}', outside the model's directory")
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(size)))
        with file.open("rb") as stream:
            available = stream.seek(0, 2)
            if length != size or offset < 0 or offset + size > available:
                raise BadInputError(f"tensor '{name}' needs {size} B at {offset} of '{location}'")
            stream.seek(offset)
            return bytes(stream.read(size))
    except OSError as error:
        raise BadInputError(
            f"cannot read '{location}', which holds tensor '{name}': {error.strerror or error}",
            help="the external data must lie beside the model",
        ) from error

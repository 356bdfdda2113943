"""Evaluates operators on constants: the shape arithmetic and folded weights that exporters leave in their graphs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.import_graph import Array
from dscompile.frontend.onnx.reader import OnnxNode

# A constant may grow to this many elements, or to the size of what it is made of. No real model comes near it.
MAX_ELEMENTS = 1 << 24

Inputs = Sequence[Array | None]
Folder = Callable[[OnnxNode, Inputs, int], Array]

_TYPES = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
}


def fold(node: OnnxNode, inputs: Inputs, opset: int) -> Array:
    """The value of a node whose inputs are all constants (None: an optional input that is absent).

    Raises BadInputError if the inputs do not fit the operator, UnsupportedError if the result would be huge.
    """
    try:
        with np.errstate(all="ignore"):
            return np.asarray(FOLDERS[node.op](node, inputs, opset))
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise BadInputError(f"cannot be evaluated on its constant inputs: {error}") from error


def static_integers(array: Array, what: str) -> tuple[int, ...]:
    """A constant list of integers."""
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise BadInputError(f"{what} must be a list of integers, not {array.dtype} {list(array.shape)}")
    return tuple(int(item) for item in array.reshape(-1))


def constant(node: OnnxNode) -> Array:
    """The value of a Constant node."""
    for name, dtype in (("value_float", np.float32), ("value_int", np.int64)):
        if name in node.attributes:
            return np.asarray(node.attributes[name], dtype)
    for name, dtype in (("value_floats", np.float32), ("value_ints", np.int64)):
        if name in node.attributes:
            return np.asarray(node.attributes[name], dtype).reshape(-1)
    value = node.attributes.get("value")
    if not isinstance(value, np.ndarray):
        raise UnsupportedError(f"holds {', '.join(node.attributes) or 'nothing'}; only numbers are supported")
    return value


def integers_argument(node: OnnxNode, inputs: Sequence[object], index: int, name: str) -> tuple[int, ...] | None:
    """Integers that are an attribute in old opsets and a constant input in newer ones; None if not given."""
    operand = inputs[index] if index < len(inputs) else None
    if operand is None:
        return node.integers(name)
    if not isinstance(operand, np.ndarray):
        raise UnsupportedError(f"{name} computed at run time; only constants are supported")
    return static_integers(operand, name)


def _limited(elements: int, *sources: Array) -> None:
    if elements > max(MAX_ELEMENTS, *(source.size for source in sources), 0):
        raise UnsupportedError(f"would make a constant of {elements} elements")


def _elementwise(function: Callable[..., Array]) -> Folder:
    def folder(node: OnnxNode, inputs: Inputs, opset: int) -> Array:
        arrays = [array for array in inputs if array is not None]
        _limited(math.prod(np.broadcast_shapes(*(array.shape for array in arrays))), *arrays)
        result = function(*arrays)
        same = len({array.dtype for array in arrays}) == 1 and result.dtype.kind != "b"
        return result.astype(arrays[0].dtype, copy=False) if same else result

    return folder


def _divide(first: Array, second: Array) -> Array:
    if first.dtype.kind in "iu":  # ONNX truncates
        quotient: Array = np.asarray(np.trunc(np.divide(first, second)))
        if not np.isfinite(quotient).all():
            raise ValueError("division by zero")
        return quotient
    return np.asarray(np.divide(first, second))


def _required(inputs: Inputs, index: int) -> Array:
    array = inputs[index]
    if array is None:
        raise BadInputError(f"input {index} is missing")
    return array


def _cast(node: OnnxNode, inputs: Inputs, opset: int) -> Array:
    to = node.integer("to", 0)
    if to not in _TYPES:
        raise UnsupportedError(f"conversion to element type {to} is not supported")
    return _required(inputs, 0).astype(_TYPES[to])


def _gather(node: OnnxNode, inputs: Inputs, opset: int) -> Array:
    data, indices = _required(inputs, 0), _required(inputs, 1)
    axis = node.integer("axis", 0)
    _limited(data.size // max(1, data.shape[axis]) * indices.size, data)
    return np.take(data, np.asarray(indices, np.int64), axis=axis)


def _concat(node: OnnxNode, inputs: Inputs, opset: int) -> Array:
    arrays = [array for array in inputs if array is not None]
    _limited(sum(array.size for array in arrays), *arrays)
    return np.concatenate(arrays, axis=node.integer("axis", 0))


def _unsqueeze(node: OnnxNode, inputs: Inputs, opset: int) -> Array:
    axes = integers_argument(node, inputs, 1, "axes")
    return np.expand_dims(_required(inputs, 0), axes or ())


def _squeeze(node: OnnxNode, inputs: Inputs, opset: int) -> Array:
    return np.squeeze(_required(inputs, 0), integers_argument(node, inputs, 1, "axes"))


def _reshape(node: OnnxNode, inputs: Inputs, opset: int) -> Array:
    data = _required(inputs, 0)
    return data.reshape(resolved_shape(data.shape, static_integers(_required(inputs, 1), "shape"), node))


def resolved_shape(shape: Sequence[int], target: Sequence[int], node: OnnxNode) -> tuple[int, ...]:
    """The target of a Reshape with 0 (same as before) and -1 (whatever is left) filled in."""
    sizes = list(target)
    if not node.integer("allowzero", 0):
        for axis, size in enumerate(sizes):
            if size == 0:
                if axis >= len(shape):
                    raise BadInputError(f"shape {list(target)} copies axis {axis} of {list(shape)}")
                sizes[axis] = shape[axis]
    if sizes.count(-1) == 1:
        rest = -math.prod(sizes)
        sizes[sizes.index(-1)] = math.prod(shape) // rest if rest > 0 else 0
    if min(sizes, default=1) < 0 or math.prod(sizes) != math.prod(shape):
        raise BadInputError(f"{list(shape)} has {math.prod(shape)} elements, they do not fill {list(target)}")
    return tuple(sizes)


def _transpose(node: OnnxNode, inputs: Inputs, opset: int) -> Array:
    return np.transpose(_required(inputs, 0), node.integers("perm"))


def _slice(node: OnnxNode, inputs: Inputs, opset: int) -> Array:
    data = _required(inputs, 0)
    starts = integers_argument(node, inputs, 1, "starts") or ()
    ends = integers_argument(node, inputs, 2, "ends") or ()
    axes = integers_argument(node, inputs, 3, "axes") or tuple(range(len(starts)))
    steps = integers_argument(node, inputs, 4, "steps") or (1,) * len(starts)
    where = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        where[axis] = slice(start, end, step)
    return data[tuple(where)]


def _constant_of_shape(node: OnnxNode, inputs: Inputs, opset: int) -> Array:
    shape = static_integers(_required(inputs, 0), "shape")
    _limited(math.prod(shape))
    value = node.attributes.get("value", np.zeros(1, np.float32))
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise BadInputError("attribute 'value' must be a tensor of one element")
    return np.full(shape, value.reshape(-1)[0], value.dtype)


def _expand(node: OnnxNode, inputs: Inputs, opset: int) -> Array:
    data = _required(inputs, 0)
    shape = np.broadcast_shapes(data.shape, static_integers(_required(inputs, 1), "shape"))
    _limited(math.prod(shape), data)
    return np.broadcast_to(data, shape)


def _shape(node: OnnxNode, inputs: Inputs, opset: int) -> Array:
    return shape_constant(node, _required(inputs, 0).shape)


def shape_constant(node: OnnxNode, shape: Sequence[int]) -> Array:
    """The result of Shape on a tensor of this (static) shape."""
    end = node.integer("end", len(shape))
    return np.asarray(shape[node.integer("start", 0) : end], np.int64)


def _same(node: OnnxNode, inputs: Inputs, opset: int) -> Array:
    return _required(inputs, 0)


FOLDERS: dict[str, Folder] = {
    "Abs": _elementwise(np.abs),
    "Add": _elementwise(np.add),
    "Cast": _cast,
    "Ceil": _elementwise(np.ceil),
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Div": _elementwise(_divide),
    "Dropout": _same,
    "Equal": _elementwise(np.equal),
    "Exp": _elementwise(np.exp),
    "Expand": _expand,
    "Floor": _elementwise(np.floor),
    "Gather": _gather,
    "Identity": _same,
    "Max": _elementwise(lambda *arrays: np.asarray(np.maximum.reduce(np.broadcast_arrays(*arrays)))),
    "Min": _elementwise(lambda *arrays: np.asarray(np.minimum.reduce(np.broadcast_arrays(*arrays)))),
    "Mul": _elementwise(np.multiply),
    "Neg": _elementwise(np.negative),
    "Pow": _elementwise(np.power),
    "Reciprocal": _elementwise(np.reciprocal),
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Sqrt": _elementwise(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _elementwise(np.subtract),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _elementwise(np.where),
}

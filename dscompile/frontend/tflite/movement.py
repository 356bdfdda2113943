"""TFLite operators that move elements: other shapes, parts, and wholes made of parts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend import import_lowering as lower
from dscompile.frontend.import_graph import Operand, Value
from dscompile.frontend.import_lowering import as_value, axis_of
from dscompile.frontend.tflite.call import Call, Handler


def _reshape(call: Call) -> Value:
    value, target = call.value(), call.optional(1)
    if isinstance(target, Value):
        # Keras computes it from the batch; with the batch fixed, it is what the file gives to the result.
        shape = call.declared
    elif target is not None:
        shape = call.integer_list(1, "the shape")
    else:
        shape = call.options.sizes
    elements = math.prod(value.shape)
    if shape.count(-1) == 1 and (rest := -math.prod(shape)) > 0:
        shape = tuple(elements // rest if size == -1 else size for size in shape)
    if min(shape, default=1) < 1 or math.prod(shape) != elements:
        raise BadInputError(f"{list(value.shape)} has {elements} elements, they do not fill {list(shape)}")
    return call.graph.reshaped(value, shape, role="")


def _squeeze(call: Call) -> Value:
    value = call.value()
    rank = len(value.shape)
    dropped = {axis_of(axis, rank) for axis in call.options.sizes} or {
        axis for axis in range(rank) if value.shape[axis] == 1
    }
    if any(value.shape[axis] != 1 for axis in dropped):
        raise BadInputError(f"axes {sorted(dropped)} of {list(value.shape)} are not all 1")
    kept = tuple(size for axis, size in enumerate(value.shape) if axis not in dropped)
    return call.graph.reshaped(value, kept, role="")


def _expand_dims(call: Call) -> Value:
    value, axes = call.value(), call.integer_list(1, "the axis")
    if len(axes) != 1:
        raise BadInputError(f"needs one axis, not {list(axes)}")
    at = axis_of(axes[0], len(value.shape) + 1)
    return call.graph.reshaped(value, (*value.shape[:at], 1, *value.shape[at:]), role="")


def _transpose(call: Call) -> Value:
    value, permutation = call.value(), call.integer_list(1, "the permutation")
    if sorted(permutation) != list(range(len(value.shape))):
        raise BadInputError(f"{list(permutation)} does not permute the axes of {list(value.shape)}")
    return call.graph.transposed(value, permutation)


def _slice(call: Call) -> Value:
    value = call.value()
    begins, sizes = call.integer_list(1, "the begin"), call.integer_list(2, "the size")
    if not len(begins) == len(sizes) == len(value.shape):
        raise BadInputError(f"begin {list(begins)} and size {list(sizes)} do not fit the axes of {list(value.shape)}")
    filled = [
        whole - begin if size == -1 else size for begin, size, whole in zip(begins, sizes, value.shape, strict=True)
    ]
    return as_value(lower.box(call.graph, value, begins, filled))


def _strided_slice(call: Call) -> Value:
    value, masks = call.value(), call.options.masks
    begins, ends, strides = (call.integer_list(i, what) for i, what in ((1, "begin"), (2, "end"), (3, "strides")))
    if not len(begins) == len(ends) == len(strides) <= len(value.shape):
        raise BadInputError(f"begin {list(begins)}, end {list(ends)} and strides {list(strides)} do not fit together")
    if masks.ellipsis or masks.new_axis:
        raise UnsupportedError("ellipses and new axes are not supported")
    firsts, sizes, steps = [0] * len(value.shape), list(value.shape), [1] * len(value.shape)
    for axis, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True)):
        if stride < 1:
            raise UnsupportedError(f"stride {stride} along axis {axis}; only positive strides are supported")
        size = value.shape[axis]
        stop = end + begin if call.options.relative_ends else end
        if masks.shrink >> axis & 1:
            first = begin + size if begin < 0 else begin
            last = first + 1
        else:
            given = slice(None if masks.begin >> axis & 1 else begin, None if masks.end >> axis & 1 else stop)
            first, last, _ = given.indices(size)
        firsts[axis], sizes[axis], steps[axis] = first, len(range(first, last, stride)), stride
    result = as_value(lower.box(call.graph, value, firsts, sizes, steps))
    kept = tuple(size for axis, size in enumerate(sizes) if not masks.shrink >> axis & 1)
    return call.graph.reshaped(result, kept) if masks.shrink else result


def _split(call: Call) -> list[Value]:
    value, axes = call.value(1), call.integer_list(0, "the axis")
    if len(axes) != 1:
        raise BadInputError(f"needs one axis, not {list(axes)}")
    size = value.shape[axis_of(axes[0], len(value.shape))]
    if size % call.results:
        raise BadInputError(f"{call.results} equal parts of axis {axes[0]} of {list(value.shape)}")
    return _parts(call, value, axes[0], [size // call.results] * call.results)


def _split_v(call: Call) -> list[Value]:
    value, sizes, axes = call.value(), call.integer_list(1, "the sizes"), call.integer_list(2, "the axis")
    if len(axes) != 1 or len(sizes) != call.results or sizes.count(-1) > 1:
        raise BadInputError(f"sizes {list(sizes)} along axes {list(axes)} for {call.results} results")
    rest = value.shape[axis_of(axes[0], len(value.shape))] - sum(size for size in sizes if size != -1)
    return _parts(call, value, axes[0], [rest if size == -1 else size for size in sizes])


def _parts(call: Call, value: Value, axis: int, sizes: Sequence[int]) -> list[Value]:
    return [as_value(part) for part in lower.split(call.graph, value, axis, sizes)]


def _concatenation(call: Call) -> Value:
    operands = [call.operand(index) for index in range(len(call.operands))]
    if not any(isinstance(operand, Value) for operand in operands):
        raise UnsupportedError("all inputs are constants")
    return lower.activate(call.graph, lower.concat(call.graph, operands, call.options.axis), call.activation)


def _pack(call: Call) -> Value:
    """Joins tensors along a new axis."""
    operands = [call.operand(index) for index in range(len(call.operands))]
    if not any(isinstance(operand, Value) for operand in operands):
        raise UnsupportedError("all inputs are constants")
    axis = axis_of(call.options.axis, len(operands[0].shape) + 1)
    expanded: list[Operand] = []
    for operand in operands:
        shape = (*operand.shape[:axis], 1, *operand.shape[axis:])
        if isinstance(operand, Value):
            expanded.append(call.graph.reshaped(operand, shape))
        else:
            expanded.append(operand.reshape(shape))
    return lower.concat(call.graph, expanded, axis)


def _unpack(call: Call) -> list[Value]:
    """The parts along an axis, which goes."""
    value = call.value()
    axis = axis_of(call.options.axis, len(value.shape))
    if value.shape[axis] != call.results:
        raise BadInputError(f"{call.results} results for axis {axis} of {list(value.shape)}")
    kept = tuple(size for index, size in enumerate(value.shape) if index != axis)
    return [call.graph.reshaped(part, kept) for part in _parts(call, value, axis, [1] * call.results)]


MOVEMENT: dict[str, Handler] = {
    "CONCATENATION": _concatenation,
    "EXPAND_DIMS": _expand_dims,
    "PACK": _pack,
    "RESHAPE": _reshape,
    "SLICE": _slice,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "TRANSPOSE": _transpose,
    "UNPACK": _unpack,
}

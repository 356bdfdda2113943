"""ONNX operators that move elements: slices, joins, padding, and blocks of pixels as channels."""

from __future__ import annotations

from typing import get_args

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend import import_lowering as lower
from dscompile.frontend.import_graph import Operand, Value
from dscompile.frontend.import_lowering import axis_of
from dscompile.frontend.onnx.call import Call
from dscompile.frontend.onnx.constants import integers_argument
from dscompile.ir.ops import DepthToSpace, PadMode, SpaceToDepth


def concat(call: Call) -> Value:
    """Concat."""
    operands = [call.operand(index) for index in range(len(call.operands))]
    if "axis" not in call.node.attributes:
        raise BadInputError("attribute 'axis' is missing")
    return lower.concat(call.graph, operands, call.node.integer("axis", 0))


def slice_of(call: Call) -> Operand:
    """Slice, whose bounds are attributes before opset 10."""
    value = call.value()
    rank = len(value.shape)
    starts, ends = (integers_argument(call.node, call.operands, i, name) for i, name in ((1, "starts"), (2, "ends")))
    if starts is None or ends is None:
        raise BadInputError("starts and ends are missing")
    axes = call.axes(3)
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = integers_argument(call.node, call.operands, 4, "steps") if call.opset >= 10 else None
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise BadInputError(f"{len(starts)} starts, {len(ends)} ends, {len(axes)} axes and {len(steps)} steps")
    begins, sizes = [0] * rank, list(value.shape)
    along = [axis_of(axis, rank) for axis in axes]
    if len(set(along)) != len(along):
        raise BadInputError(f"axes {list(axes)} name an axis twice")
    strides = [1] * rank
    for axis, start, end, step in zip(along, starts, ends, steps, strict=True):
        if step < 1:
            raise UnsupportedError(f"step {step}; only positive steps are supported")
        begin, stop, _ = slice(start, end).indices(value.shape[axis])
        begins[axis], sizes[axis], strides[axis] = begin, -(-(stop - begin) // step), step
    return lower.box(call.graph, value, begins, sizes, strides)


def gather(call: Call) -> Operand:
    """Elements along an axis by constant indices: slices of runs, one after the other."""
    value, indices = call.value(), call.operand(1)
    rank = len(value.shape)
    axis = axis_of(call.node.integer("axis", 0), rank)
    if isinstance(indices, Value):
        raise UnsupportedError("indices computed at run time; only constants are supported")
    if indices.dtype.kind not in "iu" or indices.ndim > 1:
        raise UnsupportedError(f"indices {indices.dtype} {list(indices.shape)}; only a list of integers is supported")
    whole = value.shape[axis]
    wanted = [int(index) for index in indices.reshape(-1)]
    if not wanted or any(not -whole <= index < whole for index in wanted):
        raise BadInputError(f"indices {wanted} of axis {axis} of {list(value.shape)}")
    runs: list[list[int]] = []
    for index in (index % whole for index in wanted):
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    parts = []
    for run in runs:
        begins, sizes = [0] * rank, list(value.shape)
        begins[axis], sizes[axis] = run[0], len(run)
        parts.append(lower.box(call.graph, value, begins, sizes))
    gathered = lower.concat(call.graph, parts, axis)
    if indices.ndim:
        return gathered
    return call.graph.reshaped(gathered, (*value.shape[:axis], *value.shape[axis + 1 :]))


def split(call: Call) -> list[Operand]:
    """Split into given sizes, or equal ones."""
    operand = call.operand(0)
    axis = axis_of(call.node.integer("axis", 0), len(operand.shape))
    sizes = integers_argument(call.node, call.operands, 1, "split")
    if sizes is None:
        whole, parts = operand.shape[axis], len(call.node.outputs)
        each = -(-whole // parts)
        if whole % parts and call.opset < 18:
            raise BadInputError(f"{parts} equal parts of axis {axis} of {list(operand.shape)}")
        sizes = (*(each,) * (parts - 1), whole - each * (parts - 1))
    if len(sizes) != len(call.node.outputs):
        raise BadInputError(f"{len(sizes)} sizes for {len(call.node.outputs)} results")
    return lower.split(call.graph, operand, axis, sizes)


def pad(call: Call) -> Value:
    """Pad, whose sizes are an attribute before opset 11."""
    word = call.node.text("mode", "constant")
    mode = next((each for each in get_args(PadMode) if each == word and each != "symmetric"), None)
    if mode is None:
        raise BadInputError(f"mode '{word}' is none of constant, reflect, edge, wrap")
    value = call.value()
    if call.opset < 11:
        pads, fill = call.node.integers("pads"), call.node.real("value", 0.0)
    else:
        pads, fill = integers_argument(call.node, call.operands, 1, "pads"), call.scalar(2, "the padding value") or 0.0
    rank = len(value.shape)
    axes = integers_argument(call.node, call.operands, 3, "axes") or tuple(range(rank))
    if pads is None or len(pads) != 2 * len(axes):
        raise BadInputError(f"pads {list(pads or ())} do not give a start and an end for each of {len(axes)} axes")
    before, after = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        before[axis_of(axis, rank)], after[axis_of(axis, rank)] = pads[index], pads[index + len(axes)]
    return lower.pad(call.graph, value, before, after, fill, mode)


def depth_to_space(call: Call) -> Value:
    """DepthToSpace."""
    mode, image = call.node.text("mode", "DCR"), lower.image_of(call.operand(0))
    if mode not in ("DCR", "CRD"):
        raise BadInputError(f"mode '{mode}' is neither DCR nor CRD")
    return lower.regridded(call.graph, image, DepthToSpace(_block(call), "dcr" if mode == "DCR" else "crd"))


def space_to_depth(call: Call) -> Value:
    """SpaceToDepth."""
    return lower.regridded(call.graph, lower.image_of(call.operand(0)), SpaceToDepth(_block(call)))


def _block(call: Call) -> tuple[int, int]:
    size = call.node.integer("blocksize", 0)
    if size < 1:
        raise BadInputError(f"blocksize must be at least 1, not {size}")
    return size, size

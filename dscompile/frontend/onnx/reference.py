"""Operators on constants that are rare enough to be left to onnx's own reference implementation."""

from __future__ import annotations

import math

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.import_graph import Array
from dscompile.frontend.onnx.constants import MAX_ELEMENTS, Inputs
from dscompile.frontend.onnx.reader import OnnxNode

REFERENCE_OPERATORS = frozenset(
    (
        "And", "ArgMax", "ArgMin", "Clip", "CumSum", "EyeLike", "GatherElements", "GatherND", "Greater",
        "GreaterOrEqual", "Less", "LessOrEqual", "Mod", "NonZero", "Not", "Or", "Pad", "Range", "ReduceMax",
        "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Round", "ScatterElements", "ScatterND", "Sign", "Size",
        "Softmax", "Tile", "Trilu", "Xor",
    )
)  # fmt: skip


def reference(node: OnnxNode, inputs: Inputs, opset: int) -> Array:
    """The value of a node of REFERENCE_OPERATORS, whose inputs are all constants (None: an absent one).

    Raises BadInputError if onnx cannot evaluate it, UnsupportedError if the result would be huge.
    """
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    _refuse_huge(node, inputs)
    names = [f"i{index}" if array is not None else "" for index, array in enumerate(inputs)]
    attributes = {name: value for name, value in node.attributes.items() if not isinstance(value, np.ndarray)}
    made = helper.make_node(node.op, names, ["y"], **attributes)
    given = {name: array for name, array in zip(names, inputs, strict=True) if array is not None}
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    graph = helper.make_graph(
        [made], "constants", infos, [helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        with np.errstate(all="ignore"):
            (result,) = ReferenceEvaluator(model).run(None, given)
    except Exception as error:  # whatever NumPy or onnx say of inputs that do not fit
        raise BadInputError(f"cannot be evaluated on its constant inputs: {error}") from error
    return np.asarray(result)


def _refuse_huge(node: OnnxNode, inputs: Inputs) -> None:
    """Raises UnsupportedError for what makes much of little."""
    arrays = [array for array in inputs if array is not None]
    elements = 0.0
    if node.op == "Tile" and len(arrays) == 2:
        elements = arrays[0].size * math.prod(float(count) for count in arrays[1].reshape(-1))
    elif node.op == "Range" and len(arrays) == 3:
        start, limit, delta = (float(array.reshape(-1)[0]) if array.size else 0.0 for array in arrays)
        elements = (limit - start) / delta if delta else 0.0
    elif node.op == "Pad" and len(arrays) > 1:
        sides = arrays[1].reshape(2, -1).astype(np.float64).sum(axis=0)
        elements = math.prod(size + side for size, side in zip(arrays[0].shape, sides, strict=False))
    if elements > MAX_ELEMENTS:
        raise UnsupportedError(f"would make a constant of {elements:.0f} elements")

"""Types: which operators take int8, what their results are, and when quantized tensors fit each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dscompile.ir.ops import (
    Activate,
    ArgMax,
    BatchNorm,
    Binary,
    Concat,
    Constant,
    Conv2D,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Dequantize,
    Lookup,
    Mean,
    Op,
    Pad,
    Pool,
    Quantize,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    SpaceToDepth,
    Transpose,
)
from dscompile.ir.tensor import INTEGER_RANGES, DType, Quantization, Tensor

# Activations that an int8 layer can end with: they are clamps between two integers.
CLAMPS = ("none", "clip")
# Operators whose results have the scale and zero point of their inputs: they move, compare or average integers.
INDEX_MOVERS = (Reshape, Transpose)
"""What may be done with the result of an ArgMax."""
MOVERS = (Pool, Concat, Slice, Shuffle, DepthToSpace, SpaceToDepth, Pad, Resize, Reshape, Transpose)


def border_type_problems(tensor: Tensor, is_border: bool) -> Iterable[str]:
    """What is wrong with the type of one tensor; uint8 is for inputs and outputs of the network."""
    what, q = f"tensor '{tensor.name}'", tensor.quantization
    if tensor.dtype not in INTEGER_RANGES:
        if q is not None:
            yield f"{what} is {tensor.dtype}, which has no quantization"
        return
    if tensor.dtype == "uint8" and not is_border:
        yield f"{what} is uint8; only inputs and outputs of the network may be"
    if q is None or len(q.scales) != 1:
        yield f"{what} is {tensor.dtype} and needs one scale and zero point"
        return
    low, high = INTEGER_RANGES[tensor.dtype]
    if not low <= q.zero_point <= high:
        yield f"{what} has zero point {q.zero_point}, which is no {tensor.dtype}"


def result_type(op: Op, inputs: Sequence[Tensor]) -> tuple[DType, Quantization | None]:
    """Type and quantization of a result for which none is given: those of the first input, float32 without inputs.

    Those of an ArgMax are int32.
    """
    if isinstance(op, ArgMax):
        return "int32", None
    if not inputs or isinstance(op, Dequantize) or inputs[0].dtype == "float32":
        return "float32", None
    return inputs[0].dtype, inputs[0].quantization


def layer_type_problems(op: Op, inputs: Sequence[Tensor], output: Tensor) -> Iterable[str]:
    """What is wrong with the types of a layer whose shapes are right."""
    types = {tensor.dtype for tensor in inputs}
    match op:
        case Constant():
            return
        case Quantize():
            if output.dtype not in INTEGER_RANGES:
                yield f"quantizes to {output.dtype}; it must make int8, or uint8 for an output of the network"
        case Dequantize():
            if not types <= set(INTEGER_RANGES) or output.dtype != "float32":
                yield f"makes {output.dtype} of {', '.join(sorted(types))}; it must make float32 of int8 or uint8"
        case Lookup() if types != {"int8"} or output.dtype != "int8":
            yield f"makes {output.dtype} of {', '.join(sorted(types))}; a lookup makes int8 of int8"
        case ArgMax():
            if types not in ({"float32"}, {"int8"}) or output.dtype != "int32":
                yield f"makes {output.dtype} of {', '.join(sorted(types))}; it must make int32 of float32 or int8"
        case _ if "int32" in types:
            if not isinstance(op, INDEX_MOVERS) or output.dtype != "int32":
                name = next(tensor.name for tensor in inputs if tensor.dtype == "int32")
                yield f"reads '{name}', which is int32; indices can be reshaped and transposed, and that is all"
        case Mean() if "float32" in types:
            yield "is a mean, which only int8 networks have; use an average pool over the whole image"
        case _ if types == {"float32"} and output.dtype == "float32":
            return
        case _ if types == {"int8"} and output.dtype == "int8":
            yield from _int8_problems(op, inputs, output)
        case _:
            yield f"makes {output.dtype} of {', '.join(sorted(types))}; quantize and dequantize are layers"


def _int8_problems(op: Op, inputs: Sequence[Tensor], output: Tensor) -> Iterable[str]:
    if isinstance(op, BatchNorm) or (isinstance(op, Activate) and op.activation.kind == "prelu"):
        yield "cannot be int8; only float32 has batch norm and prelu"
    if isinstance(op, Binary) and op.kind == "div":
        yield "cannot be int8; only float32 can be divided"
    if isinstance(op, Binary) and op.rounded_as != "int8" and op.kind in ("max", "min"):
        yield f"cannot be rounded_as {op.rounded_as}; it chooses one of two integers and rounds nothing"
    if isinstance(op, Conv2D | ConvTranspose | Dense | Binary | Pool) and op.activation.kind not in CLAMPS:
        yield f"ends with {op.activation.name}; after int8 only clamps (relu, relu6, clip) can be part of a layer"
    if isinstance(op, Activate) and op.activation.kind == "hard_swish" and not _hard_swish_fits(inputs[0], output):
        yield f"a hard_swish cannot make scale {_scale(output):g} of {_scale(inputs[0]):g}; at most 1/128 of it"
    if isinstance(op, Pool) and op.count_pads and op.pads:
        yield "counts padding in its average, which int8 cannot"
    if keeps_quantization(op):
        for tensor in inputs:
            if tensor.quantization != output.quantization:
                yield f"moves '{tensor.name}' to '{output.name}', which must have the same scale and zero point"


def _hard_swish_fits(given: Tensor, made: Tensor) -> bool:
    """Whether the factor input scale / 128 / output scale is below 1, as the 16-bit arithmetic needs it."""
    return _scale(given) / 128 < _scale(made)


def _scale(tensor: Tensor) -> float:
    return tensor.quantization.scales[0] if tensor.quantization is not None else 1.0


def keeps_quantization(op: Op) -> bool:
    """Whether results must have the scale and zero point of all inputs."""
    return isinstance(op, MOVERS) or (isinstance(op, Binary) and op.kind in ("max", "min"))


def weight_types(op: Op) -> dict[str, str]:
    """Role -> NumPy name of the type of the weights that `op` has over int8."""
    match op:
        case Conv2D() | ConvTranspose() | Dense():
            return {"kernel": "int8", "kernel_scale": "float32", "bias": "int32"}
        case Constant():
            return {"value": "int8"}
        case Lookup():
            return {"table": "int8"}
        case _:
            return {}

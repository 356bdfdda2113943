"""Tensors in a manifest."""

from __future__ import annotations

from typing import cast, get_args

from dscompile.artifact.fields import Fields, Json
from dscompile.ir.tensor import BorderLayout, DType, Quantization, Tensor


def tensor_to_json(tensor: Tensor) -> Json:
    """Everything of a tensor."""
    q = tensor.quantization
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "border": tensor.border,
        "dtype": tensor.dtype,
        "elements": tensor.elements,
        "quantization": None if q is None else {"scales": list(q.scales), "zero_point": q.zero_point},
    }


def tensor_from_json(fields: Fields) -> Tensor:
    """The tensor in an object; nonsense where `fields.problems` has entries afterwards."""
    tensor = Tensor(
        name=fields.text("name"),
        shape=fields.wholes("shape"),
        dtype=cast(DType, fields.word("dtype", get_args(DType))),
        quantization=_quantization_from_json(fields),
        border=cast(BorderLayout, fields.word("border", get_args(BorderLayout))),
    )
    if fields.whole("elements") != tensor.elements or min(tensor.shape, default=1) < 1:
        fields.problems.append(f"'{fields.where}elements' does not fit the shape {list(tensor.shape)}")
    return tensor


def _quantization_from_json(fields: Fields) -> Quantization | None:
    if not fields.has_value("quantization"):
        return None
    inner = fields.child("quantization")
    try:
        return Quantization(inner.numbers("scales"), inner.whole("zero_point", least=-(2**31)))
    except ValueError as error:
        fields.problems.append(f"'{fields.where}quantization': {error}")
        return None

"""The keys of a net.yaml that say how integers stand for reals: `dtype`, `scale`, `zero_point`."""

from __future__ import annotations

from dataclasses import dataclass

from dscompile.frontend.fields import Fields
from dscompile.frontend.yamltree import ScalarNode
from dscompile.ir.tensor import INTEGER_RANGES, DType, Quantization

# Kinds that stand for several layers: each of these has a scale of its own, so they must be written one by one.
BLOCK_KINDS = frozenset(
    {"separable", "inverted_residual", "squeeze_excite", "split", "shuffle_v1", "shuffle_v2", "blaze_block"}
)


@dataclass(frozen=True)
class ResultType:
    """Type and quantization of a tensor, as its author gives them."""

    dtype: DType
    quantization: Quantization | None


FLOAT = ResultType("float32", None)


def read_type(fields: Fields) -> ResultType | None:
    """What the keys `dtype`, `scale` and `zero_point` say; None where they are absent.

    `scale` alone means int8. `dtype: float32` takes neither of the others.
    """
    if not any(fields.has(key) for key in ("dtype", "scale", "zero_point")):
        return None
    dtype: DType = "int8"
    match fields.choice("dtype", ("int8", "uint8", "float32"), "int8"):
        case "uint8":
            dtype = "uint8"
        case "float32":
            return FLOAT
    scale = _scale(fields)
    low, high = INTEGER_RANGES[dtype]
    node = fields.take("zero_point")
    zero_point = fields.integer_of("zero_point", node, low, high) if node is not None else 0
    return ResultType(dtype, Quantization((scale,), zero_point))


def _scale(fields: Fields) -> float:
    node = fields.require("scale", "0.0235")
    if node is None:
        return 1.0
    value = node.value if isinstance(node, ScalarNode) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        fields.wrong("scale", node, "one number above 0")
        return 1.0
    return float(value)

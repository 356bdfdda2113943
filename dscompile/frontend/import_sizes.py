"""What a model may ask for and no net.yaml can hold."""

from __future__ import annotations

from dataclasses import fields

from dscompile.errors import BadInputError
from dscompile.ir.ops import MAX_SIZE, Op, Pads, Reshape


def check_sizes(op: Op) -> None:
    """Raises BadInputError for an operator with an integer that no net.yaml can hold."""
    if isinstance(op, Reshape) and len(op.shape) == 2:
        return  # written as `flatten`, without its sizes
    for field in fields(op):
        sizes = _integers(getattr(op, field.name))
        if max(sizes, default=0) > MAX_SIZE:
            raise BadInputError(f"{field.name} {list(sizes)} must be at most {MAX_SIZE}")


def _integers(value: object) -> tuple[int, ...]:
    match value:
        case bool():
            return ()
        case int():
            return (value,)
        case Pads():
            return value.top, value.bottom, value.left, value.right
        case tuple():
            return tuple(item for item in value if isinstance(item, int))
        case _:
            return ()

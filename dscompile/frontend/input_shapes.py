"""Shapes that a user gives for the inputs of a model whose file leaves some of their sizes open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from dscompile.errors import UsageError, did_you_mean
from dscompile.frontend.import_names import sanitized
from dscompile.ir.tensor import Shape

InputShapes = Mapping[str, Sequence[int]]
"""Name of an input, as in the file or as imported -> its shape in the file's order of axes."""
NO_SHAPES: InputShapes = MappingProxyType({})


def check_names(shapes: InputShapes, inputs: Iterable[str]) -> None:
    """Raises UsageError for a name that no input has, and for sizes below 1."""
    known = list(inputs)
    for name, shape in shapes.items():
        if name not in known and name not in [sanitized(each, "input") for each in known]:
            help = did_you_mean(name, known) or f"inputs are {', '.join(known)}"
            raise UsageError(f"the model has no input '{name}' to give a shape", help=help)
        if not shape or min(shape) < 1:
            raise UsageError(f"the shape of input '{name}' must be sizes of at least 1, not {list(shape)}")


def given_shape(shapes: InputShapes, name: str, declared: Sequence[int | None]) -> Shape | None:
    """The shape given for an input, or None. UsageError if it contradicts what the file declares (None: open)."""
    shape = shapes.get(name, shapes.get(sanitized(name, "input")))
    if shape is None:
        return None
    fits = len(shape) == len(declared) and all(
        size in (None, wanted) for size, wanted in zip(declared, shape, strict=True)
    )
    if not fits:
        shown = ", ".join("?" if size is None else str(size) for size in declared)
        raise UsageError(f"input '{name}' is [{shown}] in the file, which {list(shape)} does not fit")
    return tuple(shape)

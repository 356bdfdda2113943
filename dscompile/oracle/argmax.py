"""Where the largest elements are, and where a second one is nearly as large."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.network import Array, Network
from dscompile.ir.ops import ArgMax, Reshape, Transpose

NO_INDEX = -1


def index_of_largest(op: ArgMax, x: NDArray[Any]) -> NDArray[np.int64]:
    """X [..., C] -> the index of the largest element, [...] or [..., 1]; of equal ones the first, or the last."""
    index = x.shape[-1] - 1 - np.argmax(x[..., ::-1], axis=-1) if op.last else np.argmax(x, axis=-1)
    return np.asarray(index[..., None] if op.keep_axis else index, np.int64)


def runners_up(network: Network, values: Mapping[str, Array], tolerance: float) -> dict[str, Array]:
    """Tensor of indices -> those that are nearly right: where the second largest element is as large but for rounding.

    They are NO_INDEX where the largest one leads by `tolerance` or more, relative to the largest magnitude of what
    the ArgMax reads. Tensors made of int8 have none, as they are exact. `values` are all tensors (see `run_all`).
    """
    found: dict[str, Array] = {}
    for layer in network.layers:
        source = layer.inputs[0] if layer.inputs else ""
        match layer.op:
            case ArgMax() as op if network.tensor(source).dtype == "float32":
                found[layer.output] = _second(op, values[source].astype(np.float64), tolerance)
            case Reshape(shape=shape) if source in found:
                found[layer.output] = found[source].reshape(shape)
            case Transpose(permutation=permutation) if source in found:
                found[layer.output] = found[source].transpose(permutation)
            case _:
                pass
    return found


def _second(op: ArgMax, x: NDArray[np.float64], tolerance: float) -> Array:
    first = index_of_largest(ArgMax(keep_axis=True, last=op.last), x)
    rest = x.copy()
    np.put_along_axis(rest, first, -np.inf, axis=-1)
    second = index_of_largest(ArgMax(keep_axis=True, last=op.last), rest)
    largest, next_largest = (np.take_along_axis(each, at, axis=-1) for each, at in ((x, first), (rest, second)))
    scale = float(np.abs(x[np.isfinite(x)]).max(initial=0.0))
    with np.errstate(invalid="ignore"):
        near = (largest - next_largest < tolerance * scale) & (second != first)
    index = np.where(near, second, NO_INDEX).astype(np.int32)
    return index if op.keep_axis else index[..., 0]

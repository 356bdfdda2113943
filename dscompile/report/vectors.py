"""Golden vectors: what the oracle says to a few inputs, stored with the artifact so that it can be verified anywhere.

Only outputs are stored (vectors.npz). Inputs are made again from their seeds, drawn from NumPy's legacy generator,
whose stream is frozen for good: float32 uniform in [-1, 1), integers uniform over their range; seed -1 means zeros.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dscompile.errors import BadInputError, Position
from dscompile.frontend.npz import NpzReader
from dscompile.ir.network import Array
from dscompile.ir.tensor import INTEGER_RANGES, Tensor

FILE_NAME = "vectors.npz"
ZEROS = -1
_COUNT = 2
_STREAM_COUNT = 11
_LIMIT_BYTES = 2**20
_MOST_SEEDS = 1000  # that a file is read with


@dataclass(frozen=True)
class Vectors:
    """One row per vector: `outputs[i][k]` is what output number i must be for the input of `seeds[k]`.

    `others` has indices that are nearly right, of the outputs that are indices of a float32 tensor (see
    oracle/argmax.py: runners_up).
    """

    seeds: tuple[int, ...]
    outputs: tuple[Array, ...]
    others: Mapping[int, Array] = field(default_factory=dict)


def seeded_inputs(tensors: Sequence[Tensor], seed: int) -> dict[str, Array]:
    """The inputs that belong to a seed: an array of the border shape per tensor, in order; zeros for the seed -1."""
    return {tensor.name: _seeded(tensor, seed, index) for index, tensor in enumerate(tensors)}


def _seeded(tensor: Tensor, seed: int, index: int) -> Array:
    shape, dtype = tensor.border_shape, np.dtype(tensor.dtype)
    if seed == ZEROS:
        return np.zeros(shape, dtype)
    generator = np.random.RandomState([seed, index])
    if tensor.dtype in INTEGER_RANGES:
        low, high = INTEGER_RANGES[tensor.dtype]
        return generator.randint(low, high + 1, shape).astype(dtype)
    return generator.uniform(-1.0, 1.0, shape).astype(dtype)


def vector_seeds(seed: int, output_bytes: int, *, is_stream: bool = False) -> tuple[int, ...]:
    """The seeds of an artifact's vectors: `seed`, the ones after it, and zeros; fewer when outputs are large.

    There is always one; the file stays below 1 MiB when that is possible. Vectors of a network with state are
    consecutive inferences of one stream, and more.
    """
    wanted = (*range(seed, seed + (_STREAM_COUNT if is_stream else _COUNT)), ZEROS)
    return wanted[: max(1, min(len(wanted), _LIMIT_BYTES // max(1, output_bytes)))]


def encode_vectors(vectors: Vectors) -> bytes:
    """The content of vectors.npz; the same vectors give the same bytes."""
    buffer = io.BytesIO()
    arrays = {f"output{index}": values for index, values in enumerate(vectors.outputs)}
    arrays |= {f"other{index}": values for index, values in vectors.others.items()}
    np.savez(buffer, allow_pickle=False, seeds=np.asarray(vectors.seeds, np.int64), **arrays)
    return buffer.getvalue()


def read_vectors(path: Path, tensors: Sequence[Tensor]) -> Vectors:
    """Reads vectors.npz. Raises BadInputError if it is missing, damaged or does not fit the artifact's outputs."""
    where = Position(str(path))
    if not path.is_file():
        raise BadInputError("the artifact has no golden vectors", position=where, help="build it again")
    try:
        content = _read_arrays(path, tensors)
    except BadInputError as error:
        raise BadInputError("the golden vectors are damaged", position=where, help="build it again") from error
    if content is None:
        raise BadInputError("the golden vectors belong to another artifact", position=where, help="build it again")
    outputs = tuple(content[f"output{index}"] for index in range(len(tensors)))
    others = {index: content[name] for index in range(len(tensors)) if (name := f"other{index}") in content}
    return Vectors(tuple(int(seed) for seed in content["seeds"]), outputs, others)


def _read_arrays(path: Path, tensors: Sequence[Tensor]) -> dict[str, Array] | None:
    """All arrays of vectors.npz by name; None if their types or shapes are not those of `tensors`.

    Nothing is unpacked before its header fits.
    """
    reader = NpzReader(path)
    try:
        keys = reader.keys()
        if "seeds" not in keys or any(f"output{index}" not in keys for index in range(len(tensors))):
            raise BadInputError("an array is missing")
        kind, shape = reader.describe("seeds")
        if kind != "int64" or len(shape) != 1 or shape[0] > _MOST_SEEDS:
            return None
        wanted = {
            f"{name}{index}": (tensor.dtype, (shape[0], *tensor.border_shape))
            for index, tensor in enumerate(tensors)
            for name in ("output", "other")
            if f"{name}{index}" in keys
        }
        if any(reader.describe(name) != each for name, each in wanted.items()):
            return None
        return {name: reader.read(name) for name in ("seeds", *wanted)}
    finally:
        reader.close()

"""Golden vectors: what the oracle says to a few inputs, stored with the artifact so that it can be verified anywhere.

Only outputs are stored (vectors.npz). Inputs are made again from their seeds: uniform in [-1, 1), float32, drawn from
NumPy's legacy generator, whose stream is frozen for good; seed -1 stands for an input of zeros.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import BadInputError, Position
from dscompile.ir.tensor import Shape

Floats = NDArray[np.float32]

FILE_NAME = "vectors.npz"
ZEROS = -1
_COUNT = 2
_LIMIT_BYTES = 2**20


@dataclass(frozen=True)
class Vectors:
    """One row per vector: `outputs[i][k]` is what output number i must be for the input of `seeds[k]`."""

    seeds: tuple[int, ...]
    outputs: tuple[Floats, ...]


def seeded_inputs(shapes: Mapping[str, Shape], seed: int) -> dict[str, Floats]:
    """The inputs that belong to a seed: one array per name, in the order of `shapes`; zeros for the seed -1."""
    if seed == ZEROS:
        return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    return {
        name: np.random.RandomState([seed, index]).uniform(-1.0, 1.0, shape).astype(np.float32)
        for index, (name, shape) in enumerate(shapes.items())
    }


def vector_seeds(seed: int, output_bytes: int) -> tuple[int, ...]:
    """The seeds of an artifact's vectors: `seed`, the ones after it, and zeros; fewer when outputs are large.

    There is always one; the file stays below 1 MiB when that is possible.
    """
    wanted = (*range(seed, seed + _COUNT), ZEROS)
    return wanted[: max(1, min(len(wanted), _LIMIT_BYTES // max(1, output_bytes)))]


def encode_vectors(vectors: Vectors) -> bytes:
    """The content of vectors.npz; the same vectors give the same bytes."""
    buffer = io.BytesIO()
    arrays = {f"output{index}": values for index, values in enumerate(vectors.outputs)}
    np.savez(buffer, allow_pickle=False, seeds=np.asarray(vectors.seeds, np.int64), **arrays)
    return buffer.getvalue()


def read_vectors(path: Path, output_shapes: Sequence[Shape]) -> Vectors:
    """Reads vectors.npz. Raises BadInputError if it is missing, damaged or does not fit the artifact's outputs."""
    where = Position(str(path))
    try:
        with np.load(path, allow_pickle=False) as content:
            seeds = content["seeds"]
            outputs = tuple(content[f"output{index}"] for index in range(len(output_shapes)))
    except FileNotFoundError as error:
        raise BadInputError("the artifact has no golden vectors", position=where, help="build it again") from error
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadInputError("the golden vectors are damaged", position=where, help="build it again") from error
    for values, shape in zip(outputs, output_shapes, strict=True):
        if values.dtype != np.float32 or values.shape != (len(seeds), *shape):
            raise BadInputError("the golden vectors belong to another artifact", position=where, help="build it again")
    return Vectors(tuple(int(seed) for seed in seeds), outputs)

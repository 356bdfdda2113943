"""Golden vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dscompile.errors import BadInputError
from dscompile.ir.tensor import Tensor
from dscompile.report.vectors import ZEROS, Vectors, encode_vectors, read_vectors, seeded_inputs, vector_seeds

VECTORS = Vectors((3, ZEROS), (np.array([[1, 2], [3, 4]], np.float32), np.zeros((2, 1, 1), np.float32)))
TENSORS = [Tensor("p", (2,)), Tensor("q", (1, 1))]


def test_vectors_survive_the_file(tmp_path: Path):
    path = tmp_path / "vectors.npz"
    path.write_bytes(encode_vectors(VECTORS))
    read = read_vectors(path, TENSORS)
    assert read.seeds == (3, ZEROS)
    assert all(np.array_equal(a, b) for a, b in zip(read.outputs, VECTORS.outputs, strict=True))


def test_the_same_vectors_give_the_same_bytes():
    assert encode_vectors(VECTORS) == encode_vectors(VECTORS)


def test_inputs_of_a_seed_are_the_same_for_good():
    inputs = seeded_inputs([Tensor("a", (1, 2)), Tensor("b", (2,))], 7)
    assert list(inputs) == ["a", "b"]
    assert inputs["a"].dtype == np.float32
    assert inputs["a"].tolist() == [[0.9132767915725708, -0.35957759618759155]]
    assert inputs["b"].tolist() == [-0.5489822030067444, -0.28279805183410645]


def test_integer_inputs_cover_their_whole_range():
    values = seeded_inputs([Tensor("a", (1, 4000), "int8")], 7)["a"]
    assert (values.dtype, values.min(), values.max()) == (np.int8, -128, 127)


def test_inputs_of_the_zero_seed_are_zeros():
    assert not seeded_inputs([Tensor("a", (1, 2))], ZEROS)["a"].any()


def test_large_outputs_get_fewer_vectors_but_always_one():
    assert vector_seeds(5, 4_000) == (5, 6, ZEROS)
    assert vector_seeds(5, 2**19) == (5, 6)
    assert vector_seeds(5, 2**24) == (5,)


def test_missing_vectors(tmp_path: Path):
    with pytest.raises(BadInputError, match="the artifact has no golden vectors"):
        read_vectors(tmp_path / "vectors.npz", TENSORS)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"text"])
def test_damaged_vectors(tmp_path: Path, content: bytes):
    path = tmp_path / "vectors.npz"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="the golden vectors are damaged"):
        read_vectors(path, TENSORS)


def test_vectors_of_another_artifact(tmp_path: Path):
    path = tmp_path / "vectors.npz"
    path.write_bytes(encode_vectors(VECTORS))
    with pytest.raises(BadInputError, match="belong to another artifact"):
        read_vectors(path, [Tensor("p", (3,)), Tensor("q", (1, 1))])

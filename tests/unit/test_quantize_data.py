"""Calibration data: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dscompile.errors import BadInputError
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import Activate, Activation, Binary
from dscompile.ir.tensor import Tensor
from dscompile.quantization.data import read_samples


def one_input() -> Network:
    builder = NetworkBuilder("one")
    builder.input(Tensor("image", (1, 4, 5, 3)))
    builder.add("y", Activate(Activation("tanh")), ["image"])
    return builder.build(["y"])


def two_inputs() -> Network:
    builder = NetworkBuilder("two")
    builder.input(Tensor("image", (1, 4, 5, 3), border="nchw"))
    builder.input(Tensor("mask", (1, 4, 5, 1)))
    builder.add("y", Binary("mul"), ["image", "mask"])
    return builder.build(["y"])


def refused(path: Path, network: Network) -> str:
    with pytest.raises(BadInputError) as caught:
        read_samples(path, network)
    return str(caught.value)


def test_the_only_array_is_for_the_only_input_whatever_its_name(tmp_path: Path) -> None:
    array = np.arange(120).reshape(2, 4, 5, 3)
    np.savez(tmp_path / "c.npz", array.astype(np.uint8))
    samples = read_samples(tmp_path / "c.npz", one_input())
    assert len(samples) == 2
    assert samples[1]["image"].dtype == np.float32
    assert np.array_equal(samples[1]["image"], array[1:])


def test_arrays_stand_in_the_order_of_the_users_buffers(tmp_path: Path) -> None:
    image = np.arange(180, dtype=np.float32).reshape(3, 3, 4, 5)
    np.savez_compressed(tmp_path / "c.npz", mask=np.zeros((3, 4, 5, 1)), image=image)
    samples = read_samples(tmp_path / "c.npz", two_inputs())
    assert samples[2]["image"].shape == (1, 4, 5, 3)
    assert np.array_equal(samples[2]["image"][0], image[2].transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5, 3)), "has shape [4, 5, 3], it must be [N, 4, 5, 3]\n"),
        (np.zeros((2, 3, 4, 5)), "this looks like channels first; the input is channels last"),
        (np.zeros((0, 4, 5, 3)), "the array 'image' holds no samples"),
        (np.zeros((1, 4, 5, 3), np.complex64), "the array 'image' is of type complex64"),
        (np.zeros((1, 4, 5, 3), bool), "the array 'image' is of type bool"),
        (np.full((1, 4, 5, 3), np.nan), "the array 'image' holds nan at [0, 0, 0, 0]"),
        (np.full((1, 4, 5, 3), 1e300), "the array 'image' holds 1e+300 at [0, 0, 0, 0]"),
        (np.array([{}], dtype=object), "the array 'image' is of type object"),
    ],
)
def test_wrong_arrays_are_refused(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", image=array)
    assert message in refused(tmp_path / "c.npz", one_input()) + "\n"


def test_a_single_sample_without_its_first_axis_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", image=np.zeros((4, 5, 3)))
    assert "a single sample needs a first axis, too: array[None]" in refused(tmp_path / "c.npz", one_input())


def test_channels_last_for_an_nchw_input_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", image=np.zeros((2, 4, 5, 3)), mask=np.zeros((2, 4, 5, 1)))
    assert "this looks like channels last; the input is channels first" in refused(tmp_path / "c.npz", two_inputs())


def test_missing_unknown_and_uneven_arrays_are_reported(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", imago=np.zeros((2, 3, 4, 5)), mask=np.zeros((2, 4, 5, 1)))
    text = refused(tmp_path / "c.npz", two_inputs())
    assert "the network has no input 'imago'" in text
    assert "did you mean 'image'?" in text
    assert "the array 'image' is missing; it must be [N, 3, 4, 5]" in text
    np.savez(tmp_path / "c.npz", image=np.zeros((2, 3, 4, 5)), mask=np.zeros((3, 4, 5, 1)))
    assert "different numbers of samples: 'image' 2, 'mask' 3" in refused(tmp_path / "c.npz", two_inputs())


def test_files_that_are_no_npz_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", np.zeros(3))
    assert "is no .npz file" in refused(tmp_path / "c.npy", one_input())
    (tmp_path / "c.npz").write_bytes(b"nothing")
    assert "'c.npz' is not a .npz file" in refused(tmp_path / "c.npz", one_input())
    np.savez(tmp_path / "d.npz", image=np.zeros((2, 4, 5, 3)))
    data = bytearray((tmp_path / "d.npz").read_bytes())
    data[400] ^= 1
    (tmp_path / "d.npz").write_bytes(data)
    assert "the array 'image' cannot be read" in refused(tmp_path / "d.npz", one_input())

"""Weights from files: the right ones are taken, the wrong ones named, nothing dangerous is read."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dscompile.errors import BadInputError, Diagnostic
from dscompile.frontend.netfile import read_netfile
from dscompile.frontend.weights import open_weights
from tests.unit.netfiles import frame, only, place

LAYERS = "- conv: {name: stem, out: 3, kernel: 5}\n- flatten\n- dense: {name: fc, out: 2}"
GOOD: dict[str, np.ndarray] = {
    "stem.kernel": np.linspace(-1, 1, 300, dtype=np.float32).reshape(5, 5, 4, 3),
    "stem.bias": np.float32([1, 2, 3]),
    "fc.kernel": np.linspace(-1, 1, 384, dtype=np.float32).reshape(192, 2),
}


def write(directory: Path, arrays: Mapping[str, np.ndarray], file: str = "w.npz", layers: str = LAYERS) -> Path:
    path = directory / "net.yaml"
    path.write_text(frame(layers, weights=f"{{file: {file}}}"))
    if file.endswith(".npz"):
        np.savez(directory / file, **arrays)
    else:
        save_file(dict(arrays), directory / file)
    return path


def problems(path: Path, *, load: bool = True, weights: Path | None = None) -> tuple[Diagnostic, ...]:
    with pytest.raises(BadInputError) as caught:
        read_netfile(path, weights=weights, load_weights=load)
    return caught.value.diagnostics


@pytest.mark.parametrize("file", ["w.npz", "w.safetensors"])
def test_arrays_become_weights_and_a_missing_bias_is_none(file: str, tmp_path: Path) -> None:
    net = read_netfile(write(tmp_path, GOOD, file)).network
    assert set(net.weights) == set(GOOD)
    for key, array in GOOD.items():
        assert np.array_equal(net.weights[key], array)
        assert net.weights[key].dtype == np.float32
        assert not net.weights[key].flags.writeable


@pytest.mark.parametrize("file", ["w.npz", "w.safetensors"])
@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_other_floats_are_converted(file: str, dtype: type, tmp_path: Path) -> None:
    arrays = {key: array.astype(dtype) for key, array in GOOD.items()}
    net = read_netfile(write(tmp_path, arrays, file)).network
    assert np.array_equal(net.weights["fc.kernel"], arrays["fc.kernel"].astype(np.float32))


def test_fortran_order_big_endian_and_compression_do_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path, {})
    arrays = {key: np.asfortranarray(array).astype(">f4") for key, array in GOOD.items()}
    np.savez_compressed(tmp_path / "w.npz", **arrays)
    assert np.array_equal(read_netfile(path).network.weights["stem.kernel"], GOOD["stem.kernel"])


@pytest.mark.parametrize("file", ["w.npz", "w.safetensors"])
@pytest.mark.parametrize("load", [True, False])
def test_every_wrong_array_is_named_with_its_layer(file: str, load: bool, tmp_path: Path) -> None:
    arrays = {
        "stem.kernel": GOOD["stem.kernel"].transpose(3, 2, 0, 1).copy(),
        "stem.bais": GOOD["stem.bias"],
        "fc.kernel": np.zeros((192, 2), np.int32),
        "unused": np.zeros(3, np.float32),
    }
    found = problems(write(tmp_path, arrays, file), load=load)
    assert [(d.layer, d.message, d.help) for d in found] == [
        (
            "stem",
            f"weight 'stem.kernel' in '{file}' has shape [3, 4, 5, 5], it must be [5, 5, 4, 3]",
            "this looks like PyTorch's [out, in, rows, columns]: transpose it with (2, 3, 1, 0)",
        ),
        (
            "fc",
            f"weight 'fc.kernel' in '{file}' is of type int32",
            "store float32 (float64 and float16 are converted)",
        ),
        (None, f"no layer uses 'stem.bais' of '{file}'", "did you mean 'stem.bias'?"),
        (None, f"no layer uses 'unused' of '{file}'", "remove it from the file"),
    ]
    assert [place(d)[0] for d in found] == [6, 8, 9, 9]


def test_a_missing_weight_is_shown_with_the_array_that_may_be_meant(tmp_path: Path) -> None:
    arrays = {**GOOD, "fc.kernels": GOOD["fc.kernel"]}
    del arrays["fc.kernel"]
    found = only(problems(write(tmp_path, arrays)))
    assert found.render().splitlines()[0] == (
        "error: layer fc: weight 'fc.kernel' is missing in 'w.npz'; it must be [192, 2] float32"
    )
    assert found.help == "the file has 'fc.kernels', which no layer uses; is that it?"
    del arrays["fc.kernels"]
    found = only(problems(write(tmp_path, arrays)))
    assert found.help == "add an array 'fc.kernel' of this shape, or use `weights: {seed: 7}` for random ones"


def test_the_file_of_another_network_is_one_error(tmp_path: Path) -> None:
    found = only(problems(write(tmp_path, {"conv1.weight": np.zeros(3, np.float32)})))
    assert found.message == "'w.npz' has none of this network's 2 weights"
    assert found.help == "arrays are called <layer>.<role>: the first is 'stem.kernel', [5, 5, 4, 3]"


@pytest.mark.parametrize(
    ("layers", "key", "shape", "help"),
    [
        ("- dense: {name: a, out: 2}", "a.kernel", (2, 256), "this looks like PyTorch's [out, in]: transpose it"),
        ("- depthwise: {name: a, kernel: 3}", "a.kernel", (3, 3, 4, 1), "depthwise kernels are [rows, columns, 1,"),
        ("- prelu: {name: a}", "a.slope", (7,), "the shape follows from the layer's keys and its input"),
    ],
)
def test_advice_for_wrong_shapes(layers: str, key: str, shape: tuple[int, ...], help: str, tmp_path: Path) -> None:
    found = only(problems(write(tmp_path, {key: np.zeros(shape, np.float32)}, layers=layers)))
    assert help in (found.help or "")


@pytest.mark.parametrize(
    ("value", "text", "help"),
    [
        (np.nan, "holds nan at [1]", "the training diverged, or the export went wrong"),
        (-np.inf, "holds -inf at [1]", "the training diverged, or the export went wrong"),
        (1e300, "holds 1e+300 at [1]", "it exceeds float32"),
    ],
)
def test_values_that_are_no_numbers_are_refused(value: float, text: str, help: str, tmp_path: Path) -> None:
    found = only(problems(write(tmp_path, {**GOOD, "stem.bias": np.array([1, value, 3])})))
    assert found.message == f"weight 'stem.bias' in 'w.npz' {text}"
    assert (found.layer, found.help) == ("stem", help)


def test_bias_true_wants_one_and_bias_false_refuses_one(tmp_path: Path) -> None:
    layers = "- conv: {name: stem, out: 3, kernel: 5, bias: false}\n- flatten\n- dense: {name: fc, out: 2, bias: true}"
    found = problems(write(tmp_path, GOOD, layers=layers))
    assert [d.message for d in found] == [
        "weight 'stem.bias' in 'w.npz' is there, but the layer says `bias: false`",
        "weight 'fc.bias' is missing in 'w.npz'; it must be [2] float32",
    ]


def test_without_weights_section_the_error_says_what_to_write(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    path.write_text(path.read_text().replace("weights: {file: w.npz}\n", ""))
    found = only(problems(path))
    assert found.message == "the network has layers with weights, but the file has no 'weights'"
    assert found.help == "add `weights: {file: NAME.npz}`, or `weights: {seed: 7}` for random ones"


def test_not_loading_gives_shapes_and_nan(tmp_path: Path) -> None:
    file = read_netfile(write(tmp_path, GOOD), load_weights=False)
    assert not file.weights_loaded
    kernel = file.network.weights["stem.kernel"]
    assert (kernel.shape, kernel.nbytes, kernel.dtype) == ((5, 5, 4, 3), 1200, np.float32)
    assert np.isnan(kernel).all()


@pytest.mark.parametrize("name", ["../w.npz", "/etc/hostname", "link.npz", "loop.npz"])
def test_weights_may_not_leave_the_directory(name: str, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = write(inner, GOOD)
    np.savez(tmp_path / "w.npz", **GOOD)
    (inner / "link.npz").symlink_to(tmp_path / "w.npz")
    (inner / "loop.npz").symlink_to(inner / "loop.npz")
    path.write_text(frame(LAYERS, weights=f"{{file: {name}}}"))
    found = only(problems(path))
    assert place(found)[0] == 9
    if name != "loop.npz":
        assert found.message == f"'{name}' leaves the directory of its net.yaml"
        assert found.help == "put it beside the net.yaml, or name the weights on the command line"


def test_weights_of_the_command_line_may_lie_anywhere(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = write(tmp_path / "inner", {})
    (tmp_path / "inner" / "w.npz").unlink()
    np.savez(tmp_path / "mine.npz", **GOOD)
    net = read_netfile(path, weights=tmp_path / "mine.npz").network
    assert np.array_equal(net.weights["stem.bias"], GOOD["stem.bias"])
    assert only(problems(path, weights=tmp_path / "none.npz")).message.endswith("none.npz' does not exist")


def test_weights_in_a_directory_below_are_found(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    path = write(tmp_path, GOOD)
    (tmp_path / "w.npz").rename(tmp_path / "w" / "w.npz")
    path.write_text(frame(LAYERS, weights="{file: w/w.npz}"))
    assert read_netfile(path).network.weights
    path.write_text(frame(LAYERS, weights="{file: w}"))
    assert only(problems(path)).message == "'w' is a directory"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("w.npz", b"not a zip file at all", "'w.npz' is not a .npz file"),
        ("w.npz", b"", "'w.npz' is not a .npz file"),
        ("w.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense", "'w.safetensors' is not a .safetensors file"),
        ("w.safetensors", struct.pack("<Q", 1 << 60) + b"{}", "'w.safetensors' is not a .safetensors file"),
        ("w.pth", b"x", "'w.pth' is neither .npz nor .safetensors"),
    ],
)
def test_files_of_another_kind(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(frame(LAYERS, weights=f"{{file: {name}}}"))
    (tmp_path / name).write_bytes(data)
    found = only(problems(path))
    assert message in found.message
    assert place(found)[0] == 9


def npz_with(directory: Path, entry: bytes, **options: int) -> Path:
    """A net.yaml whose stem.kernel is this .npy entry."""
    path = write(directory, {})
    with zipfile.ZipFile(directory / "w.npz", "w", **options) as archive:
        for key, array in GOOD.items():
            data = io.BytesIO()
            np.save(data, array)
            archive.writestr(f"{key}.npy", entry if key == "stem.kernel" else data.getvalue())
    return path


def npy(shape: str = "(5, 5, 4, 3)", descr: str = "'<f4'", data: bytes = bytes(1200)) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


class Explosive:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (npy(data=bytes(1199)), "cannot be read: its data are not the 1200 B of its header"),
        (npy(data=bytes(1201)), "cannot be read: its data are not the 1200 B of its header"),
        (b"", "cannot be read:"),
        (b"garbage, not an array", "cannot be read:"),
        (npy()[:30], "cannot be read:"),
        (npy(descr="open('/etc/passwd')"), "cannot be read:"),
        (npy(descr="((((((((((("), "cannot be read:"),
        (npy(descr="'|O'", data=pickle.dumps(Explosive())), "is of type object"),
        (npy(shape="(1000000, 1000000, 1000000, 1000000)"), "has shape [1000000, 1000000, 1000000, 1000000]"),
        (npy(shape="(-5, -5, 4, 3)"), "has shape [-5, -5, 4, 3]"),
        (b"\x93NUMPY\x09\x00" + npy()[8:], "cannot be read:"),
    ],
)
def test_damaged_and_malicious_arrays(entry: bytes, message: str, tmp_path: Path) -> None:
    found = only(problems(npz_with(tmp_path, entry)))
    assert f"weight 'stem.kernel' in 'w.npz' {message}" in found.message
    assert found.layer == "stem"


@pytest.mark.parametrize(
    ("bomb", "message"),
    [
        (npy(data=bytes(64 << 20)), "its data are not the 1200 B of its header"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 64 << 20) + bytes(64 << 20), "its header of 67108864 B is too long"),
    ],
    ids=["data", "header"],
)
def test_a_zip_bomb_is_not_unpacked(bomb: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = npz_with(tmp_path, bomb, compression=zipfile.ZIP_DEFLATED)
    unpacked = 0
    real = zipfile.ZipExtFile.read

    def counted(self: zipfile.ZipExtFile, n: int | None = -1) -> bytes:
        nonlocal unpacked
        data = real(self, n)
        unpacked += len(data)
        return data

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    assert message in only(problems(path)).message
    assert unpacked < 10_000


def test_a_flipped_bit_is_found_by_the_checksum(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    data = bytearray((tmp_path / "w.npz").read_bytes())
    data[data.index(GOOD["stem.kernel"].tobytes()[100:140])] ^= 1
    (tmp_path / "w.npz").write_bytes(data)
    assert "weight 'stem.kernel' in 'w.npz' cannot be read: Bad CRC-32" in only(problems(path)).message


def test_other_compressions_and_encryption_are_refused(tmp_path: Path) -> None:
    found = problems(npz_with(tmp_path, npy(), compression=zipfile.ZIP_BZIP2), load=False)
    assert "it is compressed by something else than deflate" in found[0].message
    path = write(tmp_path, GOOD)
    data = bytearray((tmp_path / "w.npz").read_bytes())
    for offset in range(len(data)):
        if data[offset : offset + 4] == b"PK\x01\x02":
            data[offset + 8] |= 1
    (tmp_path / "w.npz").write_bytes(data)
    assert "it is encrypted" in problems(path)[0].message


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    with zipfile.ZipFile(tmp_path / "w.npz", "a") as archive:
        archive.writestr("stem.bias.npy", npy())
    assert only(problems(path)).message == "'w.npz' holds two arrays of one name"


def test_bfloat16_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = data[8 : 8 + size].replace(b'"dtype":"F32","shape":[3]', b'"dtype":"BF16","shape":[6]')
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data[8 + size :])
    assert problems(path)[0].message == "weight 'stem.bias' in 'w.safetensors' is of type BF16"


def test_a_network_of_more_than_1_gib_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(frame("- conv: {out: 16777216, kernel: 100}"))
    found = only(problems(path))
    # 16 777 216 filters of 100 x 100 x 4 and their biases, 4 B each
    assert found.message == "the weights of this network take 2,684,421,668,864 B; at most 1 GiB is supported"


def test_files_that_vanish_are_errors(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"'none.npz' cannot be read: No such file or directory"):
        open_weights(tmp_path / "none.npz")
    with pytest.raises(BadInputError, match=r"'none.safetensors' cannot be read: No such file or directory"):
        open_weights(tmp_path / "none.safetensors")

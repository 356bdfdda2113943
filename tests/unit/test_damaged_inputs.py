"""What damaged inputs of every kind were found to do once (`python -m tests.fuzz`), and do no more."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from dscompile.cli.arrays import read
from dscompile.errors import BadInputError, DscompileError
from dscompile.frontend.load import load_network
from dscompile.frontend.npz import NpzReader
from dscompile.ir.intervals import channel_intervals
from dscompile.ir.tensor import Tensor
from dscompile.plain_yaml import MAX_FILE_BYTES
from dscompile.report.vectors import FILE_NAME, Vectors, encode_vectors, read_vectors
from dscompile.target import find_target
from dscompile.tuner.lines import LineFile
from tests import import_onnx_models, import_tflite_models

GOOD = "dscompile_target: 1\nname: x\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD + "caches: {l1d: " + "[" * 3000, "it is nested more than 16 deep"),
        (GOOD + "a: &a [1]\nb: [*a, *a]\n", "anchors and aliases are not allowed"),
        (GOOD + "a: !!python/object/apply:os.system [id]\n", "tags are not allowed"),
        ("#" * (MAX_FILE_BYTES + 1), "the target file is larger than 1 MiB"),
    ],
)
def test_a_target_file_is_plain_data(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "target.yaml"
    path.write_text(text)
    with pytest.raises(BadInputError, match=problem):
        find_target(str(path))


@pytest.mark.parametrize("header", [b"{'descr': '<f4', 'shape': (3", b"{" * 90, b"{'descr': ('<f4',), 'shape': (3,)}"])
def test_a_header_that_python_cannot_read_is_no_npy(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(BadInputError, match=r"this is no \.npy file"):
        read(str(path))


def test_an_npy_that_says_more_than_it_holds_allocates_nothing(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + b"\n"
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
    with pytest.raises(BadInputError, match=r"this is no \.npy file"):
        read(str(path))


def test_an_npz_that_says_more_than_it_can_unpack_to_allocates_nothing(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + b"\n"
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
    reader = NpzReader(path)
    with pytest.raises(BadInputError, match="its data are not the 4000000000000 B of its header"):
        reader.read("x")
    reader.close()


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_golden_vectors_packed_in_another_way_are_damaged(tmp_path: Path, method: int) -> None:
    good = zipfile.ZipFile(io.BytesIO(encode_vectors(Vectors((0,), (np.zeros((1, 1, 4), np.float32),)))))
    with zipfile.ZipFile(tmp_path / FILE_NAME, "w", method) as archive:
        for name in good.namelist():
            archive.writestr(name, good.read(name))
    with pytest.raises(BadInputError, match="the golden vectors are damaged"):
        read_vectors(tmp_path / FILE_NAME, [Tensor("y", (1, 4))])


def test_golden_vectors_of_too_many_seeds_belong_to_another_artifact(tmp_path: Path) -> None:
    np.savez(tmp_path / FILE_NAME, seeds=np.zeros(1001, np.int64), output0=np.zeros((1001, 1, 4), np.float32))
    with pytest.raises(BadInputError, match="belong to another artifact"):
        read_vectors(tmp_path / FILE_NAME, [Tensor("y", (1, 4))])


def test_a_line_of_a_journal_that_is_nested_without_end_is_named(tmp_path: Path) -> None:
    (tmp_path / "failures.jsonl").write_text("[" * 100_000 + "\n")
    with pytest.raises(BadInputError, match="this line is no JSON"):
        LineFile(tmp_path / "failures.jsonl").read()


def test_an_onnx_dequantize_without_inputs_is_named(tmp_path: Path) -> None:
    made = import_onnx_models.model([import_onnx_models.node("DequantizeLinear", "x s", "y")], {"x": [1, 2]}, {})
    del made.graph.node[0].input[:]
    (tmp_path / "net.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(BadInputError, match=r"DequantizeLinear .*has 0 inputs and 1 results"):
        load_network(tmp_path / "net.onnx")


def test_a_tflite_assignment_without_a_value_is_named(tmp_path: Path) -> None:
    maker = import_tflite_models.ModelMaker()
    maker.tensor("x", [1, 4])
    maker.variable("h", "memory")
    maker.tensor("m", [1, 4])
    maker.operator("READ_VARIABLE", "h", "m")
    maker.tensor("y", [1, 4])
    maker.operator("ADD", "x m", "y", "Add")
    maker.operator("ASSIGN_VARIABLE", "h", "")
    maker.initializer({"memory": np.zeros((1, 4), np.float32)})
    (tmp_path / "net.tflite").write_bytes(maker.content())
    with pytest.raises(BadInputError, match="1 inputs and 0 results; it must have 2 and 0"):
        load_network(tmp_path / "net.tflite")


def _model(
    nodes: Sequence[onnx.NodeProto], shape: Sequence[int], values: Mapping[str, np.ndarray] | None = None
) -> onnx.ModelProto:
    """A model over one input `x`."""
    return import_onnx_models.model(nodes, {"x": tuple(shape)}, values or {})


def _load(made: onnx.ModelProto, folder: Path) -> None:
    (folder / "net.onnx").write_bytes(made.SerializeToString())
    load_network(folder / "net.onnx")


def test_an_onnx_stride_that_no_net_yaml_can_hold_is_named(tmp_path: Path) -> None:
    node = import_onnx_models.node("MaxPool", "x", "y", kernel_shape=[1, 1], strides=[2**40, 1])
    with pytest.raises(BadInputError, match=r"stride \[1099511627776, 1\] must be at most 16777216"):
        _load(_model([node], [1, 2, 4, 4]), tmp_path)


def test_onnx_pads_that_no_net_yaml_can_hold_are_named(tmp_path: Path) -> None:
    node = import_onnx_models.node("AveragePool", "x", "y", kernel_shape=[1, 1], pads=[2**32, 0, 0, 0])
    with pytest.raises(BadInputError, match=r"pads \[4294967296, 0, 0, 0\] must be at most 16777216"):
        _load(_model([node], [1, 2, 4, 4]), tmp_path)


def test_an_onnx_step_that_no_net_yaml_can_hold_is_named(tmp_path: Path) -> None:
    node = import_onnx_models.node("Slice", "x starts ends axes steps", "y")
    bounds = {"starts": [0], "ends": [4], "axes": [1], "steps": [2**32]}
    made = _model([node], [1, 4, 5, 5], {name: np.array(value) for name, value in bounds.items()})
    with pytest.raises(BadInputError, match=r"steps \[1, 1, 1, 4294967296\] must be at most 16777216"):
        _load(made, tmp_path)


def test_an_onnx_size_that_no_net_yaml_can_hold_is_named(tmp_path: Path) -> None:
    node = import_onnx_models.node("Resize", "x _ _ sizes", "y")
    made = _model([node], [1, 4, 5, 5], {"sizes": np.array([1, 4, 2**58, 6])})
    with pytest.raises(BadInputError, match=r"size \[288230376151711744, 6\] must be at most 16777216"):
        _load(made, tmp_path)


def _quantized(*nodes: onnx.NodeProto, zero_point: np.ndarray) -> onnx.ModelProto:
    """A QDQ file: `d` is the input, quantized and back again, then come `nodes`; `s` is a scale, `z` the zero point."""
    node = import_onnx_models.node
    first = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d")]
    return _model([*first, *nodes], [1, 2], {"s": np.array(0.5, np.float32), "z": zero_point, "c": zero_point + 3})


def test_an_onnx_quantize_without_a_name_to_quantize_is_named(tmp_path: Path) -> None:
    node = import_onnx_models.node("QuantizeLinear", "_ s z", "y")
    with pytest.raises(BadInputError, match="QuantizeLinear: an input that it needs is missing"):
        _load(_quantized(node, zero_point=np.array(0, np.uint8)), tmp_path)


def test_an_onnx_output_in_uint8_of_what_is_not_supported_is_named(tmp_path: Path) -> None:
    node = import_onnx_models.node("QuantizeLinear", "d z", "y")
    made = _quantized(node, zero_point=np.array([0, 1], np.uint8))
    made.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.UINT8, [1, 2]))
    with pytest.raises(DscompileError, match="QuantizeLinear") as caught:
        _load(made, tmp_path)
    assert caught.value.code == 3


def test_an_onnx_quantizer_whose_zero_point_is_made_later_is_named(tmp_path: Path) -> None:
    node = import_onnx_models.node
    nodes = [
        node("Concat", "d d", "e", axis=1),
        node("QuantizeLinear", "e s late", "y"),
        node("DequantizeLinear", "c s z", "late"),
    ]
    with pytest.raises(BadInputError, match="it needs 'late', which is neither a constant nor made before"):
        _load(_quantized(*nodes, zero_point=np.array(0, np.int8)), tmp_path)


def test_channels_of_an_image_of_a_gigabyte_are_not_moved_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(
        "dscompile: 1\nnetwork:\n  name: large\n"
        "  input: {name: x, shape: [1, 64, 16777216, 1], scale: 0.5, zero_point: 0}\n"
        "  layers:\n    - transpose: {name: y, permutation: [0, 3, 1, 2]}\n"
        "weights: {seed: 1}\nquantization: {scheme: int8, rounding: float32}\n"
    )
    network = load_network(tmp_path / "net.yaml").network
    interval = channel_intervals(network)["y"]
    assert (interval.low.min(), interval.high.max()) == (-128, 127)

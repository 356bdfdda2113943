"""A net.yaml of an int8 network: its keys, what is wrong with them, and writing it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dscompile.errors import BadInputError
from dscompile.frontend.netfile import read_netfile
from dscompile.frontend.tflite.importer import import_tflite
from dscompile.frontend.writer import network_text, write_netfile
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU, Binary, Constant, Conv2D, Dequantize, Mean, Pads, Pool, Quantize, Softmax
from dscompile.ir.tensor import Quantization, Tensor
from tests import models
from tests.unit.netfiles import HEAD, assert_same_network, diagnostics, only, read

INT8_MODELS = ("kws_ref_model_int8", "vww_96_int8", "micro_speech_quantized", "pretrainedResnet_quant", "ad01_int8")


def text(layers: str, given: str = "scale: 0.5, zero_point: 3", rest: str = "") -> str:
    """A file with one int8 input and the lines of `layers`, the first of which is line 6."""
    lines = "".join(f"    {line}\n" for line in layers.splitlines())
    return f"{HEAD}  input: {{name: x, shape: [1, 4, 4, 2], {given}}}\n  layers:\n{lines}{rest}"


def small_network() -> Network:
    builder = NetworkBuilder("small", "half-up")
    builder.input(Tensor("image", (1, 6, 6, 3), "uint8", Quantization((0.375,), 7), "nchw"))
    builder.add("requantized", Quantize(), ["image"], quantization=Quantization((0.1,), -5))
    builder.add(
        "conv",
        Conv2D(2, (3, 3), pads=Pads(1, 1, 1, 1), activation=RELU),
        ["requantized"],
        quantization=Quantization((0.7,), -128),
        kernel=np.arange(54).reshape(3, 3, 3, 2).astype(np.int8),
        kernel_scale=np.float32([0.25, 0.1]),
        bias=np.int32([70000, -3]),
    )
    builder.add("pooled", Pool("max", (2, 2), (2, 2)), ["conv"])
    value = np.int8([[[[-4, 4]]]])
    builder.add("offset", Constant((1, 1, 1, 2)), quantization=Quantization((0.5,)), value=value)
    builder.add("sum", Binary("add"), ["pooled", "offset"], quantization=Quantization((0.9,), 1))
    builder.add("mean", Mean(), ["sum"], quantization=Quantization((0.2,), 9))
    builder.add("scores", Softmax(), ["mean"], quantization=Quantization((1 / 256,), -128))
    builder.add("real", Dequantize(), ["scores"])
    return builder.build(["scores", "real"])


def test_a_written_int8_network_reads_back_identically(tmp_path: Path) -> None:
    network = small_network()
    read_back = read_netfile(write_netfile(network, tmp_path)).network
    assert_same_network(network, read_back)
    assert read_back.rounding == "half-up"


def test_scales_stand_only_where_they_change() -> None:
    assert network_text(small_network()).splitlines()[3:11] == [
        "  input: {name: image, shape: [1, 3, 6, 6], dtype: uint8, scale: 0.375, zero_point: 7, layout: nchw}",
        "  defaults: {activation: relu}",
        "  layers:",
        "    - quantize: {name: requantized, scale: 0.1, zero_point: -5}",
        "    - conv: {out: 2, kernel: 3, scale: 0.7, zero_point: -128}",
        "    - pool: {name: pooled, kind: max, kernel: 2}",
        "    - constant: {name: offset, shape: [1, 1, 1, 2], scale: 0.5}",
        "    - add: {name: sum, from: [pooled, offset], scale: 0.9, zero_point: 1}",
    ]


@pytest.mark.models
@pytest.mark.parametrize("name", INT8_MODELS)
def test_real_int8_models_survive_the_round_trip(name: str, tmp_path: Path) -> None:
    network = import_tflite(models.model_path(f"{name}.tflite"))
    read_back = read_netfile(write_netfile(network, tmp_path)).network
    assert_same_network(network, read_back)
    assert read_back.rounding == network.rounding


def test_rounding_is_that_of_tflite_where_the_file_names_none() -> None:
    assert read(text("- relu")).network.rounding == "tflite"
    assert read(text("- relu", rest="quantization: {scheme: int8, rounding: single}\n")).network.rounding == "single"


def test_weights_that_are_not_loaded_have_their_types(tmp_path: Path) -> None:
    path = write_netfile(small_network(), tmp_path)
    weights = read_netfile(path, load_weights=False).network.weights
    assert [weights[f"conv.{role}"].dtype.name for role in ("kernel", "kernel_scale", "bias")] == [
        "int8",
        "float32",
        "int32",
    ]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("- relu: {scale: 0}", "'scale' must be one number above 0"),
        ("- relu: {scale: [0.1, 0.2]}", "'scale' must be one number above 0"),
        ("- relu: {zero_point: 3}", "relu needs 'scale'"),
        ("- relu: {scale: 0.5, zero_point: 128}", "'zero_point' must be at most 127"),
        ("- relu: {scale: 0.5, dtype: int4}", "'dtype' must be one of int8, uint8, float32"),
        ("- separable: {out: 3, kernel: 3, scale: 0.5}", "a scale belongs to one tensor, and separable stands for"),
        ("- pointwise: {out: 3, repeat: 2, scale: 0.5}", "a scale belongs to one tensor, and 'repeat' makes"),
        ("- pool: {kind: max, kernel: 2, scale: 0.25}", "moves 'x' to 'pool', which must have the same scale"),
        ("- prelu", "cannot be int8; only float32 has batch norm and prelu"),
        ("- pointwise: {out: 3, activation: tanh, scale: 0.1}", "ends with tanh; after int8 only clamps"),
        ("- dequantize\n- quantize", "quantizes to float32; it must make int8"),
    ],
)
def test_wrong_types_are_reported_at_their_place(layers: str, message: str) -> None:
    problem = next(problem for problem in diagnostics(text(layers)) if message in problem.message)
    assert problem.position is not None
    assert problem.position.line == 5 + len(layers.splitlines())


def test_random_weights_cannot_be_int8() -> None:
    problem = only(diagnostics(text("- pointwise: {out: 3, scale: 0.1}", rest="weights: {seed: 7}\n")))
    assert (problem.message, problem.layer) == ("random weights are float32, and this layer is int8", "pointwise")


def test_float_weights_do_not_fit_an_int8_layer(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **{"pointwise.kernel": np.zeros((1, 1, 2, 3), np.float32)})
    found = diagnostics(text("- pointwise: {out: 3, scale: 0.1}", rest="weights: {file: w.npz}\n"), tmp_path)
    messages = [problem.message for problem in found]
    assert "weight 'pointwise.kernel' in 'w.npz' is of type float32" in messages
    assert "weight 'pointwise.kernel_scale' is missing in 'w.npz'; it must be [3] float32" in messages


def test_an_int8_network_takes_no_calibration(tmp_path: Path) -> None:
    (tmp_path / "c.npz").write_bytes(b"")
    section = "quantization: {scheme: int8, calibration: {file: c.npz}}\n"
    problem = only(diagnostics(text("- relu", rest=section), tmp_path))
    assert problem.message == "calibration is for float32 networks; this one is int8 already"


STORED = "- pointwise: {name: first, out: 3, scale: 0.1}\n- dense: {name: last, out: 2, scale: 0.2}\n"


def stored_file(directory: Path, layers: str = STORED, section: str = "") -> Path:
    """A file whose first layer has weights of four bits and whose last one has two of four."""
    rng = np.random.default_rng(4)
    last = np.zeros((48, 2), np.int8)
    last[::2] = rng.integers(-100, 100, (24, 2))
    arrays = {
        "first.kernel": rng.integers(-8, 8, (1, 1, 2, 3)).astype(np.int8),
        "first.kernel_scale": np.full(3, 0.1, np.float32),
        "last.kernel": last,
        "last.kernel_scale": np.full(2, 0.1, np.float32),
    }
    np.savez(directory / "weights.npz", **arrays)
    path = directory / "net.yaml"
    path.write_text(text(layers, rest=f"weights: {{file: weights.npz}}\n{section}"))
    return path


def storage_of(path: Path) -> dict[str, str]:
    return {layer.name: layer.storage for layer in read_netfile(path).network.layers}


def test_weights_are_stored_as_the_file_says(tmp_path: Path) -> None:
    assert storage_of(stored_file(tmp_path)) == {"first": "plain", "last.flatten": "plain", "last": "plain"}
    layers = STORED.replace("out: 3", "out: 3, storage: int4").replace("out: 2", 'out: 2, storage: "2:4"')
    asked = storage_of(stored_file(tmp_path, layers))
    assert (asked["first"], asked["last"]) == ("int4", "2:4")
    section = "quantization: {scheme: int8, storage: auto}\n"
    assert storage_of(stored_file(tmp_path, section=section)) == asked
    exception = STORED.replace("out: 3", "out: 3, storage: plain")
    assert storage_of(stored_file(tmp_path, exception, section))["first"] == "plain"


def test_storage_survives_the_round_trip(tmp_path: Path) -> None:
    network = read_netfile(stored_file(tmp_path, section="quantization: {scheme: int8, storage: auto}\n")).network
    (tmp_path / "copy").mkdir()
    path = write_netfile(network, tmp_path / "copy")
    assert "storage: int4" in path.read_text()
    assert_same_network(network, read_netfile(path).network)


@pytest.mark.parametrize(
    ("layers", "section", "message"),
    [
        (
            STORED.replace("out: 2", "out: 2, storage: int4"),
            "",
            "its weights cannot be stored as int4: it has weights from",
        ),
        (
            STORED,
            "quantization: {scheme: int8, storage: int4}\n",
            "its weights cannot be stored as int4: it has weights",
        ),
        (
            STORED.replace("out: 3", "out: 3, storage: int2"),
            "",
            "'storage' must be one of plain, int4, 2:4, int4-2:4, auto",
        ),
        (STORED, "quantization: {scheme: int8, weights: int4}\n", "'weights', 'sparsity' and 'layers' are for float32"),
        (STORED, "quantization: {scheme: int8, layers: {a: int3}}\n", "'a' must be one of int8, int4, 2:4, int4-2:4"),
    ],
)
def test_storage_that_cannot_be_is_refused_at_its_place(
    layers: str, section: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError) as caught:
        read_netfile(stored_file(tmp_path, layers, section))
    problem = next(problem for problem in caught.value.diagnostics if message in problem.message)
    assert problem.position is not None


def test_float32_layers_and_depthwise_ones_have_no_storage() -> None:
    float32 = f"{HEAD}  input: {{name: x, shape: [1, 4, 4, 2]}}\n  layers:\n"
    problem = only(diagnostics(f"{float32}    - pointwise: {{out: 3, storage: int4}}\nweights: {{seed: 7}}\n"))
    assert (
        problem.message == "its weights cannot be stored as int4: that is for int8 layers whose sums are over channels"
    )
    problem = only(diagnostics(f"{float32}    - depthwise: {{kernel: 3, storage: int4}}\nweights: {{seed: 7}}\n"))
    assert problem.message == "unknown key 'storage' of depthwise"
    section = "quantization: {scheme: int8, storage: int4}\n"
    problem = only(diagnostics(f"{float32}    - pointwise: {{out: 3}}\nweights: {{seed: 7}}\n{section}"))
    assert problem.message == "storage is for int8 networks; this one is float32"

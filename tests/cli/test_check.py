"""dscompile check."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.cli.conftest import TINY, CommandLine
from tests.import_tflite_models import ModelMaker, saved

DATA = Path(__file__).resolve().parents[1] / "data"


def test_check_says_what_the_network_is(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("check", tiny)
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out == (
        "tiny.yaml: ok\n"
        "  network  tiny: 7 layers, 10 668 MAC, 529 parameters\n"
        '  input    "image" float32 NHWC [1, 9, 9, 3]\n'
        '  output   "softmax" float32 [1, 4]\n'
    )


def test_check_as_json(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("check", tiny, "--json")
    assert json.loads(outcome.out) == {
        "schema": 1,
        "ok": True,
        "path": "tiny.yaml",
        "name": "tiny",
        "inputs": [{"name": "image", "dtype": "float32", "shape": [1, 9, 9, 3], "layout": "nhwc"}],
        "outputs": [{"name": "softmax", "dtype": "float32", "shape": [1, 4], "layout": None}],
        "layers": 7,
        "macs": 10668,
        "parameters": 529,
        "notes": [],
    }


def test_check_says_what_an_int8_network_is(dscompile: CommandLine):
    outcome = dscompile("check", DATA / "vww_96_int8.tflite")
    assert outcome.code == 0
    assert outcome.out.split("\n", 1)[1] == (
        "  network  vww_96_int8: 31 layers, 7 489 664 MAC, 210 850 parameters\n"
        '  input    "input_1_int8" int8 NHWC [1, 96, 96, 3]\n'
        '  output   "Identity_int8" int8 [1, 2]\n'
    )


def test_check_proves_that_no_accumulator_overflows(dscompile: CommandLine, folder: Path):
    maker = ModelMaker()
    maker.quantized("x", (1, 2), 0.5)
    maker.quantized("w", (), 0.5, values=np.ones((3, 2), np.int8))
    maker.quantized("b", (), 0.25, values=np.array([0, 2**31 - 1, 0], np.int32))
    maker.quantized("y", (1, 3), 0.5)
    maker.operator("FULLY_CONNECTED", "x w b", options="FullyConnected")
    saved(maker.content(), folder)
    outcome = dscompile("check", "net.tflite")
    assert outcome.code == 3
    assert outcome.err == (
        "error: layer y: the sums of output channel 1 can be from 2147483391 to 2147483901, "
        "which overflows 32 bits\n"
        "  = help: its weights or its bias are damaged, or it sums up too many products; split the layer\n"
    )


def test_several_wrong_keys_are_reported_in_one_run(dscompile: CommandLine, folder: Path):
    text = TINY.replace("separable:", "seperable:").replace("out: 4,", "out: 4, bais: true,")
    (folder / "net.yaml").write_text(text)
    outcome = dscompile("check", "net.yaml")
    assert outcome.code == 3
    assert outcome.out == ""
    assert outcome.err == (
        "error: unknown layer 'seperable'\n"
        "  --> net.yaml:8:7\n"
        "   |\n"
        " 8 |     - seperable: {name: block, out: 17, kernel: 3}\n"
        "   |       ^^^^^^^^^\n"
        "  = help: did you mean 'separable'?\n"
        "\n"
        "error: unknown key 'bais' of dense\n"
        "  --> net.yaml:10:35\n"
        "    |\n"
        " 10 |     - dense: {name: head, out: 4, bais: true, activation: none}\n"
        "    |                                   ^^^^\n"
        "  = help: did you mean 'bias'?\n"
    )


def test_an_error_as_json_has_its_place(dscompile: CommandLine, folder: Path):
    (folder / "net.yaml").write_text(TINY.replace("separable:", "seperable:"))
    outcome = dscompile("--json", "check", "net.yaml")
    assert outcome.code == 3
    assert outcome.err == ""
    first = {
        "code": 3,
        "message": "unknown layer 'seperable'",
        "file": "net.yaml",
        "line": 8,
        "column": 7,
        "layer": None,
        "help": "did you mean 'separable'?",
    }
    assert json.loads(outcome.out) == {"schema": 1, "error": first, "errors": [first]}


def test_a_layer_that_eats_its_own_output(dscompile: CommandLine, folder: Path):
    text = TINY.replace("    - softmax\n", "    - add: {name: sum, from: [head, sum]}\n")
    (folder / "net.yaml").write_text(text)
    outcome = dscompile("check", "net.yaml")
    assert outcome.code == 3
    assert outcome.err.startswith("error: layer sum: reads its own output\n  --> net.yaml:11:37\n")


def test_missing_weights_and_wrong_shapes_are_named_with_their_layers(dscompile: CommandLine, folder: Path):
    (folder / "net.yaml").write_text(TINY.replace("{seed: 7}", "{file: w.npz}"))
    np.savez(
        folder / "w.npz",
        **{
            "stem.kernel": np.zeros((3, 3, 3, 8), np.float32),
            "block.depthwise.kernel": np.zeros((3, 3, 1, 8), np.float32),
            "block.pointwise.kernel": np.zeros((1, 1, 8, 16), np.float32),
        },
    )
    outcome = dscompile("check", "net.yaml")
    assert outcome.code == 3
    assert (
        "error: layer block.pointwise: weight 'block.pointwise.kernel' in 'w.npz' has shape [1, 1, 8, 16], "
        "it must be [1, 1, 8, 17]\n  --> net.yaml:8:7\n"
    ) in outcome.err
    assert (
        "error: layer head: weight 'head.kernel' is missing in 'w.npz'; it must be [17, 4] float32\n"
        "  --> net.yaml:10:7\n"
    ) in outcome.err


def test_a_truncated_tflite_file(dscompile: CommandLine, folder: Path):
    (folder / "cut.tflite").write_bytes((DATA / "vww_96_float.tflite").read_bytes()[:100_000])
    outcome = dscompile("check", "cut.tflite")
    assert outcome.code == 3
    assert outcome.err == (
        "error: not a valid TFLite file: an offset in it leads outside; it may be cut off\n"
        "  --> cut.tflite\n"
        "  = help: was it written or downloaded completely?\n"
    )


def test_a_text_file_named_onnx(dscompile: CommandLine, folder: Path):
    (folder / "text.onnx").write_text("hello there\n")
    outcome = dscompile("check", "text.onnx")
    assert outcome.code == 3
    assert outcome.err == (
        "error: not a valid ONNX file: its protobuf encoding is broken\n"
        "  --> text.onnx\n"
        "  = help: was it written or downloaded completely?\n"
    )


def test_a_file_that_is_not_there(dscompile: CommandLine, folder: Path):
    outcome = dscompile("check", "net.yml")
    assert outcome.code == 3
    assert outcome.err == (
        "error: 'net.yml' does not exist\n"
        "  = help: supported are net.yaml (.yaml, .yml), ONNX (.onnx), TensorFlow Lite (.tflite), PyTorch (.pt2) and "
        "Keras (.keras, .h5)\n"
    )


def test_what_may_be_meant_instead_of_a_file_that_is_not_there(dscompile: CommandLine, folder: Path):
    (folder / "net.yaml").write_text(TINY)
    assert "= help: did you mean 'net.yaml'?" in dscompile("check", "net.yml").err
    assert "= help: supported are net.yaml" in dscompile("check", "folder/net.yml").err
    assert "= help: the zoo has it: dscompile zoo write mobilenet_v2\n" in dscompile("check", "mobilenet_v2").err
    assert "= help: the zoo has it: dscompile zoo write ds_cnn\n" in dscompile("check", "ds_cnn.yaml").err


def test_settings_that_a_build_ignores_are_noted(dscompile: CommandLine, folder: Path):
    (folder / "net.yaml").write_text(TINY + "targets:\n  x86: {latency: 5 ms}\n  c99: {threads: 2}\n")
    outcome = dscompile("check", "net.yaml")
    assert outcome.code == 0
    assert outcome.err == (
        "note: x86: the latency budget is not checked by a build; 'dscompile bench' measures and checks\n"
        "note: c99: 'threads: 2' has no effect; threads share an inference on x86 and arm64\n"
    )
    assert dscompile("check", "net.yaml", "-q").err == ""


def test_weights_larger_than_the_flash_budget_exceed_it(dscompile: CommandLine, folder: Path):
    (folder / "net.yaml").write_text(TINY + "targets:\n  x86: {flash: 1 KiB}\n")
    outcome = dscompile("check", "net.yaml")
    assert outcome.code == 4
    assert outcome.err == (
        "error: the weights alone take 2 116 B of flash, the budget of x86 is 1 024 B\n"
        "  --> net.yaml:15:3\n"
        "    |\n"
        " 15 |   x86: {flash: 1 KiB}\n"
        "    |   ^^^\n"
        "  = help: the largest layer is stem with 896 B of weights; fewer channels there shrink it\n"
    )


def test_a_trained_tflite_model_is_checked_directly(dscompile: CommandLine):
    outcome = dscompile("check", DATA / "vww_96_float.tflite")
    assert outcome.code == 0
    assert "31 layers, 7 489 664 MAC, 210 850 parameters" in outcome.out

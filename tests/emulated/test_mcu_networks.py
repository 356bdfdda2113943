"""Real int8 networks as standalone C on emulated cores: bit-exact, and within their budgets of instructions."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.artifact import Artifact
from dscompile.emit.mcu_code import HELPERS, helper_code
from dscompile.firmware import toolchains
from dscompile.firmware.build import build_firmware
from dscompile.firmware.toolchains import zig_command
from dscompile.frontend.load import load_network
from dscompile.frontend.onnx.importer import import_onnx
from dscompile.run.emulators import open_machine
from dscompile.run.firmware import FirmwareModel
from dscompile.target import find_target
from tests.emulated.conftest import require
from tests.import_qdq_models import quantized, session_of
from tests.litert_int8 import interpreter_of, run_litert
from tests.mcu import random_inputs, write

ROOT = Path(__file__).parents[2]
# Instructions of one inference. The peers of cortex-m4: CMSIS-NN 7 417 000 and 23 420 000.
BUDGETS = {
    ("kws_ref_model_int8", "cortex-m4"): 2_950_000,
    ("vww_96_int8", "cortex-m4"): 5_000_000,
    ("pretrainedResnet_quant", "cortex-m4"): 13_300_000,
    ("kws_ref_model_int8", "cortex-m3"): 6_800_000,
    ("vww_96_int8", "cortex-m3"): 11_700_000,
    ("kws_ref_model_int8", "cortex-m0plus"): 9_900_000,
    ("vww_96_int8", "cortex-m0plus"): 18_600_000,
    ("kws_ref_model_int8", "rv32imc"): 9_100_000,
    ("vww_96_int8", "rv32imc"): 15_500_000,
    # CMSIS-NN with MVE: 1 783 000 and 6 423 000.
    ("kws_ref_model_int8", "cortex-m55"): 690_000,
    ("vww_96_int8", "cortex-m55"): 1_360_000,
    ("kws_ref_model_int8", "rv64gcv"): 500_000,
    ("vww_96_int8", "rv64gcv"): 1_680_000,
}


@pytest.mark.every_case
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize(("model", "core"), BUDGETS, ids=lambda value: str(value))
def test_network_on_a_core_is_exact_and_within_its_budget(model, core, model_path, tmp_path):
    require(
        "a cross compiler",
        shutil.which("riscv64-unknown-elf-gcc" if core.startswith("rv") else "arm-none-eabi-gcc") is not None,
    )
    network = load_network(model_path(f"{model}.tflite")).network
    artifact = write(network, tmp_path / "a", find_target(core))
    device = FirmwareModel(artifact)
    inputs = random_inputs(network, 5)
    expected = oracle_outputs(network, inputs)
    results = device.run(inputs)
    for name in network.outputs:
        assert np.array_equal(results[name], expected[name])
    assert device.instructions is not None
    assert device.instructions <= BUDGETS[model, core]
    assert_stack_is_what_the_header_says(device, artifact)


@pytest.mark.every_case
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("core", ["cortex-m55", "rv64gcv"])
def test_zig_makes_vectors_too(core, model_path, tmp_path, monkeypatch):
    require("ziglang", zig_command() is not None)
    monkeypatch.setattr(toolchains, "_gcc", lambda board: None)
    network = load_network(model_path("kws_ref_model_int8.tflite")).network
    device = FirmwareModel(write(network, tmp_path / "a", find_target(core)))
    inputs = random_inputs(network, 5)
    expected, results = oracle_outputs(network, inputs), device.run(inputs)
    for name in network.outputs:
        np.testing.assert_array_equal(results[name], expected[name])
    assert device.instructions is not None
    assert device.instructions <= BUDGETS["kws_ref_model_int8", core]


def assert_stack_is_what_the_header_says(device: FirmwareModel, artifact: Artifact) -> None:
    """By the gcc of Debian 12, which tells the sizes of frames."""
    assert device.stack_bytes is not None
    header = artifact.header.read_text()
    promised = int(header.split("stack at most ")[1].split(" B")[0].replace(" ", ""))
    assert device.stack_bytes <= promised + 16  # the caller's own frame


README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(("model", "row"), [("kws_ref_model_int8", "keyword spotting"), ("vww_96_int8", "visual wake")])
def test_the_readme_says_what_is_measured(model, row, tmp_path):
    """Instructions by the compiler of Debian 12; the last digits follow the softmax, and so the input."""
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    network = load_network(ROOT / "tests" / "data" / f"{model}.tflite").network
    artifact = write(network, tmp_path / "a", find_target("cortex-m4"))
    device = FirmwareModel(artifact)
    device.run(random_inputs(network, 0))
    assert device.instructions is not None
    shown = re.search(rf"^\| MLPerf Tiny {row}.*?\) \| (.*) \|$", README, re.MULTILINE)
    assert shown is not None
    sizes = (artifact.manifest.arena.size_bytes, artifact.manifest.sizes.weights)
    measured = [f"{device.instructions / 1e6:.2f} M", *(f"{size:,} B".replace(",", " ") for size in sizes)]
    assert shown[1].split(" | ") == measured


def test_the_tutorial_shows_the_figures_of_the_header(tmp_path):
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    network = load_network(ROOT / "tests" / "data" / "kws_ref_model_int8.tflite").network
    header = write(network, tmp_path / "a", find_target("cortex-m4")).header.read_text()
    (figures,) = re.findall(r"One kws_ref_model_int8_run\(\): (.*)\.$", header, re.MULTILINE)
    assert f"/* One kws_run(): {figures}. */" in (ROOT / "docs" / "firmware.md").read_text()


MODELS = ("kws_ref_model_int8", "vww_96_int8", "micro_speech_quantized", "pretrainedResnet_quant", "ad01_int8")
CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "rv32imc", "rv64gcv")
MANY = 4


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("model", MODELS)
def test_network_on_a_core_equals_the_oracle_on_many_inputs(model, core, model_path, tmp_path):
    """The oracle equals LiteRT's reference kernels on these models (tests/unit/test_int8_models.py)."""
    require(
        "a cross compiler",
        shutil.which("riscv64-unknown-elf-gcc" if core.startswith("rv") else "arm-none-eabi-gcc") is not None,
    )
    network = load_network(model_path(f"{model}.tflite")).network
    artifact = write(network, tmp_path / "a", find_target(core))
    device = FirmwareModel(artifact)
    for seed in range(MANY):
        inputs = random_inputs(network, seed)
        expected = oracle_outputs(network, inputs)
        results = device.run(inputs)
        for name in network.outputs:
            np.testing.assert_array_equal(results[name], expected[name])
    assert_stack_is_what_the_header_says(device, artifact)


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("model", MODELS)
def test_network_rounded_in_float32_equals_litert_on_a_cortex_m4(model, model_path, tmp_path):
    """As LiteRT runs by default, with XNNPACK; a Cortex-M4 has the float unit that this takes."""
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    path = model_path(f"{model}.tflite")
    network = load_network(path, rounding="float32").network
    device, peer = (
        FirmwareModel(write(network, tmp_path / "a", find_target("cortex-m4"))),
        interpreter_of(path, "xnnpack"),
    )
    for seed in range(MANY):
        inputs = random_inputs(network, seed)
        run_litert(peer, inputs.values())
        results = device.run(inputs)
        for name, detail in zip(network.outputs, peer.get_output_details(), strict=True):
            np.testing.assert_array_equal(results[name], peer.get_tensor(detail["index"]))


@pytest.mark.seldom
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("activations", ["u8", "s8"])
def test_qdq_mobilenet_v2_equals_onnxruntime_on_a_cortex_m4(activations, model_path, tmp_path):
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    path = quantized(model_path("onnx/mobilenetv2_100.onnx"), tmp_path, activations, count=2)
    network, session = import_onnx(path), session_of(path)
    device = FirmwareModel(write(network, tmp_path / "a", find_target("cortex-m4")))
    (name,) = network.inputs
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    np.testing.assert_array_equal(device.run({name: x})[network.outputs[0]], session.run(None, {name: x})[0])


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize(
    ("model", "most"),
    [("kws_ref_model_int8", 6 * 1024), ("vww_96_int8", 8 * 1024), ("pretrainedResnet_quant", 12_500)],
)
def test_layers_share_so_much_code_that_it_fits(model, most, model_path, tmp_path):
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    network = load_network(model_path(f"{model}.tflite")).network
    whole = write(network, tmp_path / "a", find_target("cortex-m4"), arena_bytes=1 << 20)  # nothing is streamed
    assert whole.manifest.sizes.text <= most


@pytest.mark.slow
@pytest.mark.models
def test_kws_on_a_cortex_m0plus_takes_35_kilobytes_of_flash_at_most(model_path, tmp_path):
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    network = load_network(model_path("kws_ref_model_int8.tflite")).network
    sizes = write(network, tmp_path / "a", find_target("cortex-m0plus")).manifest.sizes
    assert sizes.text <= 7500
    assert sizes.text + sizes.weights <= 35_000


# Helpers that are one instruction where __ARM_FEATURE_DSP is defined: name -> how many words they take.
INSTRUCTIONS = {
    "even_bytes": 2,
    "odd_bytes": 2,
    "widen_even": 1,
    "widen_odd": 1,
    "add_low_product": 3,
    "add_high_product": 3,
    "add_products": 3,
    "larger_bytes": 2,
    "saturate_int8": 1,
}
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0x80008000, 0x7FFF7FFF, 0x80808080, 0x7F807F80, 0xFFFFFFFF, 0x00FF00FF)


def test_every_instruction_equals_its_portable_twin_on_edge_values(tmp_path):
    require("arm-none-eabi-gcc", shutil.which("arm-none-eabi-gcc") is not None)
    assert set(INSTRUCTIONS) <= set(HELPERS)
    target = find_target("cortex-m4")
    firmware = build_firmware(target, twins(tmp_path), tmp_path / "build", symbols=["differences"])
    with open_machine(firmware.elf, target) as machine:
        assert machine.run("differences").result == 0


def twins(directory: Path) -> list[Path]:
    """A program that counts differences; one source uses the instructions, the other the same text without them."""
    calls = "".join(f"{name}(" for name in INSTRUCTIONS)
    helpers = helper_code(calls)
    head = "#include <stdint.h>\n#include <string.h>\n"
    portable = head + "#undef __ARM_FEATURE_DSP\n#undef __ARM_FEATURE_SAT\n" + helpers
    native = head + helpers
    body, declarations = "", ""
    for name, words in INSTRUCTIONS.items():
        arguments = ", ".join(("a", "b", "c")[:words])
        given = "(int32_t)a" + arguments[1:] if name.startswith(("add_", "saturate")) else arguments
        portable += f"uint32_t twin_{name}(uint32_t a, uint32_t b, uint32_t c);\n"
        portable += f"uint32_t twin_{name}(uint32_t a, uint32_t b, uint32_t c)\n"
        portable += f"{{\n    (void)b;\n    (void)c;\n    return (uint32_t){name}({given});\n}}\n"
        declarations += f"uint32_t twin_{name}(uint32_t a, uint32_t b, uint32_t c);\n"
        body += f"    wrong += (uint32_t){name}({given}) != twin_{name}(a, b, c);\n"
    edges = ", ".join(f"{value}u" for value in EDGES)
    native += declarations + (
        f"static const uint32_t edges[] = {{{edges}}};\n"
        "int32_t differences(void);\nint32_t differences(void)\n{\n    int32_t wrong = 0;\n"
        f"    for (int i = 0; i < {len(EDGES)}; ++i)\n    for (int j = 0; j < {len(EDGES)}; ++j)\n"
        f"    for (int k = 0; k < {len(EDGES)}; ++k) {{\n"
        "    const uint32_t a = edges[i] >> 1, b = edges[j], c = edges[k];\n" + body + "    }\n    return wrong;\n}\n"
    )
    paths = [directory / "native.c", directory / "portable.c"]
    for path, text in zip(paths, (native, portable), strict=True):
        path.write_text(text)
    return paths

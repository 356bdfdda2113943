"""Real int8 networks as C on this machine: every output bit for bit the oracle's."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dscompile.frontend.load import load_network
from dscompile.ir.ops import Reshape
from dscompile.target import find_target
from tests.mcu import HostModel, differences, here, write
from tests.sanitized import SanitizedModel
from tests.tools import CPPCHECK, require_tools

MODELS = (
    "kws_ref_model_int8",
    "vww_96_int8",
    "micro_speech_quantized",
    "pretrainedResnet_quant",
    "ad01_int8",
)


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("kernels", [("c99",), ("dsp", "c99")], ids=["portable", "pairs"])
@pytest.mark.parametrize("name", MODELS)
def test_model_as_c_equals_the_oracle_on_20_inputs(name, kernels, model_path, tmp_path):
    network = load_network(model_path(f"{name}.tflite")).network
    artifact = write(network, tmp_path / "a", replace(find_target("c99"), kernels=kernels), measured=False)
    assert differences(HostModel(artifact, flags=("-O2",)), network, range(10)) == []  # each also in place
    assert differences(HostModel(artifact, "clang", ("-O2",)), network, range(10, 20)) == []


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("core", ["c99", "cortex-m4", "cortex-m0plus", "rv32imc"])
@pytest.mark.parametrize("name", MODELS)
def test_every_layer_of_a_model_as_c_equals_the_oracle_on_20_inputs(name, core, model_path, tmp_path):
    """Every result is an output, by the kernels of a core; what fuses layers is tested by the outputs alone."""
    network = load_network(model_path(f"{name}.tflite")).network
    results = [layer.output for layer in network.layers if not isinstance(layer.op, Reshape)]
    every = replace(network, outputs=tuple(dict.fromkeys([*results, *network.outputs])), labels=())
    target = find_target(core) if core == "c99" else here(core)
    artifact = write(every, tmp_path / "a", target, measured=False)
    assert differences(HostModel(artifact), every, range(20)) == []


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("name", MODELS)
def test_model_as_c_is_cppcheck_clean_has_no_variables_and_a_header_for_cpp(name, model_path, tmp_path):
    """That it compiles without a warning, HostModel sees to (tests/mcu.py)."""
    require_tools("cppcheck", "g++", "gcc", "nm")
    network = load_network(model_path(f"{name}.tflite")).network
    artifact = write(network, tmp_path / "a", find_target("cortex-m4"), measured=False)
    output_of([*CPPCHECK, str(artifact.driver)], tmp_path)
    (tmp_path / "user.cpp").write_text(f'#include "{artifact.header.name}"\n')
    output_of(
        ["g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", f"-I{artifact.directory}", "-c", "user.cpp"], tmp_path
    )
    output_of(["gcc", "-std=c99", "-O2", "-fno-pic", "-c", *map(str, artifact.sources)], tmp_path)
    for path in artifact.sources:
        symbols = [line.split() for line in output_of(["nm", f"{path.stem}.o"], tmp_path).splitlines()]
        own = artifact.manifest.c_name
        undefined = {parts[-1] for parts in symbols if parts[-2] == "U" and not parts[-1].startswith(own)}
        assert undefined <= {"memcpy", "memset"}
        assert [parts[-1] for parts in symbols if parts[-2] in "dDbBcC"] == []


def output_of(command: list[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.sampled
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("kernels", [("c99",), ("dsp", "c99")], ids=["portable", "pairs"])
@pytest.mark.parametrize("name", MODELS)
def test_model_as_c_is_clean_under_sanitizers_on_20_inputs(name, kernels, compiler, model_path, tmp_path):
    network = load_network(model_path(f"{name}.tflite")).network
    artifact = write(network, tmp_path / "a", replace(find_target("c99"), kernels=kernels), measured=False)
    assert differences(SanitizedModel(artifact, compiler, tmp_path), network, range(20)) == []  # each also in place


@pytest.mark.slow
@pytest.mark.models
def test_float_model_as_c_equals_the_oracle(model_path, tmp_path):
    network = load_network(model_path("vww_96_float.tflite")).network
    artifact = write(network, tmp_path / "a", measured=False)
    assert differences(HostModel(artifact, flags=("-O2",)), network, range(2)) == []


@pytest.mark.seldom
@pytest.mark.slow
@pytest.mark.models
def test_shufflenet_as_c_equals_onnxruntime(model_path, tmp_path):
    path = model_path("onnx/shufflenetv2_x1_0.onnx")
    artifact = write(load_network(path).network, tmp_path / "a", measured=False)
    x, expected = (np.load(path.with_suffix(f".{kind}.npy")) for kind in ("in", "ref"))
    got = HostModel(artifact, flags=("-O2",)).run({"input": x})["output"]
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()

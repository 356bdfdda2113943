"""The self-test's generator, its expectations, and that it can fail."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dscompile.artifact import Artifact
from dscompile.emit.elf import mutable_sections, read_sections
from dscompile.emit.native import write_artifact
from dscompile.emit.selftest import TOLERANCE, generated, selftest_input
from dscompile.emit.weights import lay_out
from dscompile.errors import BadInputError
from tests.tiny_programs import single

LARGE = (1, 100, 500, 4)


def run(artifact: Artifact, tmp_path: Path) -> tuple[int, str]:
    command = f"gcc -std=c99 -Wall -Wextra -Wpedantic -Wconversion -Werror -I. {artifact.selftest} "
    command += f"-I{artifact.directory} {artifact.static_library} -lm -o selftest"
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    done = subprocess.run("./selftest", cwd=tmp_path, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_the_generator_gives_these_numbers() -> None:
    assert generated(0, 3).tolist() == [-0.36480236053466797, 0.17678749561309814, -0.8536220788955688]
    assert generated(1, 2).tolist() != generated(0, 2).tolist()


def test_the_generator_is_uniform_in_minus_one_to_one() -> None:
    values = generated(3, 100_000)
    assert values.dtype == np.float32
    assert -1.0 <= values.min() < -0.999
    assert 0.999 < values.max() < 1.0
    assert abs(float(values.mean())) < 0.01
    assert np.histogram(values, 10, (-1, 1))[0] == pytest.approx([10_000] * 10, rel=0.05)


def test_inputs_have_border_shapes_and_streams_of_their_own() -> None:
    inputs = selftest_input(single().network)
    assert inputs["image"].shape == (1, 2, 2, 3)
    assert inputs["image"].ravel().tolist() == generated(0, 12).tolist()


@pytest.mark.parametrize("element", [0, 5, 11])
def test_one_wrong_element_fails(tmp_path: Path, element: int) -> None:
    tiny = single()
    inputs = selftest_input(tiny.network)
    output = tiny.expected(inputs)["scores"]
    output.ravel()[element] += 4 * TOLERANCE * np.abs(output).max()
    artifact = write_artifact(tiny.program, tiny.kernels, inputs, {"scores": output}, tmp_path / "net", origin="x")
    code, said = run(artifact, tmp_path)
    assert code == 1
    assert said.startswith("tiny selftest: FAILED, largest error 0.0004")


@pytest.mark.slow
def test_large_outputs_are_sampled_and_summed(tmp_path: Path) -> None:
    tiny = single(shape=LARGE, labels=False)
    inputs = selftest_input(tiny.network)
    right = tiny.expected(inputs)
    artifact = write_artifact(tiny.program, tiny.kernels, inputs, right, tmp_path / "net", origin="x")
    assert artifact.selftest.stat().st_size < 500_000
    assert "every 13th element" in artifact.selftest.read_text()
    assert run(artifact, tmp_path)[0] == 0
    for element in (13, 100_003, 199_999):  # a sample, and two that only a mean sees
        wrong = {"scores": right["scores"].copy()}
        wrong["scores"].ravel()[element] += 30 * TOLERANCE * np.abs(wrong["scores"]).max()
        artifact = write_artifact(tiny.program, tiny.kernels, inputs, wrong, tmp_path / "net", origin="x")
        assert run(artifact, tmp_path)[0] == 1, element


def test_an_output_of_zeros_is_compared_absolutely(tmp_path: Path) -> None:
    tiny = single()
    inputs = selftest_input(tiny.network)
    offsets = (-2 * inputs["image"]).ravel()
    program = replace(tiny.program, constants={"shift.offsets": offsets})
    zeros = {"scores": np.zeros((1, 2, 3, 2), np.float32)}
    artifact = write_artifact(program, tiny.kernels, inputs, zeros, tmp_path / "net", origin="x")
    assert run(artifact, tmp_path) == (0, "tiny selftest: ok, largest error 0, tolerance 0.0001\n")


def test_a_header_of_another_build_fails(tmp_path: Path) -> None:
    artifact = single().write(tmp_path / "net")
    text = artifact.header.read_text()
    artifact.header.write_text(text.replace(f"0x{artifact.manifest.fingerprint:08x}u", "0x00000001u"))
    assert run(artifact, tmp_path) == (1, "tiny selftest: FAILED, header and library come from different builds\n")


def test_infinite_outputs_are_the_users_problem(tmp_path: Path) -> None:
    tiny = single()
    inputs = selftest_input(tiny.network)
    output = tiny.expected(inputs)
    output["scores"][0, 0, 0, 0] = np.inf
    with pytest.raises(BadInputError, match="output 'scores' is not finite on an input of random values"):
        write_artifact(tiny.program, tiny.kernels, inputs, output, tmp_path / "net", origin="x")


def test_other_inputs_and_shapes_are_refused(tmp_path: Path) -> None:
    tiny = single()
    inputs = selftest_input(tiny.network)
    output = tiny.expected(inputs)
    with pytest.raises(ValueError, match=r"'image' is not what selftest_input\(\) generates"):
        write_artifact(tiny.program, tiny.kernels, {"image": inputs["image"] + 1}, output, tmp_path / "n", origin="x")
    flat = {"scores": output["scores"].ravel()}
    with pytest.raises(ValueError, match=r"'scores' must have the border shape \[1, 2, 3, 2\]"):
        write_artifact(tiny.program, tiny.kernels, inputs, flat, tmp_path / "n", origin="x")


def test_constants_are_aligned_and_little_endian() -> None:
    weights = lay_out({"a": np.array([1], ">i4"), "b": np.array([2, 3], "<i2"), "c": np.array([], "<f4")}, 16)
    assert weights.offsets == {"a": 0, "b": 16, "c": 32}
    assert weights.blob == b"\1\0\0\0" + bytes(12) + b"\2\0\3\0" + bytes(12)


def test_objects_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="not a little-endian ELF object"):
        read_sections(b"\x7fELF\x02\x02" + bytes(100))  # big-endian
    with pytest.raises(ValueError, match="not a little-endian ELF object"):
        read_sections(b"")
    with pytest.raises(ValueError, match="the ELF object is cut short"):
        read_sections(b"\x7fELF\x01\x01" + bytes(100))
    with pytest.raises(ValueError, match="the ELF object is cut short"):
        read_sections(single().kernels[:200])


def test_mutable_sections_are_found() -> None:
    assert mutable_sections(single().kernels) == ()

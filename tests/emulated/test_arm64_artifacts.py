"""Artifacts for 64-bit Arm on a machine that is none: verified, run and counted under qemu-aarch64."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dscompile
from dscompile import toolchain
from dscompile.artifact import Artifact
from dscompile.cli.main import main
from dscompile.emit.selftest import selftest_input
from dscompile.errors import CheckFailedError, ToolError, UsageError
from dscompile.run.emulated import EmulatedModel
from dscompile.run.opening import open_model, other_variants
from dscompile.run.selftest import run_selftest_with
from dscompile.target import find_target, machine_family
from tests import tiny_programs
from tests.cli.conftest import TINY
from tests.tiny_programs import Tiny, several, single, variants, write_both
from tests.tools import require_tools

KERNELS = tiny_programs.KERNELS
pytestmark = pytest.mark.skipif(machine_family() == "arm64", reason="this machine runs them itself")


@pytest.fixture(autouse=True)
def _tools() -> None:
    require_tools("aarch64-linux-gnu-gcc", "qemu-aarch64")


def compiled(source: str) -> bytes:
    return tiny_programs.compiled(source, compiler="aarch64-linux-gnu-gcc")


def for_arm(tiny: Tiny, name: str = "arm64-neon", source: str = "", prefix: str = "tiny_", count: int = 12) -> Tiny:
    program = replace(tiny.program, target=replace(find_target(name), arena_alignment=64))
    return Tiny(program, compiled(source or KERNELS.format(p=prefix, n=count)))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Variants for dotprod and for NEON."""
    require_tools("aarch64-linux-gnu-gcc", "qemu-aarch64")
    made = [
        replace(
            variant,
            program=replace(variant.program, target=find_target(name)),
            kernels_object=compiled(KERNELS.format(p="tiny_", n=12)),
            stands_for=(name,),
        )
        for variant, name in zip(variants(), ("arm64-dotprod", "arm64-neon"), strict=True)
    ]
    return write_both(tmp_path_factory.mktemp("artifacts") / "both", tuple(made), find_target("arm64"))


@pytest.mark.parametrize("network", [single, several])
def test_results_are_those_of_numpy(network: object, tmp_path: Path) -> None:
    tiny = for_arm(single()) if network is single else for_arm(several(), prefix="odd$", count=4)
    model = open_model(tiny.write(tmp_path / "net"))
    assert model.runner == "qemu-aarch64 -cpu cortex-a72"
    inputs = selftest_input(tiny.network)
    results = model.run(inputs)
    for name, expected in tiny.expected(inputs).items():
        np.testing.assert_array_equal(results[name], expected)
    with pytest.raises(UsageError, match="is missing"):
        model.run({})


def test_the_selftest_runs_in_the_emulator(tmp_path: Path) -> None:
    artifact = for_arm(single()).write(tmp_path / "net")
    model = open_model(artifact)
    assert isinstance(model, EmulatedModel)
    assert run_selftest_with(model.launcher, artifact).message == (
        "tiny selftest: ok, largest error 0, tolerance 0.0001"
    )
    (artifact.directory / "selftest.c").write_text("#include <stdlib.h>\nint main(void) { abort(); }\n")
    outcome = run_selftest_with(model.launcher, artifact)
    assert not outcome.passed
    assert outcome.message.endswith("ended by signal SIGABRT")


def test_an_instruction_that_the_core_lacks_ends_the_program(tmp_path: Path) -> None:
    sdot = '__asm__ volatile(".arch armv8.2-a+dotprod\\n sdot v0.4s, v1.16b, v2.16b" ::: "v0");'
    source = KERNELS.format(p="tiny_", n=12).replace("for (int i", f"{sdot} for (int i")
    artifact = for_arm(single(), source=source).write(tmp_path / "net")
    with pytest.raises(CheckFailedError, match="tiny on qemu-aarch64 -cpu cortex-a72 ended with signal SIGILL"):
        open_model(artifact).run(selftest_input(single().network))


def test_each_core_chooses_its_variant_and_all_of_them_are_right(both: Artifact) -> None:
    inputs = selftest_input(single().network)
    chosen = open_model(both)
    assert isinstance(chosen, EmulatedModel)
    assert (chosen.variant, chosen.runner) == ("arm64-dotprod", "qemu-aarch64 -cpu max as arm64-dotprod")
    others = dict(other_variants(both, chosen.variant))
    assert {name: model.runner for name, model in others.items()} == {
        "arm64-neon": "qemu-aarch64 -cpu cortex-a72 as arm64-neon"
    }
    for model in (chosen, *others.values()):
        np.testing.assert_array_equal(model.run(inputs)["scores"], single().expected(inputs)["scores"])


def test_a_processor_without_any_variant_gets_a_status_and_no_crash(both: Artifact) -> None:
    neon = find_target("arm64-neon").emulator
    assert neon is not None
    with pytest.raises(CheckFailedError, match="tiny on qemu-aarch64 -cpu cortex-a72 as none ended with exit code 3: "
                                               "the network returned -3"):  # fmt: skip
        EmulatedModel(both, neon, only_variant=0).run(selftest_input(single().network))


COUNTING = """
#include <stdint.h>
int32_t tiny_copy(const float *a, float *y) { for (int i = 0; i < 12; ++i) y[i] = a[i]; return 0; }
__asm__(".globl tiny_add\\n.type tiny_add, %function\\ntiny_add:\\n mov w3, #12\\n1: ldr s0, [x0], #4\\n"
        " ldr s1, [x1], #4\\n fadd s0, s0, s1\\n str s0, [x2], #4\\n subs w3, w3, #1\\n b.ne 1b\\n mov w0, #0\\n ret\\n"
        ".size tiny_add, .-tiny_add");
"""
ADD = 1 + 12 * 6 + 2  # instructions of tiny_add


def test_instructions_are_counted_by_layer_and_repeat(tmp_path: Path) -> None:
    tiny = for_arm(single(), source=COUNTING)
    model = open_model(tiny.write(tmp_path / "net"))
    assert isinstance(model, EmulatedModel)
    inputs = selftest_input(tiny.network)
    assert model.instructions is None
    count = model.count(inputs)
    twice, shift = count.layers
    assert (shift.name, shift.kind, shift.macs, shift.instructions) == ("shift", "add", 0, ADD)
    assert twice.instructions > ADD
    between = count.instructions - twice.instructions - shift.instructions
    assert 10 < between < 100  # the driver, and the loop that calls it
    model.run(inputs)
    assert model.instructions == count.instructions == model.count(inputs).instructions


def test_the_layers_counted_are_those_of_the_variant_that_ran(both: Artifact) -> None:
    inputs = selftest_input(single().network)
    dotprod, neon = open_model(both), next(iter(other_variants(both, "arm64-dotprod")))[1]
    assert isinstance(dotprod, EmulatedModel)
    assert isinstance(neon, EmulatedModel)
    assert [row.name for row in dotprod.count(inputs).layers] == ["twice", "again", "shift"]
    assert [row.name for row in neon.count(inputs).layers] == ["twice", "shift"]
    assert all(row.instructions > 0 for row in dotprod.count(inputs).layers)


def test_a_missing_emulator_or_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = for_arm(single()).write(tmp_path / "net")
    monkeypatch.setattr(toolchain, "zig_command", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="qemu-aarch64 is not installed") as caught:
        open_model(artifact)
    assert caught.value.diagnostics[0].help == "on Debian and Ubuntu: apt install qemu-user"
    (tmp_path / "qemu-aarch64").write_text("#!/bin/sh\n")
    (tmp_path / "qemu-aarch64").chmod(0o755)
    with pytest.raises(ToolError, match="'aarch64-linux-gnu-gcc' of target arm64-neon is not installed") as caught:
        open_model(artifact)
    assert "apt install gcc-aarch64-linux-gnu" in str(caught.value)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network of the command-line tests, built for arm64."""
    require_tools("aarch64-linux-gnu-gcc", "qemu-aarch64")
    folder = tmp_path_factory.mktemp("built")
    (folder / "tiny.yaml").write_text(TINY)
    return dscompile.build(folder / "tiny.yaml", "arm64", folder / "out").path


def test_a_float_network_has_one_variant_for_all_of_arm64(built: Path) -> None:
    (variant,) = dscompile.load(built).artifact.manifest.variants
    assert variant.stands_for == ("arm64-neon", "arm64-dotprod", "arm64-i8mm")


def test_verify_compares_and_counts(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(built), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["ok"], record["runner"]) == (True, "qemu-aarch64 -cpu max as arm64-neon")
    assert [check["against"] for check in record["checks"]] == ["oracle", "selftest.c"]
    assert record["checks"][1]["detail"].startswith("tiny selftest: ok")
    assert 3_000 < record["instructions"] < 20_000


def test_bench_shows_instructions_of_every_layer_and_no_times(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(built), "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["median_us"] is None
    assert result["stack_bytes"] is None
    layers = {step["name"]: step for step in result["steps"]}
    assert layers["stem"]["instructions_per_mac"] == layers["stem"]["instructions"] / layers["stem"]["macs"]
    assert layers["softmax"]["instructions_per_mac"] is None
    assert 0.8 < sum(layer["instructions"] for layer in layers.values()) / result["instructions"] < 1.0
    assert main(["bench", str(built)]) == 0
    assert "stem" not in capsys.readouterr().out
    assert main(["bench", str(built), "--layers"]) == 0
    said = capsys.readouterr().out
    assert re.search(rf"stem +conv +{layers['stem']['macs']:,} +[\d ]+ +\d\.\d{{3}}\n".replace(",", " "), said), said
    assert main(["bench", str(built), "--against", "onnxruntime"]) == 2
    assert "runs in an emulator, where instructions are counted and nothing is timed" in capsys.readouterr().err


def test_run_gives_what_the_same_network_gives_here(built: Path, tmp_path: Path) -> None:
    here = dscompile.build(built.parent / "tiny.yaml", "c99", tmp_path / "c99")
    x = np.random.default_rng(0).random((1, 9, 9, 3), np.float32)
    np.testing.assert_allclose(dscompile.load(built)(x), here(x), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arm64-neon", "arm64-dotprod", "arm64-i8mm"])
def test_each_target_by_itself_is_right_on_a_core_that_has_no_more(name: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    dscompile.build(tmp_path / "tiny.yaml", name, tmp_path / "out")
    verification = dscompile.verify(tmp_path / "out")
    assert verification.ok
    emulator = find_target(name).emulator
    assert emulator is not None
    assert verification.runner == f"qemu-aarch64 -cpu {emulator.cpu}"


@pytest.mark.slow
def test_zig_makes_the_libraries_too(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if toolchain.zig_command() is None:
        pytest.skip("zig is not installed")
    target = replace(find_target("arm64-neon"), compiler="no-such-gcc", other_compilers=())
    tiny = for_arm(single())
    artifact = Tiny(replace(tiny.program, target=target), tiny.kernels).write(tmp_path / "net")
    assert artifact.manifest.versions.c_compiler.startswith("clang")
    first = artifact.shared_library.read_bytes()
    again = Tiny(replace(tiny.program, target=target), tiny.kernels).write(tmp_path / "elsewhere" / "net")
    assert first == again.shared_library.read_bytes()
    assert artifact.static_library.read_bytes() == again.static_library.read_bytes()

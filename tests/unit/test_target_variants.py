"""Targets that stand for several: which one a build makes, and which variants a network has a use for."""

from __future__ import annotations

from pathlib import Path

import pytest

from dscompile.artifact.fields import Fields
from dscompile.artifact.target_json import target_from_json, target_to_json
from dscompile.errors import BadInputError, ToolError
from dscompile.target import build_target, find_target, machine, representative, runs_here, useful_variants, variants_of

HASWELL = frozenset({"avx2", "fma", "f16c", "bmi1", "bmi2", "sse2"})


@pytest.fixture
def haswell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with AVX2 and nothing newer."""
    monkeypatch.setattr(machine, "host_features", lambda: HASWELL)
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")


def raspberry(monkeypatch: pytest.MonkeyPatch, *features: str) -> None:
    monkeypatch.setattr(machine, "host_features", lambda: frozenset(features))
    monkeypatch.setattr(machine.platform, "machine", lambda: "aarch64")


@pytest.mark.usefixtures("haswell")
def test_host_is_one_target_and_x86_a_library_of_several() -> None:
    assert build_target("host").name == "x86-avx2"
    x86 = build_target("x86")
    assert (x86.name, x86.variants) == ("x86", ("x86-avx512vnni", "x86-avx512", "x86-avx2"))
    assert x86.features == HASWELL - {"sse2"}
    assert (x86.arena_alignment, x86.vector_bytes) == (64, 64)
    assert x86.compiler_flags == ("-march=x86-64",)
    assert build_target("x86-avx512").name == "x86-avx512"


@pytest.mark.usefixtures("haswell")
def test_a_library_of_several_runs_where_the_least_of_them_does() -> None:
    assert runs_here(build_target("x86"))
    assert not runs_here(build_target("arm64"))


@pytest.mark.usefixtures("haswell")
def test_what_is_shown_of_a_library_is_what_runs_here_or_the_best() -> None:
    assert representative(build_target("x86")).name == "x86-avx2"
    assert representative(build_target("arm64")).name == "arm64-i8mm"
    assert representative(find_target("cortex-m4")).name == "cortex-m4"


@pytest.mark.parametrize(
    ("features", "name"),
    [(("asimd",), "arm64-neon"), (("asimd", "asimddp"), "arm64-dotprod"), (("asimd", "asimddp", "i8mm"), "arm64-i8mm")],
)
def test_host_on_arm_is_what_its_features_allow(
    monkeypatch: pytest.MonkeyPatch, features: tuple[str, ...], name: str
) -> None:
    raspberry(monkeypatch, *features)
    assert build_target("host").name == name
    assert build_target("arm64").name == "arm64"


def test_a_float_network_needs_no_variant_for_int8_instructions() -> None:
    def names(name: str, *, int8: bool) -> list[list[str]]:
        groups = useful_variants(variants_of(find_target(name)), int8=int8)
        return [[variant.name for variant in group] for group in groups]

    assert names("arm64", int8=False) == [["arm64-neon", "arm64-dotprod", "arm64-i8mm"]]
    assert names("arm64", int8=True) == [["arm64-i8mm"], ["arm64-dotprod"], ["arm64-neon"]]
    assert names("x86", int8=False) == [["x86-avx512", "x86-avx512vnni"], ["x86-avx2"]]
    assert names("x86", int8=True) == [["x86-avx512vnni"], ["x86-avx512"], ["x86-avx2"]]


def own(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(f"dscompile_target: 1\nname: mine\nfamily: x86\ndescription: mine\n{text}")
    return str(path)


def test_variants_of_another_family_or_with_variants_cannot_be_one_library(tmp_path: Path) -> None:
    path = own(tmp_path, "variants: [x86-avx512, arm64-neon, x86]\nchoice: run\n")
    with pytest.raises(BadInputError, match="target mine: arm64-neon, x86 cannot be a variant of family x86"):
        build_target(path)


def test_a_choice_is_made_when_building_or_when_running(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="'choice' must be build or run, not 'later'"):
        find_target(own(tmp_path, "variants: [x86-avx2]\nchoice: later\n"))


def test_the_library_of_another_machine_can_be_built_where_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    raspberry(monkeypatch)
    assert build_target("x86").name == "x86"
    with pytest.raises(ToolError, match="this machine runs none of the variants of 'host'"):
        build_target("host")


def test_compiled_kernels_need_registers(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="'registers' in 'vector' is 7; kernels that are compiled need 8 or more"):
        find_target(own(tmp_path, "vector: {registers: 7}\n"))
    assert find_target(own(tmp_path, "kernels: [c99]\n")).registers == 0
    with pytest.raises(BadInputError, match="'fma_per_cycle' must be positive, not 0"):
        find_target(own(tmp_path, "vector: {registers: 16, fma_per_cycle: 0}\n"))


def test_compilers_are_a_chain(tmp_path: Path) -> None:
    chain = find_target(
        own(tmp_path, "vector: {registers: 16}\ntoolchain: {compiler: [a-gcc, b-gcc -x, c], flags: [-O1]}\n")
    )
    assert (chain.compiler, chain.other_compilers, chain.compiler_flags) == ("a-gcc", ("b-gcc -x", "c"), ("-O1",))
    with pytest.raises(BadInputError, match="the target file lacks the key 'cpu'"):
        find_target(own(tmp_path, "toolchain: {zig: {target: aarch64-linux-gnu}}\n"))
    with pytest.raises(BadInputError, match=r"unknown key 'core' in 'emulators\.qemu_user'"):
        find_target(own(tmp_path, "emulators: {qemu_user: {core: max}}\n"))


NAMES = ["arm64", "arm64-neon", "arm64-dotprod", "arm64-i8mm", "x86", "x86-avx512vnni", "cuda-sm75", "cuda-sm90"]


@pytest.mark.parametrize("name", NAMES)
def test_a_target_comes_back_from_a_manifest_as_it_was(name: str) -> None:
    problems: list[str] = []
    written = find_target(name)
    assert target_from_json(Fields(target_to_json(written), "", problems)) == written
    assert problems == []

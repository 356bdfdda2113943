"""Libraries for 64-bit Arm where no C compiler is: LLVM makes the driver, which does what the one in C does."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dscompile import toolchain
from dscompile.artifact import Artifact
from dscompile.emit.driver_ir import has_driver_ir
from dscompile.emit.elf import mutable_sections
from dscompile.emit.native import write_artifact
from dscompile.emit.selftest import selftest_input
from dscompile.emit.variants import Variant, write_variants
from dscompile.errors import ToolError
from dscompile.run.native import NativeModel
from dscompile.run.selftest import run_selftest
from dscompile.target import Target, find_target, runs_here
from tests.tiny_programs import KERNELS, TARGET, Tiny, compiled, several, single, variants
from tests.tools import require_tools

GCC = "aarch64-linux-gnu-gcc"
Write = Callable[[Path, bool], Artifact]


def assembler(target: Target) -> Callable[[str], bytes]:
    from dscompile.schedule.machine_code import object_of

    return lambda module: object_of(module, target)


def arm(tiny: Tiny, prefix: str, count: int) -> Tiny:
    target = replace(find_target("arm64-neon"), arena_alignment=64)
    return Tiny(replace(tiny.program, target=target), compiled(KERNELS.format(p=prefix, n=count), compiler=GCC))


def write_single(tiny: Tiny, destination: Path, missing: bool) -> Artifact:
    inputs = selftest_input(tiny.network)
    assemble = assembler(tiny.program.target) if missing else None
    expected = tiny.expected(inputs)
    return write_artifact(
        tiny.program, tiny.kernels, inputs, expected, destination, origin="tiny.yaml", assemble=assemble
    )


def write_variants_of(destination: Path, missing: bool) -> Artifact:
    """Variants for i8mm and for dotprod, so that a Cortex-A72 has none of them."""
    made = [
        Variant(
            replace(one.program, target=find_target(name)),
            compiled(KERNELS.format(p="tiny_", n=12), compiler=GCC),
            (name,),
        )
        for one, name in zip(variants(), ("arm64-i8mm", "arm64-dotprod"), strict=True)
    ]
    inputs = selftest_input(single().network)
    assemble = assembler(find_target("arm64-dotprod")) if missing else None
    target = replace(find_target("arm64"), arena_alignment=64)
    expected = single().expected(inputs)
    return write_variants(target, made, inputs, expected, destination, origin="tiny.yaml", assemble=assemble)


KINDS: dict[str, Write] = {
    "single": lambda path, missing: write_single(arm(single(), "tiny_", 12), path, missing),
    "several": lambda path, missing: write_single(arm(several(), "odd$", 4), path, missing),
    "variants": write_variants_of,
}

# What a program sees of the library: tables, statuses, places, hooks, results.
LOOK = r"""
#include "{net}.h"
#include <stdio.h>
#include <string.h>
static {net}_arena arena, other;
static void *home;
static void hook(void *user, uint32_t layer, const void *result)
{{
    const long place = (long)((const char *)result - (char *)home);
    printf("layer %u %s: %d at %ld\n", layer, {net}_layers[layer].name, *(int *)user, place);
}}
int main(void)
{{
    float buffers[{ports}][{size}];
    int seven = 7, i, j;
    printf("%x %x\n", {net}_fingerprint, {NET}_FINGERPRINT);
    for (i = 0; i < (int){NET}_LAYER_COUNT; ++i) {{
        const {net}_layer *layer = &{net}_layers[i];
        printf("%s %u %u\n", layer->name, layer->mac, layer->result_size);
    }}
    for (i = 0; i < (int)(sizeof {net}_labels / sizeof *{net}_labels); ++i) printf("<%s>\n", {net}_labels[i]);
    for (i = 0; i < {ports}; ++i) for (j = 0; j < {size}; ++j) buffers[i][j] = (float)(i * 10 + j) / 4;
    printf("%s\n", {variant});
    printf("%d %d %d\n", {net}_run(NULL, {arguments}), {net}_run(&arena, {nulls}), {net}_run(&arena, {half_nulls}));
    printf("%d\n", {net}_run(({net}_arena *)(void *)(arena.bytes + 4), {arguments}));
    printf("%d\n", {net}_run_profiled(&arena, {arguments}, NULL, NULL));
    printf("%d\n", {net}_run_profiled(NULL, {arguments}, hook, &seven));
    printf("%d\n", {net}_run(&arena, {arguments}));
    for (i = 0; i < {ports}; ++i) {{ for (j = 0; j < {size}; ++j) printf("%g ", buffers[i][j]); puts(""); }}
    home = &other;
    {places}
    return 0;
}}
"""


def look(artifact: Artifact, scratch: Path, cpu: str) -> str:
    m = artifact.manifest
    scratch.mkdir()
    names = (
        ("input", "output")
        if len(m.inputs) == 1
        else ("input_le_ft", "input_le_ft_2", "output_double", "output_double_2")
    )
    arguments = [f"buffers[{index}]" for index in range(len(names))]
    places = "".join(
        f'printf("%d %ld\\n", {m.c_name}_{name}(NULL) == NULL, {m.c_name}_{name}(&other) == NULL ? -1 : '
        f"(long)((char *){m.c_name}_{name}(&other) - (char *)&other));\n"
        for name in names
    )
    in_place = ", ".join(f"{m.c_name}_{name}(&other)" for name in names)
    places += "".join(
        f"if ({m.c_name}_{name}(&other)) "
        f"memcpy({m.c_name}_{name}(&other), buffers[{index}], sizeof buffers[{index}]);\n"
        for index, name in enumerate(names)
        if name.startswith("input")
    )
    places += f'printf("%d\\n", {m.c_name}_run_profiled(&other, {in_place}, hook, &seven));\n'
    text = LOOK.format(
        net=m.c_name,
        NET=m.c_name.upper(),
        ports=len(names),
        size=m.inputs[0].elements,
        arguments=", ".join(arguments),
        nulls=", ".join(["NULL"] * len(names)),
        half_nulls=", ".join([*arguments[:-1], "NULL"]),
        places=places,
        variant=f'{m.c_name}_variant() ? {m.c_name}_variant() : "none"' if m.variants else '"-"',
    )
    (scratch / "look.c").write_text(text)
    library = artifact.static_library.resolve()
    subprocess.run(
        [GCC, "-static", "-w", f"-I{artifact.directory.resolve()}", "look.c", str(library), "-lm", "-o", "look"],
        cwd=scratch,
        check=True,
    )
    run = subprocess.run(["qemu-aarch64", "-cpu", cpu, "./look"], cwd=scratch, capture_output=True, check=True)
    return run.stdout.decode("utf-8", "replace")


THREADS = ("pool_start", "pool_stop", "run_parallel")  # what a C compiler makes of <net>_parallel.c


@pytest.fixture(scope="module", params=KINDS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Artifact]:
    """An artifact by gcc, and the same one made as where no compiler is."""
    require_tools(GCC, "qemu-aarch64")
    folder = tmp_path_factory.mktemp("drivers")
    by_gcc = KINDS[request.param](folder / "gcc", False)
    with pytest.MonkeyPatch.context() as patch:
        without_compiler(patch, folder)
        return by_gcc, KINDS[request.param](folder / 'llvm\'s "own"', True)


def without_compiler(patch: pytest.MonkeyPatch, empty: Path) -> None:
    patch.setattr(toolchain, "zig_command", lambda: None)
    patch.setenv("PATH", str(empty))


@pytest.mark.parametrize("cpu", ["max", "cortex-a76", "cortex-a72"])
def test_both_drivers_do_the_same(both: tuple[Artifact, Artifact], cpu: str, tmp_path: Path) -> None:
    by_gcc, by_llvm = both
    said = look(by_gcc, tmp_path / "gcc", cpu)
    assert said == look(by_llvm, tmp_path / "llvm", cpu)
    runs = not by_gcc.manifest.variants or cpu != "cortex-a72"
    assert (": 7 at " in said) == runs  # hooks were called


def test_the_artifact_has_a_static_library_and_tells_that_there_is_no_other(both: tuple[Artifact, Artifact]) -> None:
    by_gcc, by_llvm = both
    name = by_llvm.manifest.c_name
    found = sorted(path.name for path in by_llvm.directory.iterdir())
    assert found == sorted(
        [f"{name}.c", f"{name}.h", f"{name}_parallel.c", f"lib{name}.a", "manifest.json", "selftest.c"]
    )
    assert by_llvm.driver.read_text() == by_gcc.driver.read_text()
    assert by_llvm.manifest.fingerprint == by_gcc.manifest.fingerprint
    assert (by_llvm.has_libraries, by_llvm.has_shared_library) == (True, False)
    sizes = by_llvm.manifest.sizes
    assert (sizes.shared_library, sizes.static_library) == (0, by_llvm.static_library.stat().st_size)
    assert by_llvm.manifest.versions.c_compiler == "none"
    by_llvm.verify_files()


def test_members_and_symbols_are_those_of_the_library_by_gcc(both: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    def tool(*command: str) -> list[str]:
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()

    listed, defined = [], []
    by_gcc = both[0]
    shared = f"{by_gcc.manifest.c_name}_parallel.o"
    tool("ar", "x", str(by_gcc.static_library.resolve()), shared)
    of_threads = tool("aarch64-linux-gnu-nm", "--defined-only", "--extern-only", "--format=just-symbols", shared)
    assert sorted(of_threads) == [f"{by_gcc.manifest.c_name}_{name}" for name in THREADS]
    for artifact in both:
        archive = str(artifact.static_library.resolve())
        listed.append(tool("ar", "t", archive))
        table = tool("aarch64-linux-gnu-nm", "--defined-only", "--extern-only", "--format=just-symbols", archive)
        defined.append(sorted(word for word in table if not word.endswith(":")))
    assert [member for member in listed[0] if member != shared] == listed[1]
    assert [symbol for symbol in defined[0] if symbol not in of_threads] == defined[1]
    tool("ar", "x", str(both[1].static_library.resolve()))
    for member in listed[1]:
        assert mutable_sections((tmp_path / member).read_bytes()) == (), member


def test_two_builds_without_a_compiler_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_tools(GCC)
    tiny = arm(single(), "tiny_", 12)
    without_compiler(monkeypatch, tmp_path)
    first = write_single(tiny, tmp_path / "one", True).static_library.read_bytes()
    assert first == write_single(tiny, tmp_path / "elsewhere" / "two", True).static_library.read_bytes()


def test_without_what_makes_objects_a_missing_compiler_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_tools(GCC)
    tiny = arm(single(), "tiny_", 12)
    without_compiler(monkeypatch, tmp_path)
    with pytest.raises(ToolError, match=f"the C compiler '{GCC}' of target arm64-neon is not installed"):
        write_single(tiny, tmp_path / "net", False)
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_runs_the_library_links_it_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = replace(TARGET, triple="x86_64-linux-gnu")
    if not runs_here(target):
        pytest.skip("not an x86 machine")
    require_tools("gcc")
    tiny = Tiny(replace(single().program, target=target), single().kernels)
    with monkeypatch.context() as patch:
        without_compiler(patch, tmp_path)
        artifact = write_single(tiny, tmp_path / "net", True)
        with pytest.raises(ToolError, match="the C compiler 'gcc' of target tiny-x86 is not installed"):
            NativeModel(artifact)
    inputs = selftest_input(tiny.network)
    np.testing.assert_array_equal(NativeModel(artifact).run(inputs)["scores"], tiny.expected(inputs)["scores"])
    assert run_selftest(artifact).passed
    assert not artifact.shared_library.exists()


def test_libraries_for_this_machine_and_those_that_ask_cpuid_take_a_compiler() -> None:
    assert has_driver_ir(find_target("arm64-neon"), chooses=True)
    assert has_driver_ir(find_target("arm64-dotprod"), chooses=False)
    assert not has_driver_ir(find_target("x86-avx2"), chooses=False)
    named = replace(find_target("x86-avx2"), triple="x86_64-linux-gnu")
    assert has_driver_ir(named, chooses=False)
    assert not has_driver_ir(named, chooses=True)

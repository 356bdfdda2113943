"""Artifacts of tiny programs, judged by gcc, g++, nm, readelf and ldd."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dscompile.artifact import Artifact, Manifest, load_artifact
from dscompile.emit.elf import read_sections
from dscompile.emit.native import write_artifact
from dscompile.emit.selftest import selftest_input
from dscompile.errors import BadInputError, BudgetError, ToolError
from dscompile.plan.program import Call, Operand
from tests import tiny_programs
from tests.tiny_programs import Tiny, several, single

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
PROGRAMS = {"single": single, "several": several}

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.fixture(scope="module", params=PROGRAMS)
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return PROGRAMS[request.param]().write(tmp_path_factory.mktemp("artifacts") / request.param)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return single().write(tmp_path_factory.mktemp("artifacts") / "tiny")


def shell(command: str, directory: Path) -> str:
    done = subprocess.run(command, shell=True, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_an_artifact_holds_header_driver_libraries_selftest_and_manifest(tiny: Artifact) -> None:
    assert sorted(path.name for path in tiny.directory.iterdir()) == [
        "libtiny.a",
        "libtiny.so",
        "manifest.json",
        "selftest.c",
        "tiny.c",
        "tiny.h",
        "tiny_parallel.c",
    ]


@pytest.mark.parametrize("standard", ["c99", "c11", "c17"])
def test_driver_and_selftest_compile_without_a_warning(artifact: Artifact, standard: str, tmp_path: Path) -> None:
    for source in (artifact.driver.name, artifact.selftest.name):
        shell(f"gcc -std={standard} -O2 {' '.join(STRICT)} -c {source} -o {tmp_path}/x.o", artifact.directory)


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize("standard", ["c++11", "c++20"])
def test_the_header_is_cpp_and_the_library_links_into_cpp(artifact: Artifact, standard: str, tmp_path: Path) -> None:
    name = artifact.manifest.c_name
    (tmp_path / "app.cpp").write_text(
        f'#include "{name}.h"\n#include "{name}.h"\n'
        f"static {name}_arena arena;\n"
        f'static_assert(alignof({name}_arena) == 64, "aligned");\n'
        f"int main() {{ arena.bytes[0] = 0; "
        f"return {name}_fingerprint == {name.upper()}_FINGERPRINT && {name}_layers[0].name ? 0 : 1; }}\n"
    )
    shell(
        f"g++ -std={standard} {' '.join(STRICT)} -I{artifact.directory} app.cpp {artifact.static_library} -o app",
        tmp_path,
    )
    shell("./app", tmp_path)


def test_selftest_passes_under_address_and_undefined_behavior_sanitizers(artifact: Artifact, tmp_path: Path) -> None:
    flags = "-std=c99 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
    sources = f"selftest.c {artifact.driver.name} {artifact.static_library.name}"
    shell(f"gcc {flags} {sources} -lm -o {tmp_path}/selftest", artifact.directory)
    said = shell("./selftest", tmp_path)
    assert said == f"{artifact.manifest.c_name} selftest: ok, largest error 0, tolerance 0.0001\n"


def test_two_networks_link_into_one_program(tmp_path: Path) -> None:
    first, second = single("one").write(tmp_path / "one"), single("two").write(tmp_path / "two")
    (tmp_path / "app.c").write_text(
        '#include "one.h"\n#include "two.h"\nstatic one_arena a; static two_arena b;\n'
        "int main(void) { float x[12] = {1}, y[12], z[12];\n"
        "return one_run(&a, x, y) || two_run(&b, x, z) || y[0] != 2.125f || z[0] != y[0]; }\n"
    )
    shell(f"gcc -Ione -Itwo app.c {first.static_library} {second.static_library} -lm -o app && ./app", tmp_path)


def test_the_shared_library_exports_the_interface_and_nothing_else(tiny: Artifact) -> None:
    lines = shell("nm -D --defined-only libtiny.so", tiny.directory).split("\n")
    assert sorted(line.split()[2] for line in lines if line) == [
        "tiny_fingerprint",
        "tiny_input",
        "tiny_labels",
        "tiny_layers",
        "tiny_output",
        "tiny_pool_start",
        "tiny_pool_stop",
        "tiny_run",
        "tiny_run_parallel",
        "tiny_run_profiled",
    ]


def test_global_symbols_of_the_static_library_carry_the_prefix(artifact: Artifact) -> None:
    lines = shell(f"nm -g --defined-only {artifact.static_library.name}", artifact.directory).splitlines()
    names = [line.split()[2] for line in lines if len(line.split()) == 3]
    assert len(names) > 7
    assert all(name.startswith(f"{artifact.manifest.c_name}_") for name in names), names


def test_the_shared_library_needs_libc_and_libm_at_most(artifact: Artifact) -> None:
    dynamic = shell(f"readelf -d {artifact.shared_library.name}", artifact.directory)
    assert set(re.findall(r"NEEDED.*\[(.*)\]", dynamic)) <= {"libc.so.6", "libm.so.6"}
    assert "BIND_NOW" in dynamic
    assert "TEXTREL" not in dynamic


def test_the_stack_is_not_executable_and_relocations_are_read_only(artifact: Artifact) -> None:
    segments = shell(f"readelf -lW {artifact.shared_library.name}", artifact.directory)
    assert re.search(r"GNU_STACK.*RW ", segments)
    assert "GNU_RELRO" in segments
    assert "RWE" not in segments


def test_nothing_in_the_objects_is_mutable_or_allocates(artifact: Artifact, tmp_path: Path) -> None:
    shell(f"ar x {artifact.static_library}", tmp_path)
    objects = sorted(tmp_path.glob("*.o"))
    assert len(objects) == 4
    for path in objects:
        sections = {section.name: section.size_bytes for section in read_sections(path.read_bytes())}
        assert sections[".data"] == 0
        assert sections[".bss"] == 0
    prefix = artifact.manifest.c_name
    undefined = set(re.findall(r" U (\w+)", shell(f"nm $(ls *.o | grep -v {prefix}_parallel.o)", tmp_path)))
    assert {name for name in undefined if not name.startswith(f"{prefix}_")} <= {"memcpy", "_GLOBAL_OFFSET_TABLE_"}


def test_weights_lie_aligned_in_read_only_memory(tiny: Artifact, tmp_path: Path) -> None:
    shell(f"ar x {tiny.static_library}", tmp_path)
    table = shell("readelf -SW tiny_weights.o", tmp_path)
    found = re.search(r"\.rodata\.tiny_weights\s+PROGBITS\s+\S+\s+\S+\s+(\S+)\s+\S+\s+(\S+)\s+\d+\s+\d+\s+(\d+)", table)
    assert found is not None
    assert (int(found[1], 16), found[2], int(found[3])) == (48, "A", 64)
    content = (tmp_path / "tiny_weights.o").read_bytes()
    assert (np.arange(1, 13, dtype="<f4") / np.float32(8)).tobytes() in content


def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    for build in (single, several):
        first = build().write(tmp_path / "a" / "net", "net.yaml")
        second = build().write(tmp_path / "elsewhere" / "deeper" / "net", "/some/other/place/net.yaml")
        for path in first.directory.iterdir():
            assert path.read_bytes() == (second.directory / path.name).read_bytes(), path.name
        assert str(tmp_path).encode() not in b"".join(path.read_bytes() for path in first.directory.iterdir())
        shutil.rmtree(tmp_path / "a")
        shutil.rmtree(tmp_path / "elsewhere")


def test_the_fingerprint_changes_with_weights_kernels_and_interface(tmp_path: Path) -> None:
    base = single()
    program = base.program
    other_weights = replace(program, constants={"shift.offsets": program.constants["shift.offsets"] + 0})
    bigger = replace(program, constants={"shift.offsets": np.arange(12, dtype=np.float32)})
    kernels = tiny_programs.compiled(tiny_programs.KERNELS.format(p="tiny_", n=12), "-O0")
    prints = [
        Tiny(p, k).write(tmp_path / "net").manifest.fingerprint
        for p, k in (
            (program, base.kernels),
            (other_weights, base.kernels),
            (bigger, base.kernels),
            (program, kernels),
            (replace(program, arena_bytes=program.arena_bytes + 64), base.kernels),
        )
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4


def test_the_manifest_says_what_was_written(tiny: Artifact) -> None:
    manifest = tiny.manifest
    assert (manifest.name, manifest.c_name, manifest.origin) == ("tiny", "tiny", "tiny.yaml")
    assert (manifest.macs, manifest.parameters, manifest.arena.size_bytes) == (1234567, 12, 176)
    assert [(layer.name, layer.macs, layer.result_bytes) for layer in manifest.layers] == [
        ("twice", 1234567, 48),
        ("shift", 0, 48),
    ]
    assert manifest.sizes.weights == 48
    assert manifest.sizes.flash_bytes == 48 + manifest.sizes.text
    assert manifest.sizes.shared_library == tiny.shared_library.stat().st_size
    assert manifest.sizes.static_library == tiny.static_library.stat().st_size
    assert manifest.fallback_layers == ("shift",)
    assert manifest.versions.c_compiler.startswith("gcc")
    assert f"FINGERPRINT 0x{manifest.fingerprint:08x}u" in tiny.header.read_text()
    assert load_artifact(tiny.directory) == tiny


def test_a_network_without_weights_has_no_weights_object(tmp_path: Path) -> None:
    base = single(labels=False)
    step, last = base.program.steps
    call = Call("tiny_copy", (Operand("arena", "twice"), Operand("output", "scores")))
    program = replace(base.program, steps=(step, replace(last, calls=(call,))), constants={})
    inputs = selftest_input(base.network)
    output = {"scores": (2 * inputs["image"].ravel()).reshape(1, 2, 3, 2)}
    artifact = write_artifact(program, base.kernels, inputs, output, tmp_path / "net", origin="net.yaml")
    assert "weights" not in shell(f"ar t {artifact.static_library}", tmp_path)
    assert "labels" not in artifact.header.read_text()
    shell(f"gcc selftest.c libtiny.a -lm -o {tmp_path}/selftest && {tmp_path}/selftest", artifact.directory)


def test_a_missing_compiler_is_named_with_what_to_install(tmp_path: Path) -> None:
    tiny = single()
    target = replace(tiny.program.target, compiler="aarch64-linux-gnu-gcc-99 -x")
    broken = Tiny(replace(tiny.program, target=target), tiny.kernels)
    with pytest.raises(ToolError, match="compiler 'aarch64-linux-gnu-gcc-99 -x' of target tiny-x86 is not installed"):
        broken.write(tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_compiler_is_quoted(tmp_path: Path) -> None:
    tiny = single()
    target = replace(tiny.program.target, compiler_flags=("-march=pentium9",))
    broken = Tiny(replace(tiny.program, target=target), tiny.kernels)
    with pytest.raises(ToolError, match=r"(?s)compiling the driver failed: gcc ended with code 1.*pentium9"):
        broken.write(tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_kernels_with_undefined_symbols_do_not_link(tmp_path: Path) -> None:
    source = tiny_programs.KERNELS.format(p="tiny_", n=12).replace(
        "return 7;", "extern int nowhere(void); return nowhere();"
    )
    source = source.replace("int32_t helper(void)", "__attribute__((used)) int32_t helper(void)")
    with pytest.raises(ToolError, match=r"(?s)linking libtiny.so failed.*nowhere"):
        Tiny(single().program, tiny_programs.compiled(source)).write(tmp_path / "net")


def test_kernels_with_mutable_data_are_refused(tmp_path: Path) -> None:
    source = tiny_programs.KERNELS.format(p="tiny_", n=12) + "int32_t counter = 5;"
    with pytest.raises(ValueError, match=r"tiny_kernels.o has mutable data in \.data"):
        Tiny(single().program, tiny_programs.compiled(source)).write(tmp_path / "net")


def test_labels_must_fit_the_first_output(tmp_path: Path) -> None:
    tiny = single()
    network = replace(tiny.network, labels=("yes", "no"))
    with pytest.raises(BadInputError, match="2 labels, but its output 'scores' has 12 elements"):
        Tiny(replace(tiny.program, network=network), tiny.kernels).write(tmp_path / "net")


def test_status_codes_and_untouched_output(tiny: Artifact, tmp_path: Path) -> None:
    (tmp_path / "app.c").write_text(
        """
#include "tiny.h"
#include <assert.h>
#include <stddef.h>
static tiny_arena arena[2];
static int calls;
static void hook(void *user, uint32_t layer, const void *result)
{
    assert(user == &calls && layer == (uint32_t)calls && result != NULL);
    if (layer == 0) assert(((const float *)result)[3] == 2.0f);
    ++calls;
}
int main(void)
{
    float in[TINY_INPUT_SIZE] = {0}, out[TINY_OUTPUT_SIZE] = {-1.0f};
    in[3] = 1.0f;
    assert(tiny_run(NULL, in, out) == TINY_ERROR_NULL);
    assert(tiny_run(arena, NULL, out) == TINY_ERROR_NULL);
    assert(tiny_run(arena, in, NULL) == TINY_ERROR_NULL);
    assert(tiny_run_profiled(arena, in, out, NULL, NULL) == TINY_ERROR_NULL);
    assert(tiny_run((tiny_arena *)(void *)(arena[0].bytes + 4), in, out) == TINY_ERROR_ALIGNMENT);
    assert(tiny_run_profiled((tiny_arena *)(void *)(arena[0].bytes + 32), in, out, hook, NULL) == TINY_ERROR_ALIGNMENT);
    assert(out[0] == -1.0f && calls == 0);
    assert(tiny_input(NULL) == NULL && tiny_output(NULL) == NULL);
    assert(tiny_run_profiled(arena, in, out, hook, &calls) == TINY_OK && calls == TINY_LAYER_COUNT);
    assert(out[3] == 2.5f);
    tiny_input(arena)[3] = 3.0f; /* in place, both sides */
    for (int i = 0; i < 12; ++i) if (i != 3) tiny_input(arena)[i] = 0.0f;
    assert(tiny_run(arena, tiny_input(arena), tiny_output(arena)) == TINY_OK);
    assert(tiny_output(arena)[3] == 6.5f && tiny_output(arena)[11] == 1.5f);
    return 0;
}
"""
    )
    flags = "-std=c99 -fsanitize=undefined -fno-sanitize=alignment"  # one arena is misaligned on purpose
    shell(f"gcc {flags} -I{tiny.directory} app.c {tiny.static_library} -o app && ./app", tmp_path)


def test_two_threads_with_two_arenas_run_at_once(tiny: Artifact, tmp_path: Path) -> None:
    (tmp_path / "app.c").write_text(
        """
#include "tiny.h"
#include <pthread.h>
#include <stddef.h>
static tiny_arena arenas[2];
static void *work(void *user)
{
    const size_t id = (size_t)user;
    float in[TINY_INPUT_SIZE], out[TINY_OUTPUT_SIZE];
    for (size_t round = 0; round < 20000; ++round) {
        for (size_t i = 0; i < TINY_INPUT_SIZE; ++i) in[i] = (float)(id * 1000 + round % 100);
        if (tiny_run(&arenas[id], in, out) != TINY_OK) return user;
        for (size_t i = 0; i < TINY_OUTPUT_SIZE; ++i)
            if (out[i] != 2.0f * in[i] + (float)(i + 1) / 8.0f) return (void *)1;
    }
    return NULL;
}
int main(void)
{
    pthread_t threads[2];
    void *bad[2];
    for (size_t i = 0; i < 2; ++i) pthread_create(&threads[i], NULL, work, (void *)i);
    for (size_t i = 0; i < 2; ++i) pthread_join(threads[i], &bad[i]);
    return bad[0] != NULL || bad[1] != NULL;
}
"""
    )
    sources = f"app.c {tiny.driver} {tiny.static_library}"
    shell(f"gcc -O1 -fsanitize=thread -I{tiny.directory} {sources} -lpthread -o app && ./app", tmp_path)


def test_extra_files_are_written_and_checksummed(tmp_path: Path) -> None:
    tiny = single()
    inputs = selftest_input(tiny.network)
    artifact = write_artifact(
        tiny.program,
        tiny.kernels,
        inputs,
        tiny.expected(inputs),
        tmp_path / "net",
        origin="x",
        extra_files={"vectors.bin": b"123"},
    )
    assert (artifact.directory / "vectors.bin").read_bytes() == b"123"
    assert "vectors.bin" in [checksum.file for checksum in artifact.manifest.checksums]


def test_a_build_that_is_not_accepted_leaves_the_previous_artifact(tmp_path: Path) -> None:
    tiny = single()
    before = tiny.write(tmp_path / "net")
    inputs = selftest_input(tiny.network)

    def refuse(manifest: Manifest) -> None:
        raise BudgetError(f"{manifest.arena.size_bytes} B are too many")

    with pytest.raises(BudgetError, match="176 B are too many"):
        write_artifact(
            tiny.program,
            tiny.kernels,
            inputs,
            tiny.expected(inputs),
            tmp_path / "net",
            origin="other",
            accept=refuse,
        )
    assert load_artifact(tmp_path / "net") == before
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


WORKER = """
import sys
from pathlib import Path
from tests.tiny_programs import single
tiny = single()
print("ready", flush=True)
while True:
    tiny.write(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_an_interrupted_build_leaves_a_whole_artifact_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "net"
    for attempt in range(8):
        command = [sys.executable, "-c", WORKER, str(target)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.05 + 0.093 * attempt)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        assert "KeyboardInterrupt" in said
        assert [path.name for path in tmp_path.iterdir()] in ([], ["net"])
        if target.exists():
            load_artifact(target).verify_files()

"""Libraries of several variants: what they choose, what they share, and that nothing else in them can change."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dscompile.artifact import Artifact, load_artifact
from dscompile.emit.elf import mutable_sections, read_sections, rename_symbols
from dscompile.emit.processor import PROCESSORS, needed_words
from dscompile.emit.selftest import selftest_input
from dscompile.emit.variants import merged
from dscompile.errors import ToolError, UnsupportedError
from dscompile.run.native import NativeModel
from dscompile.run.selftest import run_selftest
from dscompile.target import find_target, host_features, variants_of
from tests import tiny_programs
from tests.tiny_programs import NEW, OLD, TARGET, single, variants, write_both
from tests.tools import require_tools

STRICT = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
needs_avx2 = pytest.mark.skipif("avx2" not in host_features(), reason="this machine has no AVX2")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return write_both(tmp_path_factory.mktemp("artifacts") / "both")


def shell(command: str, directory: Path) -> str:
    done = subprocess.run(command, shell=True, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_static_library_holds_an_object_for_each_variant(both: Artifact) -> None:
    assert shell("ar t libtiny.a", both.directory).split() == [
        "tiny.o",
        "tiny_kernels_tiny_new.o",
        "tiny_kernels_tiny_old.o",
        "tiny_parallel.o",
        "tiny_weights.o",
    ]


def test_the_shared_library_exports_which_variant_runs(both: Artifact) -> None:
    lines = shell("nm -D --defined-only libtiny.so", both.directory).split("\n")
    names = sorted(line.split()[2] for line in lines if line)
    assert names == [
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
        "tiny_variant",
    ]


@pytest.mark.parametrize("compiler", ["gcc -std=c99", "gcc -std=c17", "clang -std=c99"])
def test_the_driver_compiles_without_a_warning(both: Artifact, compiler: str, tmp_path: Path) -> None:
    require_tools(compiler.split()[0])
    shell(f"{compiler} -O2 {STRICT} -c tiny.c -o {tmp_path}/x.o", both.directory)


def test_what_the_variants_have_in_common_is_there_once(both: Artifact) -> None:
    assert both.manifest.sizes.weights == 48
    assert [variant.constants_bytes for variant in both.manifest.variants] == [48, 48]


def test_one_word_can_change_and_nothing_else(both: Artifact, tmp_path: Path) -> None:
    shell(f"ar x {both.static_library}", tmp_path)
    found = {path.name: mutable_sections(path.read_bytes()) for path in sorted(tmp_path.glob("*.o"))}
    assert found == {
        "tiny.o": (".bss.tiny_variant",),
        "tiny_kernels_tiny_new.o": (),
        "tiny_kernels_tiny_old.o": (),
        "tiny_parallel.o": (),
        "tiny_weights.o": (),
    }
    driver = (tmp_path / "tiny.o").read_bytes()
    assert [s.size_bytes for s in read_sections(driver) if s.name == ".bss.tiny_variant"] == [4]
    assert mutable_sections(driver, [(".bss.tiny_variant", 4)]) == ()
    assert mutable_sections(driver, [(".bss.tiny_variant", 8)]) == (".bss.tiny_variant",)
    assert mutable_sections(driver, [(".bss.other", 4)]) == (".bss.tiny_variant",)


def test_kernels_with_mutable_data_are_refused_also_beside_the_word_that_is_allowed(tmp_path: Path) -> None:
    source = tiny_programs.KERNELS.format(p="tiny_", n=12)
    source += 'int32_t counter __attribute__((section(".bss.tiny_variant")));'
    new, old = variants()
    made = (new, replace(old, kernels_object=tiny_programs.compiled(source)))
    with pytest.raises(ValueError, match=r"tiny_kernels_tiny_old.o has mutable data in \.bss\.tiny_variant"):
        write_both(tmp_path / "net", made)


ALL = 0xFFFFFFFF
CHOICES = {
    "tiny-new": (ALL, ALL, ALL, 0xE7),
    "tiny-old": (ALL, ALL, ALL, 0x07),  # the operating system saves ymm registers, but no zmm registers
    "tiny-old without VNNI": (ALL, ALL, ALL & ~(1 << 11), 0xE7),
    "none": (ALL, ALL, ALL, 0x03),  # it saves xmm registers alone
    "none without AVX2": (ALL, ALL & ~(1 << 5), ALL, 0xE7),
    "none at all": (0, 0, 0, 0),
}
ASKING = """
#include "tiny.h"
#include <assert.h>
#include <stddef.h>
#include <stdio.h>
static tiny_arena arena;
static uint32_t seen;
static void hook(void *user, uint32_t layer, const void *result)
{
    (void)result;
    if (seen == 0) *(uint32_t *)user = layer;
    ++seen;
}
int main(void)
{
    float in[TINY_INPUT_SIZE] = {1.0f}, out[TINY_OUTPUT_SIZE] = {-1.0f};
    uint32_t first = 99;
    const char *name = tiny_variant();
    assert(tiny_run(NULL, in, out) == TINY_ERROR_NULL);
    if (name == NULL) {
        assert(tiny_run(&arena, in, out) == TINY_ERROR_PROCESSOR && TINY_ERROR_PROCESSOR == -3);
        assert(tiny_run_profiled(&arena, in, out, hook, &first) == TINY_ERROR_PROCESSOR && seen == 0);
        assert(tiny_input(&arena) == NULL && tiny_output(&arena) == NULL && out[0] == -1.0f);
        puts("none");
        return 0;
    }
    assert(tiny_run(&arena, in, out) == TINY_OK && out[0] == 2.125f);
    assert(tiny_run_profiled(&arena, in, out, hook, &first) == TINY_OK);
    assert(asked == 1);
    printf("%s %u %u %u\\n", name, (unsigned)((uint8_t *)tiny_input(&arena) - arena.bytes), first, seen);
    return 0;
}
""".replace("\\\\n", "\\n")


@pytest.mark.parametrize("case", CHOICES)
def test_the_best_variant_that_the_processor_and_its_system_allow_is_chosen_once(
    both: Artifact, case: str, tmp_path: Path
) -> None:
    words = ", ".join(f"0x{word:x}u" for word in CHOICES[case])
    fake = (
        "static int asked;\nstatic void fake(uint32_t have[FEATURE_WORDS])\n{\n"
        f"    static const uint32_t words[] = {{{words}}};\n    unsigned i;\n    ++asked;\n"
        "    for (i = 0; i < FEATURE_WORDS; ++i) have[i] = words[i];\n}\n\ntypedef struct variant {"
    )
    driver = both.driver.read_text().replace("typedef struct variant {", fake)
    (tmp_path / "app.c").write_text(driver.replace("    read_features(have);", "    fake(have);") + ASKING)
    shell(f"gcc -std=c99 -I{both.directory} app.c {both.static_library} -o app", tmp_path)
    name = case.split()[0]
    assert (
        shell("./app", tmp_path).strip()
        == {
            "tiny-new": "tiny-new 64 0 3",
            "tiny-old": "tiny-old 0 3 2",
            "none": "none",
        }[name]
    )


@needs_avx2
def test_threads_that_ask_at_once_do_not_race(both: Artifact, tmp_path: Path) -> None:
    (tmp_path / "app.c").write_text(
        """
#include "tiny.h"
#include <pthread.h>
#include <stddef.h>
static tiny_arena arenas[4];
static void *work(void *user)
{
    float in[TINY_INPUT_SIZE] = {1.0f}, out[TINY_OUTPUT_SIZE];
    if (tiny_run((tiny_arena *)user, in, out) != TINY_OK || out[0] != 2.125f) return user;
    return NULL;
}
int main(void)
{
    pthread_t threads[4];
    void *bad = NULL;
    int i, wrong = 0;
    for (i = 0; i < 4; ++i) pthread_create(&threads[i], NULL, work, &arenas[i]);
    for (i = 0; i < 4; ++i) { pthread_join(threads[i], &bad); wrong |= bad != NULL; }
    return wrong;
}
"""
    )
    sources = f"app.c {both.driver} {both.static_library}"
    shell(f"gcc -O1 -fsanitize=thread -I{both.directory} {sources} -lpthread -o app && ./app", tmp_path)


@needs_avx2
def test_every_variant_gives_the_right_result_by_itself(both: Artifact) -> None:
    inputs = selftest_input(single().network)
    expected = single().expected(inputs)["scores"]
    chosen = NativeModel(both)
    assert chosen.runner == f"host as {chosen.variant}"
    old = NativeModel(both, only_variant=1)
    assert (old.variant, old.runner) == ("tiny-old", "host as tiny-old")
    for model in (chosen, old):
        np.testing.assert_array_equal(model.run(inputs)["scores"], expected)
    assert run_selftest(both).passed


@needs_avx2
def test_a_profile_has_the_layers_of_the_variant_that_runs(both: Artifact) -> None:
    inputs = selftest_input(single().network)
    old = NativeModel(both, only_variant=1)
    assert both.manifest.rows_of(old.variant) == range(3, 5)
    assert len(old.profile(inputs, 3)) == 2


def test_the_manifest_tells_of_all_variants(both: Artifact) -> None:
    manifest = both.manifest
    assert load_artifact(both.directory) == both
    assert manifest.target.name == "tiny"
    assert [(v.name, v.stands_for, v.arena_bytes, v.first_layer, v.layer_count) for v in manifest.variants] == [
        ("tiny-new", ("tiny-new",), 240, 0, 3),
        ("tiny-old", ("tiny-old",), 176, 3, 2),
    ]
    assert [layer.name for layer in manifest.layers] == ["twice", "again", "shift", "twice", "shift"]
    assert [layer.name for layer in manifest.layers_of("tiny-old")] == ["twice", "shift"]
    assert manifest.layers[3].kernels == ("tiny_tiny_old_copy", "tiny_tiny_old_add")
    assert manifest.arena.size_bytes == 240
    assert manifest.arena.buffers[0].offset_bytes == 64
    assert all(0 < variant.text_bytes < manifest.sizes.text for variant in manifest.variants)


def test_equal_neighbors_become_one_and_others_stay() -> None:
    new, old = variants()
    twin = replace(old, program=replace(old.program, target=NEW), stands_for=("tiny-new",))
    assert merged((twin, old)) == (replace(old, stands_for=("tiny-old", "tiny-new")),)
    assert merged((new, old)) == (new, old)
    other_code = replace(twin, kernels_object=new.kernels_object)
    assert merged((other_code, old)) == (other_code, old)
    other_weights = {"shift.offsets": np.zeros(12, np.float32)}
    heavier = replace(twin, program=replace(twin.program, constants=other_weights))
    assert merged((heavier, old)) == (heavier, old)


def test_a_feature_that_nobody_can_ask_for_is_named() -> None:
    with pytest.raises(UnsupportedError, match="cannot ask the processor for the feature 'avx512_vnnni'") as caught:
        needed_words(replace(NEW, features=frozenset({"avx512_vnnni"})))
    assert caught.value.diagnostics[0].help == "did you mean 'avx512_vnni'?"
    with pytest.raises(UnsupportedError, match="target tiny: a library of family sparc cannot choose among variants"):
        needed_words(replace(TARGET, name="tiny", family="sparc"))


def test_every_feature_of_the_variants_that_ship_can_be_asked_for() -> None:
    for name in ("x86", "arm64"):
        words = [needed_words(variant) for variant in variants_of(find_target(name))]
        assert len(set(words)) == len(words)
        for better, worse in itertools.pairwise(words):
            assert all(w & b == w for b, w in zip(better, worse, strict=True))
    assert needed_words(OLD) == (0, 1 << 5, 0, 0x06)
    assert needed_words(find_target("arm64-i8mm")) == (1 << 1 | 1 << 20, 1 << 13)


def test_this_processor_says_what_linux_says_of_it(tmp_path: Path) -> None:
    require_tools("gcc")
    if not host_features() & set(PROCESSORS["x86"].bits):
        pytest.skip("not an x86 machine")
    source = Path(__file__).parents[2] / "templates" / "native" / "features_x86.c"
    (tmp_path / "app.c").write_text(
        f'#include <stdint.h>\n#include <stdio.h>\n#include "{source}"\n'
        "int main(void) { uint32_t have[4] = {0}; read_features(have);\n"
        'printf("%u %u %u %u", have[0], have[1], have[2], have[3]); return 0; }\n'
    )
    shell("gcc app.c -o app", tmp_path)
    have = [int(word) for word in shell("./app", tmp_path).split()]
    for feature, needed in PROCESSORS["x86"].bits.items():
        offered = all(have[word] & mask == mask for word, mask in needed)
        assert offered == (feature in host_features()), feature


@pytest.fixture(scope="module")
def arm64(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Two variants for 64-bit Arm, with kernels in C."""
    require_tools("aarch64-linux-gnu-gcc")
    common = find_target("arm64")
    made = []
    for variant, name in zip(variants(), ("arm64-dotprod", "arm64-neon"), strict=True):
        source = tiny_programs.KERNELS.format(p="tiny_", n=12)
        code = tiny_programs.compiled(source, compiler="aarch64-linux-gnu-gcc")
        made.append(replace(variant, program=replace(variant.program, target=find_target(name)), kernels_object=code))
    target = replace(common, arena_alignment=64)
    return write_both(tmp_path_factory.mktemp("artifacts") / "arm64", tuple(made), target)


PORTABLE_SYMBOLS = {"memcpy", "memset", "memmove", "expf", "getauxval", "_GLOBAL_OFFSET_TABLE_"}


def test_on_arm64_nothing_can_change_and_little_is_needed(arm64: Artifact, tmp_path: Path) -> None:
    shell(f"ar x {arm64.static_library}", tmp_path)
    for path in tmp_path.glob("*.o"):
        assert mutable_sections(path.read_bytes()) == ()
    undefined = set(re.findall(r" U (\w+)", shell("aarch64-linux-gnu-nm *.o", tmp_path)))
    others = {name for name in undefined if not name.startswith(("tiny_", "pthread_", "__aarch64_ld"))}
    assert others <= PORTABLE_SYMBOLS | {"clock_gettime", "sigfillset"}  # of which only threads need these two
    assert "getauxval" in undefined


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("-march=armv8-a", "0x2u, 0x0u"), ("-march=armv8.2-a+dotprod+i8mm+fp16", "0x100402u, 0x2000u")],
)
def test_without_linux_the_driver_knows_what_it_was_compiled_for(flags: str, expected: str, tmp_path: Path) -> None:
    require_tools("aarch64-linux-gnu-gcc", "qemu-aarch64")
    source = Path(__file__).parents[2] / "templates" / "native" / "features_arm64.c"
    (tmp_path / "app.c").write_text(
        f'#include <stdint.h>\n#include <stdio.h>\n#undef __linux__\n#include "{source}"\n'
        "int main(void) { uint32_t have[2] = {0}; read_features(have);\n"
        'printf("0x%xu, 0x%xu", have[0], have[1]); return 0; }\n'
    )
    shell(f"aarch64-linux-gnu-gcc -static {flags} app.c -o app", tmp_path)
    assert shell("qemu-aarch64 ./app", tmp_path) == expected


@pytest.mark.parametrize(
    ("cpu", "variant"), [("cortex-a53", "arm64-neon"), ("cortex-a76", "arm64-dotprod"), ("max", "arm64-dotprod")]
)
def test_an_emulated_core_chooses_by_its_hwcap(arm64: Artifact, cpu: str, variant: str, tmp_path: Path) -> None:
    require_tools("aarch64-linux-gnu-gcc", "qemu-aarch64")
    (tmp_path / "app.c").write_text(
        '#include "tiny.h"\n#include <stdio.h>\nint main(void) { puts(tiny_variant()); return 0; }\n'
    )
    shell(f"aarch64-linux-gnu-gcc -static -I{arm64.directory} app.c {arm64.static_library} -o app", tmp_path)
    assert shell(f"qemu-aarch64 -cpu {cpu} ./app", tmp_path).strip() == variant


def test_renamed_functions_are_hidden_and_others_get_the_prefix(tmp_path: Path) -> None:
    code = tiny_programs.compiled("int used(int x) { return x; } int helper(void) { return 7; } extern int far(int);\n"
                                  "int calls(int x) { return far(used(x)) + helper(); }")  # fmt: skip
    (tmp_path / "a.o").write_bytes(rename_symbols(code, {"used": "net_used", "calls": "net_calls"}, "net_"))
    table = shell("readelf -sW a.o", tmp_path)
    assert re.findall(r"GLOBAL (\w+) +\S+ (\w+)", table) == [
        ("HIDDEN", "net_used"),
        ("HIDDEN", "net_helper"),
        ("HIDDEN", "net_calls"),
        ("DEFAULT", "far"),
    ]
    (tmp_path / "b.c").write_text(
        "int far(int x) { return x; } int net_calls(int); int main(void) { return net_calls(35) != 42; }"
    )
    shell("gcc b.c a.o -o b && ./b", tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x7fELF\x01\x01" + bytes(58), b"\x7fELF\x02\x01" + bytes(20)])
def test_what_is_no_object_cannot_be_renamed(content: bytes) -> None:
    with pytest.raises(ValueError, match="ELF object"):
        rename_symbols(content, {}, "net_")


def test_a_failing_compiler_is_named_when_one_variant_is_compiled(both: Artifact, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(both.directory, tmp_path / "copy"))
    (copy / "tiny.c").write_text("nonsense")
    with pytest.raises(ToolError, match=r"(?s)compiling one variant failed: gcc ended with code 1.*nonsense"):
        NativeModel(load_artifact(copy), only_variant=1)

"""The same input, version and target give the same bytes: on another machine, as another user, at another time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cli.conftest import TINY
from tests.worlds import ROOT, World, contents, has_clock, worlds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.every_case,
    pytest.mark.skipif(not has_clock(), reason="needs gcc on Linux, for a clock that is wrong"),
]

# As on machines without nvcc: what CUDA targets make is sources then.
BUILD = (
    "from dscompile import cuda_toolkit, toolchain; cuda_toolkit.installed_nvcc = lambda: None; {}"
    "from dscompile.cli.main import run; run()"
)
WITH_TOOLS = BUILD.format("")
WITHOUT_COMPILER = BUILD.format("toolchain.installed_toolchain = lambda target: None; ")
SPEECH = ROOT / "tests" / "data" / "micro_speech_quantized.tflite"
PACKAGES = ("cmake", "arduino", "zephyr", "esp-idf", "platformio", "cmsis-pack")
LIBRARIES = ("x86-avx2", "arm64-neon", "cuda-sm80")
MICROCONTROLLERS = ("cortex-m4", "rv32imc", "c99")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, World]:
    """Two machines with the artifacts of two networks for all targets, in directories of other names."""
    models = {"net/tiny.yaml": TINY.encode(), "net/speech.tflite": SPEECH.read_bytes()}
    files = {**models, "net/a.txt": b"", "net/b.txt": b""}
    machines = worlds(tmp_path_factory.mktemp("worlds"), files)
    for world, output in zip(machines, ("built", "out put"), strict=True):
        where = ("-q", "-o", output)
        packages = [word for name in PACKAGES for word in ("--package", name)]
        world.run(WITH_TOOLS, "build", "net/tiny.yaml", *named(*LIBRARIES), *where)
        world.run(WITHOUT_COMPILER, "build", "net/tiny.yaml", "-t", "arm64-neon", "-q", "-o", f"{output}/no-compiler")
        world.run(WITH_TOOLS, "build", "net/speech.tflite", *named(*MICROCONTROLLERS), *packages, *where)
        (world.here / output).rename(world.here / "artifacts")
    return machines


def named(*targets: str) -> list[str]:
    return [word for target in targets for word in ("-t", target)]


def test_the_clock_of_one_machine_is_years_ahead(built: tuple[World, World]) -> None:
    one, other = (float(world.run("import time; print(time.time())")) for world in built)
    assert one == pytest.approx(time.time(), abs=60)
    assert other - one > 10 * 365 * 86400


@pytest.mark.parametrize(
    "artifact",
    [
        *(f"tiny-{target}" for target in LIBRARIES),
        *(f"speech-{target}" for target in MICROCONTROLLERS),
        "no-compiler",
    ],
)
def test_every_byte_of_every_file_is_the_same_on_both_machines(built: tuple[World, World], artifact: str) -> None:
    one, other = (contents(world.here / "artifacts" / artifact) for world in built)
    assert "manifest.json" in one
    assert sorted(one) == sorted(other)
    assert [name for name in one if one[name] != other[name]] == []


def test_nothing_that_names_the_machine_is_in_any_file(built: tuple[World, World]) -> None:
    for world in built:
        for name, content in contents(world.here / "artifacts").items():
            assert [word for word in world.words if word in content] == [], name


def test_nothing_is_left_where_a_build_kept_its_temporary_files(built: tuple[World, World]) -> None:
    for world in built:
        assert contents(Path(world.environment["TMPDIR"])) == {}


def test_modes_follow_the_umask(built: tuple[World, World]) -> None:
    for world in built:
        for path in (world.here / "artifacts").rglob("*"):
            whole = 0o777 if path.is_dir() or path.suffix == ".so" else 0o666
            assert oct(path.stat().st_mode & 0o777) == oct(whole & ~world.umask), path

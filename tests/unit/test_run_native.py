"""Running artifacts: in this process, and as their users will."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dscompile import toolchain
from dscompile.artifact import Artifact, load_artifact
from dscompile.emit.selftest import selftest_input
from dscompile.errors import BadInputError, CheckFailedError, ToolError, UsageError
from dscompile.run.latency import profile_us
from dscompile.run.native import NativeModel, aligned_bytes
from dscompile.run.selftest import SANITIZERS, run_selftest
from dscompile.toolchain import install_advice, run_tool
from tests.tiny_programs import Tiny, several, single

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return single().write(tmp_path_factory.mktemp("artifacts") / "tiny")


@pytest.fixture
def copy(tiny: Artifact, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.directory, tmp_path / "copy"))


def edit(directory: Path, change: Callable[[Any], object]) -> Artifact:
    """The artifact with its manifest changed."""
    file = directory / "manifest.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return load_artifact(directory)


@pytest.mark.parametrize("program", [single, several])
def test_results_are_those_of_numpy(program: Callable[[], Tiny], tmp_path: Path) -> None:
    tiny = program()
    model = NativeModel(tiny.write(tmp_path / "net"))
    inputs = selftest_input(tiny.network)
    results = model.run(inputs)
    expected = tiny.expected(inputs)
    assert list(results) == list(tiny.network.outputs)
    for name, array in results.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, expected[name])


def test_results_of_two_runs_do_not_share_memory(tiny: Artifact) -> None:
    model = NativeModel(tiny)
    first = model.run({"image": np.zeros((1, 2, 2, 3), np.float32)})["scores"]
    model.run({"image": np.ones((1, 2, 2, 3), np.float32)})
    assert first.ravel()[:3].tolist() == [0.125, 0.25, 0.375]


def test_threads_may_share_a_model(tiny: Artifact) -> None:
    model, wrong = NativeModel(tiny), []

    def work(value: float) -> None:
        image = np.full((1, 2, 2, 3), value, np.float32)
        for _ in range(300):
            if model.run({"image": image})["scores"].ravel()[0] != 2 * value + 0.125:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(float(index),)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_artifact_that_was_built_again_is_loaded_again(tmp_path: Path) -> None:
    base = single()
    image = {"image": np.zeros((1, 2, 2, 3), np.float32)}
    first = NativeModel(base.write(tmp_path / "net"))
    assert first.run(image)["scores"].ravel()[0] == 0.125
    other = Tiny(replace(base.program, constants={"shift.offsets": np.full(12, 9, np.float32)}), base.kernels)
    second = NativeModel(other.write(tmp_path / "net"))
    assert second.run(image)["scores"].ravel()[0] == 9.0
    assert first.run(image)["scores"].ravel()[0] == 0.125


BAD_INPUTS: dict[str, Callable[[], dict[str, Any]]] = {
    "input 'image' is missing; it must be float32 [1, 2, 2, 3]": dict,
    "there is no input 'imag'": lambda: {"imag": np.zeros((1, 2, 2, 3), np.float32)},
    "did you mean 'image'?": lambda: {"imag": np.zeros((1, 2, 2, 3), np.float32)},
    "inputs: image": lambda: {"zzz": 0},
    "input 'image' is float64 [1, 2, 2, 3], it must be float32 [1, 2, 2, 3]": lambda: {"image": np.zeros((1, 2, 2, 3))},
    "input 'image' is float32 [1, 2, 3, 2], it must be": lambda: {"image": np.zeros((1, 2, 3, 2), np.float32)},
    "input 'image' does not lie in one piece in memory": lambda: {
        "image": np.zeros((1, 2, 2, 6), np.float32)[:, :, :, ::2]
    },
    "pass numpy.ascontiguousarray(x)": lambda: {
        "image": np.frombuffer(bytearray(49), np.uint8)[1:].view(np.float32).reshape(1, 2, 2, 3)
    },
}


@pytest.mark.parametrize("message", BAD_INPUTS)
def test_wrong_inputs_are_named(tiny: Artifact, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        NativeModel(tiny).run(BAD_INPUTS[message]())
    assert message in str(caught.value)


def test_latencies_are_those_of_the_library_without_pythons_share(tiny: Artifact, tmp_path: Path) -> None:
    small = NativeModel(tiny).latencies_us({"image": np.zeros((1, 2, 2, 3), np.float32)}, 200)
    assert small.shape == (200,)
    assert 0.0 <= float(np.median(small)) < 1.0  # the call from Python alone takes about that
    shape = (1, 100, 500, 4)
    big = single("big", shape, labels=False)
    inputs = selftest_input(big.network)
    large = NativeModel(big.write(tmp_path / "big")).latencies_us(inputs, 20)
    assert float(np.median(large)) > 10.0
    with pytest.raises(UsageError, match="the number of repeats must be at least 1, not 0"):
        NativeModel(tiny).latencies_us({"image": np.zeros((1, 2, 2, 3), np.float32)}, 0)


def test_a_profile_has_every_layer_and_adds_up(tmp_path: Path) -> None:
    big = single("big", (1, 100, 500, 4), labels=False)
    inputs = selftest_input(big.network)
    model = NativeModel(big.write(tmp_path / "big"))
    profile = model.profile(inputs, 20)
    assert len(profile) == 2
    latency = float(np.median(model.latencies_us(inputs, 20)))
    assert 0.3 * latency < sum(profile) < 3 * latency
    assert min(profile) > 0


def test_a_profiled_run_that_fails_is_an_error() -> None:
    with pytest.raises(CheckFailedError, match="the profiled run returned -1"):
        profile_us(lambda *_: 0, lambda *_: -1, (), range(1), 1)


def test_artifacts_for_other_machines_are_not_run(copy: Path) -> None:
    artifact = edit(copy, lambda m: m["target"].update(name="sparc-v9", family="sparc", features=["vis"]))
    with pytest.raises(ToolError, match=r"is built for sparc-v9, which does not run on this machine") as caught:
        NativeModel(artifact)
    assert caught.value.diagnostics[0].help is not None
    assert caught.value.diagnostics[0].help.startswith("it needs sparc with vis; build with --target host")
    with pytest.raises(ToolError, match="does not run on this machine"):
        run_selftest(artifact)


CHANGED: dict[str, Callable[[Any], object]] = {
    "TINY_ARENA_SIZE: the header says 176, the manifest 16": lambda m: m["arena"].update(bytes=16),
    "TINY_ARENA_ALIGN: the header says 64, the manifest 1": lambda m: m["arena"].update(alignment=1),
    "TINY_INPUT*_SIZE: the header says 12, the manifest 2": lambda m: m["inputs"][0].update(shape=[1, 2], elements=2),
    "TINY_OUTPUT*_SIZE: the header says 12, the manifest 12, 12": lambda m: m["outputs"].append(m["outputs"][0]),
    "TINY_LAYER_COUNT: the header says 2, the manifest 0": lambda m: m.update(layers=[]),
    "TINY_FINGERPRINT: the header says": lambda m: m.update(fingerprint="0x00000001"),
}


@pytest.mark.parametrize("message", CHANGED)
def test_a_manifest_that_does_not_fit_its_header_is_refused(copy: Path, message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        NativeModel(edit(copy, CHANGED[message]))
    assert message in str(caught.value)


def test_a_header_that_cannot_be_read_is_named(copy: Path) -> None:
    artifact = load_artifact(copy)
    artifact.header.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError, match="cannot read the header"):
        NativeModel(artifact)


def test_a_library_of_another_build_is_refused(copy: Path, tmp_path: Path) -> None:
    base = single()
    other = Tiny(replace(base.program, arena_bytes=240), base.kernels).write(tmp_path / "other")
    shutil.copy(other.shared_library, copy / "libtiny.so")
    with pytest.raises(BadInputError, match="library and manifest come from different builds"):
        NativeModel(load_artifact(copy))


def test_a_library_of_another_network_is_refused(copy: Path, tmp_path: Path) -> None:
    shutil.copy(several().write(tmp_path / "other").shared_library, copy / "libtiny.so")
    with pytest.raises(BadInputError, match="the library lacks a symbol of its own interface"):
        NativeModel(load_artifact(copy))


def test_a_library_that_is_no_library_is_refused(copy: Path) -> None:
    (copy / "libtiny.so").write_text("text")
    with pytest.raises(BadInputError, match="cannot load the library"):
        NativeModel(load_artifact(copy))


def test_an_error_of_the_library_is_our_bug(tiny: Artifact) -> None:
    model = NativeModel(tiny)
    model._arena = aligned_bytes(200, 64)[4:]
    with pytest.raises(RuntimeError, match="tiny_run returned -2"):
        model.run({"image": np.zeros((1, 2, 2, 3), np.float32)})


def test_memory_is_aligned_and_poisoned() -> None:
    for alignment in (1, 16, 64, 4096):
        memory = aligned_bytes(100, alignment)
        assert memory.ctypes.data % alignment == 0
        assert memory.tolist() == [255] * 100


@pytest.mark.parametrize("flags", [(), SANITIZERS])
def test_the_selftest_passes(tiny: Artifact, flags: tuple[str, ...]) -> None:
    result = run_selftest(tiny, flags)
    assert result.passed
    assert result.message == "tiny selftest: ok, largest error 0, tolerance 0.0001"


def test_a_wrong_result_is_reported(copy: Path) -> None:
    source = copy / "selftest.c"
    source.write_text(source.read_text().replace("#define TOLERANCE 0.0001", "#define TOLERANCE -1.0"))
    result = run_selftest(load_artifact(copy))
    assert not result.passed
    assert result.message == "tiny selftest: FAILED, largest error 0, tolerance -1"


def test_a_crash_is_reported(copy: Path) -> None:
    (copy / "selftest.c").write_text("#include <stdlib.h>\nint main(void) { abort(); }\n")
    result = run_selftest(load_artifact(copy))
    assert (result.passed, result.message) == (False, "ended by signal 6")


def test_a_selftest_that_does_not_compile_or_end(copy: Path) -> None:
    artifact = load_artifact(copy)
    artifact.selftest.write_text("int main(void) { for (;;) {} }\n")
    with pytest.raises(ToolError, match=r"the self-test did not end in 0\.2 s"):
        run_selftest(artifact, timeout_s=0.2)
    artifact.selftest.write_text("int main(void) { return nothing; }\n")
    with pytest.raises(ToolError, match=r"(?s)compiling selftest\.c failed: gcc ended with code 1.*nothing"):
        run_selftest(artifact)


def test_tools_that_are_missing_or_fail_say_so(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="painting needs 'no-such-tool', which is not installed"):
        run_tool(["no-such-tool"], tmp_path, "painting")
    (tmp_path / "tool").write_text("not executable")
    with pytest.raises(ToolError, match=r"painting failed: cannot run '.*tool': Permission denied"):
        run_tool([str(tmp_path / "tool")], tmp_path, "painting")
    with pytest.raises(ToolError, match="painting failed: sh was ended by signal 9"):
        run_tool(["sh", "-c", "kill -9 $$"], tmp_path, "painting")
    with pytest.raises(ToolError, match=r"(?s)sh ended with code 3\n    1\n.*    12\n    \.\.\. and 8 more lines"):
        run_tool(["sh", "-c", "seq 20 >&2; exit 3"], tmp_path, "painting")


@pytest.mark.parametrize(
    ("tool", "advice"),
    [
        ("gcc", "apt install gcc)"),
        ("objcopy", "apt install binutils)"),
        ("aarch64-linux-gnu-gcc", "apt install gcc-aarch64-linux-gnu"),
        ("clang-19", "apt install clang-19)"),
    ],
)
def test_advice_names_the_package(tool: str, advice: str) -> None:
    assert advice in install_advice(tool)


def test_the_selftest_cannot_start(tiny: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain.Toolchain, "compile", lambda *_: None)
    with pytest.raises(ToolError, match="cannot run the self-test: No such file or directory"):
        run_selftest(tiny)

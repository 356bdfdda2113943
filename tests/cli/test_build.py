"""dscompile build, verify, run and bench, with the compiler at work."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import dscompile as package
from dscompile.cli.main import main
from tests.artifacts import reseal
from tests.cli.conftest import TINY, CommandLine

ROOT = Path(__file__).resolve().parents[2]
VWW = ROOT / "tests" / "data" / "vww_96_float.tflite"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of the small network for this machine. Tests must not change it."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "tiny.yaml").write_text(TINY)
    destination = folder / "artifact"
    assert main(["build", str(folder / "tiny.yaml"), "-o", str(destination), "-q"]) == 0
    return destination


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """A copy of the artifact that a test may change."""
    return Path(shutil.copytree(built, tmp_path / "copy"))


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by name."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_build_as_the_readme_writes_it(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("build", "--target", "x86", tiny)
    assert outcome.code == 0
    assert outcome.out.splitlines()[0] == "build/tiny-x86"
    assert re.search(r"^  target     x86$", outcome.out, re.MULTILINE)
    assert re.search(r"^  variants   x86-avx512 .*x86-avx2$", outcome.out, re.MULTILINE)
    assert re.search(r"^  network    10 668 MAC, 529 parameters$", outcome.out, re.MULTILINE)
    assert set(contents(Path("build/tiny-x86"))) == {
        "libtiny.a",
        "libtiny.so",
        "manifest.json",
        "selftest.c",
        "tiny.c",
        "tiny.h",
        "tiny_parallel.c",
        "vectors.npz",
    }
    stages = [re.sub(r"\d+(\.\d+)?", "N", line) for line in outcome.err.splitlines()]
    assert stages == [
        "reading tiny.yaml",
        "planning N layers",
        "compiling N kernels for xN-avxN",
        "compiling N kernels for xN-avxN",
        "running the oracle",
        "writing build/tiny-xN",
        "built in N s",
    ]


def test_build_as_json_has_the_promised_keys(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("build", tiny, "-q", "--json", "-o", "out")
    assert (outcome.code, outcome.err) == (0, "")
    record = json.loads(outcome.out)
    assert record["schema"] == 1
    (artifact,) = record["artifacts"]
    assert artifact["path"] == "out"
    assert artifact["macs"] == 10_668
    assert artifact["parameters"] == 529
    assert artifact["arena_bytes"] > 0
    assert artifact["flash_bytes"] > 4 * 529
    assert isinstance(artifact["fallback_layers"], list)


def test_several_targets_give_several_artifacts(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("build", tiny, "-q", "-t", "x86-avx2", "-t", "x86-avx512", "-o", "out", "--json")
    assert outcome.code == 0
    assert [entry["path"] for entry in json.loads(outcome.out)["artifacts"]] == [
        "out/tiny-x86-avx2",
        "out/tiny-x86-avx512",
    ]


def test_the_same_network_gives_the_same_bytes(dscompile: CommandLine, tiny: Path):
    for name in ("one", "two"):
        assert dscompile("build", tiny, "-q", "-o", name).code == 0
    assert contents(Path("one")) == contents(Path("two"))


def test_an_arena_budget_that_is_exceeded_names_the_layer(dscompile: CommandLine, folder: Path):
    (folder / "net.yaml").write_text(TINY + "targets:\n  x86-avx2: {arena: 1 KiB}\n")
    outcome = dscompile("build", "net.yaml", "-q", "-t", "x86-avx2")
    assert outcome.code == 4
    assert re.match(
        r"error: layer \S+: arena needs [\d ]+ B, the budget of x86-avx2 is 1 024 B\n  --> net.yaml:15:3\n", outcome.err
    )
    assert "at this layer, where the arena peaks, shrink it" in outcome.err
    assert not Path("build").exists()


def test_a_flash_budget_counts_code_and_keeps_the_old_artifact(dscompile: CommandLine, tiny: Path):
    assert dscompile("build", tiny, "-q", "-t", "x86-avx2", "-o", "out").code == 0
    before = contents(Path("out"))
    tiny.write_text(TINY + "targets:\n  x86-avx2: {flash: 8 KiB}\n")
    outcome = dscompile("build", tiny, "-q", "-t", "x86-avx2", "-o", "out")
    assert outcome.code == 4
    assert re.match(
        r"error: the library takes [\d ]+ B of flash, the budget of x86-avx2 is 8 192 B\n  --> tiny.yaml:15:3\n",
        outcome.err,
    )
    assert contents(Path("out")) == before


def test_settings_without_effect_are_noted(dscompile: CommandLine, folder: Path):
    (folder / "net.yaml").write_text(TINY + "targets:\n  c99: {threads: 4}\n")
    outcome = dscompile("build", "net.yaml", "-t", "c99")
    assert "note: c99: 'threads: 4' has no effect; threads share an inference on x86 and arm64\n" in outcome.err


def test_int8_is_refused_instead_of_building_another_network(dscompile: CommandLine, folder: Path):
    (folder / "net.yaml").write_text(TINY + "quantization: {scheme: int8}\n")
    outcome = dscompile("build", "net.yaml", "-q")
    assert outcome.code == 3
    assert "the file asks for int8, and this network is still float32" in outcome.err


def test_a_directory_of_something_else_is_not_replaced(dscompile: CommandLine, tiny: Path):
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    outcome = dscompile("build", tiny, "-o", "mine")
    assert outcome.code == 2
    assert "'mine' holds files that are no artifact of dscompile" in outcome.err
    assert Path("mine/thesis.txt").read_text() == "years of work"


def test_an_output_below_a_file_fails_before_any_work(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("build", tiny, "-o", "tiny.yaml/out")
    assert outcome.code == 5
    assert outcome.err == (
        "reading tiny.yaml\n"
        "error: cannot write the artifact 'tiny.yaml/out': Not a directory ('tiny.yaml/out')\n"
        "  = help: name another directory for the artifact\n"
    )


def test_an_output_where_nobody_can_write_fails_before_any_work(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("build", tiny, "-o", "/proc/none/out")
    assert outcome.code == 5
    assert outcome.err == (
        "reading tiny.yaml\n"
        "error: cannot write into '/proc': No such file or directory\n"
        "  = help: choose another with --output\n"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_output_directory_fails_before_any_work(dscompile: CommandLine, tiny: Path):
    Path("locked").mkdir(mode=0o555)
    outcome = dscompile("build", tiny, "-o", "locked/out")
    assert outcome.code == 5
    assert "Permission denied" in outcome.err
    assert "planning" not in outcome.err


def test_a_network_that_is_not_there_builds_nothing(dscompile: CommandLine, folder: Path):
    assert dscompile("build", "net.yaml").code == 3
    assert list(folder.iterdir()) == []


def test_an_interrupted_build_leaves_the_previous_artifact(tmp_path: Path):
    """Ctrl-C, at the moment when kernels are being compiled."""
    (tmp_path / "net.yaml").write_text((ROOT / "nets" / "mobilenet_v2.yaml").read_text())
    (tmp_path / "tiny.yaml").write_text(TINY)
    command = [sys.executable, "-c", "from dscompile.cli.main import run; run()", "build", "-o", "out"]
    options = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    subprocess.run([*command, "tiny.yaml"], check=True, capture_output=True, timeout=120, **options)
    before = contents(tmp_path)
    process = subprocess.Popen(
        [*command, "net.yaml"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        **options,
    )  # fmt: skip
    assert process.stderr is not None
    while not process.stderr.readline().startswith("compiling"):
        assert process.poll() is None
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    assert contents(tmp_path) == before


def test_verify_compares_with_the_oracle_and_runs_the_selftest(dscompile: CommandLine, built: Path):
    outcome = dscompile("verify", built, "-q")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == f"{built}: ok"
    assert re.fullmatch(r"oracle +3 +12 +0 +\S+ +\S+ +ok", lines[2])
    assert re.fullmatch(r"selftest\.c +1 +ok", lines[3])


def test_verify_as_json_has_the_promised_keys(dscompile: CommandLine, built: Path):
    record = json.loads(dscompile("verify", built, "-q", "--json").out)
    assert record["schema"] == 1
    assert record["ok"] is True
    assert record["runner"] == "host"
    assert (record["outputs"], record["mismatches"], record["instructions"]) == (12, 0, None)
    assert 0.0 <= record["max_abs_error"] < 1e-5
    assert 0.0 <= record["max_rel_error"] < 1e-5


def test_verify_fails_if_the_answers_differ(dscompile: CommandLine, copy: Path):
    """Golden vectors of another network, with their checksum corrected."""
    from dscompile.ir.tensor import Tensor
    from dscompile.report.vectors import Vectors, encode_vectors, read_vectors

    path = copy / "vectors.npz"
    vectors = read_vectors(path, [Tensor("softmax", (1, 4))])
    path.write_bytes(encode_vectors(Vectors(vectors.seeds, (np.roll(vectors.outputs[0], 1, axis=-1),))))
    reseal(copy)
    outcome = dscompile("verify", copy, "-q")
    assert outcome.code == 1
    assert outcome.out.splitlines()[0] == f"{copy}: WRONG"
    assert re.search(r"^oracle: output 'softmax' \[0, \d\] of input \d is \S+, it should be \S+$", outcome.out, re.M)


def test_verify_names_every_file_that_is_not_what_the_build_wrote(dscompile: CommandLine, copy: Path):
    (copy / "tiny.h").write_text((copy / "tiny.h").read_text() + "\n")
    (copy / "selftest.c").unlink()
    (copy / "notes.txt").write_text("mine")
    outcome = dscompile("verify", copy, "-q")
    assert outcome.code == 1
    assert outcome.err.replace("\n\n", "\n") == (
        f"error: 'selftest.c' is missing: manifest.json lists it\n  --> {copy}/selftest.c\n"
        "  = help: build the artifact again\n"
        f"error: 'tiny.h' was changed after the build: its checksum differs from manifest.json\n  --> {copy}/tiny.h\n"
        "  = help: build the artifact again\n"
        f"error: 'notes.txt' is a file that the build did not write\n  --> {copy}/notes.txt\n"
        "  = help: move it elsewhere, or build the artifact again, which removes it\n"
    )
    record = json.loads(dscompile("verify", copy, "--json").out)
    assert record["error"]["code"] == 1
    assert [Path(error["file"]).name for error in record["errors"]] == ["selftest.c", "tiny.h", "notes.txt"]


def test_bench_measures_nothing_but_what_was_built(dscompile: CommandLine, built: Path, copy: Path):
    for name in ("libtiny.so", "libtiny.a"):
        with (copy / name).open("ab") as file:
            file.write(b" ")
    (copy / "notes.txt").write_text("mine")  # which nothing measures
    for arguments in ((copy,), (built, "--against", copy), (built, copy)):
        outcome = dscompile("bench", *arguments)
        assert outcome.code == 1
        assert outcome.out == ""
        assert re.findall(r"^error: '(\S+)' was changed after the build", outcome.err, re.MULTILINE) == [
            "libtiny.a",
            "libtiny.so",
        ]
        assert outcome.err.count("build the artifact again") == 2


def test_bench_needs_no_more_files_than_the_build_wrote(dscompile: CommandLine, copy: Path):
    (copy / "notes.txt").write_text("mine")
    assert dscompile("bench", copy, "--repeats", "1").code == 0


def test_verify_of_something_else(dscompile: CommandLine, folder: Path):
    outcome = dscompile("verify", ".")
    assert outcome.code == 2
    assert outcome.err.startswith("error: '.' is not an artifact: it has no manifest.json\n")


def test_verify_against_a_model_of_another_shape(dscompile: CommandLine, built: Path):
    pytest.importorskip("ai_edge_litert")
    outcome = dscompile("verify", built, "-q", "--against", VWW)
    assert outcome.code == 2
    assert "takes other inputs than the artifact" in outcome.err


def test_verify_against_what_no_runtime_reads(dscompile: CommandLine, built: Path, tiny: Path):
    outcome = dscompile("verify", built, "-q", "--against", tiny)
    assert outcome.code == 2
    assert outcome.err == ("error: nothing to compare 'tiny.yaml' with\n  = help: give an .onnx or .tflite file\n")


def test_run_prints_the_largest_outputs_by_label(dscompile: CommandLine, built: Path, folder: Path):
    np.save("x.npy", np.ones((1, 9, 9, 3), np.float32))
    outcome = dscompile("run", built, "--input", "x.npy")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "softmax [1, 4]"
    assert sorted(line.split()[0] for line in lines[1:]) == ["east", "north", "south", "west"]
    values = [float(line.split()[1]) for line in lines[1:]]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1.0, abs=1e-5)


def test_run_writes_what_the_python_api_returns(dscompile: CommandLine, built: Path, folder: Path):
    x = np.linspace(-1, 1, 243, dtype=np.float32).reshape(1, 9, 9, 3)
    np.save("x.npy", x)
    assert dscompile("run", built, "-i", "image=x.npy", "-o", "y.npy").out == "wrote y.npy\n"
    assert np.array_equal(np.load("y.npy"), package.load(built)(x))
    record = json.loads(dscompile("run", built, "-i", "x.npy", "--json").out)
    assert record["outputs"][0]["name"] == "softmax"
    assert record["outputs"][0]["shape"] == [1, 4]
    assert np.array_equal(np.float32(record["outputs"][0]["values"]), np.load("y.npy").ravel())


def test_run_with_a_wrong_input(dscompile: CommandLine, built: Path, folder: Path):
    np.save("x.npy", np.ones((1, 9, 9, 4), np.float32))
    (folder / "no.npy").write_text("hello")
    np.save("text.npy", np.array(["a"]))
    outcomes = [
        dscompile("run", built, "-i", argument)
        for argument in ("x.npy", "imag=x.npy", "none.npy", "no.npy", "text.npy")
    ]
    assert [outcome.code for outcome in outcomes] == [2, 2, 2, 3, 3]
    assert "input 'image' is float32 [1, 9, 9, 4], it must be float32 [1, 9, 9, 3]" in outcomes[0].err
    assert "there is no file 'imag=x.npy'" in outcomes[1].err
    assert "there is no file 'none.npy'" in outcomes[2].err
    assert "this is no .npy file" in outcomes[3].err
    assert "this is no single array of numbers" in outcomes[4].err


def test_run_writes_only_arrays(dscompile: CommandLine, built: Path, folder: Path):
    np.save("x.npy", np.ones((1, 9, 9, 3), np.float32))
    outcome = dscompile("run", built, "-i", "x.npy", "-o", "y.txt")
    assert (outcome.code, outcome.err) == (2, "error: 'y.txt' must end in .npy or .npz\n")
    outcome = dscompile("run", built, "-i", "x.npy", "-o", "none/y.npy")
    assert outcome.code == 5
    assert outcome.err == "error: cannot write 'none/y.npy': No such file or directory\n"


def test_bench_has_the_promised_keys(dscompile: CommandLine, built: Path):
    outcome = dscompile("bench", built, "--repeats", "40", "--json", "-q")
    assert (outcome.code, outcome.err) == (0, "")
    record = json.loads(outcome.out)
    assert record["schema"] == 1
    (result,) = record["results"]
    assert result["path"] == str(built)
    assert (result["threads"], result["repeats"], result["peers"]) == (1, 40, {})
    assert 0.0 < result["min_us"] <= result["median_us"] <= result["p95_us"]
    assert 0.0 < result["peak_gflops_fraction"] < 1.2


def test_bench_beside_another_artifact(dscompile: CommandLine, built: Path, copy: Path):
    outcome = dscompile("bench", built, "--against", copy, "--repeats", "40", "-q")
    assert outcome.code == 0
    header, ours, theirs, peak = outcome.out.splitlines()
    assert header.split() == ["what", "median", "us", "p95", "us", "min", "us", "runs", "GMAC/s", "of", "peak", "ratio"]
    assert ours.startswith(str(built))
    assert theirs.strip().startswith(str(copy))
    assert re.fullmatch(r"FMA peak of a core, measured in between: \d+\.\d GFLOP/s", peak)


def test_bench_says_how_many_threads_shared_an_inference(dscompile: CommandLine, built: Path):
    outcome = dscompile("bench", built, "--threads", "2", "--repeats", "20", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["results"][0]["threads"] == 2


def test_more_threads_than_a_pool_has_are_refused(dscompile: CommandLine, built: Path):
    outcome = dscompile("verify", built, "--threads", "65", "-q")
    assert outcome.code == 5
    assert outcome.err == (
        f"error: '{built}' cannot be run by 65 threads (status -5)\n"
        "  = help: a pool has at most 64, and the system may allow fewer\n"
    )


def test_verify_compares_what_threads_share(dscompile: CommandLine, built: Path):
    outcome = dscompile("verify", built, "--threads", "3")
    assert outcome.code == 0
    assert outcome.out.startswith(f"{built}: ok\n")


def test_bench_needs_to_know_what_a_runtime_runs(dscompile: CommandLine, built: Path):
    outcome = dscompile("bench", built, "--against", "litert")
    assert outcome.code == 2
    assert "litert needs a model to run" in outcome.err
    outcome = dscompile("bench", built, "--against", "litret", "--model", VWW)
    assert outcome.code == 2
    assert "'litret' is neither a runtime nor an artifact" in outcome.err
    outcome = dscompile("bench", built, "--against", "onnxruntime", "--model", VWW)
    assert outcome.code == 2
    assert "onnxruntime does not read 'vww_96_float.tflite'" in outcome.err


def test_a_trained_network_agrees_with_litert(dscompile: CommandLine, folder: Path):
    """The whole road on a real network: build, verify against LiteRT, bench beside it."""
    pytest.importorskip("ai_edge_litert")
    assert dscompile("build", VWW, "-q", "-o", "vww").code == 0
    record = json.loads(dscompile("verify", "vww", "--against", VWW, "-q", "--json").out)
    assert record["ok"]
    assert record["max_rel_error"] < 1e-5
    assert [check["against"].split()[0] for check in record["checks"]] == ["oracle", "selftest.c", "litert", "oracle,"]
    outcome = dscompile("bench", "vww", "--against", "litert", "--model", VWW, "--repeats", "50", "-q", "--json")
    (result,) = json.loads(outcome.out)["results"]
    peer = result["peers"]["litert"]
    assert peer["ratio"] == pytest.approx(peer["median_us"] / result["median_us"])

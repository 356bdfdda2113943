"""dscompile build, inspect, verify and bench for GPUs, on a machine that has none."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dscompile.cli.main import main
from dscompile.cuda_toolkit import CUDA_ADVICE
from tests.cli.conftest import CommandLine
from tests.cuda_networks import write_network
from tests.tools import require_tools


@pytest.fixture
def net(folder: Path) -> Path:
    return write_network(folder).relative_to(folder)


@pytest.fixture
def no_nvcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dscompile.cuda_toolkit.installed_nvcc", lambda: None)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSCOMPILE_CUDA", "cpu")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cuda")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dscompile.cuda_toolkit.installed_nvcc", lambda: None)
        assert main(["build", str(write_network(folder)), "-t", "cuda-sm80", "-o", str(folder / "out"), "-q"]) == 0
    return folder / "out"


@pytest.mark.usefixtures("no_nvcc")
def test_without_nvcc_a_build_writes_sources_and_says_so(dscompile: CommandLine, net: Path) -> None:
    outcome = dscompile("build", net, "-t", "cuda-sm86")
    assert outcome.code == 0
    assert f"note: nvcc is not installed: cuda-sm86 gets sources and no library; {CUDA_ADVICE}" in outcome.err
    assert re.search(r"^  sources +gpu_net\.cu, gpu_net_weights\.S$", outcome.out, re.MULTILINE)
    assert "library" not in outcome.out
    assert not list(Path("build/gpu-net-cuda-sm86").glob("*.so"))
    record = json.loads(dscompile("build", net, "-t", "cuda-sm86", "--json").out)["artifacts"][0]
    assert (record["library"], record["kernels"]) == (None, [])


@pytest.mark.usefixtures("no_nvcc")
def test_require_binary_fails_without_nvcc_and_leaves_the_old_artifact(dscompile: CommandLine, net: Path) -> None:
    assert dscompile("build", net, "-t", "cuda-sm80", "-o", "out").code == 0
    before = {file.name: file.read_bytes() for file in Path("out").iterdir()}
    outcome = dscompile("build", net, "-t", "cuda-sm80", "-o", "out", "--require-binary")
    assert outcome.code == 5
    assert "compiling for a GPU needs nvcc, which is not installed" in outcome.err
    assert CUDA_ADVICE in outcome.err
    assert {file.name: file.read_bytes() for file in Path("out").iterdir()} == before


def test_require_binary_is_no_word_for_standalone_c(dscompile: CommandLine, net: Path) -> None:
    outcome = dscompile("build", net, "-t", "c99", "--require-binary")
    assert outcome.code == 2
    assert "--require-binary: a build for c99 makes C sources" in outcome.err


@pytest.mark.slow
def test_require_binary_is_always_kept_for_cpus(dscompile: CommandLine, tiny: Path) -> None:
    assert dscompile("build", tiny, "-t", "x86-avx2", "--require-binary").code == 0


def test_nvcc_that_fails_leaves_the_old_artifact(
    dscompile: CommandLine, net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Path("cuda/bin/nvcc").resolve()
    broken.parent.mkdir(parents=True)
    broken.write_text("#!/bin/sh\necho 'nvcc fatal: no such thing' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(broken.parents[1]))
    outcome = dscompile("build", net, "-t", "cuda-sm80", "-o", "out")
    assert outcome.code == 5
    assert "compiling gpu_net.cu for sm_80 failed" in outcome.err
    assert not Path("out").exists()


def test_inspect_tells_why_the_plan_is_cut_as_it_is(dscompile: CommandLine, net: Path) -> None:
    outcome = dscompile("inspect", net, "-t", "cuda-sm80")
    assert outcome.code == 0
    assert "modules, by the planner's estimate for A100 SXM4 40 GB" in outcome.out
    record = json.loads(dscompile("inspect", net, "-t", "cuda-sm80", "--json").out)["gpu"]
    modules, cuts = record["modules"], record["cuts"]
    assert record["activation_bytes"] == sum(module["fused"]["activation_bytes"] for module in modules)
    assert record["unfused_activation_bytes"] == sum(module["unfused"]["activation_bytes"] for module in modules)
    for module in modules:
        assert module["unfused"]["kernels"] == sum(1 for name in module["layers"] if not name.endswith(".add"))
        assert module["fused"]["price_us"] <= module["unfused"]["price_us"] + 1e-6
        assert 0 < module["occupancy"] <= 1
    assert cuts == []  # the second module adds what it reads to its result, so that the first must keep it


def test_inspect_prices_both_choices_at_every_cut(dscompile: CommandLine, net: Path) -> None:
    separables = "    - separable: {name: block, out: 16, kernel: 3, repeat: 3}\n"
    lines = net.read_text().splitlines(keepends=True)
    net.write_text("".join(separables if "separable" in line else line for line in lines if "inverted" not in line))
    outcome = dscompile("inspect", net, "-t", "cuda-sm80")
    record = json.loads(dscompile("inspect", net, "-t", "cuda-sm80", "--json").out)["gpu"]
    assert len(record["cuts"]) == len(record["modules"]) - 1 > 0
    for cut in record["cuts"]:
        assert cut["apart"]["kernels"] == 2
        assert cut["together"] is None or cut["together"]["kernels"] == 1
        assert f"{cut['before'][-1]} | {cut['after'][0]}" in outcome.out


def test_inspect_of_other_targets_has_no_modules(dscompile: CommandLine, tiny: Path) -> None:
    assert json.loads(dscompile("inspect", tiny, "-t", "c99", "--json").out)["gpu"] is None


def test_cycles_are_not_those_of_a_gpu(dscompile: CommandLine, net: Path) -> None:
    outcome = dscompile("inspect", net, "-t", "cuda-sm80", "--cycles")
    assert outcome.code == 2
    assert "cuda-sm80 is a GPU, and llvm-mca knows cores of CPUs" in outcome.err


@pytest.mark.slow
@pytest.mark.usefixtures("no_gpu")
def test_verify_runs_on_the_cpu_and_counts(dscompile: CommandLine, built: Path) -> None:
    require_tools("g++", "gcc")
    outcome = dscompile("verify", built)
    assert outcome.code == 0, outcome.out
    assert "bytes of one inference, counted by CUDA on the CPU" in outcome.out
    record = json.loads(dscompile("verify", built, "--json").out)
    assert record["ok"]
    assert record["runner"] == "CUDA on the CPU"
    assert [check["against"] for check in record["checks"]] == ["oracle", "oracle, accesses checked", "selftest.cu"]
    for kernel in record["traffic"]["kernels"]:
        if kernel["planned_activation_bytes"] is not None:
            assert kernel["activation_bytes"] == kernel["planned_activation_bytes"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_gpu")
def test_bench_counts_bytes_and_takes_no_time(dscompile: CommandLine, built: Path) -> None:
    require_tools("g++", "gcc")
    outcome = dscompile("bench", built)
    assert outcome.code == 0
    assert "no GPU here, so nothing is timed; bytes of one inference, counted on the CPU" in outcome.out
    (record,) = json.loads(dscompile("bench", built, "--json").out)["results"]
    assert record["median_us"] is None
    assert record["traffic"]["activation_bytes"] > 0


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_nothing_is_compared_with_runtimes(dscompile: CommandLine, built: Path) -> None:
    outcome = dscompile("bench", built, "--against", "onnxruntime")
    assert outcome.code == 2
    assert "counted" in outcome.err

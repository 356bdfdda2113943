"""The CUDA shim: what kernels compute on the CPU, what it counts, and what it refuses."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dscompile.data import data_directory
from dscompile.run.cuda_build import compile_cuda, dynamic_names, link_cuda, place_shared_arrays
from dscompile.run.cuda_report import KernelTraffic, ShimReport, read_report
from dscompile.toolchain import run_tool, zig_command
from tests.tools import require_tools

CASES = Path(__file__).parents[1] / "data" / "cuda" / "cases.cu"
FLOATS = 4096
A = np.random.default_rng(1).standard_normal(FLOATS, dtype=np.float32)
B = np.random.default_rng(2).standard_normal(FLOATS, dtype=np.float32)


@dataclass(frozen=True)
class Outcome:
    """What one case did."""

    stdout: bytes
    stderr: str
    report: ShimReport

    @property
    def floats(self) -> np.ndarray:
        return np.frombuffer(self.stdout, np.float32)

    @property
    def only(self) -> KernelTraffic:
        (kernel,) = self.report.kernels
        return kernel


class Cases:
    """tests/data/cuda/cases.cu as a program."""

    def __init__(self, directory: Path, checked: bool) -> None:
        self.program = directory / "cases"
        compile_cuda(CASES, directory / "cases.o", checked=checked)
        link_cuda([directory / "cases.o"], self.program)

    def run(
        self, *arguments: object, a: np.ndarray = A, b: np.ndarray = B, environment: dict[str, str] | None = None
    ) -> Outcome:
        stdin = b"".join(array.tobytes().ljust(4 * FLOATS, b"\0") for array in (a, b))
        report = self.program.with_suffix(".json")
        variables = {**os.environ, "DSCOMPILE_CUDA_REPORT": str(report), **(environment or {})}
        command = [str(self.program), *map(str, arguments)]
        done = subprocess.run(command, input=stdin, capture_output=True, check=False, env=variables, timeout=60)
        assert done.returncode in (0, 1), done
        return Outcome(done.stdout, done.stderr.decode(), read_report(report))


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    require_tools("g++")
    return Cases(tmp_path_factory.mktemp("checked"), checked=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    require_tools("g++")
    return Cases(tmp_path_factory.mktemp("plain"), checked=False)


@pytest.fixture(params=["checked", "plain"])
def cases(request: pytest.FixtureRequest) -> Cases:
    return request.getfixturevalue(request.param)


def assert_stopped(outcome: Outcome, *messages: str, error: str = "cudaErrorIllegalAddress") -> None:
    """The launch gave an error, and the one message, on stderr and in the report, has all of these in it."""
    assert outcome.stdout.decode().splitlines()[0] == f"launch: {error}"
    (said,) = outcome.report.errors
    assert outcome.stderr == f"cuda shim: {said}\n"
    for message in messages:
        assert message in said


def test_vectors_are_added(cases: Cases) -> None:
    outcome = cases.run("add", 1000)
    np.testing.assert_array_equal(outcome.floats, (A + B)[:1000])
    assert not outcome.report.errors


def test_bytes_of_each_allocation_are_counted(checked: Cases) -> None:
    kernel = checked.run("add", 1000).only
    assert (kernel.launches, kernel.blocks, kernel.threads, kernel.barriers) == (1, 4, 1024, 0)
    assert [one.name for one in kernel.classes] == ["a", "b", "y"]
    for name in "ab":
        assert (kernel.traffic(name).loads, kernel.traffic(name).load_bytes) == (1000, 4000)
        assert (kernel.traffic(name).stores, kernel.traffic(name).store_bytes) == (0, 0)
    assert (kernel.traffic("y").stores, kernel.traffic("y").store_bytes) == (1000, 4000)
    assert kernel.traffic("y").loads == 0


def test_a_plain_run_counts_launches_alone(plain: Cases) -> None:
    outcome = plain.run("add", 1000)
    assert not outcome.report.checked
    assert (outcome.only.launches, outcome.only.classes, outcome.only.requests) == (1, (), 0)


def test_a_float4_is_one_access_of_16_bytes(checked: Cases) -> None:
    outcome = checked.run("copy4")
    np.testing.assert_array_equal(outcome.floats, A[:1024])
    kernel = outcome.only
    assert (kernel.traffic("a").loads, kernel.traffic("a").load_bytes) == (256, 4096)
    assert (kernel.traffic("y").stores, kernel.traffic("y").store_bytes) == (256, 4096)
    assert (kernel.requests, kernel.sectors, kernel.ideal_sectors) == (16, 256, 256)
    assert kernel.efficiency == 1.0


def test_shared_arrays_of_vectors_are_served_by_quarter_warps(checked: Cases) -> None:
    outcome = checked.run("vectors")
    np.testing.assert_array_equal(outcome.floats.reshape(32, 4), A[:128].reshape(32, 4)[::-1])
    kernel = outcome.only
    assert kernel.shared_bytes == 512
    assert (kernel.traffic("shared").loads, kernel.traffic("shared").load_bytes) == (32, 512)
    assert (kernel.shared_requests, kernel.shared_wavefronts, kernel.bank_conflicts) == (2, 8, 0)


@pytest.mark.parametrize(("stride", "sectors"), [(1, 4), (2, 8), (8, 32), (100, 32), (0, 1)])
def test_strided_loads_touch_more_sectors(checked: Cases, stride: int, sectors: int) -> None:
    kernel = checked.run("strided", stride).only
    assert kernel.requests == 2  # a load and a store, each of one warp
    assert kernel.sectors == sectors + 4
    assert kernel.ideal_sectors == (8 if stride else 5)
    assert kernel.uncoalesced_requests == (stride > 1)
    distinct = 128 if stride else 4
    assert kernel.efficiency == (distinct + 128) / (32 * (sectors + 4))


def test_footprint_counts_a_sector_once_and_blocks_once_per_block(checked: Cases) -> None:
    traffic = checked.run("strided", 0).only.traffic("a")
    assert (traffic.load_bytes, traffic.load_block_bytes, traffic.footprint_bytes) == (128, 32, 32)


@pytest.mark.parametrize(("pitch", "extra"), [(32, 31), (33, 0)])
def test_a_padded_transpose_has_no_bank_conflicts(checked: Cases, pitch: int, extra: int) -> None:
    outcome = checked.run("transpose", pitch)
    np.testing.assert_array_equal(outcome.floats.reshape(32, 32), A[:1024].reshape(32, 32).T)
    kernel = outcome.only
    assert kernel.name == f"transpose<{pitch}>"
    assert kernel.shared_bytes == 32 * pitch * 4
    assert kernel.shared_requests == 64
    assert kernel.bank_conflicts == 32 * extra
    assert kernel.barriers == 1


def test_without_sampled_blocks_bytes_are_still_exact(checked: Cases) -> None:
    kernel = checked.run("add", 1000, environment={"DSCOMPILE_CUDA_SAMPLE": "0"}).only
    assert (kernel.sampled_blocks, kernel.requests, kernel.efficiency) == (0, 0, 1.0)
    assert kernel.traffic("a").load_bytes == 4000


@pytest.mark.parametrize(("sample", "blocks"), [(1, 1), (2, 2), (3, 3), (4, 4), (9, 4)])
def test_as_many_blocks_are_sampled_as_asked(checked: Cases, sample: int, blocks: int) -> None:
    kernel = checked.run("add", 1000, environment={"DSCOMPILE_CUDA_SAMPLE": str(sample)}).only
    assert kernel.sampled_blocks == blocks


def test_global_reads_out_of_bounds_are_found(checked: Cases) -> None:
    outcome = checked.run("strided", 200)
    assert_stopped(
        outcome,
        "kernel 'strided', block (0,0,0): thread (21,0,0): out-of-bounds read of 4 bytes of global memory",
        "416 bytes after the end of the allocation 'a' of 16384 bytes",
        "cases.cu:",
    )


def test_reads_of_freed_memory_are_found(checked: Cases) -> None:
    assert_stopped(checked.run("freed"), "out-of-bounds read", "byte 0 of the freed allocation 'a' of 16384 bytes")


def test_vectors_must_be_aligned(checked: Cases) -> None:
    assert_stopped(checked.run("misaligned"), "misaligned read of 16 bytes")


@pytest.mark.parametrize("at", [64, 80])
def test_shared_writes_out_of_bounds_are_found_though_another_array_follows(checked: Cases, at: int) -> None:
    expected = (
        f"out-of-bounds write of 4 bytes of shared memory, {4 * (at - 64)} bytes after the end of 'first' (256 bytes)"
    )
    assert_stopped(checked.run("two_arrays", at), "kernel 'two_arrays'", expected)


def test_dynamic_shared_memory_is_as_large_as_the_launch_says(checked: Cases) -> None:
    np.testing.assert_array_equal(checked.run("dynamic", 64).floats, np.arange(64)[::-1])
    expected = (
        "out-of-bounds write of 4 bytes of shared memory, 0 bytes after the end of 'dynamic shared memory' (256 bytes)"
    )
    assert_stopped(checked.run("dynamic", 65), expected)


def test_dynamic_shared_memory_beyond_48_kib_must_be_allowed(cases: Cases) -> None:
    outcome = cases.run("large", 60000)
    refused, forgotten, result = outcome.stdout.split(b"\n", 2)
    assert (refused, forgotten) == (b"launch: cudaErrorInvalidValue", b"forgotten: cudaErrorInvalidValue")
    np.testing.assert_array_equal(np.frombuffer(result, np.float32), np.arange(15000)[:-65:-1])
    assert "60000 bytes of dynamic shared memory, allowed are 49152" in outcome.report.errors[0]
    too_much = cases.run("large", 200000).stdout.decode().splitlines()
    assert too_much[2:] == ["attribute: cudaErrorInvalidValue", "launch: cudaErrorInvalidValue"]


@pytest.mark.parametrize("kernel", ["reversed", "reversed_bytes"])
def test_a_missing_barrier_is_a_race(checked: Cases, kernel: str) -> None:
    np.testing.assert_array_equal(checked.run(kernel, 1).floats, np.arange(64)[::-1])
    outcome = checked.run(kernel, 0)
    assert_stopped(outcome, f"kernel '{kernel}', block (0,0,0)", "'row'", "with no barrier between: a race")
    assert "thread (32,0,0): writes shared memory, byte" in outcome.stderr
    assert "which thread (31,0,0) read" in outcome.stderr


def test_a_warp_that_waits_for_itself_may_read_its_own(checked: Cases) -> None:
    np.testing.assert_array_equal(checked.run("reversed_by_warp", 0).floats, np.arange(64) ^ 31)
    assert_stopped(checked.run("reversed_by_warp", 1), "which thread", "a race")


def test_bytes_of_one_word_may_belong_to_several_threads(checked: Cases) -> None:
    assert not checked.run("reversed_bytes", 1).report.errors


def test_conflicts_between_blocks_are_found_where_asked(checked: Cases) -> None:
    assert not checked.run("neighbours").report.errors
    outcome = checked.run("neighbours", environment={"DSCOMPILE_CUDA_GLOBAL_RACES": "1"})
    assert_stopped(outcome, "kernel 'neighbours', block (1,0,0)", "which a thread of another block read")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (0, "thread (0,0,0) waits at __syncthreads in line {first}, thread (32,0,0) has finished"),
        (
            1,
            "thread (0,0,0) waits at __syncthreads in line {first}, "
            "thread (32,0,0) waits at __syncthreads in line {second}",
        ),
    ],
)
def test_barriers_that_not_all_threads_reach_are_found(cases: Cases, how: int, message: str) -> None:
    lines = CASES.read_text().splitlines()
    start = next(index for index, line in enumerate(lines) if "void divergent" in line)
    first, second = [index + 1 for index in range(start, start + 10) if "__syncthreads" in lines[index]]
    expected = "divergent barrier: " + message.format(first=first, second=second)
    assert_stopped(
        cases.run("divergent", how), "kernel 'divergent', block (0,0,0)", expected, error="cudaErrorLaunchFailure"
    )


def test_shared_memory_is_poisoned_for_every_block(cases: Cases) -> None:
    assert np.isnan(cases.run("stale").floats).all()


@pytest.mark.parametrize(
    ("case", "number", "text"), [("threads", 2000, "blocks (2000,1,1)"), ("grid", 65536, "grid (1,65536,1)")]
)
def test_launches_beyond_the_limits_of_a_device_are_refused(cases: Cases, case: str, number: int, text: str) -> None:
    expected = ("kernel 'add': a device does not launch", text)
    assert_stopped(cases.run(case, number), *expected, error="cudaErrorInvalidConfiguration")
    assert not cases.run(case, 1 if case == "grid" else 1024).report.errors


def test_after_an_error_in_a_kernel_nothing_works(checked: Cases) -> None:
    said = checked.run("after").stdout.decode().splitlines()
    assert said == [f"{call}: cudaErrorIllegalAddress" for call in ("launch", "launch", "next", "copy")]


def test_host_code_may_not_read_device_memory(checked: Cases) -> None:
    (message,) = checked.run("host", 0).report.errors
    assert message.startswith("host code has no access to device memory: read of 4 bytes")


def test_shuffles_move_values_between_lanes(cases: Cases) -> None:
    result = cases.run("warp_sum").floats.reshape(4, 2, 32)
    rows = A[:64].reshape(2, 32)
    np.testing.assert_allclose(result[0], np.repeat(rows.sum(1)[:, None], 32, 1), rtol=1e-5)
    np.testing.assert_array_equal(result[1], np.roll(rows, -1, 1))
    np.testing.assert_array_equal(result[2], rows[:, np.arange(32) ^ 1])
    lanes = np.arange(32)
    np.testing.assert_array_equal(result[3], rows[:, np.where(lanes % 8 == 0, lanes, lanes - 1)])


def test_dot_products_and_high_halves_on_edge_values(cases: Cases) -> None:
    edges = np.array([-128, 127, -1, 0, 1, 85, -86, 126], np.int8)
    rng = np.random.default_rng(5)
    a8 = np.concatenate([np.repeat(edges, 4), np.full(4, -128), rng.integers(-128, 128, 92)]).astype(np.int8)
    b8 = np.concatenate([np.tile(edges, 4), np.full(4, -128), rng.integers(-128, 128, 92)]).astype(np.int8)
    result = np.frombuffer(cases.run("dot4", 32, a=a8, b=b8).stdout, np.int32).reshape(32, 4)
    thread = np.arange(32)
    a4, b4 = (array.reshape(32, 4) for array in (a8, b8))
    signed = (a4.astype(np.int64) * b4).sum(1) + thread
    unsigned = (a4.view(np.uint8).astype(np.int64) * b4.view(np.uint8)).sum(1) + thread
    a32, b32 = (array.view(np.int32).astype(np.int64) for array in (a8, b8))
    au, bu = (array.view(np.uint32).astype(np.uint64) for array in (a8, b8))
    np.testing.assert_array_equal(result[:, 0], signed)
    np.testing.assert_array_equal(result[:, 1], unsigned)
    np.testing.assert_array_equal(result[:, 2], (a32 * b32) >> 32)
    np.testing.assert_array_equal(result[:, 3].view(np.uint32), ((au * bu) >> np.uint64(32)).astype(np.uint32))


def test_tiles_of_halves_are_multiplied_as_numpy_does(cases: Cases) -> None:
    rng = np.random.default_rng(7)
    a, b = (rng.standard_normal((16, 48)).astype(np.float16) for _ in range(2))
    outcome = cases.run("tiles", 48, a=a, b=b)
    expected = np.maximum(a.astype(np.float64) @ b.astype(np.float64).T, 0)
    np.testing.assert_allclose(outcome.floats.reshape(16, 16), expected, atol=1e-5)


def test_a_warp_moves_a_tile_once(checked: Cases) -> None:
    ones = np.ones((16, 48), np.float16)
    kernel = checked.run("tiles", 48, a=ones, b=ones).only
    assert kernel.traffic("a").load_bytes == kernel.traffic("b").load_bytes == 16 * 48 * 2
    # A lane stores two floats of each quarter.
    assert (kernel.traffic("y").stores, kernel.traffic("y").store_bytes) == (128, 1024)


def test_a_captured_graph_runs_when_it_is_launched(cases: Cases) -> None:
    outcome = cases.run("graph")
    before, after = outcome.floats.reshape(2, 64)
    b = B[:64].copy()
    b[0] = 0
    np.testing.assert_array_equal(before, np.zeros(64))
    np.testing.assert_array_equal(after, (A[:64] + b) + b)
    assert outcome.only.launches == 4


@pytest.mark.parametrize(
    ("what", "call", "error"),
    [
        ("malloc", "cudaMalloc", "cudaErrorStreamCaptureUnsupported"),
        ("free", "cudaFree", "cudaErrorStreamCaptureUnsupported"),
        ("copy", "cudaMemcpy", "cudaErrorStreamCaptureUnsupported"),
        ("wait", "cudaStreamSynchronize", "cudaErrorStreamCaptureUnsupported"),
        ("legacy", "launch", "cudaErrorStreamCaptureImplicit"),
    ],
)
def test_while_capturing_some_calls_are_refused(cases: Cases, what: str, call: str, error: str) -> None:
    said = cases.run("refused", what).stdout.decode().splitlines()
    assert said == [f"{call}: {error}", "end: cudaErrorStreamCaptureInvalidated"]


def test_while_capturing_copies_in_the_stream_are_recorded(cases: Cases) -> None:
    assert cases.run("refused", "nothing").stdout == b""


@pytest.mark.parametrize("flags", [(), ("-DSHIM_UCONTEXT",)])
def test_fibers_keep_what_is_theirs(tmp_path: Path, flags: tuple[str, ...]) -> None:
    require_tools("g++")
    assert turns_of_fibers(["g++", *flags], tmp_path, []) == FIBER_SUM


def test_fibers_keep_what_is_theirs_on_arm64(tmp_path: Path) -> None:
    """Zig only compiles: linking C++ it would first build its own library of C++, which takes minutes."""
    linker = "aarch64-linux-gnu-gcc"
    require_tools("qemu-aarch64", linker)
    zig = zig_command()
    if zig is None:
        pytest.skip("zig is not installed")
    compiler = [*zig, "c++", "-target", "aarch64-linux-gnu"]
    assert turns_of_fibers(compiler, tmp_path, ["qemu-aarch64"], linker) == FIBER_SUM


# Turn t of 1000, twice: x = 1 + t/2, y = 1 or 2, and t; and 0.25.
FIBER_SUM = 0.25 + 2 * sum(1 + turn / 2 + (1 if turn % 2 else 2) + turn for turn in range(1, 1001))


def turns_of_fibers(compiler: list[str], directory: Path, emulator: list[str], linker: str | None = None) -> float:
    """What tests/data/cuda/fibers.cpp says, compiled so, and linked by `linker` or the compiler itself."""
    runtime = data_directory("templates") / "cuda" / "shim" / "runtime"
    sources, objects = [CASES.with_name("fibers.cpp"), runtime / "fibers.cpp"], ["main.o", "switch.o"]
    for source, made in zip(sources, objects, strict=True):
        command = [*compiler, "-O2", f"-I{runtime}", "-c", str(source), "-o", made]
        run_tool(command, directory, "compiling fibers")
    run_tool([*([linker] if linker else compiler), "-static", *objects, "-o", "fibers"], directory, "linking fibers")
    return float(run_tool([*emulator, str(directory / "fibers")], directory, "switching fibers"))


def test_names_of_dynamic_shared_memory_are_found() -> None:
    source = (
        "extern __shared__ __align__(64) uchar buf_dyn_shmem[];\n extern __shared__ half4 A_shared [ ] ;\n float x[];"
    )
    assert dynamic_names(source) == ("A_shared", "buf_dyn_shmem")


def test_gaps_and_names_are_put_into_assembly() -> None:
    before = "\tmovq\trow@gottpoff(%rip), %rax\n\tmovq\tmy_row@gottpoff(%rip), %rax\nrow2:\n\t.zero\t64\n"
    after = "\tmovq\tshim_dynamic_shared@gottpoff(%rip), %rax\n\tmovq\tmy_row@gottpoff(%rip), %rax\n"
    assert place_shared_arrays(before, ["row"]) == after + "row2:\n\t.zero\t64\n\t.zero\t256\n"

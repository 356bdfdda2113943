"""GPU targets: what their files hold, and what they must not."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from dscompile.artifact.fields import Fields
from dscompile.artifact.target_json import target_from_json, target_to_json
from dscompile.data import data_directory
from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.load import load_network
from dscompile.gpu import Gpu
from dscompile.passes import canonicalize
from dscompile.plan.gpu.modules import find_groups
from dscompile.target import find_target, list_targets, parse_rate, runs_here

ROOT = Path(__file__).parents[2]
ARCHES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90")


def gpu_of(arch: str) -> Gpu:
    gpu = find_target(f"cuda-{arch.replace('_', '')}").gpu
    assert gpu is not None
    return gpu


def test_five_architectures_ship_and_none_runs_on_a_processor() -> None:
    targets = [target for target in list_targets() if target.gpu]
    assert [target.gpu.arch for target in targets if target.gpu] == list(ARCHES)
    for target in targets:
        assert (target.family, target.vector_bytes, target.int8_lanes, target.arena_alignment) == ("cuda", 16, 4, 256)
        assert not runs_here(target)


@pytest.mark.parametrize(
    ("arch", "tflops"), [("sm_75", 8.1), ("sm_80", 19.5), ("sm_86", 29.8), ("sm_89", 82.6), ("sm_90", 66.9)]
)
def test_units_and_clock_multiply_to_the_peak_that_nvidia_prints(arch: str, tflops: float) -> None:
    assert round(gpu_of(arch).peak_flops / 1e12, 1) == tflops


def test_a_block_of_most_shared_memory_that_can_be_asked_for_fills_a_multiprocessor() -> None:
    """99, 163 and 227 KiB per block (CUDA C++ Programming Guide) are a multiprocessor's less what is reserved."""
    most = {arch: gpu_of(arch).shared_per_multiprocessor_bytes - gpu_of(arch).shared_reserved_bytes for arch in ARCHES}
    assert most == {arch: kib * 1024 for arch, kib in zip(ARCHES, (64, 163, 99, 99, 227), strict=True)}


def test_rates_have_a_prefix_and_the_right_unit() -> None:
    assert parse_rate("1410 MHz", "Hz") == 1.41e9
    assert parse_rate("3.352TB/s", "B/s") == 3.352e12
    with pytest.raises(ValueError, match="'1410' is not a clock; write for example 1410 MHz"):
        parse_rate("1410", "Hz")
    with pytest.raises(ValueError, match="'1 GHz' is not a rate; write for example 1555 GB/s"):
        parse_rate("1 GHz", "B/s")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": "80"}, "the arch of a GPU is written like sm_80, not '80'"),
        ({"multiprocessors": 0}, "multiprocessors of a GPU must be at least 1, not 0"),
        ({"shared_reserved_bytes": -1}, "shared_reserved_bytes of a GPU must be at least 0, not -1"),
        ({"threads_per_block": 1000}, "threads_per_block must be whole warps of 32 threads"),
        ({"threads_per_multiprocessor": 512}, "threads_per_block must not be more than threads_per_multiprocessor"),
        ({"registers_per_multiprocessor": 65000}, "must be whole units in each of 4 partitions"),
        ({"shared_per_block_bytes": 164 * 1024}, "must have the shared memory of one block and what is reserved"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(gpu_of("sm_80"), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  dram:", "  drum:", "unknown key 'drum' in 'gpu' of the target file\n.*\n.*did you mean 'dram'"),
        ("  l2: 40 MiB\n", "", "the target file lacks the key 'l2'"),
        ("1410 MHz  #", "1410  #", "'1410' is not a clock; write for example 1410 MHz"),
        ("family: cuda", "kernels: [c99]\nfamily: cuda", "a GPU has no 'kernels': these are template sets of C"),
        ("family: cuda", "family: x86", "family 'cuda' and a section 'gpu' belong together"),
        ("int8_lanes: 4", "int8_lanes: 6", "int8_lanes must be a multiple of 4, not 6"),
    ],
)
def test_a_wrong_target_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (data_directory("targets") / "cuda-sm80.yaml").read_text()
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(BadInputError, match=message):
        find_target(str(path))


def test_a_gpu_for_which_no_kernel_is_small_enough_is_named_with_the_layer() -> None:
    network = canonicalize(load_network(ROOT / "nets" / "mobilenet_v1.yaml").network)
    small = replace(gpu_of("sm_80"), shared_per_block_bytes=256)
    with pytest.raises(UnsupportedError, match="layer stem: no kernel fits the GPU A100"):
        find_groups(network, small)


def test_a_processor_keeps_its_multiples_of_8() -> None:
    with pytest.raises(ValueError, match="int8_lanes must be a multiple of 8, not 4"):
        replace(find_target("x86-avx2"), int8_lanes=4)


def test_a_manifest_with_a_wrong_gpu_says_so() -> None:
    content = target_to_json(find_target("cuda-sm80"))
    gpu = dict(content["gpu"])  # type: ignore[call-overload]
    gpu["register_unit"] = 300
    problems: list[str] = []
    target_from_json(Fields({**content, "gpu": gpu}, "target.", problems))
    assert problems[0] == "'target.gpu': registers_per_multiprocessor must be whole units in each of 4 partitions"


def test_the_target_file_in_the_docs_is_one(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "targets.md").read_text()
    (example,) = re.findall(r"((?:    .*\n)+    family: cuda\n(?:    .*\n)+)", text)
    (tmp_path / "orin.yaml").write_text(textwrap.dedent(example))
    gpu = find_target(str(tmp_path / "orin.yaml")).gpu
    assert gpu is not None
    assert (gpu.arch, gpu.multiprocessors, gpu.dram_bytes_per_s) == ("sm_87", 16, 204.8e9)


@pytest.mark.parametrize(
    ("also", "message"),
    [
        ("[sm86]", "written like sm_80, not 'sm86'"),
        ("[sm_80]", "named twice: sm_80, sm_80"),
        ("sm_86", "must be a list"),
    ],
)
def test_wrong_other_architectures_are_refused(also, message, tmp_path):
    text = (data_directory("targets") / "cuda-sm80.yaml").read_text()
    path = tmp_path / "own.yaml"
    path.write_text(text.replace("  arch: sm_80", f"  arch: sm_80\n  also: {also}"))
    with pytest.raises(BadInputError, match=message):
        find_target(str(path))

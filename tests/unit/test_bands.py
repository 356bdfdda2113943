"""Segments in bands of rows: what they are, and that they compute what the layers compute one after the other."""

from __future__ import annotations

import ctypes
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU6, Conv2D, Pads
from dscompile.ir.tensor import Tensor
from dscompile.oracle import run, to_border
from dscompile.passes import canonicalize
from dscompile.plan import bands
from dscompile.plan.bands import Segment, find_segments, rows_needed
from dscompile.plan.fusion import network_work
from dscompile.plan.lowering import plan_program
from dscompile.plan.program import Program
from dscompile.plan.rows import Rows, plan_bands
from dscompile.target import Caches, find_target, runs_here
from tests.networks import random_inputs, random_network

SAME_3 = Pads(1, 1, 1, 1)


def separable(height: int, channels: int = 16) -> Network:
    """A pointwise and a depthwise layer of stride 2, on an image of `height` rows."""
    rng = np.random.default_rng(0)
    builder = NetworkBuilder("separable")
    x = builder.input(Tensor("x", (1, height, 10, 8)))

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    x = builder.add("expand", Conv2D(channels, (1, 1), activation=RELU6), [x], kernel=weights(1, 1, 8, channels))
    op = Conv2D(channels, (3, 3), (2, 2), SAME_3, groups=channels)
    x = builder.add("depthwise", op, [x], kernel=weights(3, 3, 1, channels))
    return builder.build([x])


def tiny_cache(l2_bytes: int):
    return replace(find_target("x86-avx2"), caches=Caches(1024, l2_bytes, 1 << 20))


def test_layers_with_small_images_make_segments_of_their_own():
    segments = find_segments(separable(12), tiny_cache(1 << 20))
    assert [segment.name for segment in segments] == ["expand", "depthwise"]


def test_a_large_image_between_two_convolutions_makes_one_segment():
    (segment,) = find_segments(separable(12), tiny_cache(15_000))
    assert (segment.name, segment.rows) == ("expand .. depthwise", 3)


def test_no_segment_is_made_where_not_even_two_rows_fit():
    assert len(find_segments(separable(12), tiny_cache(2_000))) == 2


def test_a_stride_2_window_of_3_rows_needs_2_rows_more_for_each_output():
    op = Conv2D(4, (3, 3), (2, 2), SAME_3, groups=4)
    assert [rows_needed(op, rows, 12) for rows in (1, 2, 3, 6)] == [2, 4, 6, 12]


def test_bands_keep_the_rows_that_are_read_again():
    network = separable(12)
    bands_of = plan_bands(network, Segment(network_work(network), 3))
    assert [band["expand"] for band in bands_of] == [Rows(-1, 0, 6, 6), Rows(5, 6, 12, 12)]
    assert [band["depthwise"] for band in bands_of] == [Rows(0, 0, 3, 0), Rows(0, 3, 6, 0)]


def test_a_window_takes_less_of_the_arena_than_the_image():
    network = separable(96)
    whole = plan_program(network, tiny_cache(1 << 20))
    banded = plan_program(network, tiny_cache(15_000))
    assert (len(whole.steps), banded.steps[0].note) == (2, "in bands of 3 rows")
    assert banded.arena_bytes < 0.8 * whole.arena_bytes


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 60))])
def test_random_networks_in_random_bands_equal_the_oracle(seed, monkeypatch, tmp_path):
    target = find_target("x86-avx2")
    if not runs_here(target):
        pytest.skip("this machine has no AVX2")
    rows_of = np.random.default_rng(seed)

    def some_rows(network, _target, run):
        height = network.shape(run[-1].result)[1]
        return 0 if len(run) > bands.MAX_SEGMENT_LAYERS or height < 4 else 1 + int(rows_of.integers(height // 2))

    monkeypatch.setattr(bands, "LARGE_TENSOR_SHARE", 0.0)
    monkeypatch.setattr(bands, "_band_rows", lambda *args: cached.setdefault(_key(args[2]), some_rows(*args)))
    cached: dict[tuple[str, ...], int] = {}
    steps = ["conv", "depthwise", "pointwise", "residual", "concat"]
    network = random_network(seed, max_layers=8, steps=steps)
    inputs = random_inputs(network, seed)
    got = execute(plan_program(canonicalize(network), target), inputs, tmp_path)
    for name, want in run(network, inputs).items():
        expected = to_border(network.tensor(name), want)
        assert np.abs(got[name] - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())


def _key(run) -> tuple[str, ...]:
    return tuple(work.result for work in run)


def execute(program: Program, inputs, directory) -> dict[str, np.ndarray]:
    """Calls the kernels of a program one by one, over an arena full of NaN."""
    from dscompile.schedule.native import compile_functions

    (directory / "kernels.o").write_bytes(compile_functions(program.functions, program.target))
    library = directory / "kernels.so"
    subprocess.run(["gcc", "-shared", "-o", library, directory / "kernels.o"], check=True)
    kernels = ctypes.CDLL(str(library))
    network = program.network
    arena = aligned(np.full(program.arena_bytes, 0xFF, np.uint8))
    constants = {name: aligned(value) for name, value in program.constants.items()}
    given = {name: np.ascontiguousarray(to_border(network.tensor(name), x)) for name, x in inputs.items()}
    results = {name: np.full(network.tensor(name).border_shape, np.nan, np.float32) for name in network.outputs}
    offsets = {buffer.name: buffer.offset_bytes for buffer in program.buffers}
    for step in program.steps:
        for call in step.calls:
            pointers = []
            for operand in call.operands:
                if operand.space == "arena":
                    base = arena.ctypes.data + offsets[operand.name]
                else:
                    base = {"input": given, "output": results, "constant": constants}[operand.space][
                        operand.name
                    ].ctypes.data
                pointers.append(ctypes.c_void_p(base + operand.offset_bytes))
            getattr(kernels, call.symbol)(*pointers)
    return results


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that begins at a multiple of 64 bytes."""
    raw = np.zeros(array.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    view = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view

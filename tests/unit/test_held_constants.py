"""Constants of exponential activations: in memory with AVX2, numbers of the instructions themselves elsewhere."""

from __future__ import annotations

import re

import pytest

from dscompile.compute.activation import activate, rounding_by_adding
from dscompile.ir.ops import SWISH
from dscompile.plan.kernels import Parameter
from dscompile.target import find_target
from dscompile.toolchain import disassemble


def silu_code(target_name: str, lanes: int) -> str:
    """Machine code of a loop of SiLU over vectors."""
    from tvm import te
    from tvm.s_tir import Schedule

    from dscompile.schedule.native import compile_scheduled

    target = find_target(target_name)
    with rounding_by_adding(target.family == "x86"):
        x = te.placeholder((64 * lanes,), name="x")
        y = te.compute(x.shape, lambda i: activate(x[i], SWISH), name="y")
        schedule = Schedule(te.create_prim_func([x, y]))
    _, vector = schedule.split(schedule.get_loops(schedule.get_sblock("y"))[0], [None, lanes])
    schedule.vectorize(vector)
    parameters = (Parameter("x"), Parameter("y", written=True))
    return disassemble(compile_scheduled(schedule.mod["main"], parameters, "silu", target), "silu", target)


@pytest.mark.parametrize("lanes", [8, 16, 32])
def test_with_avx2_whole_vectors_of_constants_lie_in_memory(lanes):
    code = silu_code("x86-avx2", lanes)
    assert "vdivps" in code
    assert not re.search(r"vbroadcastss|\bcall", code)


@pytest.mark.parametrize(("name", "lanes"), [("x86-avx2", 40), ("x86-avx512", 16)])
def test_vectors_of_odd_length_and_avx512_have_their_constants_broadcast(name, lanes):
    code = silu_code(name, lanes)
    assert re.search(r"vbroadcastss|\{1to16\}|1to8", code)
    assert not re.search(r"\bcall", code)

"""EmulatedKernel: kernels for 64-bit Arm on NumPy buffers, under qemu-aarch64."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dscompile.errors import ToolError, UsageError
from dscompile.plan.kernels import ConvKernel, FillKernel
from dscompile.plan.knobs import TileKnobs
from dscompile.plan.layout import Blocked
from dscompile.run import emulated_kernel
from dscompile.run.emulated_kernel import EmulatedKernel
from dscompile.run.emulators.qemu_user import UserRun
from dscompile.run.operands import aligned_buffer, aligned_copy
from dscompile.target import Target
from tests.native import ARM, target_here


@pytest.fixture
def target() -> Target:
    return target_here(ARM)


def pointwise(width: int, channels: int, filters: int) -> ConvKernel:
    x, y = Blocked(1, width, channels, 4), Blocked(1, width, filters, 4)
    return ConvKernel(1, width, channels, filters, 12, 4, (1, 1), (1, 1), (1, 1), x.strides, y.strides)


def test_a_call_writes_its_result_and_says_what_it_executed(target):
    kernel = EmulatedKernel(pointwise(7, 32, 12), TileKnobs(7, unroll_channels=16), target, cpu="cortex-a72")
    x, weights, bias = aligned_copy(np.ones(7 * 32)), aligned_copy(np.full(32 * 12, 2.0)), aligned_copy(np.arange(12))
    y = aligned_buffer(7 * 12)
    counts = kernel(x, weights, bias, y)
    np.testing.assert_array_equal(y.reshape(3, 7, 4), np.broadcast_to(64.0 + np.arange(12).reshape(3, 1, 4), (3, 7, 4)))
    assert counts.multiply == 7 * 32 * 12 // 4
    assert counts.load < counts.multiply / 4
    assert counts.spills == 0
    assert kernel.reach("bias") == 12


def test_inputs_are_multiplied_by_element(target):
    text = EmulatedKernel(pointwise(7, 32, 12), TileKnobs(7, unroll_channels=16), target).disassembly()
    assert len(re.findall(r"fmla\s+v\d+\.4s, v\d+\.4s, v\d+\.s\[\d\]", text)) == 7 * 16 * 3


def test_operands_are_checked(target):
    kernel = EmulatedKernel(FillKernel(1, 1, 4, 4, 4), None, target)
    with pytest.raises(UsageError, match=r"operand 'y' needs 4 elements from element 0 on; the array has 3"):
        kernel(aligned_buffer(3))


def test_knobs_that_do_not_divide_are_refused(target):
    with pytest.raises(ValueError, match="knob unroll_channels = 16 does not divide 24"):
        EmulatedKernel(pointwise(7, 24, 12), TileKnobs(7, unroll_channels=16), target)


def test_a_program_that_fails_is_reported(target, monkeypatch):
    kernel = EmulatedKernel(FillKernel(1, 1, 4, 4, 4), None, target, cpu="cortex-a72")
    illegal = UserRun(counts={}, stdout=b"", stderr=b"", status=-4)
    monkeypatch.setattr(emulated_kernel, "run_counted", lambda *_, **__: illegal)
    with pytest.raises(ToolError, match="the emulated kernel ended with status -4 on -cpu cortex-a72"):
        kernel(aligned_buffer(4))

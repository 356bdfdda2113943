"""Activations in float32 machine code against float64: accuracy over their ranges, infinities, NaN.

NaN is an input error and not carried through: min and max take their other operand, so bounded functions give one of
their bounds. Unbounded ones (leaky_relu, swish, hard_swish) stay NaN.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from dscompile.ir.ops import HARD_SIGMOID, HARD_SWISH, RELU, RELU6, SIGMOID, SWISH, TANH, Activation
from dscompile.plan.kernels import Parameter
from dscompile.run.emulated_kernel import EmulatedKernel
from dscompile.run.kernel import CompiledKernel, aligned_buffer, aligned_copy
from dscompile.target import runs_here
from tests.kernels import activated
from tests.native import TARGETS_FIRST_FAST, target_here

COUNT = 1 << 18
LEAKY = Activation("leaky_relu", alpha=0.1)
LOWEST, HIGHEST = -87.33, 88.37  # the range in which exp is exact; dscompile.compute.activation clamps outside

pytestmark = [pytest.mark.sampled, pytest.mark.parametrize("name", TARGETS_FIRST_FAST)]


@pytest.fixture
def compiled(name):
    """A function of one TensorIR expression -> the function on COUNT float32."""
    target = target_here(name)
    from tvm import te
    from tvm.s_tir import Schedule

    def compiled(expression: Callable) -> Callable:
        x = te.placeholder((COUNT,), name="x")
        y = te.compute((COUNT,), lambda i: expression(x[i]), name="y")
        parameters = (Parameter("x"), Parameter("y", written=True))
        kind = CompiledKernel if runs_here(target) else EmulatedKernel
        kernel = kind.from_schedule(Schedule(te.create_prim_func([x, y])), parameters, target)
        assert not re.search(r"\tcall|\tblr?\s", kernel.disassembly())

        def call(values):
            result = aligned_buffer(COUNT)
            kernel(aligned_copy(values), result)
            return result

        return call

    return compiled


@pytest.fixture(params=[False, True], ids=["rounded", "rounded-by-adding"])
def adding(request):
    """Exponentials as 64-bit Arm, and as x86 computes them."""
    from dscompile.compute.activation import rounding_by_adding

    with rounding_by_adding(request.param):
        yield


def activation_of(activation: Activation) -> Callable:
    from dscompile.compute.activation import activate

    return lambda x: activate(x, activation)


def evenly(low: float, high: float):
    return np.linspace(low, high, COUNT).astype(np.float32)


def near_zero():
    """Magnitudes from 1e-30 to 80, of both signs."""
    magnitudes = 10.0 ** np.linspace(-30, 1.9, COUNT // 2)
    return np.concatenate([magnitudes, -magnitudes]).astype(np.float32)


def ulps(got, expected):
    """Error in units of the last place of the expected value."""
    return np.abs(got - expected) / np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)


def test_exp_is_within_2_ulp_over_its_whole_range(compiled, adding):
    from dscompile.compute.activation import exp

    function = compiled(exp)
    for x in (evenly(LOWEST, HIGHEST), near_zero()):
        assert ulps(function(x), np.exp(x.astype(np.float64))).max() <= 2.0


def test_exp_is_clamped_to_normal_numbers(compiled, adding):
    from dscompile.compute.activation import exp

    x = np.zeros(COUNT, np.float32)
    x[:4] = [-np.inf, -200.0, 200.0, np.inf]
    y = compiled(exp)(x)
    np.testing.assert_allclose(y[:5], [1.18e-38, 1.18e-38, 2.39e38, 2.39e38, 1.0], rtol=0.01)


@pytest.mark.parametrize(("activation", "limit"), [(SIGMOID, 3.0), (TANH, 6.0), (SWISH, 3.0)], ids=lambda a: str(a))
def test_smooth_activations_are_within_a_few_ulp(activation, limit, compiled, adding):
    function = compiled(activation_of(activation))
    for x in (evenly(-87.0, 87.0), evenly(-4.0, 4.0), near_zero()):
        assert ulps(function(x), activated(x, activation)).max() <= limit


@pytest.mark.parametrize("activation", [HARD_SWISH, HARD_SIGMOID], ids=lambda a: a.name)
def test_hard_activations_are_within_an_ulp_of_their_argument(activation, compiled):
    function = compiled(activation_of(activation))
    for x in (evenly(-10.0, 10.0), near_zero()):
        error = np.abs(function(x) - activated(x, activation))
        assert np.max(error / np.maximum(np.abs(x), 1.0)) <= 2.0**-23


@pytest.mark.parametrize("activation", [RELU, RELU6, Activation("clip", -1.0, 0.5), LEAKY], ids=lambda a: str(a))
def test_piecewise_linear_activations_are_exact(activation, compiled):
    x = evenly(-10.0, 10.0)
    expected = activated(x, activation)
    assert ulps(compiled(activation_of(activation))(x), expected).max() <= 1.0


SPECIAL = [np.inf, -np.inf, 1e30, -1e30, -0.0]


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (RELU, [np.inf, 0, 1e30, 0, 0]),
        (RELU6, [6, 0, 6, 0, 0]),
        (LEAKY, [np.inf, -np.inf, 1e30, -1e29, 0]),
        (SIGMOID, [1, 0, 1, 0, 0.5]),
        (TANH, [1, -1, 1, -1, 0]),
        (HARD_SIGMOID, [1, 0, 1, 0, 0.5]),
        (HARD_SWISH, [np.inf, np.nan, 1e30, 0, 0]),  # -inf * 0
        (SWISH, [np.inf, -np.inf, 1e30, 0, 0]),  # sigmoid ends at 4e-39, not at 0: -1e30 gives -4e-9
    ],
    ids=lambda a: a.name if isinstance(a, Activation) else "",
)
def test_large_arguments(activation, expected, compiled, adding):
    x = np.zeros(COUNT, np.float32)
    x[: len(SPECIAL)] = SPECIAL
    got = compiled(activation_of(activation))(x)[: len(SPECIAL)]
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=5e-9)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (RELU, 0.0),
        (RELU6, 0.0),
        (HARD_SIGMOID, 0.0),
        (SIGMOID, 1.0),
        (TANH, 1.0),
        (LEAKY, np.nan),
        (SWISH, np.nan),
        (HARD_SWISH, np.nan),
    ],
    ids=lambda a: a.name if isinstance(a, Activation) else "",
)
def test_nan_becomes_a_bound_of_bounded_functions_and_stays_nan_otherwise(activation, expected, compiled, adding):
    x = np.full(COUNT, np.nan, np.float32)
    np.testing.assert_array_equal(compiled(activation_of(activation))(x), np.full(COUNT, expected, np.float32))

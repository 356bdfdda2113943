"""When outputs count as equal."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.report.comparison import TOLERANCE, Check, Verification, compare


def row(*values: float) -> list[np.ndarray]:
    return [np.array([values], np.float32)]


def test_equal_outputs_pass_with_no_error():
    check = compare("oracle", ["y"], [row(1, 2)], [row(1, 2)])
    assert check == Check("oracle", 1, 2, 0, 0.0, 0.0, True, "")


def test_errors_are_relative_to_the_largest_magnitude_over_all_inputs():
    # Off by 0.5 where the output reaches 10 000 for another input: 5e-5 of its scale.
    check = compare("oracle", ["y"], [row(1.5, 0), row(-10_000, 0)], [row(1, 0), row(-10_000, 0)])
    assert check.ok
    assert check.max_abs_error == 0.5
    assert check.max_rel_error == pytest.approx(5e-5)


def test_an_error_above_the_tolerance_is_counted_and_located():
    check = compare("oracle", ["y", "z"], [[*row(1, 2), *row(3)]], [[*row(1, 2.001), *row(3)]])
    assert not check.ok
    assert check.mismatches == 1
    assert check.elements == 3
    assert check.detail == "output 'y' [0, 1] of input 1 is 2, it should be 2.00099993"


def test_the_tolerance_is_the_limit():
    assert compare("oracle", ["y"], [row(1 + 0.9 * TOLERANCE)], [row(1)]).ok
    assert not compare("oracle", ["y"], [row(1 + 1.1 * TOLERANCE)], [row(1)]).ok


def test_an_output_that_should_be_zero_has_the_scale_1():
    assert compare("oracle", ["y"], [row(5e-5)], [row(0)]).ok
    assert not compare("oracle", ["y"], [row(5e-4)], [row(0)]).ok


@pytest.mark.parametrize(("got", "want"), [(np.nan, 1), (1, np.nan), (np.inf, 1), (1, np.inf), (np.inf, -np.inf)])
def test_nan_and_infinity_match_only_themselves(got: float, want: float):
    check = compare("oracle", ["y"], [row(got, 1)], [row(want, 1)])
    assert not check.ok
    assert check.mismatches == 1
    assert compare("oracle", ["y"], [row(want, 1)], [row(want, 1)]).ok


def test_a_verification_is_ok_if_all_its_checks_are():
    good = compare("oracle", ["y"], [row(1)], [row(1)])
    bad = compare("onnxruntime", ["y"], [row(1)], [row(2)])
    assert Verification("d", "host", (good,)).ok
    both = Verification("d", "host", (good, bad))
    assert not both.ok
    assert (both.max_abs_error, both.max_rel_error) == (1.0, 0.5)

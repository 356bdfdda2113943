"""Damaged inputs of every kind: some in every run, a thousand of each with `-m slow`."""

from __future__ import annotations

import pytest

from tests.fuzz.kinds import KINDS
from tests.fuzz.watch import run_all


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_input_is_read_or_refused(kind: str, count: int) -> None:
    codes, findings = run_all(KINDS[kind], range(count))
    assert [f"seed {finding.seed}: {finding.cause}" for finding in findings] == []
    assert sum(codes.values()) == count

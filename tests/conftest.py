"""Fixtures of all tests."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import models

# Of how many cases one runs. The first is prime to the numbers of targets, roundings and compilers that change from one
# case to the next; the second is for slow tests that have at least MANY cases and are not marked at all.
CASES_APART, SLOW_CASES_APART, MANY = 7, 2, 4


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--all-cases`: every slow case, also of random networks and of kernels, not a sample of them."""
    parser.addoption(
        "--all-cases", action="store_true", help="run the slow tests of random networks and of kernels with every case"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A sample of the slow cases, first in a worker of pytest-xdist, so that none waits for a long last test."""
    if not config.getoption("--all-cases"):
        left = _left_out(items)
        config.hook.pytest_deselected(items=left)
        dropped = set(left)
        items[:] = [item for item in items if item not in dropped]
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """Thousands of tests and the modules behind them stay until the end: the garbage collector need not look again."""
    gc.freeze()


def _left_out(items: list[pytest.Item]) -> list[pytest.Item]:
    """Of slow tests with many cases a sample stays, unless they are marked `every_case`: the others.

    Of those over seeds, or marked `sampled`, one case in CASES_APART stays, of others one in SLOW_CASES_APART. Of those
    marked `seldom` none does.
    """
    left = [item for item in items if item.get_closest_marker("seldom")]
    slow = [item for item in items if item.get_closest_marker("slow") and hasattr(item, "callspec")]
    cases, seen = Counter(map(_function, slow)), Counter[str]()
    for item in slow:
        function = _function(item)
        if seen[function] % _apart(item, cases[function]):
            left.append(item)
        seen[function] += 1
    return left


def _function(item: pytest.Item) -> str:
    return item.nodeid.split("[")[0]


def _apart(item: pytest.Item, cases: int) -> int:
    """Of how many cases of a test one stays."""
    if item.get_closest_marker("every_case"):
        return 1
    if item.get_closest_marker("sampled") or "seed" in item.callspec.params:
        return CASES_APART
    return SLOW_CASES_APART if cases >= MANY else 1


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same ones in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture
def model_path() -> Callable[[str], Path]:
    """The function `tests.models.model_path`: a model's name -> its path, or the test is skipped."""
    return models.model_path

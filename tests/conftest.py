"""Fixtures of all tests."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Hashable
from pathlib import Path

import numpy as np
import pytest

from tests import models

# Of how many cases one runs. The first is prime to the numbers of targets, roundings and compilers that change from one
# case to the next; the second is for slow tests that have at least MANY cases and are not marked at all, whose cases
# are chosen so that they differ.
CASES_APART, SLOW_CASES_APART, MANY = 7, 3, 4


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
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("slow") and hasattr(item, "callspec"):
            cases.setdefault(item.nodeid.split("[")[0], []).append(item)
    for of_one_test in cases.values():
        stay = set(_sample(of_one_test))
        left += [item for item in of_one_test if item not in stay]
    return left


def _sample(cases: list[pytest.Item]) -> list[pytest.Item]:
    """The cases of a slow test that stay."""
    if cases[0].get_closest_marker("every_case"):
        return cases
    if cases[0].get_closest_marker("sampled") or "seed" in cases[0].callspec.params:
        return cases[::CASES_APART]
    regular = [case for case in cases if not case.get_closest_marker("seldom")]
    return _most_different(regular) if len(regular) >= MANY else regular


def _most_different(cases: list[pytest.Item]) -> list[pytest.Item]:
    """One case in SLOW_CASES_APART, or up to half of them if parameters that cross each other have so many values.

    Each is the one whose values were met least before, so that every target and every type is met by some case.
    """
    values = {case: [_value(*parameter) for parameter in case.callspec.params.items()] for case in cases}
    of_one = Counter(name for name, _ in {value for found in values.values() for value in found})
    crossing = [number for number in of_one.values() if number <= len(cases) // 2]
    rest = [case for start in range(SLOW_CASES_APART) for case in cases[start::SLOW_CASES_APART]]
    met = Counter[tuple[str, Hashable]]()
    chosen: list[pytest.Item] = []
    for _ in range(max(-(-len(cases) // SLOW_CASES_APART), *crossing, 1)):
        chosen.append(min(rest, key=lambda case: sum(met[value] for value in values[case])))
        rest.remove(chosen[-1])
        met.update(values[chosen[-1]])
    return chosen


def _value(name: str, value: object) -> tuple[str, Hashable]:
    """One value of a parameter: what cannot be hashed, an array, is equal to itself alone."""
    try:
        hash(value)
    except TypeError:
        return name, id(value)
    return name, value


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same ones in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture
def model_path() -> Callable[[str], Path]:
    """The function `tests.models.model_path`: a model's name -> its path, or the test is skipped."""
    return models.model_path

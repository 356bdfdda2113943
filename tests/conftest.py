"""Fixtures of all tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import models

CASES_APART = 5  # prime to the numbers of targets, roundings and compilers that change from one case to the next


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--all-cases`: every slow case, also of random networks and of kernels, not one in five."""
    parser.addoption(
        "--all-cases", action="store_true", help="run the slow tests of random networks and of kernels with every case"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of slow tests over many seeds, or marked `sampled`, one case in five stays; the others count as deselected."""
    if config.getoption("--all-cases"):
        return
    kept, left, seen = [], [], Counter[str]()
    for item in items:
        callspec = getattr(item, "callspec", None)
        is_sampled = callspec is not None and ("seed" in callspec.params or item.get_closest_marker("sampled"))
        if not is_sampled or item.get_closest_marker("slow") is None:
            kept.append(item)
            continue
        function = item.nodeid.split("[")[0]
        (left if seen[function] % CASES_APART else kept).append(item)
        seen[function] += 1
    config.hook.pytest_deselected(items=left)
    items[:] = kept


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same ones in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture
def model_path() -> Callable[[str], Path]:
    """The function `tests.models.model_path`: a model's name -> its path, or the test is skipped."""
    return models.model_path

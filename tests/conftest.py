"""Fixtures of all tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import models

SEEDS_APART = 5  # prime to the numbers of targets, roundings and compilers that change from one case to the next


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--all-seeds`: every random network, not one in five."""
    parser.addoption("--all-seeds", action="store_true", help="run the slow tests of random networks with every seed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of slow tests over many seeds one case in five stays; pytest counts the others as deselected."""
    if config.getoption("--all-seeds"):
        return
    kept, left, seen = [], [], Counter[str]()
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is None or "seed" not in callspec.params or item.get_closest_marker("slow") is None:
            kept.append(item)
            continue
        function = item.nodeid.split("[")[0]
        (left if seen[function] % SEEDS_APART else kept).append(item)
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

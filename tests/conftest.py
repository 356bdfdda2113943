"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import models


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same ones in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture
def model_path() -> Callable[[str], Path]:
    """The function `tests.models.model_path`: a model's name -> its path, or the test is skipped."""
    return models.model_path

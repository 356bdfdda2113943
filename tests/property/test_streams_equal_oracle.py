"""Random networks with a state, as C and as libraries, frame by frame beside the oracle."""

from __future__ import annotations

from pathlib import Path

import pytest

import dscompile
from dscompile.frontend.writer import write_netfile
from tests.native import TARGETS, target_here
from tests.streaming import differing_frames, frames, random_streaming

pytestmark = pytest.mark.slow


def assert_streams_agree(seed: int, target: str, folder: Path) -> None:
    network = random_streaming(seed)
    model = dscompile.build(write_netfile(network, folder), target, folder / target)
    assert isinstance(model, dscompile.Model)
    assert differing_frames(model.stream(), network, frames(network, 6)) == []


@pytest.mark.parametrize("seed", range(12))
def test_standalone_c_equals_the_oracle(seed: int, tmp_path: Path) -> None:
    assert_streams_agree(seed, "c99", tmp_path)


@pytest.mark.parametrize("seed", range(100, 104))
def test_libraries_equal_the_oracle(seed: int, tmp_path: Path) -> None:
    target_here(TARGETS[0])
    assert_streams_agree(seed, TARGETS[0], tmp_path)

"""docs/net-yaml.md: its examples are read, and it leaves no kind out."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

from dscompile.frontend.kinds import KINDS
from tests.unit.netfiles import frame, read

PAGE = Path(__file__).parents[2] / "docs" / "net-yaml.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0][:40])
def test_every_example_is_read(block: str, tmp_path: Path) -> None:
    weights = "{seed: 7}"
    if "lookup" in block:  # whose table no seed gives
        np.savez(tmp_path / "tables.npz", **{"gamma.table": np.zeros(256, np.int8)})
        weights = "{file: tables.npz}"
    layers = textwrap.dedent(block)
    text = block if block.startswith("dscompile:") else frame(layers, "[1, 32, 32, 16]", weights=weights)
    assert read(text, tmp_path).network.layers


def test_every_kind_has_an_example() -> None:
    shown = set(re.findall(r"^ *- ([a-z_0-9]+)", "\n".join(BLOCKS), flags=re.MULTILINE))
    assert set(KINDS) <= shown

"""docs/net-yaml.md: its examples are read, and it leaves no kind out."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from dscompile.frontend.kinds import KINDS
from dscompile.frontend.netfile import netfile_from_text
from tests.unit.netfiles import frame

PAGE = Path(__file__).parents[2] / "docs" / "net-yaml.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0][:40])
def test_every_example_is_read(block: str) -> None:
    has_tables = "lookup" in block  # which come from a file of weights that no page has
    weights = "{file: tables.npz}" if has_tables else "{seed: 7}"
    text = (
        block if block.startswith("dscompile:") else frame(textwrap.dedent(block), "[1, 32, 32, 16]", weights=weights)
    )
    assert netfile_from_text(text, Path("net.yaml"), load_weights=not has_tables).network.layers


def test_every_kind_has_an_example() -> None:
    shown = set(re.findall(r"^ *- ([a-z_0-9]+)", "\n".join(BLOCKS), flags=re.MULTILINE))
    assert set(KINDS) <= shown

"""Damaged files give errors, never tracebacks: a few random ones in every run, many more with `-m slow`."""

from __future__ import annotations

import random
import re
import tempfile
from pathlib import Path
from typing import Literal

import pytest

from dscompile.errors import DscompileError
from dscompile.frontend.netfile import netfile_from_text, read_netfile
from dscompile.frontend.writer import write_netfile
from dscompile.frontend.zoo import zoo_path
from tests.unit.netfiles import network

PIECES = (
    *("-1", "0", "99999999999999999999", "1.5", ".nan", ".inf", "null", "[]", "{}", "[1, 2]", "{a: 1}", "true", "''"),
    *("same", "relu", "from", "name", "\n", "  ", "- ", ": ", "{", "}", "[", "]", ",", "#", "&a", "*a", "!t", "|", "%"),
    *("?", "\t", "é", "\u2028", "\x85", "\ufeff", "prelu", "16777216", "repeat: 3, "),
)
EXAMPLES = [
    30,
    pytest.param(300, marks=pytest.mark.slow),
    pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.seldom]),
]


@pytest.mark.every_case
@pytest.mark.parametrize("examples", EXAMPLES)
def test_a_damaged_net_yaml_is_read_or_refused(examples: int) -> None:
    good = zoo_path("mobilenet_v2").read_text()
    refused = 0
    for seed in range(examples):
        rng = random.Random(seed)
        text = good
        for _ in range(rng.choice((1, 1, 2, 4))):
            word = rng.choice(list(re.finditer(r"[A-Za-z_0-9.]+|[\[\]{}:,-]|\n", text)))
            text = text[: word.start()] + rng.choice(PIECES) + text[rng.choice((word.start(), word.end())) :]
        try:
            netfile_from_text(text, Path("net.yaml"), load_weights=False)
        except DscompileError:
            refused += 1
    assert refused > examples // 2


@pytest.mark.every_case
@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("weights_format", ["npz", "safetensors"])
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_weights_file_is_read_or_refused(
    weights_format: Literal["npz", "safetensors"], examples: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        net = network("- conv: {name: a, out: 3, kernel: 3}\n- batch_norm")
        path = write_netfile(net, Path(directory), weights_format=weights_format)
        file = Path(directory) / f"test.{weights_format}"
        good = file.read_bytes()
        refused = 0
        for seed in range(examples):
            rng = random.Random(seed)
            data = bytearray(good)
            for _ in range(rng.choice((1, 2, 4))):
                # Headers and directories, at both ends, are where damage does most.
                place = rng.choice((rng.randrange(300), len(data) - 1 - rng.randrange(500), rng.randrange(len(data))))
                data[place] = rng.randrange(256)
            file.write_bytes(data[: rng.choice((len(data), len(data), rng.randrange(1, len(data))))])
            try:
                read_netfile(path)
            except DscompileError:
                refused += 1
    assert refused > examples // 2


def test_an_archive_of_a_later_zip_version_is_refused(tmp_path: Path) -> None:
    path = write_netfile(network("- conv: {out: 3, kernel: 3}"), tmp_path)
    data = bytearray((tmp_path / "test.npz").read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 133
    (tmp_path / "test.npz").write_bytes(data)
    with pytest.raises(DscompileError, match=r"'test.npz' is not a .npz file"):
        read_netfile(path)

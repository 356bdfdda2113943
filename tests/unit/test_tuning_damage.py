"""Damaged files of tuning records give errors, never tracebacks: a few hundred in every run, more with `-m slow`."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from dscompile.errors import DscompileError
from dscompile.plan.tuning_file import read_tuning, require_fits, write_tuning
from tests.tuning_files import AVX2, WORKLOADS, tuning_file

VALUES: tuple[Any, ...] = (
    *(-1, 0, 1, 2, 3, 7, 28, 2**24, 2**63, 10**30, 10**400, 0.5, 1e30, -1e30, True, False, None),
    *("", "conv", "dense", "x86-avx2", "us", "\ud800", "\x00", "e" * 1000),
    *([], [1], [1, 1], [1, 2**40], [[]], {}, {"kind": "conv"}, {"a": {}}),
)
EXAMPLES = [300, pytest.param(2000, marks=pytest.mark.slow)]


def read(path: Path) -> bool:
    """Whether the file is read and fits the target."""
    try:
        file = read_tuning(path)
        require_fits(file, AVX2, path)
    except DscompileError:
        return False
    assert file.name
    tuning = file.tuning()
    for workload in WORKLOADS:
        tuning.choose(workload, AVX2)
    return True


def places(content: Any) -> list[tuple[Any, Any]]:
    """Every object or list of a document with each of its keys."""
    found = []
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else []
    for key in keys:
        found += [(content, key), *places(content[key])]
    return found


def change(rng: random.Random, content: Any) -> None:
    """One change of structure: another value, a key less or more, two values exchanged."""
    holder, key = rng.choice(places(content))
    match rng.randrange(5):
        case 0 | 1:
            holder[key] = rng.choice(VALUES)
        case 2:
            del holder[key]
        case 3 if isinstance(holder, dict):
            holder[rng.choice(("kind", "width", "x", "best", "records"))] = rng.choice(VALUES)
        case _:
            other, place = rng.choice(places(content))
            holder[key] = json.loads(json.dumps(other[place]))


@pytest.mark.parametrize("examples", EXAMPLES)
def test_records_with_damaged_structure_are_read_or_refused(examples: int, tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    write_tuning(tuning_file(), path)
    good = path.read_text()
    refused = 0
    for seed in range(examples):
        rng = random.Random(seed)
        content = json.loads(good)
        for _ in range(rng.choice((1, 1, 2, 4))):
            if content:
                change(rng, content)
        path.write_text(json.dumps(content))
        refused += not read(path)
    assert refused > examples // 2


@pytest.mark.parametrize("examples", EXAMPLES)
def test_damaged_or_truncated_bytes_are_read_or_refused(examples: int, tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    write_tuning(tuning_file(), path)
    good = path.read_bytes()
    refused = 0
    for seed in range(examples):
        rng = random.Random(seed)
        data = bytearray(good)
        for _ in range(rng.choice((0, 1, 2, 4))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))])
        refused += not read(path)
    assert refused > examples // 4

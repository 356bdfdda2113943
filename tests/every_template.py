"""Artifacts of the golden cases, which between them use every template and helper of standalone C."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from dscompile.artifact import Artifact
from dscompile.ir.network import Network
from tests.golden.mcu_cases import CASES, measured_here
from tests.mcu import write

_ROOM = tempfile.TemporaryDirectory(prefix="dscompile-")


@cache
def network_of(name: str) -> Network:
    """The network of a case."""
    return CASES[name].network()


@cache
def artifact_of(name: str) -> Artifact:
    """The artifact of a case, built once; assembly runs as its portable twins on this machine."""
    case = CASES[name]
    return write(
        network_of(name),
        Path(_ROOM.name) / name,
        measured_here(case.target),
        affine=case.affine,
        memory=case.memory,
    )

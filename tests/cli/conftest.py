"""The command line, called in this process, and small networks to call it with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dscompile.cli.main import main

TINY = """\
dscompile: 1
network:
  name: tiny
  input: {name: image, shape: [1, 9, 9, 3]}
  defaults: {activation: relu}
  layers:
    - conv: {name: stem, out: 8, kernel: 3, stride: 2}
    - separable: {name: block, out: 17, kernel: 3}
    - pool: {kind: average, over: all}
    - dense: {name: head, out: 4, activation: none}
    - softmax
  labels: [north, east, south, west]
weights: {seed: 7}
"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


CommandLine = Callable[..., Outcome]


@pytest.fixture
def dscompile(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """`dscompile("check", path)` runs the command line and returns its Outcome."""

    def call(*arguments: object) -> Outcome:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny(folder: Path) -> Path:
    """A small net.yaml in the current directory."""
    (folder / "tiny.yaml").write_text(TINY)
    return Path("tiny.yaml")

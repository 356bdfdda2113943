"""Helpers of the tests that read and write net.yaml."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dscompile.errors import BadInputError, Diagnostic
from dscompile.frontend.loaded import NetFile
from dscompile.frontend.netfile import netfile_from_text
from dscompile.ir.network import Network

HEAD = "dscompile: 1\nnetwork:\n  name: test\n"


def frame(layers: str, shape: str = "[1, 8, 8, 4]", rest: str = "", weights: str = "{seed: 7}") -> str:
    """A net.yaml with one input `x`, the lines of `layers`, and more keys of `network:` in `rest`.

    The first layer stands in line 6.
    """
    lines = "".join(f"    {line}\n" for line in layers.strip().splitlines())
    return f"{HEAD}  input: {{name: x, shape: {shape}}}\n  layers:\n{lines}{rest}weights: {weights}\n"


def read(text: str, directory: Path | None = None) -> NetFile:
    """A net.yaml from its text, as if it were `directory`/net.yaml."""
    return netfile_from_text(text, (directory or Path("somewhere")) / "net.yaml")


def network(layers: str, shape: str = "[1, 8, 8, 4]", rest: str = "") -> Network:
    """The network of `frame`."""
    return read(frame(layers, shape, rest)).network


def diagnostics(text: str, directory: Path | None = None) -> tuple[Diagnostic, ...]:
    """Everything that is wrong with a net.yaml."""
    with pytest.raises(BadInputError) as caught:
        read(text, directory)
    return caught.value.diagnostics


def only(found: tuple[Diagnostic, ...]) -> Diagnostic:
    """The single diagnostic."""
    assert len(found) == 1, "\n".join(d.render() for d in found)
    return found[0]


def place(diagnostic: Diagnostic) -> tuple[int, int, int]:
    """Line, column and length."""
    assert diagnostic.position is not None
    return diagnostic.position.line, diagnostic.position.column, diagnostic.position.length


def assert_same_network(left: Network, right: Network) -> None:
    """Identical: names, order, operators, tensors with borders, labels, weights bit for bit."""
    assert left.name == right.name
    assert left.inputs == right.inputs
    assert left.outputs == right.outputs
    assert left.layers == right.layers
    assert dict(left.tensors) == dict(right.tensors)
    assert left.labels == right.labels
    assert left.weights.keys() == right.weights.keys()
    for key, array in left.weights.items():
        assert array.dtype == right.weights[key].dtype
        assert np.array_equal(array, right.weights[key]), key

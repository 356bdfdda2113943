"""A small network of convolutions for GPUs, and its artifact."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import dscompile
from dscompile.artifact import Artifact

CONVOLUTIONS = """\
dscompile: 1
network:
  name: gpu-net
  input: {name: image, shape: [1, 17, 17, 3]}
  defaults: {activation: relu}
  layers:
    - conv: {name: stem, out: 8, kernel: 3, stride: 2}
    - separable: {name: block, out: 16, kernel: 3}
    - inverted_residual: {name: ir, expand: 3, out: 16, kernel: 3}
weights: {seed: 7}
"""


def write_network(folder: Path) -> Path:
    """`folder`/net.yaml."""
    path = folder / "net.yaml"
    path.write_text(CONVOLUTIONS)
    return path


def build_sources(folder: Path, target: str = "cuda-sm80") -> Artifact:
    """The artifact as on a machine without nvcc."""
    with mock.patch("dscompile.cuda_toolkit.installed_nvcc", return_value=None):
        return dscompile.build(write_network(folder), target, folder / "artifact").artifact

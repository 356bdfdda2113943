"""docs/reference/c-header.md: the headers of two small networks, as a build writes them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import dscompile
from tools.reference.markdown import MADE

_NETWORK = """\
dscompile: 1
network:
  name: net
  input: {name: image, shape: [1, 8, 8, 3]}
  layers:
    - conv:      {name: stem, out: 8, kernel: 3, stride: 2, activation: relu}
    - separable: {name: body, out: 8, kernel: 3, activation: relu}
    - pool:      {kind: average, over: all}
    - dense:     {name: scores, out: 2}
  labels: ["no", "yes"]
weights: {seed: 7}
"""
_TARGETS = {
    "x86-avx2": "A hosted target: x86-64, and 64-bit Arm alike",
    "cortex-m4": "Standalone C: microcontrollers and `c99`",
    "cuda-sm80": "A GPU",
}


def header_page() -> str:
    """The page's text."""
    parts = [
        f"{MADE}\n# The header, declaration by declaration\n",
        "Three headers of one small network, as `build` writes them; only figures depend on the network. What may be\n"
        "relied on, and what several variants, inputs, outputs and states add, is in [C interface](../c-api.md).\n",
    ]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "net.yaml"
        source.write_text(_NETWORK)
        for target, title in _TARGETS.items():
            output = Path(folder) / target
            dscompile.build(str(source), target=target, output=str(output), tuning=None)
            parts.append(f"## {title}\n\n```c\n{(output / 'net.h').read_text()}```\n")
    return "\n".join(parts)

"""The network that `dscompile init` writes: small, commented, and ready to build."""

from __future__ import annotations

from pathlib import Path

from dscompile.frontend.netfile import netfile_from_text
from dscompile.frontend.npz import npz_bytes
from dscompile.frontend.paths import refuse_existing, write_files
from dscompile.frontend.weights import SeededSource

NET_NAME = "net.yaml"
WEIGHTS_NAME = "tiny_ds_cnn.npz"

STARTER_TEXT = f"""\
# A small depthwise-separable network. Build it for this machine:
#     dscompile build net.yaml --target host
dscompile: 1                      # version of this format

network:
  name: tiny_ds_cnn               # names the header and the library
  input: {{name: image, shape: [1, 32, 32, 3]}}      # batch, height, width, channels
  defaults: {{padding: same, activation: relu}}      # for every layer that does not say otherwise
  layers:
    - conv:      {{name: stem, out: 16, kernel: 3, stride: 2}}
    - separable: {{name: body, out: 32, kernel: 3, stride: 2}}    # a depthwise and a pointwise convolution
    - separable: {{name: tail, out: 32, kernel: 3, repeat: 2}}    # twice: tail1, tail2
    - pool:      {{kind: average, over: all}}
    - dense:     {{name: classifier, out: 4, activation: none}}
    - softmax
  labels: [north, east, south, west]

# Arrays "<layer>.<role>", such as stem.kernel and stem.bias. These are random: put your trained ones here.
weights: {{file: {WEIGHTS_NAME}}}

# Budgets. A build that needs more fails, so that a CI job notices.
targets:
  host: {{arena: 256 KiB}}
"""


def write_starter(directory: Path, *, seed: int = 0) -> tuple[Path, ...]:
    """Writes net.yaml and random weights of `seed` into `directory` -> the paths written, the weights first.

    UsageError naming the files that exist already; ToolError if the disk refuses.
    """
    refuse_existing(directory, (NET_NAME, WEIGHTS_NAME))
    network = netfile_from_text(STARTER_TEXT, directory / NET_NAME, SeededSource(seed)).network
    return write_files(directory, {WEIGHTS_NAME: npz_bytes(network.weights), NET_NAME: STARTER_TEXT.encode()})

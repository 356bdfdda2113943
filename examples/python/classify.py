"""Builds a network for this machine, checks it against the oracle and runs one inference.

    python examples/python/classify.py [MODEL]

MODEL is a net.yaml, .onnx or .tflite; by default the person detector among the test data.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import dscompile

VWW = Path(__file__).resolve().parents[2] / "tests" / "data" / "vww_96_float.tflite"


def main(source: str) -> None:
    """Prints what `source` says to an image of noise, and how fast."""
    model = dscompile.build(source, target="host")
    verification = dscompile.verify(model.path)
    print(f"{model.path}: {'ok' if verification.ok else 'WRONG'}, largest error {verification.max_rel_error:.1e}")

    (tensor,) = model.artifact.manifest.inputs
    noise = np.random.default_rng(0).uniform(-1.0, 1.0, tensor.border_shape).astype(np.float32)
    print(f"output {model(noise)}")

    (result,) = dscompile.bench(model.path)
    print(f"median {result.timing.median_us:.0f} us, {result.gmac_per_second:.1f} GMAC/s")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(VWW))

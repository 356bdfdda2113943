"""Where the real models lie: $DSCOMPILE_MODELS, or the folder `../shared/models` beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "models"


def model_path(name: str) -> Path:
    """The path of a model such as `vww_96_float.tflite` or `onnx/mobilenetv1_100.onnx`.

    Skips the test where the model is absent; with DSCOMPILE_REQUIRE_MODELS=1, as in CI, fails it.
    """
    folder = Path(os.environ.get("DSCOMPILE_MODELS") or _BESIDE_CHECKOUT)
    path = folder / name
    if path.exists():
        return path
    message = f"model {name} is not in {folder}; set DSCOMPILE_MODELS to the folder that holds it"
    if os.environ.get("DSCOMPILE_REQUIRE_MODELS") == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)

"""The networks of the benchmark as .onnx files: real ones, those of the zoo with weights from a seed, and int8 ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from dscompile.ir.network import Network
from dscompile.ir.ops import Softmax

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = (
    "mobilenetv1_100",
    "mobilenetv2_100",
    "mobilenetv3_large_100",
    "efficientnet_lite0",
    "efficientnet_b0",
    "shufflenetv2_x1_0",
    "xception",
)
"""What `make bench` measures."""
CALIBRATION_INPUTS = 4


def find_model(name: str, folder: Path) -> Path:
    """A path of an .onnx file as it is, a name in $DSCOMPILE_MODELS/onnx, or a network of the zoo, written to `folder`.

    A name that is none of these gives the path where the file should be.
    """
    if name.endswith(".onnx"):
        return Path(name)
    models = Path(os.environ.get("DSCOMPILE_MODELS") or ROOT.parent / "shared" / "models")
    path = models / "onnx" / f"{name}.onnx"
    return path if path.is_file() or not _in_zoo(name) else _exported(name, folder)


def quantized_model(model: Path, folder: Path) -> Path:
    """The model in QDQ format by onnxruntime: uint8 activations, int8 weights per channel, random calibration."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    folder.mkdir(parents=True, exist_ok=True)
    prepared, path = folder / f"{model.stem}.prepared.onnx", folder / f"{model.stem}_int8.onnx"
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        path,
        _Calibration(model),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()
    return path


def _in_zoo(name: str) -> bool:
    from dscompile.frontend.zoo import zoo_names

    return name in zoo_names()


def _exported(name: str, folder: Path) -> Path:
    """In NCHW, as models come from training; the zoo's inputs are NHWC, which peers would transpose.

    And with logits as outputs: of random weights all probabilities are alike, and of int8 all 0.
    """
    import dscompile
    from dscompile.frontend.load import load_network
    from dscompile.frontend.zoo import zoo_path

    network = _without_softmax(load_network(zoo_path(name)).network)
    images = {tensor: replace(network.tensor(tensor), border="nchw") for tensor in network.inputs}
    folder.mkdir(parents=True, exist_ok=True)
    turned = replace(network, tensors={**network.tensors, **images})
    return dscompile.export(turned, folder / f"{name}.onnx").path


def _without_softmax(network: Network) -> Network:
    last = network.layers[-1]
    if not isinstance(last.op, Softmax):
        return network
    return replace(network.with_layers(network.layers[:-1]), outputs=last.inputs)


class _Calibration:
    """Inputs with the distribution that pictures have after normalization."""

    def __init__(self, model: Path) -> None:
        import onnx

        (info,) = onnx.load(model, load_external_data=False).graph.input
        shape = [dimension.dim_value for dimension in info.type.tensor_type.shape.dim]
        rng = np.random.default_rng(0)
        self._rows: Iterator[dict[str, np.ndarray]] = iter(
            [{info.name: rng.normal(size=shape).astype(np.float32)} for _ in range(CALIBRATION_INPUTS)]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input, as onnxruntime asks for it."""
        return next(self._rows, None)

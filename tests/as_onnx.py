"""Networks as ONNX models, so that onnxruntime can say what they compute."""

from __future__ import annotations

import onnxruntime

import dscompile
from dscompile.ir.network import Array, Network
from dscompile.oracle import from_border, to_border


def run_onnxruntime(network: Network, inputs: dict[str, Array]) -> dict[str, Array]:
    """All outputs of `network` as onnxruntime computes them; everything in channels-last order."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdqisint8allowed", "1")  # as on Arm; x86 has uint8 instead
    session = onnxruntime.InferenceSession(
        dscompile.export_onnx(network).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feeds = {name: to_border(network.tensor(name), array) for name, array in inputs.items()}
    results = session.run(list(network.outputs), feeds)
    return {
        name: from_border(network.tensor(name), array) for name, array in zip(network.outputs, results, strict=True)
    }

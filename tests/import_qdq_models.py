"""ONNX models that onnxruntime quantizes for the importer's tests, and what onnxruntime makes of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from dscompile import oracle
from dscompile.frontend.onnx.importer import import_onnx
from dscompile.ir.network import Array, Network

Activations = Literal["u8", "s8"]


class _Calibration(CalibrationDataReader):
    def __init__(self, shapes: Mapping[str, Sequence[int]], count: int) -> None:
        rng = np.random.default_rng(7)
        self._rows: Iterator[dict[str, Array]] = iter(
            [
                {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
                for _ in range(count)
            ]
        )

    def get_next(self) -> dict[str, Array] | None:
        return next(self._rows, None)


def quantized(made: onnx.ModelProto | Path, folder: Path, activations: Activations = "u8", count: int = 3) -> Path:
    """The model in QDQ format: symmetric int8 weights per channel, activations as asked, random calibration."""
    path = folder / f"qdq_{activations}.onnx"
    if isinstance(made, onnx.ModelProto):
        source = folder / "float.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(made), source)
        _quantize(source, path, activations, count)
    else:
        path.write_bytes(_quantized_file(made, activations, count))
    return path


@lru_cache(maxsize=2)
def _quantized_file(source: Path, activations: Activations, count: int) -> bytes:
    """Of a model in a file, which several tests take."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "qdq.onnx"
        _quantize(source, path, activations, count)
        return path.read_bytes()


def _quantize(source: Path, path: Path, activations: Activations, count: int) -> None:
    graph = onnx.load(source).graph
    constants = {tensor.name for tensor in graph.initializer}
    shapes = {
        info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in graph.input
        if info.name not in constants
    }
    quantize_static(
        source,
        path,
        _Calibration(shapes, count),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8 if activations == "u8" else QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )


def session_of(path: Path) -> onnxruntime.InferenceSession:
    """Onnxruntime with its usual optimizations, and those of int8 activations that it leaves out on x86.

    On processors without VNNI it adds products of uint8 and int8 in 16 bits, which saturate, unless it is to be
    precise. Asked for that with int8 activations, it looks for kernels that it does not have.
    """
    options = onnxruntime.SessionOptions()
    if any(constant.data_type == onnx.TensorProto.UINT8 for constant in onnx.load(path).graph.initializer):
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def differences(network: Network, path: Path, seeds: Sequence[int]) -> list[float]:
    """Largest difference of the first output to onnxruntime's, per seed."""
    session = session_of(path)
    found = []
    for seed in seeds:
        rng = np.random.default_rng(1000 + seed)
        arrays = [rng.standard_normal(network.tensor(name).border_shape).astype(np.float32) for name in network.inputs]
        feeds = {info.name: array for info, array in zip(session.get_inputs(), arrays, strict=True)}
        want = session.run(None, feeds)[0]
        inside = {
            name: oracle.from_border(network.tensor(name), array)
            for name, array in zip(network.inputs, arrays, strict=True)
        }
        name = network.outputs[0]
        got = oracle.to_border(network.tensor(name), oracle.run(network, inside)[name])
        assert got.shape == want.shape
        found.append(float(np.abs(got - want).max()))
    return found


def exact(path: Path, seeds: Sequence[int] = range(4)) -> Network:
    """The imported network, after the oracle gave for it exactly what onnxruntime gives for the file."""
    network = import_onnx(path)
    assert differences(network, path, seeds) == [0.0] * len(seeds)
    return network

"""Other runtimes, to compare answers and speed with: onnxruntime, OpenVINO and LiteRT.

All run on the CPU, in float32, with the number of threads they are told. They take and give arrays in the order and
the layout of the model file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dscompile.errors import ToolError, UsageError
from dscompile.ir.network import Array

Runner = Callable[[Sequence[Array]], Sequence[Array]]


@dataclass(frozen=True)
class Peer:
    """A runtime with a model loaded."""

    name: str
    version: str
    run: Runner

    def latencies_us(self, inputs: Sequence[Array], repeats: int, warmup: int) -> list[float]:
        """Microseconds of each of `repeats` runs, after `warmup` that are not counted."""
        for _ in range(warmup):
            self.run(inputs)
        result = []
        for _ in range(repeats):
            start = time.perf_counter_ns()
            self.run(inputs)
            result.append((time.perf_counter_ns() - start) / 1e3)
        return result


def reference_for(model: Path) -> str:
    """The runtime that a model file is the home format of. Raises UsageError for other files."""
    known = {".onnx": "onnxruntime", ".tflite": "litert"}
    if model.suffix not in known:
        raise UsageError(f"nothing to compare '{model}' with", help="give an .onnx or .tflite file")
    return known[model.suffix]


def open_peer(name: str, model: Path, threads: int = 1) -> Peer:
    """Loads `model` into the runtime called `name`.

    Raises UsageError for an unknown runtime or one that does not read such files, ToolError if it is not installed or
    refuses the model.
    """
    if name not in _PEERS:
        raise UsageError(f"unknown runtime '{name}'", help=f"known: {', '.join(PEERS)}")
    suffixes, opener, package = _PEERS[name]
    if model.suffix not in suffixes:
        raise UsageError(f"{name} does not read '{model.name}'", help=f"it reads {' and '.join(suffixes)}")
    if not model.is_file():
        raise UsageError(f"there is no file '{model}'")
    try:
        peer = opener(model, threads)
    except ImportError as error:
        raise ToolError(f"{package} is not installed", help="pip install 'dscompile[bench]'") from error
    except Exception as error:  # each runtime has exceptions of its own, some of them plain Exception
        raise ToolError(f"{name} cannot load '{model}': {str(error).strip()}") from error
    return Peer(peer.name, peer.version, _with_our_errors(peer, model))


def _with_our_errors(peer: Peer, model: Path) -> Runner:
    """Runs the peer; what it objects to, shapes above all, becomes a UsageError."""

    def run(inputs: Sequence[Array]) -> Sequence[Array]:
        try:
            return peer.run(inputs)
        except Exception as error:  # each runtime has exceptions of its own
            raise UsageError(
                f"{peer.name} cannot run '{model}' on the artifact's inputs: {str(error).strip()}",
                help="name the model that the artifact was built from",
            ) from error

    return run


def _onnxruntime(model: Path, threads: int) -> Peer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(inputs: Sequence[Array]) -> Sequence[Array]:
        feeds: Mapping[str, Array] = dict(zip(names, inputs, strict=True))
        outputs: Sequence[Array] = session.run(None, feeds)
        return outputs

    return Peer("onnxruntime", str(onnxruntime.__version__), run)


def _openvino(model: Path, threads: int) -> Peer:
    import openvino

    compiled = openvino.Core().compile_model(
        str(model),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",  # its default is bf16 where the machine has it
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        },
    )
    request = compiled.create_infer_request()

    def run(inputs: Sequence[Array]) -> Sequence[Array]:
        result = request.infer(list(inputs))
        return [result[port] for port in compiled.outputs]

    return Peer("openvino", str(openvino.__version__), run)


def _litert(model: Path, threads: int) -> Peer:
    import ai_edge_litert
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=str(model), num_threads=threads)
    interpreter.allocate_tensors()
    sources = [detail["index"] for detail in interpreter.get_input_details()]
    results = [detail["index"] for detail in interpreter.get_output_details()]

    def run(inputs: Sequence[Array]) -> Sequence[Array]:
        for index, array in zip(sources, inputs, strict=True):
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in results]

    return Peer("litert", str(getattr(ai_edge_litert, "__version__", "")), run)


_PEERS: dict[str, tuple[tuple[str, ...], Callable[[Path, int], Peer], str]] = {
    "onnxruntime": ((".onnx",), _onnxruntime, "onnxruntime"),
    "openvino": ((".onnx", ".tflite"), _openvino, "openvino"),
    "litert": ((".tflite",), _litert, "ai-edge-litert"),
}
PEERS = tuple(_PEERS)

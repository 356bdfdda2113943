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
from dscompile.ir.tensor import Rounding

REFERENCE = "litert reference kernels"
"""LiteRT without its fast kernels: what `rounding: tflite` means. Too slow to be a peer of benchmarks."""

EXACT = "onnxruntime with exact sums"
"""onnxruntime as QDQ models mean it on any processor; its fast kernels saturate sums of uint8 products without VNNI."""

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


def reference_for(model: Path, rounding: Rounding | None = None) -> str:
    """The runtime that says what a model file means, for int8 models in that rounding. UsageError for other files."""
    known = {
        ".onnx": "onnxruntime" if rounding is None else EXACT,
        ".tflite": REFERENCE if rounding == "tflite" else "litert",
    }
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


def _onnxruntime(model: Path, threads: int, *, exact: bool = False) -> Peer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if exact and _has_bytes(model):  # where there are none, onnxruntime would look for kernels that it lacks
        options.add_session_config_entry("session.x64quantprecision", "1")
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


def _onnxruntime_exact(model: Path, threads: int) -> Peer:
    return _onnxruntime(model, threads, exact=True)


def _has_bytes(model: Path) -> bool:
    """Whether a model has uint8 constants, the zero points of uint8 tensors among them."""
    import onnx

    return any(tensor.data_type == onnx.TensorProto.UINT8 for tensor in onnx.load(model).graph.initializer)


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
    from ai_edge_litert.interpreter import OpResolverType

    return _litert_with("litert", OpResolverType.AUTO, model, threads)


def _litert_reference(model: Path, threads: int) -> Peer:
    from ai_edge_litert.interpreter import OpResolverType

    return _litert_with(REFERENCE, OpResolverType.BUILTIN_REF, model, threads)


def _litert_with(name: str, kernels: Any, model: Path, threads: int) -> Peer:  # noqa: ANN401  an enum without types
    import ai_edge_litert
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=str(model), num_threads=threads, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    sources = [detail["index"] for detail in interpreter.get_input_details()]
    results = [detail["index"] for detail in interpreter.get_output_details()]

    def run(inputs: Sequence[Array]) -> Sequence[Array]:
        for index, array in zip(sources, inputs, strict=True):
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in results]

    return Peer(name, str(getattr(ai_edge_litert, "__version__", "")), run)


_PEERS: dict[str, tuple[tuple[str, ...], Callable[[Path, int], Peer], str]] = {
    "onnxruntime": ((".onnx",), _onnxruntime, "onnxruntime"),
    "openvino": ((".onnx", ".tflite"), _openvino, "openvino"),
    "litert": ((".tflite",), _litert, "ai-edge-litert"),
    EXACT: ((".onnx",), _onnxruntime_exact, "onnxruntime"),
    REFERENCE: ((".tflite",), _litert_reference, "ai-edge-litert"),
}
PEERS = tuple(name for name in _PEERS if name not in (REFERENCE, EXACT))

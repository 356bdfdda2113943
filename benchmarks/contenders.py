"""What is measured: five runtimes behind one small interface, each told to be as fast as it can.

What a runtime can do ahead is not timed: inputs lie where it wants them, and outputs stay where it leaves them, where
it has an interface for that. All this is in favor of the peers; dscompile's library reads and writes the caller's
buffers in any case.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

Arrays = Sequence[np.ndarray]


class Contender(ABC):
    """A model loaded into a runtime. Arrays come and go in the layout of the model it loaded."""

    package: str
    module: str
    suffix: str

    @abstractmethod
    def __init__(self, model: Path, threads: int) -> None: ...

    @abstractmethod
    def run(self, inputs: Arrays) -> Arrays:
        """Outputs for these inputs, which remain set for `time_us`."""

    @abstractmethod
    def time_us(self, repeats: int) -> list[float]:
        """Latencies of so many runs on the inputs of the last `run`."""

    @classmethod
    def version(cls) -> str:
        """Version of the package."""
        return importlib.metadata.version(cls.package)

    @classmethod
    def package_bytes(cls) -> int:
        """Size on disk of what must be installed to run a model (its own package, without what that depends on)."""
        files = importlib.metadata.files(cls.package) or []
        return sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file())


class Onnxruntime(Contender):
    """onnxruntime's CPU provider; outputs are bound once, so that none is copied."""

    package, module, suffix = "onnxruntime", "onnxruntime", ".onnx"
    settings: ClassVar[dict[str, str]] = {}

    def __init__(self, model: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        for key, value in self.settings.items():
            options.add_session_config_entry(key, value)
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._binding = self._session.io_binding()

    def run(self, inputs: Arrays) -> Arrays:
        for node, array in zip(self._session.get_inputs(), inputs, strict=True):
            self._binding.bind_cpu_input(node.name, array)
        for node in self._session.get_outputs():
            self._binding.bind_output(node.name)
        self._inputs = inputs  # the binding only knows their addresses
        self._session.run_with_iobinding(self._binding)
        return self._binding.copy_outputs_to_cpu()

    def time_us(self, repeats: int) -> list[float]:
        return _clocked(lambda: self._session.run_with_iobinding(self._binding), repeats)


class OpenVino(Contender):
    """OpenVINO's CPU plugin, in float32: its default is bf16 where the machine has it."""

    package, module, suffix = "openvino", "openvino", ".onnx"

    def __init__(self, model: Path, threads: int) -> None:
        import openvino

        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # the process is pinned already
        }
        self._compiled = openvino.Core().compile_model(str(model), "CPU", settings)
        self._request = self._compiled.create_infer_request()

    def run(self, inputs: Arrays) -> Arrays:
        import openvino

        for index, array in enumerate(inputs):
            self._request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))
        self._inputs = inputs  # the tensors share their memory
        self._request.infer()
        return [self._request.get_output_tensor(i).data.copy() for i in range(len(self._compiled.outputs))]

    def time_us(self, repeats: int) -> list[float]:
        return _clocked(self._request.infer, repeats)


class LiteRt(Contender):
    """LiteRT with XNNPACK, on the channels-last twin of the model."""

    package, module, suffix = "ai-edge-litert", "ai_edge_litert.interpreter", ".tflite"

    def __init__(self, model: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_path=str(model), num_threads=threads)  # XNNPACK is its default
        self._interpreter.allocate_tensors()

    def run(self, inputs: Arrays) -> Arrays:
        for detail, array in zip(self._interpreter.get_input_details(), inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(detail["index"]) for detail in self._interpreter.get_output_details()]

    def time_us(self, repeats: int) -> list[float]:
        return _clocked(self._interpreter.invoke, repeats)


class ExactOnnxruntime(Onnxruntime):
    """onnxruntime with exact sums of bytes: without VNNI its fast kernels saturate. What int8 outputs must be."""

    settings: ClassVar[dict[str, str]] = {"session.x64quantprecision": "1"}


class Ncnn(Contender):
    """ncnn in float32, on a model that pnnx converted."""

    package, module, suffix = "ncnn", "ncnn", ".param"

    def __init__(self, model: Path, threads: int) -> None:
        import ncnn

        self._net = ncnn.Net()
        self._net.opt.num_threads = threads
        self._net.opt.use_vulkan_compute = False
        for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
            setattr(self._net.opt, option, False)
        self._net.load_param(str(model))
        self._net.load_model(str(model.with_suffix(".bin")))
        self._inputs: list[tuple[str, object]] = []

    def run(self, inputs: Arrays) -> Arrays:
        import ncnn

        named = zip(self._net.input_names(), inputs, strict=True)
        self._inputs = [(name, ncnn.Mat(np.ascontiguousarray(array[0])).clone()) for name, array in named]
        return [np.array(result) for result in self._results()]

    def time_us(self, repeats: int) -> list[float]:
        return _clocked(self._results, repeats)

    def _results(self) -> list[object]:
        with self._net.create_extractor() as extractor:
            for name, mat in self._inputs:
                extractor.input(name, mat)
            return [extractor.extract(name)[1] for name in self._net.output_names()]


class Dscompile(Contender):
    """A compiled artifact, called through its C interface."""

    package, module, suffix = "dscompile", "dscompile.run.native", ""

    def __init__(self, model: Path, threads: int) -> None:
        from dscompile.artifact import load_artifact
        from dscompile.run.native import NativeModel

        self._native = NativeModel(load_artifact(model), threads=threads)
        self._inputs: dict[str, np.ndarray] = {}

    def run(self, inputs: Arrays) -> Arrays:
        names = [tensor.name for tensor in self._native.manifest.inputs]
        self._inputs = dict(zip(names, inputs, strict=True))
        outputs = self._native.run(self._inputs)
        return [outputs[tensor.name] for tensor in self._native.manifest.outputs]

    def time_us(self, repeats: int) -> list[float]:
        return self._native.latencies_us(self._inputs, repeats, warmup=0).tolist()

    @classmethod
    def version(cls) -> str:
        from dscompile.version import __version__

        return __version__

    @classmethod
    def package_bytes(cls) -> int:
        return 0  # an artifact needs nothing that is not in it


CONTENDERS: dict[str, type[Contender]] = {
    "dscompile": Dscompile,
    "onnxruntime": Onnxruntime,
    "openvino": OpenVino,
    "litert": LiteRt,
    "ncnn": Ncnn,
}
EXACT = "onnxruntime with exact sums"
CONTENDERS_OF: dict[str, list[str]] = {
    "float32": list(CONTENDERS),
    "int8": [name for name in CONTENDERS if name != "ncnn"],  # which has a format of its own for int8
}
KNOWN: dict[str, type[Contender]] = {**CONTENDERS, EXACT: ExactOnnxruntime}


def model_bytes(name: str, model: Path) -> int:
    """Bytes to ship for one model besides the runtime: the library of an artifact, else the model file."""
    if name == "ncnn":
        return model.stat().st_size + model.with_suffix(".bin").stat().st_size
    if name != "dscompile":
        return model.stat().st_size
    return sum(path.stat().st_size for path in model.glob("lib*.so"))


def arena_bytes(artifact: Path) -> int:
    """What an artifact works in."""
    from dscompile.artifact import load_artifact

    return load_artifact(artifact).manifest.arena.size_bytes


def _clocked(call: Callable[[], object], repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        start = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - start) / 1e3)
    return times

"""Good inputs of every kind, made small: what damage starts from."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

import dscompile
from dscompile.api.networks import init
from dscompile.artifact import MANIFEST
from dscompile.artifact.target_json import target_to_json
from dscompile.errors import UnsupportedError
from dscompile.frontend.netfile import netfile_from_text
from dscompile.frontend.writer import write_netfile
from dscompile.frontend.zoo import zoo_names, zoo_path
from dscompile.ir.network import Network
from dscompile.plan.tuning_file import write_tuning
from dscompile.report.vectors import FILE_NAME
from dscompile.target import find_target
from tests import import_onnx_models, import_tflite_models
from tests.fuzz.samples import Sample, sample_of
from tests.networks import random_network
from tests.packed_networks import stored
from tests.quantized_networks import random_int8_network
from tests.tiny_programs import single, write_both
from tests.tuning_files import tuning_file
from tests.unit.netfiles import network

ROOT = Path(__file__).parents[2]
Samples = tuple[Sample, ...]
_CLOCKWORK = """\
dscompile: 1
network:
  name: clock
  input: {name: x, shape: [1, 8, 4, 2]}
  states:
    - {name: memory, shape: [1, 1, 4, 2], next: kept}
  layers:
    - concat: {name: joined, axis: 1, from: [memory, x]}
    - slice: {name: kept, rows: [8, 9]}
    - conv: {name: a, out: 3, kernel: [2, 3], from: joined}
    - pool: {kind: average, over: all}
weights: {seed: 3}
targets: {c99: {arena: 64 KiB, flash: 1 MiB}, x86: {threads: 2}}
"""
_SMALLER_WEIGHTS = "quantization: {scheme: int8, weights: int4, sparsity: 2:4, layers: {a: int4-2:4, b: int8}}\n"


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fuzz-seed-") as name:
        yield Path(name)


@functools.cache
def small_networks() -> tuple[Network, ...]:
    """Float32 and int8 networks of a few layers, two of them with packed weights."""
    floats = [random_network(seed, max_layers=6) for seed in range(6)]
    bytewise = [random_int8_network(seed, "tflite", max_layers=5) for seed in range(4)]
    return (*floats, *bytewise, stored(bytewise[1], "int4"), stored(bytewise[1], "2:4"))


@functools.cache
def netfiles() -> Samples:
    """The zoo (smallest first), the starter, and small networks with their weights beside them."""
    with _folder() as folder:
        init(folder / "init")
        found = [sample_of(folder / "init", "net.yaml")]
        for index, each in enumerate(small_networks()):
            kind = "npz" if index % 2 else "safetensors"
            write_netfile(each, folder / str(index), weights_format=kind)
            found.append(sample_of(folder / str(index), "net.yaml"))
    zoo = [Sample("net.yaml", zoo_path(name).read_bytes()) for name in zoo_names()]
    small = [each for each in zoo if len(each.data) < 4000]
    spelled = (_CLOCKWORK, _CLOCKWORK + _SMALLER_WEIGHTS)
    return (*found, *(Sample("net.yaml", each.encode()) for each in spelled), *small)


@functools.cache
def target_files() -> Samples:
    """Targets of CPUs and GPUs."""
    return tuple(s for s in _targets() if b"memories" not in s.data)


@functools.cache
def board_files() -> Samples:
    """Targets of microcontrollers, which have boards."""
    return tuple(s for s in _targets() if b"memories" in s.data)


def _targets() -> Iterator[Sample]:
    beside = {"net.yaml": b"dscompile: 1\nnetwork:\n  input: {name: x, shape: [1, 4, 4, 2]}\n  layers:\n"}
    beside["net.yaml"] += b"    - conv: {out: 3, kernel: 3}\n    - separable: {out: 4, kernel: 3}\nweights: {seed: 1}\n"
    for path in sorted((ROOT / "targets").glob("*.yaml")):
        yield Sample("target.yaml", path.read_bytes(), beside)


@functools.cache
def onnx_models() -> Samples:
    """Small networks as dscompile exports them, QDQ among them, and graphs of shape arithmetic."""
    from dscompile.api.exporting import export

    found = []
    with _folder() as folder:
        for index, each in enumerate(
            (*small_networks(), *(random_int8_network(seed, "float32", max_layers=5) for seed in range(20)))
        ):
            with suppress(UnsupportedError):
                export(each, folder / f"{index}.onnx")
                found.append(Sample("net.onnx", (folder / f"{index}.onnx").read_bytes()))
    return (*found, *(Sample("net.onnx", made, {"data.bin": bytes(256)}) for made in _spelled_out()))


def _spelled_out() -> Iterator[bytes]:
    node, model = import_onnx_models.node, import_onnx_models.model
    kernel = import_onnx_models.randoms(4, 2, 3, 3)
    yield model(
        [
            node("Conv", "x k b", "c", pads=[1, 1, 1, 1], strides=[2, 2], kernel_shape=[3, 3]),
            node("Clip", "c low high", "d"),
            node("Shape", "d", "s"),
            node("Gather", "s zero", "batch", axis=0),
            node("Unsqueeze", "batch zeros", "batches"),
            node("Concat", "batches rest", "shape", axis=0),
            node("Reshape", "d shape", "e"),
            node("Gemm", "e w", "y", transB=1),
        ],
        {"x": [1, 2, 6, 6]},
        {
            "k": kernel,
            "b": np.zeros(4, np.float32),
            "low": np.float32(0),
            "high": np.float32(6),
            "zero": np.int64(0),
            "zeros": np.array([0]),
            "rest": np.array([-1]),
            "w": import_onnx_models.randoms(5, 36),
        },
    ).SerializeToString()
    made = model(
        [
            node("Pad", "x pads", "a"),
            node("MaxPool", "a", "b", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
            node("Resize", "b _ scales", "c", mode="nearest", coordinate_transformation_mode="asymmetric"),
            node("Transpose", "c", "d", perm=[0, 2, 3, 1]),
            node("Slice", "d starts ends", "e"),
            node("Split", "e", "f g", axis=3, num_outputs=2),
            node("ConstantOfShape", "many", "zeros"),
            node("Expand", "zeros more", "h"),
            node("Add", "f h", "i"),
            node("Softmax", "i", "y", axis=-1),
        ],
        {"x": [1, 4, 5, 5]},
        {
            "pads": np.array([0, 0, 1, 1, 0, 0, 0, 0]),
            "scales": np.array([1, 1, 2, 2], np.float32),
            "starts": np.array([0]),
            "ends": np.array([1]),
            "many": np.array([1]),
            "more": np.array([1, 1, 1, 1]),
        },
        opset=18,
    )
    yield made.SerializeToString()
    tensor = made.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    for key, value in (("location", "data.bin"), ("offset", "16"), ("length", "16")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    yield made.SerializeToString()


@functools.cache
def tflite_models() -> Samples:
    """The smallest real models, one of them with state, and small graphs with sparse and resource tensors."""
    real = (ROOT / "tests" / "data" / name for name in ("micro_speech_quantized.tflite", "kws_ref_model_int8.tflite"))
    made = (_sparse(), _windows(), _variables(), _four_bits())
    return tuple(Sample("net.tflite", data) for data in (*made * 3, *(path.read_bytes() for path in real)))


def _sparse() -> bytes:
    maker = import_tflite_models.ModelMaker()
    maker.tensor("x", [1, 8])
    dense = np.zeros((4, 8), np.float32)
    dense[::2, 4:] = 1
    maker.sparse("w", dense, block=(1, 4))
    maker.tensor("y", [1, 4])
    maker.operator("FULLY_CONNECTED", "x w", "y", "FullyConnected")
    return maker.content()


def _four_bits() -> bytes:
    maker = import_tflite_models.ModelMaker()
    maker.quantized("x", [1, 9], 0.5, 3)
    maker.four_bits("w", np.arange(-8, 1, dtype=np.int8).reshape(1, 9).repeat(3, 0), [0.1, 0.2, 0.3])
    maker.quantized("y", [1, 3], 0.25, -9)
    maker.operator("FULLY_CONNECTED", "x w _", "y", "FullyConnected")
    return maker.content()


def _windows() -> bytes:
    maker = import_tflite_models.ModelMaker()
    maker.tensor("x", [1, 6, 6, 2])
    maker.constant("k", import_tflite_models.randoms(3, 3, 3, 2))
    maker.constant("b", np.zeros(3, np.float32))
    for name, shape in (("c", [1, 3, 3, 3]), ("p", [1, 2, 2, 3]), ("r", [1, 12]), ("y", [1, 12])):
        maker.tensor(name, shape)
    maker.operator("CONV_2D", "x k b", "c", "Conv2D", strideH=2, strideW=2, dilationHFactor=1, dilationWFactor=1)
    window = {"strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}
    maker.operator("MAX_POOL_2D", "c", "p", "Pool2D", **window)
    maker.constant("shape", import_tflite_models.int32(1, 12))
    maker.operator("RESHAPE", "p shape", "r", "Reshape", newShape=[1, 12])
    maker.operator("SOFTMAX", "r", "y", "Softmax", beta=1.0)
    return maker.content()


def _variables() -> bytes:
    maker = import_tflite_models.ModelMaker()
    maker.tensor("x", [1, 4])
    maker.variable("h", "memory")
    maker.tensor("m", [1, 4])
    maker.operator("READ_VARIABLE", "h", "m")
    maker.tensor("y", [1, 4])
    maker.operator("ADD", "x m", "y", "Add")
    maker.operator("ASSIGN_VARIABLE", "h y", "")
    maker.initializer({"memory": np.zeros((1, 4), np.float32)})
    return maker.content()


@functools.cache
def npz_files() -> Samples:
    """Weights, calibration data, golden vectors, and a .npy that an inference reads."""
    with _folder() as folder:
        net = network("- conv: {name: a, out: 3, kernel: 3}\n- batch_norm")
        write_netfile(net, folder, weights_format="npz")
        weights = sample_of(folder, "test.npz")
        shape = net.tensor(net.inputs[0]).border_shape
        np.savez_compressed(folder / "calib.npz", x=np.zeros((3, *shape[1:]), np.float32))
        np.save(folder / "x.npy", np.zeros(shape, np.float32))
        np.save(folder / "i.npy", np.arange(9, dtype=np.int64).reshape(3, 3))
        np.savez(folder / FILE_NAME, seeds=np.zeros(2, np.int64), output0=np.zeros((2, 1, 4), np.float32))
        others = [sample_of(folder, name) for name in ("calib.npz", "x.npy", "i.npy", FILE_NAME)]
        return (weights, *others)


@functools.cache
def safetensors_files() -> Samples:
    """Weights."""
    with _folder() as folder:
        write_netfile(
            network("- conv: {name: a, out: 3, kernel: 3}\n- batch_norm"), folder, weights_format="safetensors"
        )
        return (sample_of(folder, "test.safetensors"),)


@functools.cache
def manifests() -> Samples:
    """Manifests of C sources, of libraries with one and two variants, of a GPU, of state, and of packed weights."""
    found = []
    with _folder() as folder:
        stateful = netfile_from_text(_CLOCKWORK, folder / "clock.yaml").network
        packed = next(net for net in small_networks() if any(layer.storage == "int4" for layer in net.layers))
        built = (("c", small_networks()[0], "c99"), ("s", stateful, "cortex-m4"), ("p", packed, "c99"))
        for name, net, target in built:
            dscompile.build(net, target, folder / name)
        single().write(folder / "one")
        write_both(folder / "both")
        for name in ("c", "s", "p", "one", "both"):
            sample = sample_of(folder / name, MANIFEST)
            found.append(Sample(MANIFEST, sample.data, dict.fromkeys(sample.beside, b"")))
        content = json.loads(found[0].data)
        content["target"] = target_to_json(find_target("cuda-sm80"))
        found.append(found[0].with_data(json.dumps(content).encode()))
    return tuple(found)


@functools.cache
def tuning_records() -> Samples:
    """A file with a record of every kind of workload, and the beginning of one that ships."""
    with _folder() as folder:
        write_tuning(tuning_file(), folder / "tuning.json")
        content = json.loads((ROOT / "targets" / "tuning" / "x86-avx2.json").read_bytes())
        content["records"] = content["records"][:12]
        shipped = json.dumps(content).encode()
        return (sample_of(folder, "tuning.json"), Sample("tuning.json", shipped))


@functools.cache
def journals() -> Samples:
    """Each file of a journal with the others beside it. Imports TVM."""
    from dscompile.plan.spaces import rule
    from dscompile.plan.workloads import ConvWorkload, DepthwiseWorkload
    from dscompile.tuner.journal import FAILURES, HEADER, RECORDS, WORKLOADS, Journal

    target = find_target("x86-avx512")
    pointwise, depthwise = ConvWorkload(1, 196, 16, 256), DepthwiseWorkload(112, 112, 8, stride=(2, 2))
    with _folder() as folder:
        with Journal(folder, target) as journal:
            journal.add(pointwise, rule(pointwise, target), (2e-4, 1e-4))
            journal.add(depthwise, rule(depthwise, target), (), "it crashed (signal 11)")
            journal.add(depthwise, rule(depthwise, target), (5e-5,))
        return tuple(sample_of(folder, name) for name in (HEADER, RECORDS, FAILURES, WORKLOADS))

"""ArgMax: shapes and types, files of other frameworks beside their runtimes, net.yaml, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert import interpreter
from onnx import TensorProto

import dscompile
from dscompile import oracle
from dscompile.errors import BadInputError, UnsupportedError
from dscompile.factorization.change import Reference
from dscompile.frontend.onnx.importer import import_onnx
from dscompile.frontend.tflite.importer import import_tflite
from dscompile.frontend.writer import network_text
from dscompile.ir.network import Array, Network, NetworkBuilder
from dscompile.ir.ops import RELU as RELU_FUNCTION
from dscompile.ir.ops import Activate, ArgMax, Op, Reshape, Softmax, Transpose
from dscompile.ir.shapes import ShapeError
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.oracle.argmax import runners_up
from dscompile.plan.gpu.lowering import plan_gpu_program
from dscompile.report.comparison import compare
from dscompile.report.vectors import FILE_NAME, read_vectors
from dscompile.run.selftest import run_selftest
from dscompile.target import find_target
from tests import import_qdq_models as qdq
from tests import import_tflite_models as tflite
from tests.import_onnx_models import assert_equals_onnxruntime, model, node, op_names, randoms, saved
from tests.native import TARGETS
from tests.unit import netfiles, quantizing

Q = Quantization((0.05,), -3)
IMAGE = (1, 6, 5, 7)


def one(op: Op, x: Array, *, int8: bool = False) -> Array:
    """What the oracle makes of x."""
    net = NetworkBuilder("one", "tflite" if int8 else None)
    net.input(Tensor("x", x.shape, "int8", Q) if int8 else Tensor("x", x.shape))
    return oracle.run(net.build([net.add("y", op, ["x"])]), {"x": x})["y"]


# The operator


@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_of_equal_elements_the_first_counts_or_the_last(int8):
    x = np.array([[3, 7, 7, -2, 7, 1]], np.int8 if int8 else np.float32)
    for op, want in ((ArgMax(), [1]), (ArgMax(last=True), [4]), (ArgMax(keep_axis=True), [[1]])):
        got = one(op, x, int8=int8)
        assert got.dtype == np.int32
        assert got.tolist() == want


def test_a_scalar_has_no_axis():
    net = NetworkBuilder("scalar")
    net.input(Tensor("x", ()))
    with pytest.raises(ShapeError, match="argmax needs an axis to go along, not a scalar"):
        net.add("y", ArgMax(), ["x"])


def test_indices_are_reshaped_and_transposed_and_nothing_else():
    net = NetworkBuilder("indices")
    net.input(Tensor("x", (1, 4, 5, 3)))
    index = net.add("index", ArgMax(), ["x"])
    turned = net.add("turned", Transpose((0, 2, 1)), [net.add("flat", Reshape((1, 5, 4)), [index])])
    assert net.build([turned]).tensor("turned").dtype == "int32"
    net.add("relu", Activate(RELU_FUNCTION), ["index"], dtype="int32")
    with pytest.raises(BadInputError, match="reads 'index', which is int32; indices can be reshaped and transposed"):
        net.build(["relu"])


def test_inputs_are_no_indices():
    net = NetworkBuilder("wrong")
    net.input(Tensor("x", (1, 3), "int32"))
    net.add("y", Reshape((3, 1)), ["x"])
    with pytest.raises(BadInputError, match="input 'x' is int32; only what an argmax makes may be"):
        net.build(["y"])


def test_an_argmax_makes_int32():
    net = NetworkBuilder("wrong")
    net.input(Tensor("x", (1, 3)))
    net.add("y", ArgMax(), ["x"], dtype="float32")
    with pytest.raises(BadInputError, match="makes float32 of float32; it must make int32 of float32 or int8"):
        net.build(["y"])


# ONNX


def index_model(nodes: list[onnx.NodeProto], shape: tuple[int, ...], *, opset: int = 17, **constants: Array):
    made = model(nodes, {"x": shape}, constants, opset=opset)
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return made


def checked(made: onnx.ModelProto, folder: Path) -> Network:
    """The imported network, after the oracle gave for it exactly the indices that onnxruntime gives for the file."""
    path = saved(made, folder)
    network = import_onnx(path)
    assert network.tensor(network.outputs[0]).dtype == "int32"
    assert_equals_onnxruntime(network, path, 0.0, (0, 1))
    return network


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -3])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_onnx_along_every_axis_of_an_image(axis, keepdims, tmp_path):
    checked(index_model([node("ArgMax", "x", axis=axis, keepdims=keepdims)], IMAGE), tmp_path)


def test_onnx_over_channels_moves_nothing(tmp_path):
    network = checked(index_model([node("ArgMax", "x", axis=1, keepdims=0)], IMAGE), tmp_path)
    assert [layer.op for layer in network.layers] == [ArgMax()]


@pytest.mark.parametrize("classes", [1, 3, 17, 100])
@pytest.mark.parametrize("opset", [11, 13])
def test_onnx_of_classes(classes, opset, tmp_path):
    nodes = [node("Gemm", "x w", "l"), node("ArgMax", "l", axis=1)]
    checked(index_model(nodes, (1, 8), opset=opset, w=randoms(8, classes)), tmp_path)


@pytest.mark.parametrize("last", [0, 1])
def test_onnx_of_ties(last, tmp_path):
    """A few whole values, of which many are equal."""
    nodes = [
        node("Mul", "x two", "m"), node("Relu", "m", "r"), node("Clip", "r _ one", "c"),
        node("ArgMax", "c", axis=1, select_last_index=last),
    ]  # fmt: skip
    network = checked(index_model(nodes, (1, 9, 4, 4), two=np.float32(1000), one=np.float32(1)), tmp_path)
    assert network.layers[-1].op == ArgMax(keep_axis=True, last=bool(last))


@pytest.mark.parametrize("to", [TensorProto.INT32, TensorProto.INT64])
def test_onnx_indices_may_be_cast_squeezed_and_transposed(to, tmp_path):
    nodes = [
        node("ArgMax", "x", "i", axis=1), node("Cast", "i", "c", to=to), node("Squeeze", "c axes", "s"),
        node("Transpose", "s", perm=[0, 2, 1]),
    ]  # fmt: skip
    made = index_model(nodes, IMAGE, axes=np.array([1]))
    made.graph.output[0].type.tensor_type.elem_type = to
    checked(made, tmp_path)


@pytest.mark.parametrize("activations", ["u8", "s8"])
def test_onnx_of_int8_needs_no_float(activations, tmp_path):
    nodes = [node("Conv", "x w", "c", pads=[1, 1, 1, 1]), node("ArgMax", "c", axis=1, keepdims=0)]
    made = index_model(nodes, IMAGE, w=randoms(5, 6, 3, 3))
    network = qdq.exact(qdq.quantized(made, tmp_path, activations))
    assert op_names(network)[-1] == "ArgMax"
    assert network.tensor(network.layers[-1].inputs[0]).dtype == "int8"
    assert "Dequantize" not in op_names(network)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("ArgMax", "x")], "ArgMax: over the batch is not supported; batches are 1"),
        (
            [node("ArgMax", "x", "i", axis=1), node("Relu", "i")],
            "Relu: reads the indices of an argmax; these can only be reshaped, transposed and put out",
        ),
        (
            [node("ArgMax", "x", "i", axis=1), node("Cast", "i", to=1)],
            "Cast: of the indices of an argmax to float32 is not supported",
        ),
    ],
)
def test_onnx_refusals(nodes, message, tmp_path):
    with pytest.raises(UnsupportedError, match=message):
        import_onnx(saved(index_model(nodes, IMAGE), tmp_path))


def test_onnx_axis_out_of_range(tmp_path):
    with pytest.raises(BadInputError, match="axis 4 of a tensor of rank 4"):
        import_onnx(saved(index_model([node("ArgMax", "x", axis=4)], IMAGE), tmp_path))


# TFLite


def tflite_model(shape: tuple[int, ...], axis: int, dtype: str, result: str, *, cast: str = "") -> bytes:
    maker = tflite.ModelMaker()
    if dtype == "int8":
        maker.quantized("x", shape, 0.05, -3)
    else:
        maker.tensor("x", shape)
    maker.constant("axis", np.array(axis, np.int32))
    made = shape[: axis % len(shape)] + shape[axis % len(shape) + 1 :]
    maker.tensor("y", made, result)
    maker.operator("ARG_MAX", "x axis", "y", "ArgMax", outputType=tflite._TYPES[result])
    if cast:
        maker.tensor("z", made, cast)
        maker.operator("CAST", "y", "z", "Cast")
    return maker.content("x", "z" if cast else "y")


def litert(content: bytes, x: Array) -> Array:
    runner = interpreter.Interpreter(model_content=content, num_threads=1)
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], x)
    runner.invoke()
    result: Array = runner.get_tensor(runner.get_output_details()[0]["index"])
    return result


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("result", ["int32", "int64"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [*(((1, 4, 3, channels), -1) for channels in (1, 3, 17, 100)), ((1, 5), 1), (IMAGE, 1), (IMAGE, 2)],
)
def test_tflite_of_few_values(dtype, result, shape, axis, tmp_path):
    """Values from -2 to 2, of which many are equal, and then any."""
    content = tflite_model(shape, axis, dtype, result)
    network = import_tflite(tflite.saved(content, tmp_path))
    rng = np.random.default_rng(1)
    for x in (rng.integers(-2, 3, shape), rng.integers(-128, 128, shape)):
        typed = x.astype(dtype)
        got = oracle.run(network, {"x": typed})["y"]
        want = litert(content, typed)
        assert got.dtype == np.int32
        assert got.shape == want.shape
        np.testing.assert_array_equal(got, want)


def test_tflite_indices_may_become_int32(tmp_path):
    network = import_tflite(tflite.saved(tflite_model(IMAGE, 3, "float32", "int64", cast="int32"), tmp_path))
    assert op_names(network) == ["ArgMax"]


def test_tflite_refusals(tmp_path):
    with pytest.raises(UnsupportedError, match="CAST: to float32; only indices of an argmax, to int32 or int64, are"):
        import_tflite(tflite.saved(tflite_model(IMAGE, 3, "float32", "int64", cast="float32"), tmp_path))
    maker = tflite.ModelMaker()
    maker.tensor("x", IMAGE)
    maker.constant("axis", tflite.int32(1, 2))
    maker.tensor("y", (1, 7), "int32")
    maker.operator("ARG_MAX", "x axis", "y", "ArgMax")
    with pytest.raises(BadInputError, match=r"ARG_MAX: needs one axis, not \[1, 2\]"):
        import_tflite(tflite.saved(maker.content(), tmp_path))


# net.yaml


@pytest.mark.parametrize("text", ["argmax", "argmax: {ties: last}", "argmax: {keep_axis: true}"])
def test_net_yaml_is_read_and_written(text):
    network = netfiles.network(f"- conv: {{name: c, out: 5, kernel: 1}}\n- {text}")
    assert f"    - {text}\n" in network_text(network)
    assert network.layers[-1].op == ArgMax("keep" in text, "last" in text)
    assert network.tensor("argmax").shape == ((1, 8, 8, 1) if "keep" in text else (1, 8, 8))


def test_net_yaml_names_the_ties_that_there_are():
    found = netfiles.only(netfiles.diagnostics(netfiles.frame("- argmax: {ties: middle}")))
    assert "first" in found.render()


# Quantization


def test_a_quantized_network_keeps_its_argmax():
    made = quantizing.quantized("- conv: {name: c, out: 5, kernel: 3}\n- argmax: {name: map}")
    network = made.network
    assert network.tensor("map") == Tensor("map", (1, 9, 7), "int32")
    assert network.tensor(network.layers[-1].inputs[0]).dtype == "int8"
    assert [report.name for report in made.layers] == ["c"]
    assert made.agreement.sqnr_db > 20


def test_a_factorized_network_is_judged_by_its_scores():
    layers = "- conv: {name: c, out: 8, kernel: 3}\n- conv: {name: scores, out: 5, kernel: 3}"
    changes = []
    for more in ("", "\n- argmax"):
        network = netfiles.network(layers + more)
        samples = [{"x": randoms(1, 8, 8, 4, seed=seed)} for seed in range(3)]
        other = replace(network, weights={**network.weights, "c.kernel": 0.9 * network.weights["c.kernel"]})
        changes.append(Reference(network, samples).change(other))
    assert changes[0] == changes[1]
    assert changes[0].error > 0


# GPUs


def test_no_kernel_for_gpus():
    network = netfiles.network("- argmax: {name: map}")
    with pytest.raises(UnsupportedError, match="an argmax has no kernel for cuda-sm80") as caught:
        plan_gpu_program(network, find_target("cuda-sm80"))
    assert "take the index of the largest element on the host" in str(caught.value.diagnostics[0].help)


# Near ties


def near(x: Array, *moves: Op) -> Array:
    """The second-best indices of x, moved."""
    net = NetworkBuilder("near")
    name = net.add("index", ArgMax(), [net.input(Tensor("x", x.shape))])
    for number, op in enumerate(moves):
        name = net.add(f"move{number}", op, [name])
    network = net.build([name])
    return runners_up(network, oracle.run_all(network, {"x": x}), 1e-4)[name]


def test_a_runner_up_is_as_large_but_for_rounding():
    x = np.array([[[1, 4, 4.0001], [1, 3, 4], [4, 2, 3.9999]]], np.float32)
    assert near(x).tolist() == [[1, -1, 2]]
    assert near(x, Reshape((1, 3, 1)), Transpose((0, 2, 1))).tolist() == [[[1, -1, 2]]]


def test_one_channel_has_no_runner_up():
    assert near(np.ones((1, 2, 1), np.float32)).tolist() == [[-1, -1]]


def test_indices_of_integers_have_no_runner_up():
    net = NetworkBuilder("int8", "tflite")
    net.add("y", ArgMax(), [net.input(Tensor("x", (1, 2), "int8", Q))])
    network = net.build(["y"])
    assert runners_up(network, {"x": np.zeros((1, 2), np.int8), "y": np.zeros(1, np.int32)}, 1e-4) == {}


def test_a_softmax_before_it_changes_nothing():
    x = np.random.default_rng(2).standard_normal((1, 4, 4, 9)).astype(np.float32)
    np.testing.assert_array_equal(one(ArgMax(), one(Softmax(), x)), one(ArgMax(), x))


# Verification


def row(*values: int) -> list[Array]:
    return [np.array(values, np.int32)]


def test_an_index_that_is_as_good_is_no_mismatch():
    others = [{"y": np.array([-1, 2, 2], np.int32)}]
    want = [row(0, 1, 1)]
    for got, wrong in ((row(0, 1, 2), 0), (row(0, 2, 0), 1), (row(1, 2, 2), 1)):
        assert compare("oracle", ["y"], [got], want, others=others).mismatches == wrong
        assert compare("oracle", ["y"], want, [got], others=others).mismatches == wrong
    assert compare("oracle", ["y"], [row(0, 1, 2)], want).mismatches == 1


def doubles(folder: Path, *, apart: float, size: int = 12) -> Path:
    """A net.yaml whose argmax reads four channels, of which the last is a sum of the first two but for `apart`."""
    kernel = np.random.default_rng(5).standard_normal((1, 1, 3, 4)).astype(np.float32)
    kernel[..., 0] = 3 * np.abs(kernel[..., 0])
    kernel[..., 3] = kernel[..., 0] * np.float32(1 + apart)
    np.savez(folder / "net.npz", **{"c.kernel": kernel})
    path = folder / "net.yaml"
    path.write_text(
        "dscompile: 1\nnetwork:\n  name: doubles\n"
        f"  input: {{name: x, shape: [1, {size}, {size}, 3]}}\n  layers:\n"
        "    - pointwise: {name: c, out: 4, bias: false}\n    - argmax: {name: map}\nweights: {file: net.npz}\n",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize("target", [TARGETS[0], "c99"])
@pytest.mark.parametrize(("apart", "size"), [(0.0, 12), (1e-7, 12), (0.5, 12), (1e-7, 140)], ids=str)
def test_artifacts_with_near_ties_are_verified(apart, size, target, tmp_path):
    dscompile.build(doubles(tmp_path, apart=apart, size=size), target=target, output=tmp_path / "out")
    checked = dscompile.verify(tmp_path / "out")
    assert checked.ok, [check.detail for check in checked.checks]
    with np.load(tmp_path / "out" / "vectors.npz") as vectors:
        assert vectors["other0"].max() == (-1 if apart == 0.5 else 3)
    header = (tmp_path / "out" / "doubles.h").read_text()
    assert f'output "map": int32 [1, {size}, {size}]' in header
    assert "SCALE" not in header


@pytest.mark.parametrize(("target", "literal"), [(TARGETS[0], "1.0f"), ("c99", "1")])
@pytest.mark.parametrize("apart", [0.5, 1e-7])
def test_a_selftest_sees_another_index(target, literal, apart, tmp_path):
    artifact = dscompile.build(doubles(tmp_path, apart=apart), target=target, output=tmp_path / "out").artifact
    assert run_selftest(artifact).passed
    path = artifact.directory / "selftest.c"
    head, marker, rest = path.read_text().partition("output_samples[] = {" if target != "c99" else "expected_output[")
    assert f" {literal}," in rest
    path.write_text(head + marker + rest.replace(f" {literal},", f" {literal.replace('1', '2')},", 1))
    assert not run_selftest(artifact).passed


def test_verify_sees_another_index(tmp_path):
    """The vectors of one network beside the code of another."""
    built = [
        dscompile.build(doubles(tmp_path, apart=apart), target="c99", output=tmp_path / f"{apart}")
        for apart in (0.5, -0.5)
    ]
    swapped = [read_vectors(model.artifact.directory / FILE_NAME, model.artifact.manifest.outputs) for model in built]
    got = [[output[0]] for output in (swapped[0].outputs[0][None],)]
    want = [[output[0]] for output in (swapped[1].outputs[0][None],)]
    assert not compare("oracle", ["map"], got, want, others=[{"map": swapped[1].others[0]}]).ok

"""The benchmark against other runtimes: its TFLite twins, its arithmetic, and one run of it all."""

import json
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper

from benchmarks import peers
from benchmarks.floors import shortfalls
from benchmarks.models import find_model, quantized_model
from benchmarks.table_function import FUNCTIONS, function_of
from benchmarks.tables import Row, Table, markdown, summary
from benchmarks.tflite_twin import write_twin
from benchmarks.worker import ContenderError, Worker
from dscompile import oracle
from dscompile.errors import UnsupportedError
from dscompile.frontend.load import load_network
from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import (
    HARD_SIGMOID,
    HARD_SWISH,
    NONE,
    RELU,
    RELU6,
    SIGMOID,
    SWISH,
    TANH,
    Activation,
    Binary,
    Concat,
    Conv2D,
    Dense,
    Dequantize,
    Lookup,
    Mean,
    Pads,
    Pool,
    Quantize,
    Reshape,
    Shuffle,
    Slice,
    Softmax,
)
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.passes import canonicalize


def convolution(builder, rng, name, op, source):
    channels = builder.tensors[source].shape[3]
    kernel = rng.normal(size=(*op.kernel, channels // op.groups, op.out_channels)).astype(np.float32)
    bias = rng.normal(size=op.out_channels).astype(np.float32)
    return builder.add(name, op, [source], kernel=kernel, bias=bias)


def run_litert(path, x):
    runner = Interpreter(model_path=str(path), num_threads=1)
    runner.allocate_tensors()
    runner.set_tensor(runner.get_input_details()[0]["index"], x)
    runner.invoke()
    return runner.get_tensor(runner.get_output_details()[0]["index"])


def assert_twin_agrees(network, rng, tmp_path):
    path = tmp_path / "twin.tflite"
    write_twin(network, path)
    x = rng.normal(size=network.shape(network.inputs[0])).astype(np.float32)
    want = oracle.run(network, {network.inputs[0]: x})[network.outputs[0]]
    np.testing.assert_allclose(run_litert(path, x), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "op",
    [
        Conv2D(5, (3, 3), (2, 2), Pads(1, 1, 1, 1), activation=RELU6),  # ONNX's padding, not TFLite's SAME
        Conv2D(5, (3, 3), (2, 2), Pads(0, 1, 0, 1)),  # one row at the end
        Conv2D(5, (3, 2), (1, 1), Pads(2, 0, 0, 3), (2, 1)),
        Conv2D(34, (5, 5), (1, 1), Pads(2, 2, 2, 2), groups=17, activation=HARD_SWISH),
        Conv2D(17, (3, 3), (2, 2), Pads(1, 1, 1, 1), groups=17, activation=RELU),
    ],
)
def test_a_twins_convolutions_pad_and_order_channels_as_the_original(op, rng, tmp_path):
    builder = NetworkBuilder("net")
    source = builder.input(Tensor("x", (1, 10, 13, 17)))
    assert_twin_agrees(builder.build([convolution(builder, rng, "conv", op, source)]), rng, tmp_path)


@pytest.mark.parametrize("activation", [NONE, RELU, RELU6, HARD_SWISH, HARD_SIGMOID, SWISH, SIGMOID, TANH])
def test_a_twin_has_every_activation(activation, rng, tmp_path):
    builder = NetworkBuilder("net")
    source = builder.input(Tensor("x", (1, 4, 5, 3)))
    output = convolution(builder, rng, "conv", Conv2D(6, (1, 1), activation=activation), source)
    assert_twin_agrees(builder.build([output]), rng, tmp_path)


def test_a_twin_of_a_whole_network_agrees_with_the_oracle(rng, tmp_path):
    builder = NetworkBuilder("net")
    source = builder.input(Tensor("x", (1, 9, 11, 8)))
    left = convolution(builder, rng, "left", Conv2D(8, (1, 1)), source)
    both = builder.add("sum", Binary("add", RELU), [left, source])
    gate = builder.add("squeeze", Pool("average"), [both])
    gate = convolution(builder, rng, "excite", Conv2D(8, (1, 1), activation=HARD_SIGMOID), gate)
    scaled = builder.add("scaled", Binary("mul"), [both, gate])
    joined = builder.add("joined", Concat(3), [scaled, left])
    small = builder.add("small", Pool("max", (2, 2), (2, 2)), [joined])
    flat = builder.add("flat", Reshape((1, 4 * 5 * 16)), [builder.add("mean", Pool("average", (1, 1)), [small])])
    kernel = rng.normal(size=(320, 7)).astype(np.float32) / 20
    logits = builder.add("logits", Dense(7), [flat], kernel=kernel)
    assert_twin_agrees(builder.build([builder.add("y", Softmax(), [logits])]), rng, tmp_path)


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (Conv2D(8, (1, 1), groups=2), "layer odd: the TFLite twin has no grouped convolution"),
        (
            Conv2D(8, (1, 1), activation=Activation("clip", -1.0, 1.0)),
            "layer odd: the TFLite twin has no activation clip",
        ),
    ],
)
def test_a_layer_without_counterpart_is_named(op, text, rng, tmp_path):
    builder = NetworkBuilder("net")
    source = builder.input(Tensor("x", (1, 4, 5, 8)))
    network = builder.build([convolution(builder, rng, "odd", op, source)])
    with pytest.raises(UnsupportedError, match=text):
        write_twin(network, tmp_path / "twin.tflite")


def test_a_pool_without_counterpart_is_named(tmp_path):
    builder = NetworkBuilder("net")
    source = builder.input(Tensor("x", (1, 4, 5, 8)))
    pool = Pool("average", (3, 3), (1, 1), Pads(1, 1, 1, 1), count_pads=True)
    network = builder.build([builder.add("odd", pool, [source])])
    with pytest.raises(UnsupportedError, match="layer odd: the TFLite twin has no pool with such padding"):
        write_twin(network, tmp_path / "twin.tflite")


def test_ratios_are_formed_round_by_round():
    # The machine is ten times slower in the second round; the medians alone would say 1.0 for both.
    own = Row("dscompile", median_us=10.0, rounds_us=[10.0, 100.0, 10.0], rounds_cpu_us=[8.0, 8.0, 8.0])
    peer = Row("litert", median_us=12.0, rounds_us=[12.0, 120.0, 12.0], rounds_cpu_us=[16.0, 8.0, 16.0])
    peers._relate([own, peer], macs=1_000_000, threads=1, peak_gflops=1000.0)
    assert (own.ratio, own.cpu_ratio) == (1.0, 1.0)
    assert (peer.ratio, peer.cpu_ratio) == (1.2, 2.0)
    assert own.peak_fraction == pytest.approx(0.2)


def test_a_table_names_differing_outputs_and_absent_contenders():
    rows = [
        Row("dscompile", version="1", median_us=1500.0, max_error=0.5, load_s=0.01),
        Row("litert", unavailable="it is ill"),
    ]
    table = Table("net", "float32", 2_000_000, 1, "onnxruntime", {"x86-avx2": 60.0}, rows)
    text = markdown(table)
    assert not table.all_agree
    assert "## net: 2 MMAC, float32, 1 thread; FMA peak of a core, GFLOP/s: x86-avx2 60.0" in text
    assert "| dscompile 1 | 1.50 |" in text
    assert "| litert | not measured: it is ill |" in text
    assert "**Outputs differ** from onnxruntime's by more than 0.0001" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_of_int8_only_our_own_outputs_must_be_the_references_and_those_exactly():
    def agree(own: float) -> bool:
        rows = [Row("dscompile", max_error=own), Row("openvino", max_error=0.1)]
        return Table("net", "int8", 1, 1, "exact", {}, rows).all_agree

    assert agree(0.0)
    assert not agree(1e-9)


def measured(**values):
    peer = Row("litert", median_us=13_000.0, cpu_ratio=1.3, ratio=1.2, rounds_us=[13_000.0])
    slow = Row("ncnn", median_us=20_000.0, cpu_ratio=2.0, ratio=2.0, rounds_us=[20_000.0])
    own = Row("dscompile", median_us=10_000.0, cpu_ratio=1.0, ratio=1.0, rounds_us=[10_000.0], **values)
    return Table("mobilenetv2_100", "float32", 1, 1, "onnxruntime", {}, [own, slow, peer])


def test_the_summary_names_the_best_peer_and_the_geometric_mean():
    text = summary([measured(), measured()])
    assert text.count("| mobilenetv2_100 | 10.00 | litert | 13.00 | 1.20 | 1.30 |") == 2
    assert "| geometric mean | | | | 1.20 | 1.30 |" in text


def test_of_several_threads_the_best_peer_is_the_fastest_by_the_clock():
    table = measured()
    table.rows[1].ratio = 1.1
    assert (table.best_peer, table.best_ratio) == (table.rows[2], 1.3)
    table.threads = 2
    assert (table.best_peer, table.best_ratio) == (table.rows[1], 1.1)


def test_what_misses_a_floor_is_named():
    assert list(shortfalls(measured())) == []
    large = {"model_rss_bytes": 30_000_000, "model_bytes": 14_000_000, "arena_bytes": 1_000_000}
    (memory,) = shortfalls(measured(**large))
    assert memory == "mobilenetv2_100: 15.0 MB of memory beside library and arena, at most 8 are asked for"
    slow = measured(load_s=0.03, build_s=100.0)
    slow.rows[2].cpu_ratio = 1.1
    assert list(shortfalls(slow)) == [
        "mobilenetv2_100: litert takes 1.10 of dscompile's time, 1.22 is asked for",
        "mobilenetv2_100: loading takes 30 ms, at most 20 are asked for",
        "mobilenetv2_100: building takes 100 s, at most 90 are asked for",
    ]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_table_is_known_by_its_entries(name):
    given, made = (
        Quantization((0.047,), 11),
        Quantization((1 / 255,), -128) if "sigmoid" in name else Quantization((0.04,)),
    )
    x = given.scale * (np.arange(-128, 128) - given.zero_point)
    table = np.clip(np.rint(FUNCTIONS[name](x) / made.scale) + made.zero_point, -128, 127).astype(np.int8)
    assert function_of(table, given, made) == name
    assert function_of(table[::-1], given, made) is None


def test_networks_of_the_zoo_are_written_channels_first(tmp_path):
    path = find_model("ds_cnn", tmp_path)
    (info,) = onnx.load(path).graph.input
    assert [dimension.dim_value for dimension in info.type.tensor_type.shape.dim] == [1, 1, 49, 10]


def test_a_quantized_twin_gives_the_bytes_of_the_model(tiny_onnx, tmp_path):
    network = canonicalize(load_network(quantized_model(tiny_onnx, tmp_path)).network)
    path = tmp_path / "twin.tflite"
    write_twin(network, path)
    x = np.random.default_rng(1).normal(size=(1, 16, 16, 3)).astype(np.float32)
    want = oracle.run(network, {network.inputs[0]: x})[network.outputs[0]]
    np.testing.assert_array_equal(run_litert(path, x), want)


def test_a_twin_has_what_int8_networks_move_and_look_up(tmp_path):
    """Concatenations, slices, shuffles, means, products and tables, all of one int8 scale."""
    q = Quantization((0.05,), -128)
    builder = NetworkBuilder("net", "float32")
    source = builder.input(Tensor("x", (1, 8, 8, 8)))
    x = builder.add("q", Quantize(), [source], quantization=q)
    left, right = (builder.add(f"s{at}", Slice((0, 0, 0, at), (1, 8, 8, 4)), [x]) for at in (0, 4))
    mixed = builder.add("shuffled", Shuffle(2), [builder.add("joined", Concat(3), [right, left])])
    small = builder.add("pooled", Pool("max", (3, 3), (2, 2), Pads(1, 1, 1, 1)), [mixed])
    reals = q.scale * (np.arange(-128, 128) + 128)
    table = np.clip(np.rint(FUNCTIONS["hard_swish"](reals) / q.scale) - 128, -128, 127).astype(np.int8)
    active = builder.add("active", Lookup(), [small], quantization=q, table=table)
    gate = builder.add("mean", Mean(), [active], quantization=q)
    scaled = builder.add("scaled", Binary("mul", rounded_as="centered"), [active, gate], quantization=q)
    network = builder.build([builder.add("y", Dequantize(), [scaled])])
    path = tmp_path / "twin.tflite"
    write_twin(network, path)
    values = np.random.default_rng(2).uniform(0, 12, (1, 8, 8, 8)).astype(np.float32)
    want = oracle.run(network, {"x": values})["y"]
    assert np.abs(run_litert(path, values) - want).max() <= 2.001 * q.scale  # LiteRT's hard-swish is 16 bits wide


def test_more_threads_than_cores_are_refused(capsys):
    assert peers.main(["--threads", "4096"]) == 2
    assert "4096 threads" in capsys.readouterr().err


def test_a_missing_model_is_an_error_without_traceback(capsys, tmp_path):
    assert peers.main(["--networks", str(tmp_path / "none.onnx")]) == 3
    assert "none.onnx' does not exist" in capsys.readouterr().err


@pytest.fixture
def tiny_onnx(rng, tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    weights = {"k": rng.normal(size=(8, 3, 3, 3)), "b": rng.normal(size=8)}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 8, 8])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    path = tmp_path / "tiny.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.slow
def test_a_contender_that_cannot_load_says_why(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(ContenderError, match=r"broken\.onnx"):
        Worker("onnxruntime", broken, 1, [0])


@pytest.mark.slow
def test_one_command_builds_compares_and_measures(tiny_onnx, tmp_path, capsys):
    result = tmp_path / "result.json"
    names = ["dscompile", "onnxruntime", "litert"]
    arguments = ["--networks", str(tiny_onnx), "--rounds", "2", "--output", str(tmp_path / "out")]
    assert peers.main([*arguments, "--json", str(result), "--contenders", *names]) == 0
    table = json.loads(result.read_text())["results"][0]
    assert [row["contender"] for row in table["rows"]] == names
    assert table["macs"] == 8 * 8 * 8 * 27
    assert table["reference"] == "onnxruntime"
    for row in table["rows"]:
        assert row["max_error"] < 1e-5
        assert row["repeats"] >= 6
        assert len(row["rounds_us"]) == 2
        assert row["load_s"] > 0
        assert row["peak_rss_bytes"] > row["model_rss_bytes"] >= 0
        assert row["model_bytes"] > 0
    assert "| onnxruntime " in capsys.readouterr().out


@pytest.mark.slow
def test_int8_is_compared_with_exact_sums(tiny_onnx, tmp_path, capsys):
    arguments = [
        "--networks",
        str(tiny_onnx),
        "--rounds",
        "2",
        "--output",
        str(tmp_path / "out"),
        "--precision",
        "int8",
    ]
    result = tmp_path / "result.json"
    names = ["dscompile", "onnxruntime", "litert"]
    assert peers.main([*arguments, "--json", str(result), "--contenders", *names]) == 0
    table = json.loads(result.read_text())["results"][0]
    assert (table["precision"], table["reference"]) == ("int8", "onnxruntime with exact sums")
    assert table["rows"][0]["max_error"] == 0
    assert "int8, 1 thread" in capsys.readouterr().out


def test_the_tests_have_the_peer_that_the_benchmark_was_measured_with():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    pins = {name: [line for line in extras[name] if line.startswith("onnxruntime=")] for name in ("test", "bench")}
    assert pins["test"] == pins["bench"] != []

"""What each kind of layer in a net.yaml becomes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from dscompile.errors import UnsupportedError
from dscompile.frontend.loaded import NetFile
from dscompile.frontend.settings import Calibration, TargetSettings
from dscompile.ir.ops import (
    HARD_SIGMOID,
    HARD_SWISH,
    NONE,
    RELU,
    RELU6,
    SIGMOID,
    SWISH,
    TANH,
    Activate,
    Activation,
    BatchNorm,
    Binary,
    Concat,
    Constant,
    Conv2D,
    Dense,
    Op,
    Pad,
    Pads,
    Pool,
    Reshape,
    Softmax,
    Transpose,
)
from tests.unit.netfiles import diagnostics, frame, network, read

EXAMPLE = """\
dscompile: 1
network:
  name: kws
  input: {name: mfcc, shape: [1, 49, 10, 1]}          # NHWC, batch first
  defaults: {padding: same, activation: relu}
  layers:
    - conv:      {name: stem, out: 64, kernel: [10, 4], stride: 2}
    - separable: {name: block, out: 64, kernel: 3, repeat: 4}
    - pool:      {kind: average, over: all}
    - dense:     {name: classifier, out: 12, activation: none}
    - softmax
  labels: [silence, unknown, "yes", "no", up, down, left, right, "on", "off", stop, go]
weights: {file: kws.npz}            # .npz, .safetensors; or {seed: 7} for random ones
quantization:
  scheme: int8
  rounding: tflite
  calibration: {file: calib.npz, method: percentile, keep: 0.9999}
targets:
  cortex-m4: {arena: 20 KiB, flash: 64 KiB}           # exceeded -> exit 4
  x86: {threads: 2}
"""


@pytest.fixture
def example(tmp_path: Path) -> NetFile:
    calibration = "  calibration: {file: calib.npz, method: percentile, keep: 0.9999}\n"
    seeded = read(EXAMPLE.replace("{file: kws.npz}", "{seed: 7}").replace(calibration, ""))
    np.savez(tmp_path / "kws.npz", **dict(seeded.network.weights))
    (tmp_path / "calib.npz").write_bytes(b"")
    return read(EXAMPLE, tmp_path)


def test_the_example_of_the_interface_page_has_its_layers(example: NetFile) -> None:
    names = [layer.name for layer in example.network.layers]
    assert names == [
        "stem",
        "block1.depthwise",
        "block1.pointwise",
        "block2.depthwise",
        "block2.pointwise",
        "block3.depthwise",
        "block3.pointwise",
        "block4.depthwise",
        "block4.pointwise",
        "pool",
        "classifier.flatten",
        "classifier",
        "softmax",
    ]
    stem = Conv2D(64, (10, 4), (2, 2), Pads(4, 5, 1, 1), activation=RELU)
    assert example.network.layers[0].op == stem
    assert example.network.layers[1].op == Conv2D(64, (3, 3), pads=Pads(1, 1, 1, 1), groups=64, activation=RELU)
    assert example.network.layers[2].op == Conv2D(64, (1, 1), activation=RELU)
    assert example.network.layers[11].op == Dense(12)
    assert example.network.shape("stem") == (1, 25, 5, 64)
    assert example.network.shape("softmax") == (1, 12)


def test_the_example_of_the_interface_page_has_its_other_sections(example: NetFile, tmp_path: Path) -> None:
    assert example.network.outputs == ("softmax",)
    assert example.network.labels[2:4] == ("yes", "no")
    assert example.budgets == {
        "cortex-m4": TargetSettings(arena_bytes=20480, flash_bytes=65536),
        "x86": TargetSettings(threads=2),
    }
    assert example.quantization is not None
    assert example.quantization.rounding == "tflite"
    assert example.quantization.calibration == Calibration(tmp_path / "calib.npz", "percentile", 0.9999)
    position = example.positions["block3.pointwise"]
    assert (position.line, position.column, position.length) == (8, 7, 9)


@pytest.mark.parametrize(
    ("layer", "op"),
    [
        ("conv: {out: 6, kernel: 3}", Conv2D(6, (3, 3), pads=Pads(1, 1, 1, 1))),
        ("conv: {out: 6, kernel: [3, 1], padding: valid}", Conv2D(6, (3, 1))),
        ("conv: {out: 6, kernel: 3, stride: 2}", Conv2D(6, (3, 3), (2, 2), Pads(0, 1, 0, 1))),
        ("conv: {out: 6, kernel: 5, stride: [2, 1]}", Conv2D(6, (5, 5), (2, 1), Pads(1, 2, 2, 2))),
        ("conv: {out: 6, kernel: 3, dilation: 2}", Conv2D(6, (3, 3), pads=Pads(2, 2, 2, 2), dilation=(2, 2))),
        ("conv: {out: 6, kernel: 3, groups: 2, padding: 1}", Conv2D(6, (3, 3), pads=Pads(1, 1, 1, 1), groups=2)),
        ("conv: {out: 6, kernel: 3, padding: [0, 2]}", Conv2D(6, (3, 3), pads=Pads(0, 0, 2, 2))),
        ("conv: {out: 6, kernel: 3, padding: [1, 2, 0, 3]}", Conv2D(6, (3, 3), pads=Pads(1, 2, 0, 3))),
        ("depthwise: {kernel: 3}", Conv2D(4, (3, 3), pads=Pads(1, 1, 1, 1), groups=4)),
        (
            "depthwise: {kernel: 7, multiplier: 2, stride: 2, activation: relu6}",
            Conv2D(8, (7, 7), (2, 2), Pads(2, 3, 2, 3), groups=4, activation=RELU6),
        ),
        ("pointwise: {out: 17, activation: swish}", Conv2D(17, (1, 1), activation=SWISH)),
        ("pool: {kind: average, over: all}", Pool("average")),
        ("pool: {kind: max, kernel: 2}", Pool("max", (2, 2), (2, 2))),
        ("pool: {kind: max, kernel: 3, stride: 2}", Pool("max", (3, 3), (2, 2), Pads(0, 1, 0, 1))),
        (
            "pool: {kind: average, kernel: 3, stride: 1, padding: 1, count_pads: true, activation: relu}",
            Pool("average", (3, 3), (1, 1), Pads(1, 1, 1, 1), True, RELU),
        ),
        ("add: {from: [x, x]}", Binary("add")),
        ("mul: {from: [x, x], activation: relu}", Binary("mul", RELU)),
        ("concat: {from: [x, x]}", Concat(3)),
        ("concat: {from: [x, x, x], axis: 1}", Concat(1)),
        ("concat: {from: [x, x], axis: -2}", Concat(2)),
        ("relu", Activate(RELU)),
        ("relu6", Activate(RELU6)),
        ("hard_swish", Activate(HARD_SWISH)),
        ("hard_sigmoid", Activate(HARD_SIGMOID)),
        ("hard_sigmoid: {alpha: 0.2}", Activate(Activation("hard_sigmoid", alpha=0.2))),
        ("swish", Activate(SWISH)),
        ("sigmoid", Activate(SIGMOID)),
        ("tanh", Activate(TANH)),
        ("leaky_relu", Activate(Activation("leaky_relu", alpha=0.01))),
        ("leaky_relu: {alpha: 0.3}", Activate(Activation("leaky_relu", alpha=0.3))),
        ("prelu", Activate(Activation("prelu"))),
        ("clip: {low: -1, high: 0.5}", Activate(Activation("clip", -1.0, 0.5))),
        ("clip: {high: 2}", Activate(Activation("clip", -math.inf, 2.0))),
        ("clip: {low: 0, high: .inf}", Activate(RELU)),
        ("activation: {kind: hard_swish}", Activate(HARD_SWISH)),
        ("activation: {kind: leaky_relu, alpha: 0.2}", Activate(Activation("leaky_relu", alpha=0.2))),
        ("activation: {kind: none}", Activate(NONE)),
        ("pad: {padding: [0, 1, 0, 1]}", Pad(Pads(0, 1, 0, 1))),
        ("pad: {padding: 2, value: -1}", Pad(Pads(2, 2, 2, 2), -1.0)),
        ("reshape: {shape: [1, 16, 4, 4]}", Reshape((1, 16, 4, 4))),
        ("reshape: {shape: [1, -1]}", Reshape((1, 256))),
        ("flatten", Reshape((1, 256))),
        ("softmax", Softmax()),
        ("softmax: {beta: 0.5}", Softmax(0.5)),
        ("batch_norm", BatchNorm(1e-3)),
        ("batch_norm: {epsilon: 1e-5}", BatchNorm(1e-5)),
        ("transpose: {permutation: [0, 3, 1, 2]}", Transpose((0, 3, 1, 2))),
        ("constant: {shape: [1, 1, 1, 4]}", Constant((1, 1, 1, 4))),
    ],
)
def test_kind_becomes_operator(layer: str, op: Op) -> None:
    net = network(f"- {layer}")
    assert [la.op for la in net.layers] == [op]
    assert net.layers[0].name == layer.partition(":")[0]


def test_defaults_reach_layers_with_weights_and_pools_padding_only() -> None:
    rest = "  defaults: {padding: valid, activation: relu6}\n"
    net = network(
        "- conv: {out: 4, kernel: 3}\n- pool: {kind: max, kernel: 2, stride: 1}\n- add: {from: [x, x]}", rest=rest
    )
    assert [layer.op for layer in net.layers] == [
        Conv2D(4, (3, 3), activation=RELU6),
        Pool("max", (2, 2)),
        Binary("add"),
    ]


def test_stride_of_a_repeated_block_belongs_to_its_first_repeat() -> None:
    net = network("- separable: {name: b, out: 8, kernel: 3, stride: 2, repeat: 3}")
    strides = [layer.op.stride for layer in net.layers if isinstance(layer.op, Conv2D) and layer.op.groups > 1]
    assert strides == [(2, 2), (1, 1), (1, 1)]
    assert net.shape(net.outputs[0]) == (1, 4, 4, 8)


def test_repeats_of_a_name_ending_in_a_digit_are_set_apart() -> None:
    net = network("- conv: {name: row2, out: 4, kernel: 1, repeat: 2}")
    assert [layer.name for layer in net.layers] == ["row2_1", "row2_2"]


def test_inverted_residual_adds_its_input_at_stride_1_with_equal_channels() -> None:
    net = network("- inverted_residual: {name: b, expand: 6, out: 4}")
    assert [(layer.name, layer.inputs) for layer in net.layers] == [
        ("b.expand", ("x",)),
        ("b.depthwise", ("b.expand",)),
        ("b.project", ("b.depthwise",)),
        ("b.add", ("x", "b.project")),
    ]
    assert [layer.op for layer in net.layers] == [
        Conv2D(24, (1, 1), activation=RELU6),
        Conv2D(24, (3, 3), pads=Pads(1, 1, 1, 1), groups=24, activation=RELU6),
        Conv2D(4, (1, 1)),
        Binary("add"),
    ]


@pytest.mark.parametrize("keys", ["expand: 6, out: 5", "expand: 6, out: 4, stride: 2"])
def test_inverted_residual_has_no_sum_at_stride_2_or_other_channels(keys: str) -> None:
    net = network(f"- inverted_residual: {{name: b, {keys}}}")
    assert [layer.name for layer in net.layers] == ["b.expand", "b.depthwise", "b.project"]


def test_expansion_by_1_has_no_layer_and_fractions_round_to_the_nearest_channel() -> None:
    assert [la.name for la in network("- inverted_residual: {name: b, expand: 1, out: 8}").layers] == [
        "b.depthwise",
        "b.project",
    ]
    hidden = network("- inverted_residual: {name: b, expand: 3.67, out: 40}", "[1, 8, 8, 24]").layers[0].op
    assert isinstance(hidden, Conv2D)
    assert hidden.out_channels == 88  # MobileNetV3-Small: 24 * 3.67 = 88.08


def test_squeeze_excite_inside_an_inverted_residual_gates_the_expanded_channels() -> None:
    net = network(
        "- inverted_residual: {name: b, expand: 4, out: 4, squeeze_excite: 0.25, kernel: 5, activation: hard_swish}"
    )
    assert [(la.name, la.inputs) for la in net.layers[2:6]] == [
        ("b.squeeze.pool", ("b.depthwise",)),
        ("b.squeeze.reduce", ("b.squeeze.pool",)),
        ("b.squeeze.expand", ("b.squeeze.reduce",)),
        ("b.squeeze.scale", ("b.depthwise", "b.squeeze.expand")),
    ]
    assert [la.op for la in net.layers[2:6]] == [
        Pool("average"),
        Conv2D(4, (1, 1), activation=RELU),
        Conv2D(16, (1, 1), activation=SIGMOID),
        Binary("mul"),
    ]
    assert net.layers[6].inputs == ("b.squeeze.scale",)


def test_squeeze_excite_takes_channels_and_a_gate() -> None:
    net = network("- squeeze_excite: {name: s, channels: 3, gate: hard_sigmoid, activation: swish}")
    assert [la.op for la in net.layers[1:3]] == [
        Conv2D(3, (1, 1), activation=SWISH),
        Conv2D(4, (1, 1), activation=HARD_SIGMOID),
    ]
    inner = network("- inverted_residual: {name: b, expand: 2, out: 5, squeeze_excite: {channels: 3}}")
    assert inner.shape("b.squeeze.reduce") == (1, 1, 1, 3)


def test_unnamed_layers_are_numbered_from_the_second_on_around_given_names() -> None:
    net = network("- relu\n- relu\n- tanh: {name: relu3}\n- relu")
    assert [layer.name for layer in net.layers] == ["relu", "relu2", "relu3", "relu4"]


def test_from_takes_layers_blocks_repeats_and_results_by_name() -> None:
    net = network(
        """
- separable: {name: block, out: 4, kernel: 3, repeat: 2}
- relu: {name: a, from: block}
- relu: {name: b, from: block1}
- relu: {name: c, from: block1.depthwise, output: renamed}
- add: {name: d, from: [c, renamed]}
"""
    )
    assert [layer.inputs for layer in net.layers[4:]] == [
        ("block2.pointwise",),
        ("block1.pointwise",),
        ("block1.depthwise",),
        ("renamed", "renamed"),
    ]


def test_output_of_a_block_names_its_result() -> None:
    net = network("- inverted_residual: {name: b, out: 4, output: features}")
    assert net.outputs == ("features",)
    assert net.layers[-1].name == "b.add"


def test_layout_nchw_reads_the_shape_in_that_order() -> None:
    text = frame("- relu", rest="  outputs: [{name: relu, layout: nchw}]\n").replace(
        "{name: x, shape: [1, 8, 8, 4]}", "{name: x, shape: [1, 3, 5, 7], layout: nchw}"
    )
    net = read(text).network
    assert net.shape("x") == (1, 5, 7, 3)
    assert net.tensor("x").border_shape == (1, 3, 5, 7)
    assert net.tensor("relu").border == "nchw"
    assert net.shape("relu") == (1, 5, 7, 3)


def test_several_inputs_and_outputs() -> None:
    text = frame("- add: {from: [left, right]}\n- relu", rest="  outputs: [relu, add]\n").replace(
        "  input: {name: x, shape: [1, 8, 8, 4]}\n",
        "  inputs:\n    - {name: left, shape: [1, 4]}\n    - {name: right, shape: [1, 4]}\n",
    )
    net = read(text).network
    assert (net.inputs, net.outputs) == (("left", "right"), ("relu", "add"))


def test_a_network_without_a_name_is_called_like_its_file() -> None:
    assert read(frame("- relu").replace("  name: test\n", "")).network.name == "net"


def test_title_and_paper_are_kept() -> None:
    file = read(frame("- relu", rest='  title: A test\n  paper: "Nobody 2024"\n'))
    assert (file.title, file.paper) == ("A test", "Nobody 2024")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("{arena: 20 KiB}", TargetSettings(arena_bytes=20480)),
        ("{arena: 64 kB, flash: 1.5 MiB}", TargetSettings(arena_bytes=64000, flash_bytes=1572864)),
        ("{arena: 1000}", TargetSettings(arena_bytes=1000)),
        ("{arena: 1000 B}", TargetSettings(arena_bytes=1000)),
        ("{latency: 5 ms}", TargetSettings(latency_us=5000.0)),
        ("{latency: 800us, threads: 4}", TargetSettings(latency_us=800.0, threads=4)),
        ("{latency: 1.5 s}", TargetSettings(latency_us=1.5e6)),
    ],
)
def test_target_settings_have_units(settings: str, expected: TargetSettings) -> None:
    assert read(frame("- relu") + f"targets:\n  host: {settings}\n").budgets == {"host": expected}


def test_an_int8_file_is_refused_by_a_float_build() -> None:
    file = read(frame("- relu") + "quantization: {scheme: int8}\n")
    with pytest.raises(UnsupportedError, match="the file asks for int8, and this network is still float32") as caught:
        file.require_as_asked()
    assert caught.value.diagnostics[0].position is not None
    assert caught.value.diagnostics[0].position.line == 8
    read(frame("- relu")).require_as_asked()


def own_target(path: Path, text: str = "") -> None:
    path.write_text(f"dscompile_target: 1\nname: board\nfamily: portable\ndescription: ours\nkernels: [c99]\n{text}")


def test_settings_of_a_target_file_belong_to_the_target_in_it(tmp_path: Path) -> None:
    own_target(tmp_path / "own.yaml")
    file = read(frame("- relu") + "targets:\n  ./own.yaml: {arena: 20 KiB}\n", tmp_path)
    assert file.budgets == {"board": TargetSettings(arena_bytes=20480)}


def test_a_target_file_that_is_wrong_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    own_target(tmp_path / "own.yaml", "arena: {alignment: 3}\n")
    own_target(tmp_path / "right.yaml")
    settings = "targets:\n  own.yaml: {}\n  right.yaml: {}\n  ./right.yaml: {}\n  cortex-m44: {}\n"
    found = diagnostics(frame("- relu") + settings, tmp_path)
    assert [d.message for d in found] == [
        "target file 'own.yaml': the target file is wrong: arena_alignment must be a power of two and hold a vector, "
        "not 3",
        "target 'board' has settings already",
        "unknown target 'cortex-m44'",
    ]
    assert found[2].help == ("did you mean 'cortex-m4'? (one of your own is named by its file, such as ./my-core.yaml)")

"""Every complaint about a net.yaml: its text, its place, its advice; several in one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from dscompile.errors import BadInputError
from dscompile.frontend.netfile import read_netfile
from tests.unit.netfiles import diagnostics, frame, only, place

RELU = frame("- relu")


def test_an_unknown_kind_is_shown_with_the_nearest_one() -> None:
    found = only(diagnostics(frame("- seperable: {name: block, out: 64, kernel: 3, repeat: 4}")))
    assert found.render() == (
        "error: unknown layer 'seperable'\n"
        "  --> somewhere/net.yaml:6:7\n"
        "   |\n"
        " 6 |     - seperable: {name: block, out: 64, kernel: 3, repeat: 4}\n"
        "   |       ^^^^^^^^^\n"
        "  = help: did you mean 'separable'?"
    )


@pytest.mark.parametrize(
    ("layer", "message", "column_length", "help"),
    [
        ("xyzzy", "unknown layer 'xyzzy'", (7, 5), "kinds are conv, depthwise, transpose_conv, pointwise"),
        ("conv: {out: 4, kernel: 3, strid: 2}", "unknown key 'strid' of conv", (33, 5), "did you mean 'stride'?"),
        ("softmax: {zzz: 2}", "unknown key 'zzz' of softmax", (17, 3), "its keys are name, from, output, beta"),
        ("conv: {kernel: 3}", "conv needs 'out'", (7, 4), "for example `out: 64`"),
        ("conv: {out: 4}", "conv needs 'kernel'", (7, 4), "for example `kernel: 3`"),
        ("conv: {out: 0, kernel: 3}", "'out' must be at least 1, not the number 0", (19, 1), None),
        ("conv: {out: 99999999, kernel: 3}", "'out' must be at most 16777216", (19, 8), None),
        ("conv: {out: 1.5, kernel: 3}", "'out' must be a whole number, not the number 1.5", (19, 3), None),
        ("conv: {out: true, kernel: 3}", "'out' must be a whole number, not 'true'", (19, 4), None),
        ("conv: {out: [1], kernel: 3}", "'out' must be a whole number, not a list", (19, 3), None),
        ("conv: {out: 4, kernel: [3]}", "'kernel' must be a whole number or [rows, columns]", (30, 3), None),
        ("conv: {out: 4, kernel: three}", "'kernel' must be a whole number, not the text 'three'", (30, 5), None),
        ("conv: {out: 4, kernel: 3, padding: sane}", "'padding' must be same, valid or numbers", (42, 4), "'same'?"),
        ("conv: {out: 4, kernel: 3, padding: [1, 2, 3]}", "'padding' must be a number, [rows, columns]", (42, 9), None),
        ("conv: {out: 4, kernel: 3, padding: -1}", "'padding' must be at least 0", (42, 2), None),
        ("conv: {out: 4, kernel: 3, bias: maybe}", "'bias' must be true or false, not the text", (39, 5), None),
        ("conv: {out: 4, kernel: 1, activation: rellu}", "'activation' must be one of none, relu", (45, 5), "'relu'?"),
        ("conv: {out: 4, kernel: 1, activation: prelu}", "prelu has weights of its own", (45, 5), "`- prelu`"),
        ("conv: {out: 4, kernel: 1, activation: clip}", "'activation' must be more than its kind", (45, 4), "low: -1"),
        ("clip: {low: 2, high: 1}", "clip from 2 to 1 leaves nothing", (7, 4), None),
        ("clip: {low: .nan}", "'low' must be a number, not", (19, 4), None),
        ("leaky_relu: {alpha: .inf}", "'alpha' must be a finite number", (27, 4), None),
        ("leaky_relu: {alpha: x}", "'alpha' must be a number, not the text 'x'", (27, 1), None),
        ("batch_norm: {epsilon: 0}", "'epsilon' must be above 0", (29, 1), None),
        ("squeeze_excite: {ratio: 2}", "'ratio' must be at most 1", (31, 1), None),
        ("squeeze_excite: {ratio: 0.5, channels: 2}", "give 'ratio' or 'channels', not both", (7, 14), None),
        ("inverted_residual: {out: 4, squeeze_excite: 2}", "'squeeze_excite' must be a ratio above 0", (51, 1), None),
        ("inverted_residual: {out: 4, expand: 0}", "'expand' must be above 0", (43, 1), None),
        ("conv: {out: 4, kernel: 3, repeat: 999}", "'repeat' must be at most 256", (41, 3), None),
        ("conv: {out: 4, kernel: 3, repeat: 2, output: y}", "'output' names one tensor", (52, 1), None),
        ("pool: {over: all}", "pool needs 'kind'", (7, 4), "for example `kind: average`"),
        ("pool: {kind: averge, over: all}", "'kind' must be one of average, max", (20, 6), "'average'?"),
        ("pool: {kind: max}", "pool needs 'over', 'kernel' or 'into'", (7, 4), "`over: all`"),
        ("pool: {kind: max, over: rows}", "'over' must be 'all', not the text 'rows'", (31, 4), None),
        ("pool: {kind: max, over: all, kernel: 2}", "`over: all` is the whole image", (7, 4), None),
        ("pad", "pad needs 'padding'", (7, 3), "[1, 1, 1, 1]"),
        ("reshape: {shape: [-1, -1]}", "sizes are positive, and one of them may be -1", (24, 8), None),
        ("reshape: {shape: 3}", "'shape' must be a list of sizes, not the number 3", (24, 1), None),
        ("transpose: {permutation: [0, 0]}", "[0, 0] is not a permutation of [0, 1]", (32, 6), None),
        ("add: {name: a}", "add needs 'from'", (7, 3), "from: [left, right]"),
        ("relu: {name: 7}", "'name' must be a text, not the number 7", (20, 1), 'quote it: "7"'),
        ('relu: {name: "a\\nb"}', "'name' must be one line of printable text", (20, 6), None),
        ("relu: [1]", "the keys of relu must be a mapping, not a list", (13, 3), None),
        ("[1, 2]", "a layer is a kind with its keys, not a list", (7, 6), "- conv: {out: 8, kernel: 3}"),
        ("{conv: {}, relu: {}}", "a layer has one kind, not conv, relu", (8, 4), "indent its keys"),
    ],
)  # fmt: skip
def test_a_layer_that_is_wrong_by_itself(
    layer: str, message: str, column_length: tuple[int, int], help: str | None
) -> None:
    found = only(diagnostics(frame(f"- {layer}")))
    assert message in found.message
    assert place(found) == (6, *column_length)
    assert (help is None and found.help is None) or (help is not None and help in (found.help or ""))


@pytest.mark.parametrize(
    ("layers", "line", "layer", "message"),
    [
        ("- conv: {out: 4, kernel: 9, padding: valid}", 6, "conv", "a window of 9 does not fit into 8"),
        ("- conv: {out: 4, kernel: 3, groups: 3}", 6, "conv", "3 groups do not divide 4 input and 4 output channels"),
        ("- flatten\n- separable: {name: b, out: 4, kernel: 3}", 7, "b", "needs an image [1, H, W, C], not [1, 256]"),
        ("- relu\n- squeeze_excite: {from: [x, relu]}", 7, "squeeze_excite", "needs 1 input, got 2"),
        ("- flatten\n- add: {from: [flatten, x]}", 7, "add", "[1, 256] and [1, 8, 8, 4] do not broadcast"),
        ("- concat: {from: x}", 6, "concat", "needs at least 2 inputs, got 1"),
        ("- concat: {from: [x, x], axis: 4}", 6, "concat", "axis 4 is outside the 4 axes of its inputs"),
        ("- reshape: {shape: [1, 17]}", 6, "reshape", "[1, 8, 8, 4] has 256 elements, [1, 17] 17"),
        ("- reshape: {shape: [17, -1]}", 6, "reshape", "has 256 elements, which do not fill [17, -1]"),
        ("- transpose: {permutation: [1, 0]}", 6, "transpose", "[1, 0] does not permute the 4 axes"),
        ("- pool: {kind: max, kernel: 2, padding: 2}", 6, "pool", "pool padding must be smaller than its window"),
        ("- relu: {name: a, from: a}", 6, "a", "reads its own output"),
        ("- separable: {name: b, out: 4, kernel: 3, from: b}", 6, "b", "reads its own output"),
        ("- relu: {name: a, from: b}\n- relu: {name: b, from: x}", 6, "a", "'b', which is made only in line 7"),
        ("- relu: {name: first}\n- relu: {from: frist}", 7, "relu", "reads 'frist', which is no input or layer"),
        ("- relu: {name: a}\n- tanh: {name: a}", 7, None, "there are two layers named 'a'; the first is in line 6"),
        ("- relu: {name: a, output: b}\n- tanh: {name: b}", 7, "b", "the tensor 'b' exists already; it is made in"),
        ("- relu: {name: x}", 6, "x", "the tensor 'x' exists already; it is made in line 4"),
    ],
)  # fmt: skip
def test_layers_that_do_not_fit_together(layers: str, line: int, layer: str | None, message: str) -> None:
    found = only(diagnostics(frame(layers)))
    assert message in found.message
    assert place(found)[0] == line
    assert found.layer == layer


def test_a_wrong_layer_does_not_make_its_readers_wrong() -> None:
    found = diagnostics(
        frame(
            """
- conv: {name: a, out: 4, kernel: 99, padding: valid}
- relu: {name: b}
- add: {name: c, from: [a, x]}
- conv: {name: d, out: -1, kernel: 1, from: x}
- dense: {name: e, out: 4}
- tanh: {name: f, from: missing}
- relu: {from: f}
"""
        )
    )
    assert [place(d)[0] for d in found] == [6, 9, 11]


def test_all_errors_of_all_sections_come_in_one_run_in_the_order_of_the_file() -> None:
    text = """\
dscompile: 1
network:
  nmae: kws
  input: {name: x, shape: [1, 8, 8, 4], layout: nwhc}
  defaults: {paddin: same}
  layers:
    - conv: {name: stem, out: 4, kernel: 3, stride: 0}
    - upsampel: {factor: 2}
    - relu: {from: x, out: 3}
  outputs: [stme]
weights: {sead: 7}
quantization: {scheme: int9}
targets:
  x86: {threads: 0, latency: 4}
  cortex-m4: 5
  cortex-m44: {arena: 1}
extra: 1
"""
    assert [(place(d)[0], d.message) for d in diagnostics(text)] == [
        (3, "unknown key 'nmae' of network"),
        (4, "'layout' must be one of nhwc, nchw, not the text 'nwhc'"),
        (5, "unknown key 'paddin' of defaults"),
        (7, "'stride' must be at least 1, not the number 0"),
        (8, "unknown layer 'upsampel'"),
        (9, "unknown key 'out' of relu"),
        (10, "output 'stme' is made by no layer"),
        (11, "weights need 'file' or 'seed'"),
        (11, "unknown key 'sead' of weights"),
        (12, "'scheme' must be 'int8', not the text 'int9'"),
        (14, "'threads' must be at least 1, not the number 0"),
        (14, "'latency' must be a time with its unit, not the number 4"),
        (15, "the settings of target 'cortex-m4' must be a mapping"),
        (16, "unknown target 'cortex-m44'"),
        (17, "unknown key 'extra' of the file"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dscompile: 1\n", "", "the file needs 'dscompile'"),
        ("dscompile: 1", "dscompile: 2", "unknown schema 2"),
        ("dscompile: 1", "dscompile: one", "'dscompile' must be a whole number"),
        ("name: test", "name: a/b", "the network's name is part of file names: no / or \\"),
        ("  input: {name: x, shape: [1, 8, 8, 4]}\n", "", "network needs 'input'"),
        ("  input: {name: x, shape: [1, 8, 8, 4]}", "  input: x", "'input' must be a mapping, not the text 'x'"),
        ("[1, 8, 8, 4]", "[2, 8, 8, 4]", "the first size is the batch, which must be 1, not 2"),
        ("[1, 8, 8, 4]", "[1, 1, 1, 1, 1, 1, 1, 1, 1]", "a shape has at most 8 sizes, not 9"),
        ("[1, 8, 8, 4]", "[1, 0, 8, 4]", "'shape' must be at least 1, not the number 0"),
        ("  input: ", "  inputs: ", "'inputs' must be a list of inputs, not a mapping"),
        ("  layers:\n    - relu", "  layers: []", "'layers' must be a list with at least one layer"),
        ("  layers:\n    - relu\n", "", "network needs 'layers'"),
        ("weights: {seed: 7}", "weights: {seed: 7, file: a.npz}", "give 'file' or 'seed', not both"),
        ("weights: {seed: 7}", "weights: {seed: -1}", "'seed' must be at least 0"),
        ("weights: {seed: 7}", "weights: 7", "'weights' must be a mapping, not the number 7"),
        ("weights: {seed: 7}", "  outputs: []", "'outputs' is empty"),
        ("weights: {seed: 7}", "  outputs: [relu, relu]", "output 'relu' appears twice"),
        ("weights: {seed: 7}", "  outputs: [{layout: nchw}]", "output needs 'name'"),
        ("weights: {seed: 7}", "  outputs: [relu, {name: x, layout: nchw}]", "'x' is an input in nhwc; as an output"),
        ("weights: {seed: 7}", "  labels: [a, b]", "2 labels for the 256 elements of output 'relu'"),
        ("weights: {seed: 7}", "  labels: a", "'labels' must be a list of texts, not the text 'a'"),
        ("weights: {seed: 7}", "  input: {name: y, shape: [1]}", "duplicate key 'input'; it is in line 4 already"),
        ("weights: {seed: 7}", "  inputs: [{name: y, shape: [1]}]", "give 'input' or 'inputs', not both"),
        ("weights: {seed: 7}", "targets: {c99: {arena: 20 KiX}}", "'arena' must be a size above 0"),
        ("weights: {seed: 7}", "targets: {c99: {flash: 0}}", "'flash' must be a size above 0"),
        ("weights: {seed: 7}", "targets: {a: {}}", "unknown target 'a'"),
        ("weights: {seed: 7}", "targets: {./none.yaml: {}}", "there is no target file './none.yaml'"),
        ("weights: {seed: 7}", "quantization: {rounding: tflite}", "quantization needs 'scheme'"),
        ("weights: {seed: 7}", "quantization: {scheme: int8, rounding: up}", "'rounding' must be one of tflite"),
        ("weights: {seed: 7}", "quantization: {scheme: int8, calibration: {file: none.npz}}", "'none.npz' does not"),
        (
            "weights: {seed: 7}",
            "quantization: {scheme: int8, calibration: {file: net.yaml, method: min-max, keep: 0.9}}",
            "'keep' belongs to `method: percentile`",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_outside_layers(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in RELU
    (tmp_path / "net.yaml").write_text(RELU.replace(old, new))
    with pytest.raises(BadInputError) as caught:
        read_netfile(tmp_path / "net.yaml")
    found = only(caught.value.diagnostics)
    assert message in found.message
    assert found.position is not None
    assert found.position.line >= 1


def test_two_names_of_one_tensor_are_not_two_outputs() -> None:
    text = frame("- relu: {name: act, output: a}").replace("weights:", "  outputs: [act, a]\nweights:")
    assert only(diagnostics(text)).message == "outputs 'act' and 'a' are the same tensor, 'a'"


def test_a_layer_with_the_name_of_the_input_leaves_what_the_input_was() -> None:
    """The first convolution must still find four axes."""
    text = frame("- conv: {out: 4, kernel: 3}\n- pool: {kind: average, over: all}\n- dense: {name: x, out: 3}")
    assert only(diagnostics(text)).message.startswith("the tensor 'x' exists already")


def test_two_inputs_of_one_name_and_layers_without_from_are_errors() -> None:
    text = RELU.replace(
        "  input: {name: x, shape: [1, 8, 8, 4]}\n",
        "  inputs:\n    - {name: x, shape: [1, 4]}\n    - {name: x, shape: [1, 4]}\n",
    )
    assert [d.message for d in diagnostics(text)] == [
        "there are two inputs named 'x'",
        "needs 'from': the network has several inputs",
    ]


def test_a_file_without_network_is_an_error() -> None:
    assert only(diagnostics("dscompile: 1\n")).message == "the file needs 'network'"
    assert only(diagnostics("dscompile: 1\nnetwork:\n")).message == "'network' is empty"
    assert only(diagnostics("")).message == "'somewhere/net.yaml' is empty"
    assert only(diagnostics("- 1\n")).message == "'somewhere/net.yaml' holds a list"

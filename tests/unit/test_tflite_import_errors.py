"""What the TFLite importer says to models that it cannot import, and to files that are none."""

import math
import random
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dscompile.errors import BadInputError, DscompileError, ToolError, UnsupportedError
from dscompile.frontend.tflite.importer import import_tflite
from dscompile.ir.intervals import check_accumulators
from tests.import_tflite_models import ModelMaker, int32, randoms, saved

DATA = Path(__file__).resolve().parents[1] / "data"


def error_of(content: bytes | ModelMaker, folder: Path) -> DscompileError:
    """The error that importing the model raises; it must name the file."""
    path = saved(content if isinstance(content, bytes) else content.content(), folder)
    with pytest.raises(DscompileError) as caught:
        import_tflite(path)
    assert all(found.position.file == str(path) for found in caught.value.diagnostics)
    return caught.value


def image_model(**inputs: object) -> ModelMaker:
    """An image x, a result y and the given constants; operators are still missing."""
    maker = ModelMaker()
    maker.tensor("x", (1, 9, 7, 6))
    maker.tensor("y", (1, 9, 7, 6))
    maker.tensor("z", (1, 9, 7, 6))
    for name, values in inputs.items():
        maker.constant(name, np.asarray(values))
    return maker


def test_unsupported_operators_are_all_listed_at_once(tmp_path):
    maker = image_model()
    for name in ("enc/a/Exp", "enc/b/Elu", "enc/c/Elu"):
        maker.tensor(name, (1, 9, 7, 6))
    maker.operator("EXP", "x", "enc/a/Exp")
    maker.operator("COS", "enc/a/Exp", "enc/b/Elu")
    maker.operator("MAX_POOL_2D", "enc/b/Elu", "enc/c/Elu", options="Pool2D")
    maker.operator(
        "SIN",
        "enc/c/Elu x",
    )
    error = error_of(maker, tmp_path)
    assert [(found.layer, found.message) for found in error.diagnostics] == [
        ("enc/a/Exp", "EXP: this operator is not supported"),
        ("enc/b/Elu", "COS: this operator is not supported"),
        ("enc/c/Elu", "MAX_POOL_2D: kernel (0, 0), stride (0, 0) and dilation (1, 1) must be positive"),
        ("y", "SIN: this operator is not supported"),
    ]
    assert [found.help for found in error.diagnostics][2:] == [None, "docs/importing.md lists what can be imported"]
    assert error.code == 3


def test_operators_behind_an_unsupported_one_of_unknown_shape_are_left_alone(tmp_path):
    maker = image_model()
    maker.tensor("open", (1, -1))
    maker.operator("COS", "x", "open")
    maker.operator("RELU", "open")
    assert [found.message for found in error_of(maker, tmp_path).diagnostics] == ["COS: this operator is not supported"]


def test_operators_that_no_output_needs_are_not_missed(tmp_path):
    maker = image_model()
    maker.operator("COS", "x", "z")
    maker.operator("RELU", "x")
    assert len(import_tflite(saved(maker.content(), tmp_path)).layers) == 1


def test_custom_operators_are_named(tmp_path):
    maker = image_model()
    maker.operator("CUSTOM", "x")
    maker.model.operatorCodes[0].customCode = "Convolution2DTransposeBias"
    assert "CUSTOM Convolution2DTransposeBias: this operator is not supported" in str(error_of(maker, tmp_path))


def test_float16_that_is_not_behind_dequantize_is_refused(tmp_path):
    maker = image_model(half=randoms(6).astype(np.float16))
    maker.operator("ADD", "x half", options="Add")
    error = error_of(maker, tmp_path)
    assert isinstance(error, UnsupportedError)
    assert [found.message for found in error.diagnostics] == [
        "tensor 'half' is float16; only float32 and int8 are supported"
    ]


CONV = {"options": "Conv2D", "strideH": 1, "strideW": 1}

REFUSED = [
    ("CONV_2D", "x z", {}, CONV, "the kernel is computed at run time; only constants are supported"),
    ("CONV_2D", "x w", {"w": randoms(6, 1, 1, 6)}, CONV | {"fusedActivationFunction": 5}, "fused activation SIGN_BIT"),
    (
        "CONV_2D",
        "x w",
        {"w": randoms(6, 1, 1, 6)},
        CONV | {"fusedActivationFunction": 99},
        "fused activation activation 99",
    ),
    ("CONV_2D", "x w", {"w": np.ones((6, 1, 1, 6), np.int64)}, CONV, "the kernel is int64; only float32 is supported"),
    (
        "FULLY_CONNECTED",
        "x w",
        {"w": randoms(6, 6)},
        {"options": "FullyConnected", "weightsFormat": 1},
        "shuffled weights",
    ),
    ("CONCATENATION", "c c", {"c": randoms(6)}, {"options": "Concatenation"}, "all inputs are constants"),
    ("ADD", "c c", {"c": randoms(6)}, {"options": "Add"}, "both inputs are constants"),
    ("RELU", "c", {"c": randoms(6)}, {}, "input 0 is a constant; only computed tensors are supported here"),
    ("MEAN", "x z", {}, {"options": "Reducer"}, "the axes computed at run time; only constants are supported"),
    ("PRELU", "x s", {"s": randoms(9, 7, 6)}, {}, "only one slope per channel is supported"),
    ("PAD", "x p", {"p": int32((1, 0), (0, 0), (0, 0), (0, 0))}, {}, "padding of the batch is not supported"),
    ("PAD", "x p", {"p": int32((0, 0), (0, 0), (0, 0), (0, 1 << 30))}, {}, "elements of constant channels"),
    ("PAD", "x p", {"p": int32((0, 0), (-1, 0), (0, 0), (0, 0))}, {}, "negative padding (cropping) is not supported"),
]


@pytest.mark.parametrize(
    ("op", "inputs", "constants", "options", "message"), REFUSED, ids=[row[4][:40] for row in REFUSED]
)
def test_what_is_valid_but_not_supported_is_named(op, inputs, constants, options, message, tmp_path):
    maker = image_model(**constants)
    maker.operator(op, inputs, **options)
    path = saved(maker.content("x z"), tmp_path)
    with pytest.raises(UnsupportedError) as caught:
        import_tflite(path)
    assert message in str(caught.value)


WRONG = [
    ("CONV_2D", "x w", {"w": randoms(4, 1, 1, 5)}, CONV, "a kernel over 5 channels does not fit an input of 6"),
    ("CONV_2D", "x w", {"w": randoms(4, 6)}, CONV, "kernel has shape [4, 6], it must have 4 axes"),
    ("CONV_2D", "x w b", {"w": randoms(4, 1, 1, 6), "b": randoms(3)}, CONV, "bias has shape [3], it must be [4]"),
    ("CONV_2D", "x w", {"w": randoms(4, 9, 8, 6)}, CONV | {"padding": 1}, "a window of 8 does not fit into 7"),
    (
        "CONV_2D",
        "x w",
        {"w": randoms(4, 1, 1, 6)},
        CONV | {"strideH": 0},
        "stride (0, 1) and dilation (1, 1) must be positive",
    ),
    (
        "MAX_POOL_2D",
        "x",
        {},
        {"options": "Pool2D", "filterHeight": 1 << 25, "filterWidth": 2, "strideH": 2, "strideW": 2},
        "kernel [33554432, 2] must be at most 16777216",
    ),
    ("CONV_2D", "x w", {"w": randoms(4, 1, 1, 6)}, CONV | {"padding": 7}, "padding 7 is neither SAME nor VALID"),
    ("CONV_2D", "x", {}, CONV, "input 1 is missing"),
    ("SOFTMAX", "x", {}, {"options": "Softmax", "beta": -math.inf}, "beta is -inf; it must be finite"),
    ("LEAKY_RELU", "x", {}, {"options": "LeakyRelu", "alpha": math.nan}, "alpha is nan; it must be finite"),
    (
        "DEPTHWISE_CONV_2D",
        "x w",
        {"w": randoms(1, 3, 3, 8)},
        {"options": "DepthwiseConv2D", "strideH": 1, "strideW": 1},
        "a kernel of [1, 3, 3, 8] does not fit an input of 6 channels",
    ),
    (
        "FULLY_CONNECTED",
        "x w",
        {"w": randoms(4, 5)},
        {"options": "FullyConnected"},
        "weights over 5 inputs do not fit [1, 9, 7, 6]",
    ),
    (
        "FULLY_CONNECTED",
        "x w",
        {"w": randoms(4)},
        {"options": "FullyConnected"},
        "weights have shape [4], they must be [out, in]",
    ),
    (
        "FULLY_CONNECTED",
        "x w",
        {"w": randoms(4, 7)},
        {"options": "FullyConnected", "keepNumDims": True},
        "they do not fit an input",
    ),
    (
        "FULLY_CONNECTED",
        "x w b",
        {"w": randoms(4, 6), "b": randoms(3)},
        {"options": "FullyConnected"},
        "bias has shape [3], it",
    ),
    ("ADD", "x c", {"c": randoms(5)}, {"options": "Add"}, "[1, 9, 7, 6] and [5] do not broadcast"),
    ("CONCATENATION", "x c", {"c": randoms(6)}, {"options": "Concatenation"}, "joins tensors of different ranks"),
    (
        "CONCATENATION",
        "x c",
        {"c": randoms(1, 9, 8, 6)},
        {"options": "Concatenation", "axis": 3},
        "differ outside axis 3",
    ),
    ("MEAN", "x a", {"a": randoms(2)}, {"options": "Reducer"}, "the axes must be integers, not float32"),
    ("MEAN", "x a", {"a": int32(4)}, {"options": "Reducer"}, "axis 4 of a tensor of rank 4"),
    ("PAD", "x p", {"p": int32((1, 0))}, {}, "paddings [1, 2] for a tensor of rank 4"),
    ("PADV2", "x p v", {"p": np.zeros((4, 2), np.int32), "v": randoms(2)}, {}, "the padding value has 2 elements"),
    ("RESHAPE", "x s", {"s": int32(1, 5)}, {}, "[1, 9, 7, 6] has 378 elements, they do not fill [1, 5]"),
    ("RESHAPE", "x s", {"s": int32(-2, -189)}, {}, "they do not fill [-2, -189]"),
    ("SQUEEZE", "x", {}, {"options": "Squeeze", "squeezeDims": [1]}, "axes [1] of [1, 9, 7, 6] are not all 1"),
    ("EXPAND_DIMS", "x a", {"a": int32(0, 1)}, {}, "needs one axis, not [0, 1]"),
    ("TRANSPOSE", "x p", {"p": int32(0, 1, 2, 2)}, {}, "[0, 1, 2, 2] does not permute the axes of [1, 9, 7, 6]"),
]


@pytest.mark.parametrize(("op", "inputs", "constants", "options", "message"), WRONG, ids=[row[4][:40] for row in WRONG])
def test_what_cannot_be_is_said_with_its_sizes(op, inputs, constants, options, message, tmp_path):
    maker = image_model(**constants)
    maker.operator(op, inputs, **options)
    error = error_of(maker, tmp_path)
    assert type(error) is BadInputError
    assert message in str(error)


@pytest.mark.parametrize(
    ("shape", "signature", "dtype", "message"),
    [
        ((1, 1, 1, 3), (-1, -1, -1, 3), "float32", "input 'x': axis 2 is dynamic"),
        ((4, 9, 7, 3), None, "float32", "input 'x': it has batch 4; only batch 1 is supported"),
        ((), None, "float32", "input 'x': it is a scalar, or has no shape"),
        ((1, 0, 7), None, "float32", "input 'x': its shape [1, 0, 7] fits no buffer"),
        ((1, 1 << 30, 1 << 30), None, "float32", "fits no buffer"),
        ((1, 9), None, "int32", "input 'x': it is int32; only float32, int8 and uint8 are supported"),
    ],
)
def test_inputs_that_cannot_be_imported(shape, signature, dtype, message, tmp_path):
    maker = ModelMaker()
    maker.tensor("x", shape, dtype, signature)
    maker.tensor("y", shape)
    maker.operator("RELU", "x")
    assert message in str(error_of(maker, tmp_path))


def test_an_open_batch_becomes_one(tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 9), signature=(-1, 9))
    maker.tensor("y", (1, 9), signature=(-1, 9))
    maker.operator("RELU", "x")
    assert import_tflite(saved(maker.content(), tmp_path)).shape("x") == (1, 9)


def test_two_results_are_refused(tmp_path):
    maker = image_model()
    maker.operator("RELU", "x", "y z")
    assert "RELU: 2 results; only one is supported" in str(error_of(maker, tmp_path))


def test_tensors_that_are_variables_are_refused(tmp_path):
    maker = image_model()
    maker.operator("ADD", "x z", options="Add")
    maker.graph.tensors[2].isVariable = True
    assert "tensor 'z' keeps state between inferences, which is supported of VAR_HANDLE alone" in str(
        error_of(maker, tmp_path)
    )


def test_an_output_that_is_a_constant_is_refused(tmp_path):
    maker = image_model(c=randoms(1, 3))
    maker.operator("RELU", "x")
    path = saved(maker.content(outputs="y c"), tmp_path)
    with pytest.raises(UnsupportedError, match="output 'c': depends on no input"):
        import_tflite(path)


def relu_model() -> ModelMaker:
    maker = image_model()
    maker.operator("RELU", "x")
    return maker


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"this is not a model, it is a text\n", "it does not have the identifier TFL3 at byte 4"),
        (b"\x1c\0\0\0TFL3", "an offset in it leads outside; it may be cut off"),
        (relu_model().content()[:300], "an offset in it leads outside; it may be cut off"),
    ],
)
def test_files_that_are_no_models(content, why, tmp_path):
    error = error_of(content, tmp_path)
    assert type(error) is BadInputError
    assert error.diagnostics[0].message == f"not a valid TFLite file: {why}"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInputError, match=r"cannot read .*absent\.tflite: No such file or directory"):
        import_tflite(tmp_path / "absent.tflite")


def broken(change: str) -> ModelMaker:
    """A model with one thing wrong in it."""
    maker = image_model(c=randoms(6))
    maker.operator("RELU", "x", "z")
    maker.operator("ADD", "z c", options="Add")
    first, second = maker.graph.operators
    exec(change, {"maker": maker, "first": first, "second": second})
    return maker


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("maker.model.subgraphs = []", "it holds no graph"),
        ("maker.indices = lambda names: [] if names == 'y' else [0]", "its graph has no output"),
        ("maker.indices = lambda names: [0, 0] if names == 'x' else [1]", "its graph names an input twice"),
        ("maker.indices = lambda names: [77]", "it refers to a tensor outside its 4 tensors"),
        ("first.inputs = [4]", "RELU refers to a tensor outside its 4 tensors"),
        ("first.outputs = [-1]", "it refers to a tensor outside its 4 tensors"),
        ("first.opcodeIndex = 9", "it refers to operator code 9 of 2"),
        ("maker.graph.tensors[0].buffer = 9", "tensor 'x' lies in buffer 9, which does not exist"),
        ("maker.graph.tensors[3].shape = [7]", "tensor 'c', float32 [7], has 24 B of data instead of 28"),
        ("maker.graph.tensors[3].shape = [2147483647] * 4", "has 24 B of data instead of"),
        ("maker.graph.tensors[3].shape = [-6]", "tensor 'c', float32 [-6], has 24 B of data"),
        (
            "maker.model.buffers[1].offset = maker.model.buffers[1].size = 99999",
            "the data of tensor 'c' end behind the end",
        ),
        ("second.builtinOptionsType = 1", "ADD has options of another operator"),
        ("first.inputs = [2]", "RELU reads 'z', which nothing before it makes"),
        ("second.outputs = [2]", "'z' is made twice"),
        ("maker.graph.operators.pop()", "output 'y' is made by no operator"),
    ],
)
def test_models_that_contradict_themselves(change, why, tmp_path):
    error = error_of(broken(change), tmp_path)
    assert type(error) is BadInputError
    assert error.diagnostics[0].message.startswith("not a valid TFLite file: ")
    assert why in error.diagnostics[0].message


def test_a_list_longer_than_the_file_is_not_read(tmp_path):
    content = relu_model().content()
    # The list of its three tensors is one of the places where a 3 stands.
    places = [at for at in range(0, len(content) - 4, 4) if content[at : at + 4] == b"\x03\0\0\0"]
    messages = set()
    for at in places:
        changed = bytearray(content)
        changed[at : at + 4] = b"\xff\xff\xff\x7f"
        try:
            import_tflite(saved(bytes(changed), tmp_path))
        except BadInputError as error:
            messages.add(error.diagnostics[0].message)
    assert "not a valid TFLite file: it claims a list of 2147483647 entries" in messages


def test_without_the_tflite_package_one_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(ToolError, match="needs the tflite package") as caught:
        import_tflite(tmp_path / "net.tflite")
    assert caught.value.diagnostics[0].help == "install it with: pip install 'dscompile[tflite]'"
    assert caught.value.code == 5


def mutilated(whole: bytes, rng: random.Random) -> bytes:
    """The file cut off, or with some bytes changed; mostly in its tables, which lie at both of its ends."""
    data = bytearray(whole)
    if rng.random() < 0.15:
        return bytes(data[: rng.randrange(len(data))])
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        near = min(len(data) - 4, rng.choice((3000, 20000, len(data))))
        at = rng.randrange(near)
        at = at if rng.random() < 0.5 else len(data) - 4 - at
        data[at : at + 4] = rng.choice((rng.randbytes(4), b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"))
    return bytes(data)


@pytest.mark.parametrize("name", ["vww_96_float", "micro_speech_quantized"])
def test_mutilated_files_give_clear_errors_and_nothing_else(name, tmp_path):
    whole = (DATA / f"{name}.tflite").read_bytes()
    rng = random.Random(20240229)
    refused = 0
    for _ in range(300):
        started = time.monotonic()
        try:
            check_accumulators(import_tflite(saved(mutilated(whole, rng), tmp_path)))
        except DscompileError:
            refused += 1
        assert time.monotonic() - started < 5
    assert refused > 100

"""What the TFLite importer says to quantized models that it cannot import."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.tflite.importer import import_tflite
from tests.import_tflite_models import ModelMaker, int32, saved

IMAGE = (1, 4, 4, 6)
KERNEL = np.ones((6, 1, 1, 6), np.int8)
BIAS = np.zeros(6, np.int32)
CONV = {"options": "Conv2D", "strideH": 1, "strideW": 1}


def int8_maker(x="int8", y="int8", shape=IMAGE):
    """Tensors x and y of these types, a kernel w with one scale and a bias b."""
    maker = ModelMaker()
    for name, dtype in (("x", x), ("y", y)):
        if dtype == "float32":
            maker.tensor(name, shape)
        else:
            maker.quantized(name, shape, 0.5, 3 if dtype == "int8" else 131, dtype)
    maker.quantized("w", (), 0.1, values=KERNEL)
    maker.quantized("b", (), 0.05, values=BIAS)
    return maker


def messages(maker, folder, inputs="x"):
    """What importing the model complains about."""
    path = saved(maker.content(inputs), folder)
    with pytest.raises(BadInputError) as caught:
        import_tflite(path)
    assert all(found.position.file == str(path) for found in caught.value.diagnostics)
    return [found.message for found in caught.value.diagnostics]


@pytest.mark.parametrize("dtype", ["int16", "uint8"])
def test_other_integer_activations_are_refused_with_all_unknown_operators(dtype, tmp_path):
    maker = ModelMaker()
    for name in ("x", "e", "y"):
        maker.quantized(name, (1, 9), 0.5, 0, dtype)
    maker.operator("COS", "x", "e")
    maker.operator("RELU", "e")
    first, second = messages(maker, tmp_path)
    assert first == f"tensor 'x' (and 2 more) is {dtype}; only float32 and int8 are supported"
    assert second == "COS: this operator is not supported"


def test_every_operator_that_cannot_be_imported_is_named(tmp_path):
    maker = int8_maker()
    for name in ("p", "q"):
        maker.quantized(name, IMAGE, 0.5, 3)
    maker.quantized("zeros", (), 0.1, 5, values=KERNEL)
    maker.quantized("slope", (), 0.1, values=np.ones(6, np.int8))
    maker.operator("CONV_2D", "x zeros b", "p", **CONV)
    maker.operator("PRELU", "p slope", "q")
    maker.operator("EXP", "q")
    assert messages(maker, tmp_path) == [
        "CONV_2D: the kernel has zero points other than 0; only symmetric weights are supported",
        "PRELU: PRELU of int8 is not supported",
        "EXP: this operator is not supported",
    ]


def conv(**changes):
    """A convolution of which something is wrong."""

    def build():
        maker = int8_maker()
        if "kernel" in changes:
            maker.quantized("w2", (), **changes["kernel"])
        if "bias" in changes:
            maker.quantized("b2", (), 0.05, values=changes["bias"])
        names = f"x {'w2' if 'kernel' in changes else 'w'} {'b2' if 'bias' in changes else 'b'}"
        maker.operator("CONV_2D", names, **CONV, **changes.get("options", {}))
        return maker

    return build


def single(op, made=(0.5, 3), shape=IMAGE, **options):
    """One operator whose result has another scale."""

    def build():
        maker = int8_maker()
        maker.quantized("z", shape, *made)
        maker.quantized("f", (), 0.5, values=np.ones(2, np.int8))
        maker.constant("p", int32((0, 0), (1, 1), (0, 0), (0, 0)))
        maker.operator(op, "x p f" if op == "PADV2" else "x", "z", **options)
        maker.graph.tensors[1].name = "unused"
        maker.graph.tensors[-3].name = "y"
        return maker

    return build


def unscaled_kernel():
    maker = int8_maker()
    maker.constant("raw", KERNEL)
    maker.operator("CONV_2D", "x raw b", **CONV)
    return maker


def computed_bias():
    maker = int8_maker()
    maker.tensor("late", (6,), "int32")
    maker.operator("CONV_2D", "x w late", **CONV)
    return maker


def unscaled_result():
    maker = int8_maker()
    maker.tensor("raw", IMAGE, "int8")
    maker.operator("RELU", "x", "raw")
    maker.operator("RELU", "raw")
    return maker


def several_rows():
    maker = int8_maker(shape=(3, 6))
    maker.graph.tensors[0].shape = [1, 3, 6]
    maker.quantized("m", (), 0.1, values=np.ones((6, 6), np.int8))
    maker.operator("FULLY_CONNECTED", "x m", options="FullyConnected")
    return maker


ALONG_3 = {"scale": [0.1] * 6, "values": KERNEL, "axis": 3}
UINT8 = {"scale": 0.1, "values": KERNEL.astype(np.uint8)}
FIVE = {"scale": [0.1] * 5, "values": KERNEL}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            conv(kernel=ALONG_3),
            "the kernel has scales along axis 3; only one",
        ),
        (
            conv(kernel=UINT8),
            "tensor 'w2' is uint8; only float32 and int8 are supported",
        ),
        (
            conv(kernel=FIVE),
            "the kernel has 5 scales for 6 channels",
        ),
        (conv(bias=BIAS.astype(np.int64)), "the bias is int64; beside an int8 input only int32 is supported"),
        (conv(options={"fusedActivationFunction": 4}), "fused activation TANH on int8 is not supported"),
        (unscaled_kernel, "the kernel has no scale"),
        (unscaled_result, "tensor 'raw' is int8 without one scale and zero point; it must have both"),
        (several_rows, "an int8 input of several rows [3, 6], which TFLite rounds unlike a convolution"),
        (
            single("SOFTMAX", options="Softmax", beta=1.0),
            "its result has scale 0.5 and zero point 3; an int8 softmax has 1/256 and -128",
        ),
        (
            single("MAX_POOL_2D", (0.25, 3), options="Pool2D", strideH=1, strideW=1, filterHeight=1, filterWidth=1),
            "its result is int8 with scale 0.25 and zero point 3, and its input int8 with scale 0.5 and zero point 3",
        ),
        (
            single("HARD_SWISH", (0.001, 3)),
            "a result of scale 0.001 of an input of scale 0.5; it must exceed",
        ),
        (single("PADV2", shape=(1, 6, 4, 6)), "the padding value has 2 elements"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_cannot_be_imported_is_named(build, message, tmp_path):
    assert message in " ".join(messages(build(), tmp_path))


def test_several_rows_are_a_convolution_in_other_roundings(tmp_path):
    path = saved(several_rows().content(), tmp_path)
    assert len(import_tflite(path, "float32").layers) > 0


def test_a_rounding_of_a_float_model_is_refused(tmp_path):
    maker = ModelMaker()
    maker.tensor("x", (1, 9))
    maker.tensor("y", (1, 9))
    maker.operator("RELU", "x")
    path = saved(maker.content(), tmp_path)
    with pytest.raises(UnsupportedError, match="this model is float32; the rounding 'single' is for int8"):
        import_tflite(path, "single")


def test_scales_that_are_not_positive_are_refused(tmp_path):
    maker = ModelMaker()
    maker.quantized("x", (1, 9), -0.5)
    maker.quantized("y", (1, 9), 0.5)
    maker.operator("RELU", "x")
    assert "tensor 'x' has scales that are not positive" in messages_of_file(maker, tmp_path)


def test_scales_and_zero_points_must_match(tmp_path):
    maker = ModelMaker()
    maker.quantized("x", (1, 9), [0.5, 0.5])
    maker.graph.tensors[-1].quantization.zeroPoint = np.zeros(3, np.int64)
    maker.quantized("y", (1, 9), 0.5)
    maker.operator("RELU", "x")
    assert "tensor 'x' has 2 scales and 3 zero points" in messages_of_file(maker, tmp_path)


def messages_of_file(maker, folder):
    return " ".join(messages(maker, folder))

"""ONNX models in QDQ format, as onnxruntime's static quantization writes them, against onnxruntime: bit for bit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dscompile import oracle
from dscompile.errors import BadInputError, UnsupportedError
from dscompile.frontend.onnx.importer import import_onnx
from dscompile.ir.ops import RELU, RELU6, Binary, Conv2D, Dense, Mean
from tests.import_onnx_models import model, node, op_names, randoms, saved
from tests.import_qdq_models import differences, exact, quantized, session_of

BOTH = pytest.mark.parametrize("activations", ["u8", "s8"])


@BOTH
@pytest.mark.parametrize(
    ("channels", "filters", "size", "kernel", "group", "stride", "pads"),
    [
        (3, 17, 9, 3, 1, 1, [1, 1, 1, 1]),
        (3, 16, 10, 3, 1, 2, [0, 0, 1, 1]),
        (17, 17, 9, 3, 17, 1, [1, 1, 1, 1]),
        (8, 16, 9, 5, 8, 2, [2, 2, 2, 2]),
        (1, 4, 7, 7, 1, 1, [3, 3, 3, 3]),
        (100, 40, 7, 1, 1, 1, [0, 0, 0, 0]),
        (6, 4, 8, 3, 2, 1, [1, 0, 1, 0]),
    ],
)
def test_convolutions(channels, filters, size, kernel, group, stride, pads, activations, tmp_path):
    made = model(
        [node("Conv", "x w b", kernel_shape=[kernel] * 2, group=group, strides=[stride] * 2, pads=pads)],
        {"x": (1, channels, size, size)},
        {"w": randoms(filters, channels // group, kernel, kernel), "b": randoms(filters, seed=2)},
    )
    network = exact(quantized(made, tmp_path, activations))
    assert op_names(network) == ["Quantize", "Conv2D", "Dequantize"]
    assert network.rounding == "float32"
    assert network.tensor("x").border_shape == (1, channels, size, size)


@BOTH
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed, bias, activations, tmp_path):
    constants = {"w": randoms(10, 33) if transposed else randoms(33, 10)}
    if bias:
        constants["b"] = randoms(10, seed=2)
    made = model([node("Gemm", "x w b" if bias else "x w", transB=transposed)], {"x": (1, 33)}, constants)
    network = exact(quantized(made, tmp_path, activations), range(10))
    assert isinstance(network.layers[1].op, Dense)


@BOTH
def test_matmul_and_add(activations, tmp_path):
    made = model(
        [node("MatMul", "x w", "h"), node("Add", "h b")],
        {"x": (1, 33)},
        {"w": randoms(33, 10), "b": randoms(10, seed=2)},
    )
    network = exact(quantized(made, tmp_path, activations), range(10))
    assert op_names(network) == ["Quantize", "Dense", "Constant", "Reshape", "Binary", "Dequantize"]


@BOTH
def test_global_average_pool_is_a_mean(activations, tmp_path):
    made = model([node("GlobalAveragePool", "x")], {"x": (1, 100, 7, 7)})
    network = exact(quantized(made, tmp_path, activations), range(10))
    assert isinstance(network.layers[1].op, Mean)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("operator", ["Add", "Mul"])
@pytest.mark.parametrize("seed", range(24))
def test_sums_and_products_of_all_pairs(seed, operator, dtype, tmp_path):
    """All 65,536 pairs of integers; round scales make ties, which only the very same arithmetic rounds alike."""
    rng = np.random.default_rng(seed)
    low = np.iinfo(dtype).min
    scales = rng.uniform(0.005, 0.1, 3).astype(np.float32)
    if seed % 2:
        scales = np.round(scales, 3)
    if operator == "Mul":
        scales[2] = scales[0] * scales[1] * 2.0**seed
    constants = {f"{name}s": scale for name, scale in zip("abc", scales, strict=True)}
    zeros = {f"{name}z": dtype(rng.integers(low, low + 256)) for name in "abc"}
    nodes = []
    for name in "ab":
        nodes.append(node("QuantizeLinear", f"{name} {name}s {name}z", f"{name}q"))
        nodes.append(node("DequantizeLinear", f"{name}q {name}s {name}z", f"{name}d"))
    nodes += [
        node(operator, "ad bd", "h"),
        node("QuantizeLinear", "h cs cz", "hq"),
        node("DequantizeLinear", "hq cs cz"),
    ]
    path = saved(model(nodes, {"a": (1, 1, 256, 256), "b": (1, 1, 256, 256)}, {**constants, **zeros}), tmp_path)
    network = import_onnx(path)
    assert op_names(network) == ["Quantize", "Quantize", "Binary", "Dequantize"]
    every = np.arange(low, low + 256)
    feeds = {
        name: ((integers - int(zeros[f"{name}z"])) * constants[f"{name}s"]).astype(np.float32).reshape(1, 1, 256, 256)
        for name, integers in zip("ab", np.meshgrid(every, every), strict=True)
    }
    (want,) = session_of(path).run(None, feeds)
    inside = {name: oracle.from_border(network.tensor(name), array) for name, array in feeds.items()}
    got = oracle.to_border(network.tensor("y"), oracle.run(network, inside)["y"])
    np.testing.assert_array_equal(got, want)


@BOTH
def test_a_residual_block(activations, tmp_path):
    made = model(
        [
            node("Conv", "x w b", "h", kernel_shape=[1, 1]),
            node("Relu", "h", "r"),
            node("Conv", "r v c", "k", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            node("Add", "k x"),
        ],
        {"x": (1, 6, 9, 7)},
        {"w": randoms(6, 6, 1, 1), "b": randoms(6), "v": randoms(6, 6, 3, 3), "c": randoms(6, seed=3)},
    )
    network = exact(quantized(made, tmp_path, activations))
    assert op_names(network) == ["Quantize", "Conv2D", "Conv2D", "Binary", "Dequantize"]


@BOTH
def test_layers_that_move_elements(activations, tmp_path):
    made = model(
        [
            node("MaxPool", "x", "p", kernel_shape=[2, 2], strides=[2, 2]),
            node("Transpose", "p", "t", perm=[0, 2, 3, 1]),
            node("Reshape", "t s"),
        ],
        {"x": (1, 6, 8, 8)},
        {"s": np.array([1, -1], np.int64)},
    )
    network = exact(quantized(made, tmp_path, activations))
    assert "Dequantize" not in op_names(network)[:-1]


@BOTH
def test_joined_tensors_are_brought_to_one_scale(activations, tmp_path):
    made = model(
        [
            node("Conv", "x w", "a", kernel_shape=[1, 1]),
            node("Conv", "x v", "b", kernel_shape=[1, 1]),
            node("Concat", "a b", axis=1),
        ],
        {"x": (1, 6, 5, 4)},
        {"w": randoms(3, 6, 1, 1), "v": 9 * randoms(5, 6, 1, 1, seed=4)},
    )
    network = exact(quantized(made, tmp_path, activations))
    assert op_names(network).count("Quantize") == 2  # of the input, and of the term with the smaller scale


def qdq(nodes, constants, x=(1, 6, 5, 4)):
    """A model of these nodes between a quantized input `xd` and output `y`, which they make as `h`."""
    values = {
        "s": np.float32(0.05),
        "z": np.uint8(120),
        "t": np.float32(0.1),
        "u": np.uint8(100),
        **constants,
    }
    every = [
        node("QuantizeLinear", "x s z", "xq"),
        node("DequantizeLinear", "xq s z", "xd"),
        *nodes,
        node("QuantizeLinear", "h t u", "hq"),
        node("DequantizeLinear", "hq t u", "y"),
    ]
    return model(every, {"x": x}, values)


@pytest.mark.parametrize(
    ("nodes", "kind"),
    [
        ([node("AveragePool", "xd", "h", kernel_shape=[2, 2])], "Pool"),
        ([node("Sigmoid", "xd", "h")], "Activate"),
        ([node("LeakyRelu", "xd", "h", alpha=0.1)], "Activate"),
        ([node("Softmax", "xd", "h", axis=1)], "Softmax"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0].op_type,
)
def test_operators_without_a_counterpart_on_integers_are_what_the_file_says(nodes, kind, tmp_path):
    path = saved(qdq(nodes, {}), tmp_path)
    network = import_onnx(path)
    assert op_names(network) == ["Quantize", "Dequantize", kind, "Quantize", "Dequantize"]
    step = network.tensors[network.layers[-1].inputs[0]].quantization.scale
    assert max(differences(network, path, range(4))) <= 1.001 * step  # onnxruntime rounds elsewhere


KERNEL = {
    "w": np.random.default_rng(3).integers(-127, 128, (4, 6, 1, 1)).astype(np.int8),
    "ws": np.array([0.01, 0.02, 0.003, 0.01], np.float32),
    "wz": np.zeros(4, np.int8),
}
WEIGHTS = node("DequantizeLinear", "w ws wz", "wd", axis=0)
CONV = node("Conv", "xd wd", "h", kernel_shape=[1, 1])


@pytest.mark.parametrize(
    ("activation", "constants", "wanted"),
    [
        (node("Relu", "g", "h"), {}, RELU),
        (node("Clip", "g low high", "h"), {"low": np.float32(0), "high": np.float32(6)}, RELU6),
    ],
    ids=["relu", "relu6"],
)
def test_activations_become_clamps(activation, constants, wanted, tmp_path):
    nodes = [WEIGHTS, node("Conv", "xd wd", "g", kernel_shape=[1, 1]), activation]
    path = saved(qdq(nodes, {**KERNEL, **constants}), tmp_path)
    network = import_onnx(path)
    (convolution,) = [layer for layer in network.layers if isinstance(layer.op, Conv2D)]
    assert convolution.op.activation == wanted
    assert max(differences(network, path, range(4))) <= 0.1001  # onnxruntime convolves in float32 here: one step


def test_uint8_weights_around_128_are_int8_weights(tmp_path):
    shifted = {"w": (KERNEL["w"].astype(np.int16) + 128).astype(np.uint8), "wz": np.full(4, 128, np.uint8)}
    path = saved(qdq([WEIGHTS, CONV], {**KERNEL, **shifted}), tmp_path)
    network = import_onnx(path)
    (kernel,) = [array for key, array in network.weights.items() if key.endswith(".kernel")]
    np.testing.assert_array_equal(kernel.reshape(6, 4).T, KERNEL["w"].reshape(4, 6))


def test_a_convolution_without_quantized_result_is_one_in_float32(tmp_path):
    nodes = [node("QuantizeLinear", "x s z", "xq"), node("DequantizeLinear", "xq s z", "xd"), WEIGHTS]
    made = model(
        [*nodes, node("Conv", "xd wd", kernel_shape=[1, 1])],
        {"x": (1, 6, 5, 4)},
        {"s": np.float32(0.05), "z": np.uint8(120), **KERNEL},
    )
    path = saved(made, tmp_path)
    network = import_onnx(path)
    assert op_names(network) == ["Quantize", "Dequantize", "Conv2D"]
    assert max(differences(network, path, range(3))) < 1e-4


def test_a_tensor_read_as_integers_and_as_reals_is_dequantized_once(tmp_path):
    nodes = [
        WEIGHTS,
        node("Conv", "xd wd", "g", kernel_shape=[1, 1]),
        node("QuantizeLinear", "g t u", "gq"),
        node("DequantizeLinear", "gq t u", "gd"),
        node("Sigmoid", "gd", "a"),
        node("HardSwish", "gd", "b"),
        node("Add", "a b", "h"),
    ]
    network = import_onnx(saved(qdq(nodes, KERNEL), tmp_path))
    assert op_names(network) == [
        "Quantize",
        "Conv2D",
        "Dequantize",
        "Activate",
        "Activate",
        "Binary",
        "Quantize",
        "Dequantize",
    ]


def test_other_roundings_can_be_asked_for(tmp_path):
    path = saved(qdq([WEIGHTS, CONV], KERNEL), tmp_path)
    assert import_onnx(path, "tflite").rounding == "tflite"
    float_path = saved(model([node("Relu", "x")], {"x": (1, 3)}), tmp_path)
    with pytest.raises(UnsupportedError, match="this model is float32; the rounding 'tflite' is for int8"):
        import_onnx(float_path, "tflite")


def refused(made, folder):
    """What the importer says about a model."""
    with pytest.raises(BadInputError) as caught:
        import_onnx(saved(made, folder))
    return [found.message for found in caught.value.diagnostics]


FLOAT_WEIGHTS = {"w": randoms(4, 6, 1, 1)}
ASYMMETRIC = {"w": np.full((4, 6, 1, 1), -100, np.int8), "wz": np.full(4, 100, np.int8)}


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        (
            [node("Conv", "xd w", "h", kernel_shape=[1, 1])],
            FLOAT_WEIGHTS,
            "Conv: the kernel is float32; beside int8 activations only quantized constants are supported",
        ),
        (
            [WEIGHTS, CONV],
            {**KERNEL, **ASYMMETRIC},
            "Conv: the kernel is asymmetric and without its zero point no int8; use symmetric weights",
        ),
        (
            [node("DequantizeLinear", "w ws wz", "wd", axis=1), CONV],
            {**KERNEL, "ws": np.full(6, 0.1, np.float32), "wz": np.zeros(6, np.int8)},
            "Conv: the kernel has scales along axis 1; only one per output is supported",
        ),
        (
            [WEIGHTS, CONV],
            {**KERNEL, "ws": np.array([0.1, 0.2], np.float32)},
            "DequantizeLinear: 2 scales do not fit axis 0 of [4, 6, 1, 1]",
        ),
        (
            [WEIGHTS, CONV],
            {**KERNEL, "wz": np.zeros(3, np.int8)},
            "DequantizeLinear: 3 zero points do not fit 4 scales",
        ),
        (
            [WEIGHTS, CONV],
            {**KERNEL, "w": KERNEL["w"].astype(np.int16)},
            "DequantizeLinear: of int16 constants; only int4, uint4, int8, uint8 and int32 are supported",
        ),
        (
            [WEIGHTS, CONV],
            {**KERNEL, "ws": -KERNEL["ws"]},
            "DequantizeLinear: its scale is not positive",
        ),
        (
            [
                WEIGHTS,
                node("DequantizeLinear", "b bs", "bd"),
                node("Conv", "xd wd bd", "h", kernel_shape=[1, 1]),
            ],
            {**KERNEL, "b": np.ones(4, np.int32), "bs": np.float32(0.5)},
            "Conv: the bias has another scale than input scale * kernel scale",
        ),
        (
            [node("DequantizeLinear", "xq t u", "other"), node("Relu", "other", "h")],
            {},
            "DequantizeLinear: its scale or zero point is not that of the QuantizeLinear before it",
        ),
        (
            [WEIGHTS, node("Conv", "xd wd", "g", kernel_shape=[1, 1]), node("Clip", "g low", "h")],
            {**KERNEL, "t": np.float32(0.5), "low": np.float32(0.25)},
            "Conv: the bound 0.25 lies between two integers of scale 0.5",
        ),
        (
            [node("Relu", "xq", "h")],
            {},
            "Relu: reads the integers of 'xq'; only a DequantizeLinear may (QDQ format)",
        ),
        (
            [
                node("QuantizeLinear", "f s z", "fq"),
                node("DequantizeLinear", "fq s z", "fd"),
                node("Add", "xd fd", "h"),
            ],
            {"f": np.ones(4, np.float32)},
            "QuantizeLinear: of a constant is not supported; quantize the model with constants folded",
        ),
        (
            [node("QuantizeLinear", "xd ws wz", "p"), node("DequantizeLinear", "p ws wz", "h")],
            {"ws": np.ones(6, np.float32), "wz": np.zeros(6, np.int8)},
            "QuantizeLinear: 6 scales of an activation; only one per tensor is supported",
        ),
        (
            [node("QuantizeLinear", "xd t wz", "p"), node("DequantizeLinear", "p t wz", "h")],
            {"wz": np.int16(3)},
            "QuantizeLinear: zero points of type int16; only int8 and uint8 are supported",
        ),
        ([node("Sin", "xd", "h")], {}, "Sin: this operator is not supported"),
        (
            [node("GlobalAveragePool", "xd", "g"), node("Relu", "g", "h")],
            {},
            "GlobalAveragePool: an activation behind a mean is not supported on int8",
        ),
    ],
    ids=lambda value: value.partition(" ")[2][:40] if isinstance(value, str) else "",
)
def test_what_has_no_counterpart_is_named(nodes, constants, message, tmp_path):
    assert message in refused(qdq(nodes, constants), tmp_path)


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        (
            [node("DequantizeLinear", "c s z", "cd"), node("Concat", "xd cd", "h", axis=1)],
            {"c": np.ones((1, 2, 5, 4), np.uint8)},
            "Concat: joins the constant 'cd' of another scale, which is not supported",
        ),
        (
            [node("DequantizeLinear", "c cs cz", "cd", axis=0), node("Add", "xd cd", "h")],
            {"c": np.ones((6, 1, 1), np.int8), "cs": np.ones(6, np.float32), "cz": np.zeros(6, np.int8)},
            "Add: a term with one scale per channel is not supported",
        ),
        (
            [node("QuantizeLinear", "xd t", "p", output_dtype=5), node("DequantizeLinear", "p t", "h")],
            {},
            "QuantizeLinear: only int8 and uint8 are supported",
        ),
        (
            [node("QuantizeLinear", "xd t u", "p", block_size=2), node("DequantizeLinear", "p t u", "h")],
            {},
            "QuantizeLinear: scales per block are not supported",
        ),
        (
            [node("QuantizeLinear", "xd t xq", "p"), node("DequantizeLinear", "p t u", "h")],
            {},
            "QuantizeLinear: the zero point is computed at run time; only constants are supported",
        ),
        (
            [node("Conv", "xd xd", "h", kernel_shape=[1, 1])],
            {},
            "Conv: the kernel is computed at run time; beside int8 activations only quantized constants are supported",
        ),
    ],
    ids=lambda value: value.partition(" ")[2][:40] if isinstance(value, str) else "",
)
def test_more_that_has_no_counterpart_is_named(nodes, constants, message, tmp_path):
    assert message in refused(qdq(nodes, constants), tmp_path)


def test_constants_of_the_same_scale_are_joined(tmp_path):
    nodes = [node("DequantizeLinear", "c t u", "cd"), node("Concat", "xd cd", "h", axis=1)]
    path = saved(qdq(nodes, {"c": np.arange(40, dtype=np.uint8).reshape(1, 2, 5, 4)}), tmp_path)
    assert op_names(import_onnx(path)).count("Constant") == 1
    exact(path)


def test_everything_is_named_at_once(tmp_path):
    nodes = [
        node("Sin", "xd", "e"),
        node("Conv", "xd w", "g", kernel_shape=[1, 1]),
        node("QuantizeLinear", "g t u", "gq"),
        node("DequantizeLinear", "gq t u", "h"),
    ]
    made = qdq(nodes, FLOAT_WEIGHTS)
    made.graph.output.append(helper.make_tensor_value_info("e", TensorProto.FLOAT, None))
    messages = refused(made, tmp_path)
    assert "Sin: this operator is not supported" in messages
    assert any("the kernel is float32" in message for message in messages)


def integer_borders(dtype, zero=None):
    """A model whose input and output are integers."""
    zero = dtype(3) if zero is None else zero
    nodes = [
        node("DequantizeLinear", "x s z", "xd"),
        WEIGHTS,
        CONV,
        node("QuantizeLinear", "h t z", "y"),
    ]
    made = model(nodes, {"x": (1, 6, 5, 4)}, {"s": np.float32(0.05), "t": np.float32(0.1), "z": zero, **KERNEL})
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    made.graph.input[0].type.tensor_type.elem_type = made.graph.output[0].type.tensor_type.elem_type = kind
    return made


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_inputs_and_outputs_may_be_integers(dtype, tmp_path):
    path = saved(integer_borders(dtype), tmp_path)
    network = import_onnx(path)
    borders = [network.tensor(name) for name in ("x", "y")]
    assert [(t.dtype, t.border, t.quantization.zero_point) for t in borders] == [(dtype.__name__, "nchw", 3)] * 2
    assert op_names(network) == (["Quantize", "Conv2D", "Quantize"] if dtype is np.uint8 else ["Conv2D"])
    low = np.iinfo(dtype).min
    for seed in range(4):
        x = np.random.default_rng(seed).integers(low, low + 256, (1, 6, 5, 4)).astype(dtype)
        (want,) = session_of(path).run(None, {"x": x})
        got = oracle.run(network, {"x": oracle.from_border(network.tensor("x"), x)})["y"]
        np.testing.assert_array_equal(oracle.to_border(network.tensor("y"), got), want)


def test_integers_and_their_zero_point_have_one_type(tmp_path):
    message = "input 'x': it is int8, and its DequantizeLinear has no zero point of that type"
    assert message in refused(integer_borders(np.int8, np.uint8(3)), tmp_path)


def test_gemm_of_int8_has_no_factors(tmp_path):
    constants = {
        "w": np.ones((6, 4), np.int8),
        "ws": np.float32(0.1),
        "wz": np.int8(0),
    }
    nodes = [node("DequantizeLinear", "w ws wz", "wd"), node("Gemm", "xd wd", "h", alpha=0.5)]
    assert refused(qdq(nodes, constants, (1, 6)), tmp_path) == [
        "Gemm: transA, alpha and beta are not supported on int8"
    ]
    left = [node("DequantizeLinear", "w ws wz", "wd"), node("MatMul", "wd xd", "h")]
    assert "MatMul: a constant on the left; only constants on the right are supported" in refused(
        qdq(left, {**constants, "w": np.ones((4, 1), np.int8)}, (1, 6)), tmp_path
    )


def test_kernels_are_two_dimensional(tmp_path):
    constants = {**KERNEL, "w": np.ones((4, 6, 1), np.int8)}
    assert refused(qdq([WEIGHTS, CONV], constants), tmp_path)[0] == (
        "Conv: kernel of shape [4, 6, 1]; only 2-D convolutions are supported"
    )


@pytest.mark.models
@pytest.mark.slow
@BOTH
def test_mobilenet_v2(activations, model_path, tmp_path):
    path = quantized(model_path("onnx/mobilenetv2_100.onnx"), tmp_path, activations, count=2)
    network = exact(path, range(8))
    kinds = op_names(network)
    assert (kinds.count("Conv2D"), kinds.count("Binary"), kinds.count("Dense")) == (52, 10, 1)
    assert [kind for kind in kinds if "uantize" in kind] == ["Quantize", "Dequantize"]


@pytest.mark.models
@pytest.mark.slow
def test_every_layer_of_mobilenet_v2(model_path, tmp_path):
    """Every QuantizeLinear's integers; as outputs they do not keep onnxruntime from fusing."""
    path = quantized(model_path("onnx/mobilenetv2_100.onnx"), tmp_path, count=2)
    network = import_onnx(path)
    made = onnx.load(path)
    names = [found.output[0] for found in made.graph.node if found.op_type == "QuantizeLinear"]
    made.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in names)
    widened = tmp_path / "widened.onnx"
    onnx.save(made, widened)
    x = np.random.default_rng(3).standard_normal((1, 3, 224, 224)).astype(np.float32)
    results = session_of(widened).run(names, {"input": x})
    values = oracle.run_all(network, {"input": oracle.from_border(network.tensor("input"), x)})
    layers = [layer for layer in network.layers if isinstance(layer.op, Conv2D | Binary | Dense | Mean)]
    integers = [array for name, array in zip(names, results, strict=True) if "latten" not in name][1:]
    assert len(integers) == len(layers) == 64
    for layer, want in zip(layers, integers, strict=True):
        moved = want.transpose(0, 2, 3, 1) if want.ndim == 4 else want
        np.testing.assert_array_equal(values[layer.output].astype(np.int16) + 128, moved)

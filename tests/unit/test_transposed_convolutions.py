"""Transposed convolutions: the importer and the oracle against onnxruntime, and what they become."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile import oracle
from dscompile.errors import BadInputError, UnsupportedError
from dscompile.ir.cost import layer_kind, layer_macs
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU, SIGMOID, Activate, BatchNorm, Conv2D, ConvTranspose, DepthToSpace, Pads
from dscompile.ir.shapes import ShapeError, output_shape
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.passes import canonicalize
from tests import mcu
from tests.import_onnx_models import checked, imported, model, node, randoms
from tests.native import TARGETS_FIRST_FAST, assert_equals_oracle, target_here

CASES = [
    {"kernel": (2, 2), "strides": (2, 2)},
    {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1), "output_padding": (1, 1)},
    {"kernel": (4, 4), "strides": (2, 2), "pads": (1, 1, 1, 1)},
    {"kernel": (3, 5), "strides": (1, 3), "pads": (0, 2, 1, 1)},
    {"kernel": (2, 3), "strides": (3, 2), "output_padding": (2, 0)},
    {"kernel": (3, 3), "strides": (2, 1), "dilations": (2, 3), "pads": (1, 0, 0, 2)},
    {"kernel": (1, 1), "strides": (2, 2), "output_padding": (1, 0)},
    {"kernel": (5, 5), "strides": (2, 2), "pads": (4, 4, 3, 4)},
    {"kernel": (3, 3), "strides": (2, 2), "auto_pad": "SAME_UPPER"},
    {"kernel": (3, 4), "strides": (2, 3), "auto_pad": "SAME_LOWER"},
    {"kernel": (3, 3), "strides": (2, 2), "auto_pad": "VALID"},
    {"kernel": (3, 3), "strides": (2, 2), "output_shape": (10, 8)},
]


def transposed(case, channels: int, filters: int, groups: int = 1, size=(5, 4)):
    """A model of one ConvTranspose with a bias."""
    attributes = {name: list(value) if isinstance(value, tuple) else value for name, value in case.items()}
    kernel = attributes.pop("kernel")
    weights = randoms(channels, filters // groups, *kernel)
    made = node("ConvTranspose", "x w b", kernel_shape=kernel, group=groups, **attributes)
    return model([made], {"x": (1, channels, *size)}, {"w": weights, "b": randoms(filters)})


@pytest.mark.parametrize("case", CASES, ids=str)
def test_transposed_convolutions_equal_onnxruntime(case, tmp_path):
    for channels, filters, groups in ((3, 5, 1), (6, 4, 2), (7, 7, 7)):
        network = checked(transposed(case, channels, filters, groups), tmp_path)
        canonical = canonicalize(network)
        assert not [layer for layer in canonical.layers if isinstance(layer.op, ConvTranspose)]
        x = {"x": randoms(*network.shape("x"), seed=3)}
        want = oracle.run(network, x)["y"]
        np.testing.assert_allclose(oracle.run(canonical, x)["y"], want, rtol=0, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("groups", [1, 3])
def test_transposed_convolutions_over_sequences(groups, tmp_path):
    made = node("ConvTranspose", "x w", strides=[2], pads=[1, 0], output_padding=[1], group=groups)
    checked(model([made], {"x": (1, 6, 7)}, {"w": randoms(6, 4, 3)}), tmp_path)


def built(cases: list[tuple[ConvTranspose, int]], *, int8: bool) -> Network:
    """Images, transposed convolutions of them, and convolutions with padding that read the results."""
    scale = Quantization((0.05,), -3)
    net = NetworkBuilder("transposed", "tflite" if int8 else None)
    rng = np.random.default_rng(1)

    def add(name: str, op: Conv2D | ConvTranspose, source: str, kernel: np.ndarray) -> str:
        bias = rng.normal(size=op.out_channels)
        if not int8:
            return net.add(name, op, [source], kernel=kernel.astype(np.float32), bias=bias.astype(np.float32))
        scales = np.abs(kernel).max(axis=(0, 1, 2)).astype(np.float32) / 127
        return net.add(
            name, op, [source], quantization=scale, kernel=np.rint(kernel / scales).astype(np.int8),
            kernel_scale=scales, bias=np.rint(bias / (0.05 * scales)).astype(np.int32),
        )  # fmt: skip

    outputs = []
    for number, (op, channels) in enumerate(cases):
        shape = (1, 5, 4, channels)
        x = net.input(Tensor(f"x{number}", shape, "int8", scale) if int8 else Tensor(f"x{number}", shape))
        fan = max(1, channels // op.groups * op.kernel[0] * op.kernel[1] // (op.stride[0] * op.stride[1]))
        kernel = rng.normal(size=(*op.kernel, channels // op.groups, op.out_channels)) * fan**-0.5
        grown = add(f"grown{number}", op, x, kernel)
        filters = op.out_channels
        depthwise = Conv2D(filters, (3, 3), pads=Pads(1, 1, 1, 1), groups=filters)
        outputs += [add(f"last{number}", depthwise, grown, rng.normal(size=(3, 3, 1, filters)) * 0.3), grown]
    return net.build(outputs)


OPS = [
    (ConvTranspose(17, (2, 2), (2, 2), activation=RELU), 3),
    (ConvTranspose(16, (4, 4), (2, 2), Pads(1, 1, 1, 1)), 17),
    (ConvTranspose(5, (3, 3), (2, 2), Pads(1, 1, 0, 1), output_padding=(1, 0)), 100),
    (ConvTranspose(34, (3, 3), (2, 2), Pads(1, 1, 1, 1), groups=17), 17),
    (ConvTranspose(6, (3, 2), (3, 1), groups=2), 4),
]


@pytest.mark.slow
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("target", TARGETS_FIRST_FAST)
def test_compiled_transposed_convolutions_equal_the_oracle(target, int8):
    assert_equals_oracle(built(OPS, int8=int8), target_here(target))


@pytest.mark.slow
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_transposed_convolutions_as_c_equal_the_oracle(int8):
    mcu.assert_equals_oracle(built(OPS, int8=int8))


def test_batch_norm_and_activation_become_part_of_a_transposed_convolution():
    net = NetworkBuilder("folded")
    x = net.input(Tensor("x", (1, 3, 3, 2)))
    grown = net.add("grown", ConvTranspose(4, (2, 2), (2, 2)), [x], kernel=randoms(2, 2, 2, 4))
    statistics = {name: np.abs(randoms(4, seed=seed)) for seed, name in enumerate(("gamma", "mean", "variance"))}
    normed = net.add("norm", BatchNorm(), [grown], beta=randoms(4), **statistics)
    network = net.build([net.add("gate", Activate(SIGMOID), [normed])])
    canonical = canonicalize(network)
    assert [layer.op for layer in canonical.layers] == [
        Conv2D(16, (1, 1), activation=SIGMOID),
        DepthToSpace((2, 2)),
    ]
    given = {"x": randoms(1, 3, 3, 2)}
    np.testing.assert_allclose(oracle.run(canonical, given)["gate"], oracle.run(network, given)["gate"], atol=1e-6)


def test_products_are_those_of_every_input_pixel_with_every_filter():
    network = built([(ConvTranspose(16, (4, 4), (2, 2), Pads(1, 1, 1, 1)), 17)], int8=False)
    assert layer_macs(network, network.layers[0]) == 5 * 4 * 17 * 4 * 4 * 16
    assert layer_kind(network, network.layers[0]) == "transposed conv"


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (ConvTranspose(4, (2, 2), (2, 2), groups=2), "2 groups do not divide 3 input and 4 output channels"),
        (ConvTranspose(4, (2, 2), (2, 2), output_padding=(2, 0)), "must be smaller than the stride"),
        (ConvTranspose(4, (2, 2), pads=Pads(3, 3, 0, 0)), r"its padding leaves nothing: the result would be \[0, 5\]"),
    ],
)
def test_what_cannot_be_is_said_with_its_sizes(op, message):
    with pytest.raises(ShapeError, match=message):
        output_shape(op, [(1, 5, 4, 3)])


@pytest.mark.parametrize(
    ("made", "kind", "message"),
    [
        (transposed({"kernel": (2, 2), "output_padding": (1,)}, 3, 2), BadInputError, "must be two numbers from 0 on"),
        (
            transposed({"kernel": (2, 2), "output_shape": (9, 9)}, 3, 2),
            UnsupportedError,
            "larger than what the windows",
        ),
        (
            model([node("ConvTranspose", "x w", group=2)], {"x": (1, 3, 4, 4)}, {"w": randoms(3, 2, 2, 2)}),
            BadInputError,
            "2 groups do not divide 3 input channels",
        ),
        (
            model([node("ConvTranspose", "x w")], {"x": (1, 3, 4, 4, 4)}, {"w": randoms(3, 2, 2, 2, 2)}),
            UnsupportedError,
            "only images",
        ),
        (
            model([node("ConvTranspose", "x w", pads=[1, 1, 1, 1])], {"x": (1, 3, 4)}, {"w": randoms(3, 2, 2)}),
            BadInputError,
            "do not give a start and an end of a sequence",
        ),
    ],
)
def test_a_damaged_transposed_convolution_is_refused(made, kind, message, tmp_path):
    with pytest.raises(kind, match=message):
        imported(made, tmp_path)

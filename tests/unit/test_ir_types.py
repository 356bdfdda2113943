"""What validation says about int8 networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.errors import BadInputError
from dscompile.ir.cost import layer_macs, layer_parameters
from dscompile.ir.network import NetworkBuilder, weight_shapes
from dscompile.ir.ops import (
    HARD_SWISH,
    RELU,
    Activate,
    Activation,
    BatchNorm,
    Binary,
    Constant,
    Conv2D,
    Dense,
    Dequantize,
    Mean,
    Pads,
    Pool,
    Quantize,
    Reshape,
    Softmax,
)
from dscompile.ir.tensor import Quantization, Tensor

Q = Quantization((0.5,), 3)
OTHER = Quantization((0.25,), -128)
IMAGE = (1, 4, 4, 2)


def kernel_weights(*shape):
    """Weights of an int8 layer, all ones."""
    return {
        "kernel": np.ones(shape, np.int8),
        "kernel_scale": np.ones(shape[-1], np.float32),
        "bias": np.ones(shape[-1], np.int32),
    }


def mixed():
    """uint8 image -> int8 conv, mean, dense -> float scores."""
    builder = NetworkBuilder("mixed", "tflite")
    builder.input(Tensor("image", IMAGE, "uint8", Quantization((0.5,), 131)))
    builder.add("shift", Quantize(), ["image"], quantization=Q)
    builder.add("conv", Conv2D(3, (3, 3)), ["shift"], quantization=OTHER, **kernel_weights(3, 3, 2, 3))
    builder.add("mean", Mean(), ["conv"], quantization=Q)
    builder.add("flat", Reshape((1, 3)), ["mean"])
    builder.add("dense", Dense(2, RELU), ["flat"], quantization=OTHER, **kernel_weights(3, 2))
    builder.add("scores", Dequantize(), ["dense"])
    builder.add("softmax", Softmax(), ["scores"])
    return builder.build(["softmax"])


def test_results_get_the_given_quantization_or_that_of_their_input():
    tensors = mixed().tensors
    assert {name: (tensor.dtype, tensor.quantization) for name, tensor in tensors.items()} == {
        "image": ("uint8", Quantization((0.5,), 131)),
        "shift": ("int8", Q),
        "conv": ("int8", OTHER),
        "mean": ("int8", Q),
        "flat": ("int8", Q),
        "dense": ("int8", OTHER),
        "scores": ("float32", None),
        "softmax": ("float32", None),
    }


def test_scales_are_no_parameters():
    network = mixed()
    assert [layer_parameters(network, layer) for layer in network.layers] == [0, 57, 0, 0, 8, 0, 0]
    assert [layer_macs(network, layer) for layer in network.layers] == [0, 216, 0, 0, 6, 0, 0]


def test_int8_kernels_have_scales():
    assert weight_shapes(Conv2D(8, (3, 5)), [(1, 7, 7, 3)], quantized=True) == {
        "kernel": (3, 5, 3, 8),
        "bias": (8,),
        "kernel_scale": (8,),
    }
    assert weight_shapes(Dense(10), [(1, 64)], quantized=True)["kernel_scale"] == (10,)
    assert weight_shapes(Constant((1, 2)), [], quantized=True) == {"value": (1, 2)}


INT8, FLOAT = Tensor("x", IMAGE, "int8", Q), Tensor("x", IMAGE)


def problem_of(op, x=INT8, dtype=None, quantization=None, **weights):
    """What is wrong with a network of this one layer."""
    builder = NetworkBuilder("bad", "tflite")
    builder.input(x)
    builder.input(Tensor("z", IMAGE, "int8", OTHER))  # so that the network is quantized in any case
    inputs = [] if isinstance(op, Constant) else ["x", "x"] if isinstance(op, Binary) else ["x"]
    builder.add("y", op, inputs, dtype=dtype, quantization=quantization, **weights)
    with pytest.raises(BadInputError) as caught:
        builder.build(["y"])
    (found,) = caught.value.diagnostics
    return found.message


@pytest.mark.parametrize(
    ("message", "op", "options"),
    [
        ("cannot be int8; only float32 has batch norm and prelu", Activate(Activation("prelu")), {"slope": np.ones(2)}),
        (
            "ends with hard_swish; after int8 only clamps (relu, relu6, clip) can be part of a layer",
            Binary("add", HARD_SWISH),
            {},
        ),
        (
            "counts padding in its average, which int8 cannot",
            Pool("average", (2, 2), pads=Pads(1, 1), count_pads=True),
            {},
        ),
        (
            "a hard_swish cannot make scale 0.001 of 0.5; at most 1/128 of it",
            Activate(HARD_SWISH),
            {"quantization": Quantization((0.001,))},
        ),
        (
            "moves 'x' to 'y', which must have the same scale and zero point",
            Reshape((1, 32)),
            {"quantization": OTHER},
        ),
        ("is a mean, which only int8 networks have; use an average pool over the whole image", Mean(), {"x": FLOAT}),
        (
            "quantizes to float32; it must make int8, or uint8 for an output of the network",
            Quantize(),
            {"dtype": "float32", "x": FLOAT},
        ),
        ("makes float32 of float32; it must make float32 of int8 or uint8", Dequantize(), {"x": FLOAT}),
        (
            "weight 'y.kernel' is float32, it must be int8",
            Conv2D(2, (1, 1)),
            kernel_weights(1, 1, 2, 2) | {"kernel": np.ones((1, 1, 2, 2), np.float32)},
        ),
        (
            "weight 'y.bias' is int64, it must be int32",
            Conv2D(2, (1, 1)),
            kernel_weights(1, 1, 2, 2) | {"bias": np.ones(2, np.int64)},
        ),
        (
            "weight 'y.kernel_scale' is missing; it must be [2]",
            Conv2D(2, (1, 1)),
            {"kernel": np.ones((1, 1, 2, 2), np.int8)},
        ),
        (
            "weight 'y.kernel_scale' must be positive and finite",
            Conv2D(2, (1, 1)),
            kernel_weights(1, 1, 2, 2) | {"kernel_scale": np.array([1, 0], np.float32)},
        ),
        (
            "its sums are scaled by up to 2e+09, which 32 bits cannot hold",
            Conv2D(2, (1, 1)),
            kernel_weights(1, 1, 2, 2) | {"kernel_scale": np.array([1, 2e9], np.float32)},
        ),
        (
            "weight 'y.value' is float32, it must be int8",
            Constant((1, 2)),
            {"quantization": Q, "value": np.ones((1, 2), np.float32)},
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_layers_that_do_not_fit_their_types_are_named(message, op, options):
    assert problem_of(op, **options) == message


def test_only_quantize_and_dequantize_change_the_type():
    network = mixed()
    broken = {**network.tensors, "conv": Tensor("conv", (1, 2, 2, 3))}
    with pytest.raises(BadInputError, match="layer conv: makes float32 of int8; quantize and dequantize are layers"):
        replace(network, tensors=broken).validate()


def test_batch_norm_cannot_be_int8():
    weights = {role: np.ones(2, np.float32) for role in ("gamma", "beta", "mean", "variance")}
    assert problem_of(BatchNorm(), **weights) == "cannot be int8; only float32 has batch norm and prelu"


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (Tensor("x", IMAGE, "int8"), "tensor 'x' is int8 and needs one scale and zero point"),
        (
            Tensor("x", IMAGE, "int8", Quantization((0.5, 0.25))),
            "tensor 'x' is int8 and needs one scale and zero point",
        ),
        (Tensor("x", IMAGE, "int8", Quantization((0.5,), 128)), "tensor 'x' has zero point 128, which is no int8"),
        (Tensor("x", IMAGE, "uint8", Quantization((0.5,), -1)), "tensor 'x' has zero point -1, which is no uint8"),
        (Tensor("x", IMAGE, "float32", Q), "tensor 'x' is float32, which has no quantization"),
    ],
    ids=str,
)
def test_tensors_that_contradict_themselves_are_named(tensor, message):
    builder = NetworkBuilder("bad", "tflite")
    builder.input(tensor)
    builder.add("y", Quantize(), ["x"], quantization=Q)
    with pytest.raises(BadInputError) as caught:
        builder.build(["y"])
    assert [found.message for found in caught.value.diagnostics] == [message]


def test_uint8_lies_at_the_border_only():
    network = mixed()
    inside = {**network.tensors, "shift": replace(network.tensors["shift"], dtype="uint8")}
    with pytest.raises(BadInputError, match="tensor 'shift' is uint8; only inputs and outputs of the network may be"):
        replace(network, tensors=inside).validate()


def test_a_rounding_belongs_to_int8_networks_and_to_no_others():
    with pytest.raises(BadInputError, match="the network has int8 tensors and needs a rounding"):
        replace(mixed(), rounding=None).validate()
    builder = NetworkBuilder("float", "tflite")
    builder.add("y", Activate(RELU), [builder.input(Tensor("x", (1, 2)))])
    with pytest.raises(BadInputError, match="the network has no int8 tensors to round"):
        builder.build(["y"])

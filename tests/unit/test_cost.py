"""Multiply-accumulates, parameters and the standard convolution beside a separable one, by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from dscompile.ir.cost import (
    LayerCost,
    SeparablePair,
    layer_bytes,
    layer_cost,
    layer_flops,
    layer_kind,
    layer_macs,
    layer_parameters,
    separable_pairs,
)
from dscompile.ir.network import NetworkBuilder
from dscompile.ir.ops import (
    HARD_SWISH,
    RELU,
    RELU6,
    Activate,
    BatchNorm,
    Binary,
    Concat,
    Constant,
    Conv2D,
    Dense,
    Pads,
    Pool,
    Reshape,
    Softmax,
)
from dscompile.ir.tensor import Tensor


def zeros(*shape):
    return np.zeros(shape, np.float32)


def separable(*, between=(), biases=True):
    """A depthwise 3x3 on [1, 14, 14, 32] and a pointwise layer to 64 channels."""
    builder = NetworkBuilder("separable")
    x = builder.input(Tensor("x", (1, 14, 14, 32)))
    same = Pads(1, 1, 1, 1)
    x = builder.add(
        "depthwise",
        Conv2D(32, (3, 3), pads=same, groups=32),
        [x],
        kernel=zeros(3, 3, 1, 32),
        bias=zeros(32) if biases else None,
    )
    for number, op in enumerate(between):
        roles = ("gamma", "beta", "mean", "variance") if isinstance(op, BatchNorm) else ()
        x = builder.add(f"between{number}", op, [x], **{role: zeros(32) for role in roles})
    x = builder.add(
        "pointwise", Conv2D(64, (1, 1)), [x], kernel=zeros(1, 1, 32, 64), bias=zeros(64) if biases else None
    )
    return builder.build([x])


def cost_of(network, name):
    return layer_cost(network, next(layer for layer in network.layers if layer.name == name))


def test_separable_pair_is_booked_beside_the_standard_convolution_it_stands_for():
    network = separable()
    # 14 * 14 * 3 * 3 * 32; 3 * 3 * 32 + 32 | 14 * 14 * 3 * 3 * 32 * 64; 3 * 3 * 32 * 64 + 64
    assert cost_of(network, "depthwise") == LayerCost(56_448, 320, 3_612_672, 18_496)
    # 14 * 14 * 32 * 64; 32 * 64 + 64
    assert cost_of(network, "pointwise") == LayerCost(401_408, 2_112, 0, 0)


@pytest.mark.parametrize("between", [(), (BatchNorm(), Activate(RELU)), (Activate(RELU6),)])
def test_separable_pair_costs_one_over_outputs_plus_one_over_kernel_area(between):
    network = separable(between=between, biases=False)
    pair = [cost_of(network, name) for name in ("depthwise", "pointwise")]
    separable_macs = sum(cost.macs for cost in pair)
    standard_macs = sum(cost.standard_macs for cost in pair)
    assert Fraction(separable_macs, standard_macs) == Fraction(1, 64) + Fraction(1, 9)


def test_a_gate_between_the_halves_leaves_them_a_pair():
    """As in MobileNetV3: squeeze-and-excite stands between the depthwise and the pointwise convolution."""
    builder = NetworkBuilder("gated")
    x = builder.input(Tensor("x", (1, 6, 6, 8)))
    conv = Conv2D(8, (3, 3), pads=Pads(1, 1, 1, 1), groups=8)
    depthwise = builder.add("depthwise", conv, [x], kernel=zeros(3, 3, 1, 8))
    mean = builder.add("mean", Pool("average"), [depthwise])
    gate = builder.add("gate", Conv2D(8, (1, 1)), [mean], kernel=zeros(1, 1, 8, 8))
    scaled = builder.add("scaled", Binary("mul"), [depthwise, gate])
    y = builder.add("pointwise", Conv2D(4, (1, 1)), [scaled], kernel=zeros(1, 1, 8, 4))
    network = builder.build([y])
    assert cost_of(network, "pointwise").standard_macs == 0
    (pair,) = separable_pairs(network)
    assert pair == SeparablePair("depthwise", "pointwise", (3, 3), 8, 4, 36 * (72 + 32), 36 * 9 * 32)
    assert pair.ratio == pytest.approx(pair.formula)


def test_an_image_times_an_image_is_no_gate():
    builder = NetworkBuilder("product")
    x = builder.input(Tensor("x", (1, 6, 6, 8)))
    depthwise = builder.add("depthwise", Conv2D(8, (1, 1), groups=8), [x], kernel=zeros(1, 1, 1, 8))
    product = builder.add("product", Binary("mul"), [depthwise, x])
    y = builder.add("pointwise", Conv2D(4, (1, 1)), [product], kernel=zeros(1, 1, 8, 4))
    assert separable_pairs(builder.build([y])) == ()


def test_depthwise_layer_that_nothing_pointwise_follows_stands_for_a_standard_one_of_its_width():
    builder = NetworkBuilder("alone")
    x = builder.input(Tensor("x", (1, 5, 5, 3)))
    builder.add("depthwise", Conv2D(6, (3, 3), groups=3), [x], kernel=zeros(3, 3, 1, 6), bias=zeros(6))
    assert cost_of(builder.build(["depthwise"]), "depthwise") == LayerCost(486, 60, 9 * 9 * 3 * 6, 9 * 3 * 6 + 6)


def test_pointwise_layer_is_its_own_standard_when_the_depthwise_result_has_another_reader():
    builder = NetworkBuilder("branch")
    x = builder.input(Tensor("x", (1, 5, 5, 4)))
    depthwise = builder.add("depthwise", Conv2D(4, (1, 1), groups=4), [x], kernel=zeros(1, 1, 1, 4))
    builder.add("pointwise", Conv2D(2, (1, 1)), [depthwise], kernel=zeros(1, 1, 4, 2))
    builder.add("other", Activate(RELU), [depthwise])
    network = builder.build(["pointwise", "other"])
    assert cost_of(network, "pointwise") == LayerCost(200, 8, 200, 8)


def everything():
    builder = NetworkBuilder("everything")
    x = builder.input(Tensor("x", (1, 6, 6, 4)))
    x = builder.add("stem", Conv2D(8, (3, 3), groups=2), [x], kernel=zeros(3, 3, 2, 8))
    x = builder.add("norm", BatchNorm(), [x], **{role: zeros(8) for role in ("gamma", "beta", "mean", "variance")})
    act = builder.add("act", Activate(HARD_SWISH), [x])
    joined = builder.add("joined", Concat(3), [x, act])
    doubled = builder.add("doubled", Binary("add"), [joined, joined])
    pooled = builder.add("pooled", Pool("average"), [doubled])
    flat = builder.add("flat", Reshape((1, 16)), [pooled])
    known = builder.add("known", Constant((16,)), value=zeros(16))
    scaled = builder.add("scaled", Binary("mul"), [flat, known])
    dense = builder.add("dense", Dense(10), [scaled], kernel=zeros(16, 10), bias=zeros(10))
    builder.add("probabilities", Softmax(), [dense])
    return builder.build(["probabilities"])


def test_every_layer_has_its_kind_macs_parameters_flops_and_bytes():
    network = everything()
    table = [
        (
            layer_kind(network, layer),
            layer_macs(network, layer),
            layer_parameters(network, layer),
            layer_flops(network, layer),
            layer_bytes(network, layer),
        )
        for layer in network.layers
    ]
    assert table == [
        ("conv", 2304, 144, 4608, 4 * (144 + 128 + 144)),
        ("batch norm", 0, 32, 0, 4 * (128 + 128 + 32)),
        ("hard_swish", 0, 0, 128, 4 * (128 + 128)),
        ("concat", 0, 0, 0, 0),
        ("add", 0, 0, 256, 4 * (256 + 256 + 256)),
        ("average pool", 0, 0, 256, 4 * (256 + 16)),
        ("reshape", 0, 0, 0, 4 * (16 + 16)),
        ("constant", 0, 16, 0, 0),
        ("mul", 0, 0, 16, 4 * (16 + 16 + 16)),
        ("dense", 160, 170, 320, 4 * (16 + 10 + 170)),
        ("softmax", 0, 0, 10, 4 * (10 + 10)),
    ]


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        (Conv2D(4, (3, 3), groups=4), "depthwise"),
        (Conv2D(8, (3, 3), groups=4), "depthwise"),
        (Conv2D(4, (1, 1)), "pointwise"),
        (Conv2D(4, (1, 1), (2, 2)), "conv"),
        (Conv2D(4, (3, 3), groups=2), "conv"),
        (Pool("max", (2, 2)), "max pool"),
        (Activate(RELU), "relu"),
        (Activate(RELU6), "relu6"),
    ],
)
def test_kinds_are_the_fields_words(op, kind):
    builder = NetworkBuilder("one")
    x = builder.input(Tensor("x", (1, 4, 4, 4)))
    weights = {}
    if isinstance(op, Conv2D):
        weights["kernel"] = zeros(*op.kernel, 4 // op.groups, op.out_channels)
    builder.add("layer", op, [x], **weights)
    network = builder.build(["layer"])
    assert layer_kind(network, network.layers[0]) == kind


def test_a_convolution_of_one_channel_is_not_depthwise():
    assert not Conv2D(8, (3, 3)).is_depthwise(in_channels=1)

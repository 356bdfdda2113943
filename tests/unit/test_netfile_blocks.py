"""What blocks of a net.yaml become: mixed kernels, separable, inverted residuals, units of ShuffleNet and BlazeFace."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.frontend.channels import divisible, rounded
from dscompile.ir.network import Network
from dscompile.ir.ops import NONE, RELU, RELU6, Conv2D, Pool
from dscompile.oracle.execute import run
from tests.unit.netfiles import diagnostics, frame, network


def conv(net: Network, name: str) -> Conv2D:
    op = next(layer.op for layer in net.layers if layer.name == name)
    assert isinstance(op, Conv2D)
    return op


def names(net: Network) -> list[str]:
    return [layer.name for layer in net.layers]


def result(net: Network, x: np.ndarray) -> np.ndarray:
    return run(net, {net.inputs[0]: x})[net.outputs[0]]


def test_mixed_kernels_are_each_for_a_part_of_the_channels(rng: np.random.Generator) -> None:
    net = network("- depthwise: {name: mix, kernels: [3, 5, 7], stride: 2}", shape="[1, 9, 9, 8]")
    assert names(net) == [f"mix.{part}" for part in ("slice3", "k3", "slice5", "k5", "slice7", "k7", "concat")]
    assert [net.shape(f"mix.k{size}") for size in (3, 5, 7)] == [(1, 5, 5, 4), (1, 5, 5, 2), (1, 5, 5, 2)]
    # The same as one 7x7 depthwise convolution in which smaller kernels stand in the middle of zeros.
    whole = network("- depthwise: {name: mix, kernel: 7, stride: 2}", shape="[1, 9, 9, 8]")
    kernel = np.zeros((7, 7, 1, 8), np.float32)
    for size, channels in ((3, slice(0, 4)), (5, slice(4, 6)), (7, slice(6, 8))):
        border = (7 - size) // 2
        kernel[border : 7 - border, border : 7 - border, :, channels] = net.weights[f"mix.k{size}.kernel"]
    bias = np.concatenate([net.weights[f"mix.k{size}.bias"] for size in (3, 5, 7)])
    replaced = Network(**{**vars(whole), "weights": {"mix.kernel": kernel, "mix.bias": bias}})
    x = rng.standard_normal((1, 9, 9, 8), np.float32)
    np.testing.assert_allclose(result(net, x), result(replaced, x), rtol=1e-5, atol=1e-6)


def test_between_is_the_activation_of_the_depthwise_half() -> None:
    net = network("- separable: {name: block, out: 6, kernel: 3, activation: relu, between: relu6}")
    assert (conv(net, "block.depthwise").activation, conv(net, "block.pointwise").activation) == (RELU6, RELU)
    assert {"block.depthwise.bias", "block.pointwise.bias"} <= set(net.weights)


def test_two_linear_halves_have_one_bias_unless_they_ask_for_two() -> None:
    net = network("- separable: {name: block, out: 6, kernel: 3, activation: relu, between: none}")
    assert conv(net, "block.depthwise").activation == NONE
    assert "block.depthwise.bias" not in net.weights
    assert "block.pointwise.bias" in net.weights
    both = network("- separable: {name: block, out: 6, kernel: 3, between: none, bias: true}")
    assert "block.depthwise.bias" in both.weights


def test_hidden_is_the_number_of_expanded_channels() -> None:
    net = network("- inverted_residual: {name: row, hidden: 10, out: 6, expand_groups: 2, project_groups: 2}")
    assert names(net) == ["row.expand", "row.depthwise", "row.project"]
    assert net.shape("row.expand")[3] == 10
    assert (conv(net, "row.expand").groups, conv(net, "row.project").groups) == (2, 2)
    same = network("- inverted_residual: {name: row, hidden: 4, out: 4}")
    assert names(same) == ["row.depthwise", "row.project", "row.add"]


def test_squeezed_channels_are_a_share_of_the_input_or_of_the_hidden_ones() -> None:
    text = "- inverted_residual: {{name: row, expand: 6, out: 8, squeeze_excite: {}}}"
    shares = {"0.25": 6, "{of: input}": 1, "{of: input, ratio: 0.5}": 2, "{multiple: 8}": 8, "{channels: 5}": 5}
    for given, channels in shares.items():
        net = network(text.format(given))
        assert net.shape("row.squeeze.reduce")[3] == channels, given


def test_inverted_residuals_mix_kernels_too() -> None:
    net = network("- inverted_residual: {name: row, expand: 2, out: 6, kernels: [3, 5]}")
    assert names(net)[1:6] == [f"row.depthwise.{part}" for part in ("slice3", "k3", "slice5", "k5", "concat")]
    assert conv(net, "row.depthwise.k5").activation == RELU6


def test_a_shuffle_v1_is_a_grouped_bottleneck_added_to_its_input() -> None:
    net = network("- shuffle_v1: {name: unit, out: 24, groups: 3}", shape="[1, 8, 8, 24]")
    assert names(net) == [f"unit.{part}" for part in ("reduce", "shuffle", "depthwise", "restore", "add")]
    assert net.shape("unit.reduce") == (1, 8, 8, 6)  # a fourth, section 3.2
    assert (conv(net, "unit.reduce").groups, conv(net, "unit.restore").groups) == (3, 3)
    assert conv(net, "unit.depthwise").activation == NONE


def test_a_shuffle_v1_of_stride_2_stands_beside_its_inputs_averages() -> None:
    net = network("- shuffle_v1: {name: unit, out: 36, groups: 3, reduce_groups: 1, stride: 2}", shape="[1, 8, 8, 24]")
    assert names(net)[-3:] == ["unit.pool", "unit.concat", "unit.activation"]
    assert conv(net, "unit.reduce").groups == 1
    assert net.shape("unit.restore") == (1, 4, 4, 12)
    assert net.shape("unit.activation") == (1, 4, 4, 36)


def test_a_shuffle_v2_leaves_half_of_its_channels_alone(rng: np.random.Generator) -> None:
    net = network("- shuffle_v2: {name: unit, out: 8}", shape="[1, 4, 4, 8]")
    parts = ("keep", "change", "reduce", "depthwise", "restore", "concat", "shuffle")
    assert names(net) == [f"unit.{part}" for part in parts]
    x = rng.standard_normal((1, 4, 4, 8), np.float32)
    np.testing.assert_array_equal(result(net, x)[..., ::2], x[..., :4])  # between the changed ones


def test_a_shuffle_v2_of_stride_2_makes_both_halves_of_all_channels() -> None:
    net = network("- shuffle_v2: {name: unit, out: 12, stride: 2, repeat: 2}", shape="[1, 8, 8, 6]")
    assert names(net)[:2] == ["unit1.left.depthwise", "unit1.left.pointwise"]
    assert net.shape("unit1.left.pointwise") == net.shape("unit1.restore") == (1, 4, 4, 6)
    assert net.shape("unit2.shuffle") == (1, 4, 4, 12)


def test_a_blaze_block_adds_channels_as_if_the_input_had_zeros_there(rng: np.random.Generator) -> None:
    net = network("- blaze_block: {name: block, out: 6, stride: 2}", shape="[1, 6, 6, 4]")
    assert conv(net, "block.depthwise").kernel == (5, 5)
    x = rng.standard_normal((1, 6, 6, 4), np.float32)
    convolved = network("- separable: {name: block, out: 6, kernel: 5, stride: 2, bias: true}", shape="[1, 6, 6, 4]")
    pooled = x.reshape(1, 3, 2, 3, 2, 4).max(axis=(2, 4))
    expected = result(convolved, x) + np.pad(pooled, ((0, 0), (0, 0), (0, 0), (0, 2)))
    np.testing.assert_allclose(result(net, x), np.maximum(expected, 0), rtol=1e-6, atol=1e-6)


def test_a_double_blaze_block_projects_in_between() -> None:
    net = network("- blaze_block: {name: block, out: 4, project: 2, kernel: 3}")
    assert names(net) == [f"block.{part}" for part in ("depthwise", "project", "depthwise2", "restore", "add")]
    assert conv(net, "block.project").activation == RELU
    assert net.shape("block.project")[3] == 2


def test_a_pool_into_bins_has_windows_side_by_side() -> None:
    net = network("- pool: {kind: average, into: [2, 4]}")
    assert net.layers[0].op == Pool("average", (4, 2), (4, 2))
    assert net.shape("pool") == (1, 2, 4, 4)


def test_a_resize_may_be_as_large_as_another_image() -> None:
    net = network("- conv: {name: small, out: 3, kernel: 3, stride: 4}\n- resize: {name: large, like: x}")
    assert net.shape("large") == (1, 8, 8, 3)
    assert net.layers[1].inputs == ("small",)
    found = diagnostics(frame("- resize: {like: y}"))
    assert [each.message for each in found] == ["reads 'y', which is no input or layer"]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("depthwise: {kernel: 3, kernels: [3, 5]}", "give 'kernel' or 'kernels', not both"),
        ("depthwise: {kernels: [3, 3]}", "'kernels' must differ from each other"),
        ("depthwise: {kernels: [3]}", "'kernels' must be 2 to 16 sizes in a list, not a list"),
        ("depthwise: {kernels: [1, 3, 5, 7, 9]}", "4 channels are too few for 5 kernels"),
        ("inverted_residual: {out: 4, expand: 2, hidden: 8}", "give 'expand' or 'hidden', not both"),
        ("squeeze_excite: {channels: 2, multiple: 8}", "'channels' is the number itself: it takes neither 'multiple'"),
        ("squeeze_excite: {of: input}", "unknown key 'of' of squeeze_excite"),
        (
            "inverted_residual: {out: 4, squeeze_excite: {channels: 2, of: input}}",
            "'channels' is the number itself: it takes neither 'multiple' nor 'of'",
        ),
        ("pool: {kind: max, into: 3}", "8x8 cannot be cut into 3x3 equal windows"),
        ("pool: {kind: max, into: 2, kernel: 2}", "'into' cuts the image into windows: it takes no 'over', 'kernel'"),
        ("pool: {kind: max, into: 2, over: all}", "'into' cuts the image into windows: it takes no 'over', 'kernel'"),
        ("pool: {kind: max}", "pool needs 'over', 'kernel' or 'into'"),
        ("resize: {size: 4, like: x}", "give one of 'size' and 'like'"),
        ("resize: {}", "resize needs 'size', 'factor' or 'like'"),
        ("shuffle_v1: {out: 8}", "shuffle_v1 needs 'groups'"),
        ("shuffle_v1: {out: 8, groups: 2}", "a shuffle_v1 of stride 1 needs out: 4, not 8"),
        (
            "shuffle_v1: {out: 4, groups: 1, stride: 2}",
            "a shuffle_v1 of stride 2 needs more than the 4 channels of its input, not 4",
        ),
        ("shuffle_v2: {out: 8}", "a shuffle_v2 of stride 1 needs out: 4, not 8"),
        ("shuffle_v2: {out: 7, stride: 2}", "a shuffle_v2 of stride 2 needs an even 'out', not 7"),
        ("shuffle_v2: {out: 8, stride: 3}", "'stride' must be at most 2"),
        ("blaze_block: {out: 2}", "a blaze_block never has fewer channels than its input, which has 4, not 2"),
        (
            "blaze_block: {out: 4, scale: 0.5}",
            "a scale belongs to one tensor, and blaze_block stands for several layers",
        ),
    ],
)
def test_a_block_that_cannot_be(layer: str, message: str) -> None:
    found = diagnostics(frame(f"- {layer}"))
    assert len(found) == 1
    assert message in found[0].message


@pytest.mark.parametrize(
    ("channels", "multiple", "expected"),
    [
        (24.0, 8, 24),
        (18.0, 8, 24),
        (20.0, 8, 24),
        (19.9, 8, 24),
        (2.0, 8, 8),
        (12.0, 8, 16),
        (85.0, 8, 88),
        (6.5, 1, 7),
    ],
)
def test_channels_are_rounded_to_multiples_without_losing_a_tenth(channels, multiple, expected) -> None:
    assert divisible(channels, multiple) == expected


def test_a_factor_of_one_channel_rounds_to_one() -> None:
    assert (rounded(0.2), rounded(2.5)) == (1, 3)

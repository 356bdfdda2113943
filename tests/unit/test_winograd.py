"""3x3 convolutions by Winograd's F(4 x 4, 3 x 3): which they are, how they are cut, what they compute."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import HARD_SWISH, NONE, RELU, Binary, Concat, Conv2D, Pads
from dscompile.ir.tensor import Tensor
from dscompile.plan.kernels import ConvKernel, Epilogue, WinogradKernel
from dscompile.plan.knobs import WinogradKnobs
from dscompile.plan.layout import Blocked
from dscompile.plan.packing import pack_conv
from dscompile.plan.winograd import SCRATCH_BYTES, takes_winograd, tiles_at_once, transformed_weights, winograd_tiles
from dscompile.schedule import scheduled
from dscompile.target import find_target
from tests.kernels import assert_close, finished, from_blocks, run_kernel, to_blocks
from tests.native import assert_equals_oracle, opened, planned, target_here
from tests.quantized_networks import quantized
from tests.threads import assert_shared_equals_alone

AVX2 = "x86-avx2"
SAME, VALID = Pads(1, 1, 1, 1), Pads()
HALO = Pads(1, 2, 3, 1)  # around every image, so that rows and blocks have gaps between them


def network(height=13, width=18, channels=20, filters=27, pads=SAME, residual=False, **fields) -> Network:
    builder = NetworkBuilder("winograd")
    rng = np.random.default_rng(7)
    builder.input(Tensor("x", (1, height, width, channels)))
    op = Conv2D(filters, fields.pop("kernel", (3, 3)), pads=pads, activation=RELU, **fields)
    weights = rng.normal(size=(*op.kernel, channels // op.groups, filters)).astype(np.float32) / 9
    y = builder.add("conv", op, ["x"], kernel=weights, bias=rng.normal(size=filters).astype(np.float32))
    return builder.build([builder.add("y", Binary("add", RELU), [y, "x"]) if residual else y])


def is_winograd(net: Network, target: str = AVX2) -> bool:
    kernels = [function.kernel for function in planned(net, find_target(target)).functions]
    found = {type(kernel) for kernel in kernels if isinstance(kernel, WinogradKernel | ConvKernel)}
    assert len(found) == 1
    return found == {WinogradKernel}


@pytest.mark.parametrize(
    "net",
    [
        network(),
        network(height=8, width=8, channels=16, filters=16, pads=VALID),
        network(height=11, width=10, channels=33, filters=100, pads=VALID),
        network(height=9, width=27, channels=17, filters=17, residual=True),
        network(height=14, width=15, channels=96, filters=40, pads=Pads(2, 0, 1, 2)),
    ],
    ids=["same", "valid, whole tiles below 8", "valid", "residual", "most channels, uneven padding"],
)
def test_a_network_equals_the_oracle(net):
    target = target_here(AVX2)
    (layer,) = [layer for layer in net.layers if isinstance(layer.op, Conv2D)]
    if min(net.shape(layer.output)[1:3]) >= 8:
        assert is_winograd(net)
    assert_equals_oracle(net, target)


def test_the_error_is_a_few_units_of_the_last_place_of_the_largest_output():
    net = network(height=24, width=24, channels=64, filters=64)
    (values,) = opened(net, target_here(AVX2)).run({"x": _image(24, 24, 64)[None]}).values()
    x = np.pad(_image(24, 24, 64).astype(np.float64), [(1, 1), (1, 1), (0, 0)])
    layer = net.layers[0]
    kernel, bias = net.weight(layer, "kernel"), net.weight(layer, "bias")
    exact = bias + sum(x[r : r + 24, q : q + 24] @ kernel[r, q] for r in range(3) for q in range(3))
    assert_close(values[0], np.maximum(exact, 0.0), 3e-6)


def test_threads_share_the_tiles_of_a_layer():
    assert_shared_equals_alone(network(height=30, width=31, channels=32, filters=40), target_here(AVX2))


def test_a_layer_writes_into_its_part_of_a_concatenation():
    builder = NetworkBuilder("winograd")
    rng = np.random.default_rng(8)
    builder.input(Tensor("x", (1, 10, 9, 16)))
    parts = []
    for name, filters in (("one", 24), ("two", 16)):
        kernel = rng.normal(size=(3, 3, 16, filters)).astype(np.float32)
        parts.append(builder.add(name, Conv2D(filters, (3, 3), pads=SAME), ["x"], kernel=kernel))
    assert_equals_oracle(builder.build([builder.add("y", Concat(3), parts)]), target_here(AVX2))


@pytest.mark.parametrize(
    ("channels", "panel_blocks", "outputs", "activation", "residual"),
    [
        (1, 1, (4, 4), NONE, None),
        (3, 2, (1, 4), RELU, None),
        (17, 2, (4, 3), HARD_SWISH, None),
        (32, 1, (2, 2), RELU, NONE),
        (100, 2, (4, 4), NONE, RELU),
    ],
)
def test_a_kernel_equals_numpy_and_writes_only_its_view(channels, panel_blocks, outputs, activation, residual, rng):
    target = target_here(AVX2)
    lanes, tiles = target.lanes, (2, 3)
    height, width = 4 * tiles[0], 4 * tiles[1]
    filters, panel = 2 * lanes * panel_blocks, lanes * panel_blocks
    image, output = Blocked(height + 2, width + 2, channels, lanes, HALO), Blocked(height, width, filters, lanes, HALO)
    other = None if residual is None else replace(output, halo=Pads(2, 2, 2, 2)).strides
    epilogue = Epilogue(activation, other, residual or NONE)
    kernel = WinogradKernel(
        tiles, outputs, channels, filters, panel, lanes, image.strides, output.strides, epilogue
    )  # fmt: skip
    x = rng.normal(size=(height + 2, width + 2, channels)).astype(np.float32)
    weights = rng.normal(size=(3, 3, channels, filters)).astype(np.float32)
    bias = rng.normal(size=filters).astype(np.float32)
    inputs = {
        "x": to_blocks(x, lanes),
        "weights": pack_conv(transformed_weights(weights), panel, 0, filters),
        "bias": bias,
    }
    shape = (filters // lanes, *tiles, *outputs, lanes)
    added = None
    if residual is not None:
        inputs["residual"] = rng.normal(size=shape).astype(np.float32)
        added = _pixels(inputs["residual"], filters).astype(np.float64)
    acc = sum(
        x[r : r + height, q : q + width].astype(np.float64) @ weights[r, q] for r in range(3) for q in range(3)
    ).reshape(tiles[0], 4, tiles[1], 4, filters)[:, 4 - outputs[0] :, :, 4 - outputs[1] :]
    acc = acc.reshape(tiles[0] * outputs[0], tiles[1] * outputs[1], filters)

    got = run_kernel(kernel, WinogradKnobs(2, 3), target, inputs, shape)
    assert_close(_pixels(got, filters), finished(acc, bias, epilogue, added), 5e-6)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 23), (147, 147), (10, 31), (15, 60)])
@pytest.mark.parametrize("most", [4, 5, 6])
def test_tiles_write_each_output_once_and_read_nothing_outside_of_the_image(height, width, most):
    written = np.zeros((height, width), np.int64)
    for tiles in winograd_tiles(height, width, most):
        assert tiles.down.tile * tiles.across.tile <= most
        for down in range(tiles.down.count * tiles.down.tile):
            for across in range(tiles.across.count * tiles.across.tile):
                row, column = tiles.row + 4 * down, tiles.column + 4 * across
                assert 0 <= row <= height - 4
                assert 0 <= column <= width - 4
                written[row + 4 - tiles.rows : row + 4, column + 4 - tiles.columns : column + 4] += 1
    assert (written == 1).all()


@pytest.mark.parametrize("channels", [1, 16, 17, 56, 96])
def test_what_is_kept_of_the_tiles_at_work_has_a_bound(channels):
    tiles = tiles_at_once(channels, 8)
    assert 4 <= tiles <= 6
    assert tiles * 36 * (-(-channels // 8) * 8 + 16) * 4 <= SCRATCH_BYTES


@pytest.mark.parametrize(
    "net",
    [
        network(dilation=(2, 2)),
        network(stride=(2, 2)),
        network(kernel=(1, 1), pads=VALID),
        network(kernel=(5, 5)),
        network(kernel=(3, 1)),
        network(channels=32, filters=32, groups=2),
        network(channels=8),
        network(filters=8),
        network(height=7),
        network(width=7),
        network(channels=128, filters=16),
        network(channels=64, filters=128),
    ],
    ids=[
        "dilation", "stride", "pointwise", "wide kernel", "3x1", "groups", "few channels", "few filters", "low",
        "narrow", "too many channels at a time", "too many weights",
    ],
)  # fmt: skip
def test_other_convolutions_are_summed_directly(net):
    assert not is_winograd(net)


@pytest.mark.parametrize("name", ["x86-avx512", "arm64-neon"])
def test_targets_that_it_was_not_measured_on_sum_directly(name):
    assert is_winograd(network())
    assert not is_winograd(network(), name)


def test_such_layers_are_in_no_bands():
    builder = NetworkBuilder("winograd")
    builder.input(Tensor("x", (1, 160, 160, 16)))
    rng = np.random.default_rng(3)

    def weights(*shape):
        return rng.normal(size=shape).astype(np.float32)

    first = builder.add("first", Conv2D(32, (1, 1)), ["x"], kernel=weights(1, 1, 16, 32))
    second = builder.add("second", Conv2D(16, (3, 3), pads=SAME), [first], kernel=weights(3, 3, 32, 16))
    third = builder.add("third", Conv2D(16, (1, 1)), [second], kernel=weights(1, 1, 16, 16))
    program = planned(builder.build([third]), find_target(AVX2))
    assert [step.name for step in program.steps] == ["first", "second", "third"]


def test_int8_convolutions_are_no_such_layers():
    net = quantized(network(), seed=0)
    layers = [layer for layer in net.layers if isinstance(layer.op, Conv2D)]
    assert layers
    assert not any(takes_winograd(net, find_target(AVX2), layer) for layer in layers)


@pytest.mark.parametrize(("knobs", "name"), [(WinogradKnobs(3, 1), "rows"), (WinogradKnobs(1, 2), "columns")])
def test_tiles_at_work_divide_those_of_a_kernel(knobs, name):
    image = Blocked(18, 14, 16, 8)
    kernel = WinogradKernel((4, 3), (4, 4), 16, 16, 16, 8, image.strides, image.strides)
    with pytest.raises(ValueError, match=f"knob {name} = "):
        scheduled(kernel, knobs, find_target(AVX2))


@pytest.mark.parametrize(("rows", "columns"), [(0, 1), (1, 0)])
def test_there_are_tiles_at_work(rows, columns):
    with pytest.raises(ValueError, match="tile sizes must be positive"):
        WinogradKnobs(rows, columns)


def _image(height, width, channels):
    return np.maximum(np.random.default_rng(5).normal(size=(height, width, channels)), 0.0).astype(np.float32)


def _pixels(tiles, channels):
    """[blocks, tiles, tiles, rows, columns, lanes] -> [H, W, C]."""
    blocks, down, across, rows, columns, lanes = tiles.shape
    image = tiles.transpose(0, 1, 3, 2, 4, 5).reshape(blocks, down * rows, across * columns, lanes)
    return from_blocks(image, channels)

"""How weights are stored: what fits, and the bytes that kernels unpack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.errors import BadInputError
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU, Conv2D, Dense, Reshape
from dscompile.ir.storage import fitting_storage, smallest_storage, storage_problem, stored_bits
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.passes import canonicalize
from dscompile.plan.mcu.packing import packed_blocks, packed_pairs, packed_rows
from tests.packed_networks import random_kernel

SPARSE = np.int8([[1, 0], [0, -100], [0, 7], [-2, 0], [5, 5], [0, 0]])


def test_bits_of_the_weights_of_a_sum():
    assert [stored_bits(kind, 8) for kind in ("plain", "int4", "2:4", "int4-2:4")] == [64, 32, 40, 24]
    assert [stored_bits(kind, 2) for kind in ("plain", "int4", "2:4", "int4-2:4")] == [16, 8, 20, 12]


def test_what_does_not_fit_is_described():
    assert storage_problem("int4", np.int8([[-9, 7]])) == "weights from -9 to 7; four bits hold -8 to 7"
    crowded = np.ones((8, 1), np.int8)
    assert storage_problem("2:4", crowded) == "more than 2 weights other than 0 in 2 of its groups of four"
    assert storage_problem("2:4", SPARSE) is None
    assert storage_problem("plain", crowded) is None


def test_the_smallest_storage_that_fits_is_found():
    assert smallest_storage(SPARSE) == "2:4"
    assert smallest_storage(np.vstack([SPARSE // 16, np.zeros((2, 2), np.int8)])) == "int4-2:4"
    assert smallest_storage(SPARSE // 16) == "int4"  # 24 bits a channel either way
    assert smallest_storage(np.full((4, 1), 7, np.int8)) == "int4"
    assert smallest_storage(np.full((4, 1), 9, np.int8)) == "plain"
    assert smallest_storage(np.full((2, 1), 7, np.int8)) == "int4"  # no zeros to leave out


def test_what_no_longer_fits_is_given_up_and_the_rest_is_kept():
    assert fitting_storage("int4-2:4", np.full((4, 1), 7, np.int8)) == "int4"
    assert fitting_storage("int4", SPARSE) == "plain"
    assert fitting_storage("int4", SPARSE // 16) == "int4"  # nobody asked for two of four


def nibbles(values):
    """The halves of bytes, the lower first, as they are."""
    flat = values.reshape(-1).view(np.uint8)
    return np.stack([flat & 15, flat >> 4], axis=-1).reshape(-1).tolist()


def test_channels_of_a_block_share_bytes():
    weights = np.int8([[1, -2, 3], [4, 5, -8]])
    assert nibbles(packed_blocks(weights, 3, "int4")) == [1, 14, 3, 0, 4, 5, 8, 0]


def test_pairs_of_channels_have_the_even_one_above_and_the_odd_one_raised_by_8():
    weights = np.int8([[1, -8, 7], [-1, 7, 0], [2, 0, 0]])
    packed = packed_pairs(weights)
    assert packed.shape == (2, 4)
    assert nibbles(packed) == [0, 1, 15, 15, 8, 2, 8, 0, 8, 7, 8, 0, 8, 0, 8, 0]


def test_rows_are_whole_words_of_eight():
    packed = packed_rows(np.int8([[1], [-1], [2]]))
    assert packed.shape == (1, 4)
    assert nibbles(packed) == [1, 15, 2, 0, 0, 0, 0, 0]


def test_two_of_four_are_kept_with_their_places():
    # Channels 0 and 1: places 0 and 3, 1 and 2; then place 0 and a 0 that has none, for both.
    assert packed_blocks(SPARSE, 2, "2:4").tolist() == [0b1001_1100 - 256, 1, -2, -100, 7, 0, 5, 0, 5, 0]
    assert nibbles(packed_blocks(SPARSE // 16, 2, "int4-2:4"))[:6] == [3, 1, 15, 0, 9, 0]


@pytest.mark.parametrize("storage", ["2:4", "int4-2:4"])
@pytest.mark.parametrize("depth", [1, 6, 64])
def test_sparse_bytes_give_the_weights_back(storage, depth):
    weights = random_kernel((depth, 5), storage, np.random.default_rng(depth))
    block = 5
    groups = packed_blocks(weights, block, storage).reshape(-(-depth // 4), -1)
    places, values = groups[:, :3], groups[:, 3:]
    found = np.zeros((len(groups) * 4, block), np.int64)
    for channel in range(block):
        number = (places[:, channel // 2].astype(np.int64) >> (4 * (channel % 2))) & 15
        for index in range(2):
            if storage == "2:4":
                value = values[:, 2 * channel + index].astype(np.int64)
            else:
                value = (values[:, channel].astype(np.int64) >> (4 * index)) & 15
                value = np.where(value > 7, value - 16, value)
            found[np.arange(len(groups)) * 4 + ((number >> (2 * index)) & 3), channel] += value
    np.testing.assert_array_equal(found[:depth], weights)
    assert not found[depth:].any()


def small(storage="plain", kernel=None):
    """A dense layer behind a pointwise one, of which one channel is always 0."""
    builder = NetworkBuilder("small", "tflite")
    builder.input(Tensor("x", (1, 1, 1, 4), "int8", Quantization((0.5,), 0)))
    first = np.zeros((1, 1, 4, 9), np.int8)
    first[..., :] = [-4, -3, -2, -1, 1, 2, 3, 4, 5]
    bias = np.zeros(9, np.int32)
    bias[1] = -(1 << 20)  # below 0 for any input: this channel is constant
    more = {"kernel_scale": np.full(9, 0.01, np.float32), "bias": bias}
    out = Quantization((0.1,), -128)
    builder.add("first", Conv2D(9, (1, 1), activation=RELU), ["x"], quantization=out, kernel=first, **more)
    builder.add("flat", Reshape((1, 9)), ["first"])
    second = random_kernel((9, 3), "int4-2:4", np.random.default_rng(0)) if kernel is None else kernel
    scales = np.full(3, 0.02, np.float32)
    builder.add("scores", Dense(3), ["flat"], quantization=out, kernel=second, kernel_scale=scales)
    network = builder.build(["scores"])
    layers = tuple(replace(la, storage=storage) if la.name == "scores" else la for la in network.layers)
    return replace(network, layers=layers)


def with_storage(network: Network, name, storage):
    layers = tuple(replace(la, storage=storage) if la.name == name else la for la in network.layers)
    return replace(network, layers=layers)


def test_a_network_whose_weights_do_not_fit_is_refused_with_the_layer():
    network = with_storage(small(kernel=np.full((9, 3), 100, np.int8)), "scores", "int4")
    with pytest.raises(BadInputError, match="cannot be stored as int4: it has weights from 100 to 100") as caught:
        network.validate()
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.layer, diagnostic.help) == (
        "scores",
        "`dscompile quantize` makes such weights (--weight-type int4, --sparsity 2:4)",
    )


def test_a_layer_without_sums_over_channels_has_no_storage():
    with pytest.raises(BadInputError, match="cannot be stored as 2:4: that is for int8 layers whose sums are over"):
        with_storage(small(), "flat", "2:4").validate()


def test_groups_of_four_that_a_constant_channel_leaves_behind_need_no_two_zeros():
    kernel = np.int8(
        [[3, 0, 0], [0, 2, 0], [0, 2, 1], [4, 0, 1], [1, 3, 0], [1, 3, 0], [0, 0, 1], [0, 0, 1], [2, 2, 2]]
    )
    network = small("int4-2:4", kernel).validate()
    layer = next(la for la in canonicalize(network).layers if la.name == "scores")
    assert canonicalize(network).weight(layer, "kernel").shape == (8, 3)
    assert layer.storage == "int4"

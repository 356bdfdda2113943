"""Packed weights, spelled out."""

from __future__ import annotations

import numpy as np

from dscompile.plan.packing import (
    filter_runs,
    grouped_as_dense,
    is_padded,
    pack_conv,
    pack_dense,
    pack_depthwise,
    pack_image,
    pack_vector,
)


def numbered(*shape):
    return np.arange(1, 1 + int(np.prod(shape)), dtype=np.float32).reshape(shape)


def test_convolution_weights_stream_panel_by_panel_then_channel_by_channel():
    kernel = numbered(1, 1, 2, 4)  # two input channels: 1 2 3 4 and 5 6 7 8
    packed = pack_conv(kernel, panel=2, start=0, count=4)
    assert packed.shape == (2, 1, 1, 2, 2)
    assert packed.ravel().tolist() == [1, 2, 5, 6, 3, 4, 7, 8]


def test_channels_beyond_the_last_filter_are_zero():
    kernel = numbered(1, 1, 2, 3)
    assert pack_conv(kernel, panel=2, start=2, count=2).ravel().tolist() == [3, 0, 6, 0]


def test_taps_come_before_channels():
    kernel = numbered(1, 2, 2, 1)  # tap, channel: 1 2 | 3 4
    assert pack_conv(kernel, panel=2, start=0, count=2).ravel().tolist() == [1, 0, 2, 0, 3, 0, 4, 0]


def test_depthwise_weights_are_taps_of_a_block_of_channels():
    kernel = numbered(2, 1, 1, 3)  # tap rows 1 2 3 and 4 5 6
    packed = pack_depthwise(kernel, lanes=2)
    assert packed.shape == (2, 2, 1, 2)
    assert packed.ravel().tolist() == [1, 2, 4, 5, 3, 0, 6, 0]


def test_dense_weights_are_panels_of_units():
    kernel = numbered(2, 5)
    assert pack_dense(kernel, panel=2, start=1, count=4).ravel().tolist() == [2, 3, 7, 8, 4, 5, 9, 10]


def test_a_missing_bias_is_zero_and_a_short_one_ends_in_zeros():
    assert pack_vector(None, 3, 2).tolist() == [0, 0]
    assert pack_vector(numbered(3), 2, 3).tolist() == [3, 0, 0]


def test_grouped_filters_see_only_the_channels_of_their_group():
    kernel = numbered(1, 1, 2, 4)  # 2 groups of 2 channels and 2 filters
    assert grouped_as_dense(kernel, groups=2)[0, 0].tolist() == [
        [1, 2, 0, 0],
        [5, 6, 0, 0],
        [0, 0, 3, 4],
        [0, 0, 7, 8],
    ]


def test_an_image_is_blocked_with_zeros_in_the_unused_lanes():
    packed = pack_image(numbered(1, 2, 3), lanes=2)  # pixels 1 2 3 and 4 5 6
    assert packed.shape == (2, 1, 2, 2)
    assert packed.ravel().tolist() == [1, 2, 4, 5, 3, 0, 6, 0]


def test_packed_weights_are_float32_and_contiguous():
    for packed in (
        pack_conv(np.ones((3, 3, 2, 5)), 16, 0, 16),
        pack_depthwise(np.ones((3, 3, 1, 5)), 16),
        pack_dense(np.ones((2, 5)), 5, 0, 5),
        pack_vector(np.ones(5), 0, 16),
    ):
        assert packed.dtype == np.float32
        assert packed.flags.c_contiguous


def test_groups_of_whole_blocks_are_runs_without_zeros():
    kernel = numbered(1, 1, 4, 8)  # 2 groups of 4 channels and 4 filters
    runs = filter_runs(kernel, groups=2, lanes=2)
    assert [(run.channel, run.start, run.count, run.kernel.shape[2]) for run in runs] == [(0, 0, 4, 4), (4, 4, 4, 4)]
    assert runs[1].kernel[..., 4:].tolist() == kernel[..., 4:].tolist()
    assert not is_padded(8, 8, groups=2, lanes=2)


def test_filters_of_a_block_see_the_channels_of_all_its_groups():
    kernel = numbered(1, 1, 5, 9)  # 3 groups of 5 channels and 3 filters
    runs = filter_runs(kernel, groups=3, lanes=4)
    seen = [(run.channel, run.start, run.count, run.kernel.shape[2]) for run in runs]
    assert seen == [(0, 0, 4, 10), (4, 4, 4, 11), (8, 8, 1, 7)]
    dense = grouped_as_dense(kernel, groups=3)
    for run in runs:
        filters = slice(run.start, run.start + run.count)
        assert (run.kernel[..., filters] == dense[:, :, run.channel :][:, :, : run.kernel.shape[2], filters]).all()
        assert np.count_nonzero(run.kernel[..., filters]) == np.count_nonzero(dense[..., filters])
    assert is_padded(15, 9, groups=3, lanes=4)


def test_many_small_groups_in_one_block_are_one_run():
    runs = filter_runs(numbered(1, 1, 2, 8), groups=4, lanes=8)
    assert [(run.channel, run.start, run.count, run.kernel.shape[2]) for run in runs] == [(0, 0, 8, 8)]


def test_a_convolution_without_groups_is_one_run():
    kernel = numbered(3, 3, 5, 20)
    (run,) = filter_runs(kernel, groups=1, lanes=8)
    assert (run.channel, run.start, run.count) == (0, 0, 20)
    assert (run.kernel == kernel).all()

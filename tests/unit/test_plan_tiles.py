"""Tiles: every pixel and channel is covered once, by tiles that fit into the registers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dscompile.plan.choices import ConvChoice
from dscompile.plan.knobs import DepthwiseKnobs, TileKnobs
from dscompile.plan.tiles import Span, conv_pieces, cut, even_cut
from dscompile.plan.workloads import ConvWorkload
from dscompile.target import Target, find_target
from tests.tilings import conv_tiling, dense_panels, depthwise_tiling

TARGETS = [find_target("x86-avx512"), find_target("x86-avx2"), find_target("arm64-neon")]
targets = st.sampled_from(TARGETS)
sizes = st.one_of(st.integers(1, 64), st.sampled_from([112, 149, 196, 224, 3136]))


def assert_covered_once(spans, size: int) -> None:
    covered = np.zeros(size, int)
    for span in spans:
        assert span.count >= 1
        assert span.tile >= 1
        assert span.size == span.count * span.tile
        covered[span.start : span.start + span.size] += 1
        assert span.start + span.size <= size
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("size", "tile", "spans"),
    [
        (14, 7, (Span(0, 2, 7),)),
        (15, 7, (Span(0, 2, 7), Span(14, 1, 1))),
        (5, 7, (Span(0, 1, 5),)),
        (1, 1, (Span(0, 1, 1),)),
    ],
)
def test_a_size_is_cut_into_full_tiles_and_one_rest(size, tile, spans):
    assert cut(size, tile) == spans


@pytest.mark.parametrize(
    ("size", "tile", "spans"),
    [
        (361, 4, (Span(0, 88, 4), Span(352, 3, 3))),
        (12, 4, (Span(0, 3, 4),)),
        (5, 7, (Span(0, 1, 5),)),
        (9, 8, (Span(0, 1, 5), Span(5, 1, 4))),
    ],
)
def test_a_size_is_cut_into_tiles_as_even_as_can_be(size, tile, spans):
    assert even_cut(size, tile) == spans
    assert_covered_once(spans, size)


@settings(max_examples=60, deadline=None)
@given(
    target=targets,
    height=st.sampled_from([1, 9, 40, 147]),
    width=st.sampled_from([9, 147, 3136, 12544]),
    blocks=st.integers(1, 16),
    depth=st.sampled_from([3, 24, 128, 512]),
    choice=st.builds(ConvChoice, st.integers(1, 9), st.integers(1, 4), panel_outer=st.booleans()),
)
def test_pieces_of_an_image_cover_every_pixel_once(target, height, width, blocks, depth, choice):
    covered = np.zeros((height, width), int)
    for piece in conv_pieces(ConvWorkload(height, width, blocks, depth), choice, target):
        for span in piece.columns:
            covered[piece.row : piece.row + piece.rows, span.start : span.start + span.size] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("workload", "pieces"),
    [
        (ConvWorkload(147, 147, 16, 128), 147),
        (ConvWorkload(147, 147, 16, 64), 49),
        (ConvWorkload(1, 147 * 147, 16, 128), 86),
        (ConvWorkload(1, 196, 64, 512), 1),  # it is near by itself
        (ConvWorkload(147, 147, 4, 128), 1),  # only two panels pass over it
        (ConvWorkload(37, 37, 91, 728), 1),  # the weights are not near
        (ConvWorkload(147, 147, 16, 128, (3, 3)), 1),
    ],
)
def test_only_far_images_with_near_weights_are_computed_piece_by_piece(workload, pieces):
    assert len(list(conv_pieces(workload, ConvChoice(6, 2), find_target("x86-avx2")))) == pieces


@settings(max_examples=60, deadline=None)
@given(target=targets, height=sizes, width=sizes, blocks=st.integers(1, 80), depth=st.sampled_from([1, 3, 24, 960]))
def test_tiles_of_a_convolution_cover_all_pixels_and_channels_once_and_never_spill(
    target, height, width, blocks, depth
):
    tiling = conv_tiling(target, height, width, blocks, depth)
    assert_covered_once(tiling.columns, width)
    assert_covered_once(tiling.blocks, blocks)
    for columns in tiling.columns:
        assert columns.size % tiling.knobs(columns).pixels == 0
        for panels in tiling.blocks:
            accumulators = tiling.knobs(columns).pixels * panels.tile
            assert accumulators + panels.tile + 1 <= target.registers


@settings(max_examples=60, deadline=None)
@given(
    target=targets,
    height=sizes,
    width=sizes,
    kernel=st.sampled_from([(1, 1), (3, 3), (5, 5), (7, 7), (21, 1), (2, 4)]),
)
def test_tiles_of_a_depthwise_layer_cover_all_pixels_once_and_stay_in_registers(target, height, width, kernel):
    covered = np.zeros((height, width), int)
    for tile in depthwise_tiling(target, height, width, kernel):
        rows, columns = tile.rows, tile.columns
        covered[rows.start : rows.start + rows.size, columns.start : columns.start + columns.size] += 1
        assert rows.size % tile.knobs.rows == 0
        assert columns.size % tile.knobs.columns == 0
        assert tile.knobs.rows * tile.knobs.columns < target.registers
    assert (covered == 1).all()


@settings(max_examples=200, deadline=None)
@given(target=targets, channels=st.integers(1, 2000), units=st.integers(1, 1100))
def test_panels_of_a_dense_layer_cover_all_units_once_without_padding(target, channels, units):
    panels = dense_panels(target, channels, units)
    assert_covered_once([Span(p.start, p.units // p.panel, p.panel) for p in panels], units)
    for panel in panels:
        assert panel.panel % panel.lanes == 0
        assert panel.units % panel.panel == 0
        assert panel.start % panel.lanes == 0
        assert channels % panel.knobs.partial_sums == 0
        accumulators = panel.panel // panel.lanes * panel.knobs.partial_sums * panel.knobs.streams
        assert panel.units // panel.panel % panel.knobs.streams == 0
        assert accumulators < target.registers


def test_a_thousand_and_one_units_end_in_a_single_one():
    panels = dense_panels(TARGETS[0], 1024, 1001)
    assert [(p.start, p.units, p.panel, p.lanes) for p in panels][-1] == (1000, 1, 1, 1)


def test_a_target_without_vector_registers_has_no_tile():
    bare = Target("bare", "x86", "no vectors", registers=2)
    with pytest.raises(ValueError, match="target bare has no registers for a tile"):
        conv_tiling(bare, 1, 1, 1, 1)


# Where a multiply-add takes elements of registers, four input channels of every pixel need a register as well.


@settings(max_examples=60, deadline=None)
@given(width=sizes, blocks=st.integers(1, 80), depth=st.sampled_from([1, 3, 4, 16, 24, 30, 960]), blocked=st.booleans())
def test_tiles_for_arm_leave_registers_for_vectors_of_inputs(width, blocks, depth, blocked):
    tiling = conv_tiling(find_target("arm64-neon"), 1, width, blocks, depth, blocked=blocked)
    assert depth % tiling.unroll_channels == 0
    for columns in tiling.columns:
        for panels in tiling.blocks:
            pixels = columns.tile if blocked and depth % 4 == 0 else 1
            assert columns.tile * panels.tile + pixels + panels.tile <= 31


def test_the_widest_tile_of_a_mobilenet_on_arm_is_seven_pixels_of_three_vectors():
    tiling = conv_tiling(find_target("arm64-neon"), 14, 14, 192, 512)
    assert tiling.columns == (Span(0, 2, 7),)
    assert tiling.blocks == (Span(0, 64, 3),)
    assert tiling.knobs(tiling.columns[0]) == TileKnobs(7, unroll_channels=16)


@pytest.mark.parametrize(
    ("kernel", "stride", "width", "knobs"),
    [
        ((3, 3), (1, 1), 12, DepthwiseKnobs(12)),
        ((3, 3), (1, 1), 14, DepthwiseKnobs(14, reread_taps=True)),
        ((3, 3), (2, 2), 28, DepthwiseKnobs(14, reread_taps=True)),
        ((5, 5), (1, 1), 14, DepthwiseKnobs(14, reread_taps=True)),
        ((5, 5), (2, 2), 12, DepthwiseKnobs(12, reread_taps=True)),
        ((3, 3), (2, 2), 3, DepthwiseKnobs(3, reread_taps=True)),
    ],
)
def test_depthwise_tiles_for_arm_hold_taps_where_they_fit(kernel, stride, width, knobs):
    tiles = depthwise_tiling(find_target("arm64-neon"), 7, width, kernel, stride)
    assert [tile.knobs for tile in tiles] == [knobs]

"""How int8 layers are cut, and for which instruction; and what schedules say to knobs and views that do not fit."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from dscompile.plan.int8_kernels import Int8ConvKernel, Int8DenseKernel, Int8DepthwiseKernel, Requantization
from dscompile.plan.int8_tiles import int8_dense_panels
from dscompile.plan.knobs import DepthwiseKnobs, PixelKnobs
from dscompile.plan.layout import Blocked, Strides
from dscompile.plan.tiles import Span
from dscompile.target import find_target
from tests.tilings import int8_conv_tiling, int8_depthwise_tiling

NEON, DOTPROD, I8MM, AVX2, AVX512, VNNI = (
    find_target(name)
    for name in ("arm64-neon", "arm64-dotprod", "arm64-i8mm", "x86-avx2", "x86-avx512", "x86-avx512vnni")
)
ARM, X86 = (NEON, DOTPROD, I8MM), (AVX2, AVX512, VNNI)


def covered(spans: tuple[Span, ...]) -> list[int]:
    return [index for span in spans for index in range(span.start, span.start + span.size)]


@pytest.mark.parametrize("target", [*ARM, *X86], ids=lambda target: target.name)
@pytest.mark.parametrize("width", [1, 2, 3, 7, 13, 14, 28, 112])
@pytest.mark.parametrize("blocks", [1, 2, 3, 7, 128])
def test_every_output_of_a_convolution_is_computed_once(target, width, blocks):
    for kernel, stride in (((1, 1), (1, 1)), ((3, 3), (2, 2)), ((5, 5), (1, 1))):
        tiling = int8_conv_tiling(target, 9, width, blocks, 17, kernel, stride)
        assert covered(tiling.columns) == list(range(width))
        assert covered(tiling.blocks) == list(range(blocks))
        pixels = [tiling.knobs(run).pixels for run in tiling.columns]
        assert pixels == [run.tile for run in tiling.columns] or target in X86


@pytest.mark.parametrize("target", X86, ids=lambda target: target.name)
@pytest.mark.parametrize("channels", [3, 16, 100, 960])
def test_tiles_of_x86_leave_registers_for_weights_a_pixel_and_a_product(target, channels):
    for width in range(1, 30):
        for blocks in (1, 2, 3, 20):
            tiling = int8_conv_tiling(target, 7, width, blocks, channels)
            pixels = tiling.knobs(tiling.columns[0]).pixels
            for panels in tiling.blocks:
                vectors = panels.tile * target.int8_lanes // target.lanes
                assert (pixels + 1) * vectors + (1 if target is VNNI else 2) <= target.registers


@pytest.mark.parametrize("target", ARM, ids=lambda target: target.name)
def test_tiles_leave_registers_for_pixels_and_weights(target):
    for width in range(1, 30):
        for channels, kernel, stride in ((3, 3, 2), (64, 1, 1), (1024, 1, 1), (32, 3, 1), (64, 1, 2)):
            tiling = int8_conv_tiling(target, 7, width, 16, channels, (kernel, kernel), (stride, stride))
            for columns in tiling.columns:
                for panels in tiling.blocks:
                    outputs = columns.tile * panels.tile * 8
                    per_register = 1 if target is NEON else 4
                    wasted = columns.tile % 2 * panels.tile * 8 if target is I8MM and tiling.word == 8 else 0
                    assert (outputs + wasted) / per_register <= (16 if target is NEON else 24)


def test_the_word_is_what_the_instruction_sums_at_once():
    assert int8_conv_tiling(NEON, 14, 14, 64, 512).word == 8
    assert int8_conv_tiling(DOTPROD, 14, 14, 64, 512).word == 4
    assert int8_conv_tiling(I8MM, 14, 14, 64, 512).word == 8
    assert [int8_conv_tiling(target, 14, 14, 32, 512).word for target in X86] == [2, 2, 4]
    assert [int8_conv_tiling(target, 14, 14, 32, 512).unsigned for target in X86] == [False, False, True]


def test_three_channels_are_one_word_even_where_eight_could_be_summed():
    assert int8_conv_tiling(I8MM, 112, 112, 4, 3, (3, 3), (2, 2)).word == 4


def test_a_row_of_192_pixels_is_cut_as_the_best_hand_written_kernels_do():
    tiling = int8_conv_tiling(DOTPROD, 1, 192, 24, 256)
    assert (tiling.columns, tiling.blocks) == ((Span(0, 16, 12),), (Span(0, 24, 1),))


def test_depthwise_kernels_of_arm64_cover_all_outputs_at_once():
    (tile,) = int8_depthwise_tiling(DOTPROD, 7, 7, (3, 3), (1, 1))
    assert (tile.rows.size, tile.columns.size, tile.knobs) == (7, 7, DepthwiseKnobs(2, 2))
    (tile,) = int8_depthwise_tiling(NEON, 7, 7, (3, 3), (1, 1))
    assert tile.knobs == DepthwiseKnobs(7, reread_taps=True)


def test_depthwise_kernels_of_x86_take_two_rows_and_even_tiles():
    (tile,) = int8_depthwise_tiling(AVX2, 5, 16, (3, 3), (1, 1))
    assert (tile.rows.size, tile.columns.size, tile.knobs) == (5, 16, DepthwiseKnobs(6, 2))
    (tile,) = int8_depthwise_tiling(AVX512, 1, 7, (3, 3), (1, 1))
    assert tile.knobs == DepthwiseKnobs(7, 1)


def test_panels_of_a_dense_layer_end_with_what_is_left():
    panels = int8_dense_panels(DOTPROD, 1001)
    assert [(p.start, p.units, p.panel, p.word) for p in panels] == [(0, 992, 32, 4), (992, 8, 8, 4), (1000, 1, 1, 4)]
    assert [(p.start, p.units, p.panel, p.word) for p in int8_dense_panels(NEON, 28)] == [
        (0, 16, 16, 8),
        (16, 8, 8, 8),
        (24, 4, 4, 8),
    ]
    assert [(p.units, p.panel, p.word) for p in int8_dense_panels(AVX2, 107)] == [
        (64, 64, 2),
        (32, 32, 2),
        (8, 8, 2),
        (3, 3, 2),
    ]


# What schedules refuse


def pointwise(width: int, lanes: int) -> Int8ConvKernel:
    x, y = Blocked(1, width, lanes, lanes), Blocked(1, width, lanes, lanes)
    form = Requantization("affine", -128, 127)
    return Int8ConvKernel(1, width, lanes, lanes, lanes, lanes, 4, (1, 1), (1, 1), (1, 1), x.strides, y.strides, form)


def depthwise(height: int, width: int) -> Int8DepthwiseKernel:
    x, y = Blocked(height + 2, width + 2, 16, 16), Blocked(height, width, 16, 16)
    form = Requantization("affine", -128, 127)
    return Int8DepthwiseKernel(height, width, 1, 16, (3, 3), (1, 1), (1, 1), x.strides, y.strides, form)


DENSE = Int8DenseKernel(16, 8, 8, 4, Requantization("affine", -128, 127))


@pytest.mark.parametrize(
    ("target", "kernel", "knobs", "text"),
    [
        ("arm64-dotprod", pointwise(7, 8), PixelKnobs(3), "knob pixels = 3 does not divide 7"),
        ("x86-avx512", pointwise(7, 16), PixelKnobs(3), "knob pixels = 3 does not divide 7"),
        ("x86-avx512", replace(depthwise(5, 6), word=4), DepthwiseKnobs(6, 2), "knob rows = 2 does not divide 5"),
        ("x86-avx512", pointwise(7, 16), None, "int8_pointwise kernels do not take NoneType"),
        ("arm64-dotprod", DENSE, PixelKnobs(1), "int8_dense kernels do not take PixelKnobs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_knobs_that_do_not_fit_are_refused(target, kernel, knobs, text):
    from dscompile.schedule import scheduled

    with pytest.raises(ValueError, match=re.escape(text)):
        scheduled(kernel, knobs, find_target(target))


def test_views_whose_words_lie_askew_are_refused():
    from dscompile import compute
    from dscompile.schedule.native import bind_views

    kernel = replace(pointwise(4, 8), x=Strides(32, 34, 8))
    with pytest.raises(ValueError, match=re.escape("strides [32, 34, 8, 1] of 'x' are no multiples of 4")):
        bind_views(compute.define(kernel), kernel.parameters)

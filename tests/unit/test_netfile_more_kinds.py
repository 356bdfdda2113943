"""Kinds of net.yaml that resize, transpose, divide and rearrange: read, refused, and written back."""

from __future__ import annotations

from pathlib import Path

import pytest

from dscompile.frontend.netfile import read_netfile
from dscompile.frontend.writer import network_text, write_netfile
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import (
    GELU,
    Activate,
    Activation,
    Binary,
    ConvTranspose,
    DepthToSpace,
    Op,
    Pad,
    Pads,
    Resize,
    Slice,
    SpaceToDepth,
)
from dscompile.ir.tensor import Tensor
from tests.import_onnx_models import randoms
from tests.unit.netfiles import diagnostics, frame, only, read
from tests.unit.test_netfile_writer import assert_same_network


def first(layers: str) -> Op:
    """The operator of the first layer, over an image [1, 8, 8, 4]."""
    return read(frame(layers)).network.layers[0].op


@pytest.mark.parametrize(
    ("layer", "want"),
    [
        ("resize: {size: 5}", Resize((5, 5), "bilinear")),
        ("resize: {size: [3, 9], kind: nearest, rounding: ceil}", Resize((3, 9), "nearest", rounding="ceil")),
        ("resize: {factor: 2}", Resize((16, 16), "bilinear")),
        ("resize: {factor: [1.3, 0.5]}", Resize((10, 4), "bilinear", scale=(1.3, 0.5))),
        ("resize: {size: 5, ratio: 0.7}", Resize((5, 5), "bilinear", scale=(0.7, 0.7))),
        (
            "resize: {size: 5, coordinates: align_corners, arithmetic: tflite}",
            Resize((5, 5), "bilinear", "align_corners", arithmetic="tflite"),
        ),
        ("upsample", Resize((16, 16), "nearest", "asymmetric", "floor")),
        ("upsample: {factor: [1, 3], kind: bilinear}", Resize((8, 24), "bilinear")),
        ("transpose_conv: {out: 3, kernel: 4, stride: 2}", ConvTranspose(3, (4, 4), (2, 2), Pads(1, 1, 1, 1))),
        ("transpose_conv: {out: 3, kernel: 3, stride: 2}", ConvTranspose(3, (3, 3), (2, 2), Pads(0, 1, 0, 1))),
        (
            "transpose_conv: {out: 3, kernel: 2, stride: 3}",
            ConvTranspose(3, (2, 2), (3, 3), output_padding=(1, 1)),
        ),
        ("transpose_conv: {out: 3, kernel: 2, padding: valid}", ConvTranspose(3, (2, 2))),
        (
            "transpose_conv: {out: 8, kernel: 3, stride: 2, padding: 1, output_padding: [1, 0], groups: 4}",
            ConvTranspose(8, (3, 3), (2, 2), Pads(1, 1, 1, 1), groups=4, output_padding=(1, 0)),
        ),
        ("depth_to_space: {block: 2}", DepthToSpace((2, 2))),
        ("depth_to_space: {block: 2, order: crd, crops: 1}", DepthToSpace((2, 2), "crd", Pads(1, 1, 1, 1))),
        ("space_to_depth: {block: [2, 4]}", SpaceToDepth((2, 4))),
        ("sub: {from: [x, x]}", Binary("sub")),
        ("div: {from: [x, x], activation: relu6}", Binary("div", Activation("clip", 0.0, 6.0))),
        ("pad: {padding: 2, mode: wrap}", Pad(Pads(2, 2, 2, 2), mode="wrap")),
        (
            "slice: {begin: [0, 1, 0, 0], end: [1, 8, 8, 4], step: [1, 3, 2, 1]}",
            Slice((0, 1, 0, 0), (1, 3, 4, 4), (1, 3, 2, 1)),
        ),
        ("elu", Activate(Activation("elu", alpha=1.0))),
        ("activation: {kind: elu, alpha: 0.5}", Activate(Activation("elu", alpha=0.5))),
        ("gelu", Activate(GELU)),
    ],
)
def test_layers_are_what_they_say(layer, want):
    assert first(f"- {layer}") == want


def test_the_image_grows_by_the_stride():
    network = read(frame("- transpose_conv: {out: 3, kernel: 5, stride: 3, activation: elu}")).network
    assert network.shape(network.outputs[0]) == (1, 24, 24, 3)
    assert network.layers[0].op.activation == Activation("elu", alpha=1.0)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("resize", "resize needs 'size', 'factor' or 'like'"),
        ("resize: {size: 4, factor: 2}", "give one of 'size' and 'factor'"),
        ("resize: {factor: 0}", "'factor' must be a number above 0, or [rows, columns], not the number 0"),
        ("resize: {factor: [1, 2, 3]}", "'factor' must be a number above 0, or [rows, columns], not a list"),
        ("resize: {factor: 0.1}", "resizes to [0, 0], which is no image"),
        ("resize: {factor: 2, ratio: 2}", "'factor' is the ratio already: give 'ratio' beside 'size' only"),
        (
            "transpose_conv: {out: 3, kernel: 2, output_padding: -1}",
            "'output_padding' must be at least 0, not the number -1",
        ),
        ("transpose_conv: {out: 3, kernel: 3, groups: 3}", "3 groups do not divide 4 input and 3 output channels"),
        ("depth_to_space: {block: 3}", "blocks of [3, 3] pixels do not divide 4 channels"),
        ("depth_to_space: {block: 2, crops: 8}", "its crops leave nothing: the result would be [0, 0]"),
        ("space_to_depth: {block: 3}", "blocks of [3, 3] pixels do not fill an image of [8, 8]"),
        ("pad: {padding: 1, mode: edge, value: 3}", "'value' is for constant padding, not for mode edge"),
        (
            "slice: {begin: [0, 0, 0, 0], end: [1, 8, 8, 4], step: [2, 2]}",
            "'step' [2, 2] must have a number for each axis of [1, 8, 8, 4]",
        ),
        ("sub", "sub needs 'from'"),
    ],
)
def test_what_is_wrong_is_said(layer, message):
    assert only(diagnostics(frame(f"- {layer}"))).message == message


def single(op: Op) -> Network:
    net = NetworkBuilder("n")
    x = net.input(Tensor("x", (1, 4, 5, 8)))
    if isinstance(op, ConvTranspose):
        kernel = randoms(*op.kernel, 8 // op.groups, op.out_channels)
        return net.build([net.add("z", op, [x], kernel=kernel, bias=randoms(op.out_channels))])
    return net.build([net.add("z", op, [x, x] if isinstance(op, Binary) else [x])])


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (Resize((7, 3), "bilinear"), "resize: {name: z, size: [7, 3]}"),
        (
            Resize((7, 7), "nearest", "asymmetric", "floor", (1.5, 1.25), "tflite"),
            "resize: {name: z, size: 7, kind: nearest, coordinates: asymmetric, rounding: floor, ratio: [1.5, 1.25], "
            "arithmetic: tflite}",
        ),
        (
            ConvTranspose(4, (3, 2), (2, 2), Pads(1, 0, 1, 0), groups=2, output_padding=(1, 0)),
            "transpose_conv: {name: z, out: 4, kernel: [3, 2], stride: 2, output_padding: [1, 0], "
            "padding: [1, 0, 1, 0], groups: 2}",
        ),
        (
            ConvTranspose(4, (2, 2), dilation=(2, 1)),
            "transpose_conv: {name: z, out: 4, kernel: 2, dilation: [2, 1], padding: 0}",
        ),
        (DepthToSpace((2, 2)), "depth_to_space: {name: z, block: 2}"),
        (
            DepthToSpace((1, 4), "crd", Pads(0, 0, 1, 2)),
            "depth_to_space: {name: z, block: [1, 4], order: crd, crops: [0, 0, 1, 2]}",
        ),
        (SpaceToDepth((2, 1)), "space_to_depth: {name: z, block: [2, 1]}"),
        (Binary("div"), "div: {name: z, from: [x, x]}"),
        (Pad(Pads(1, 1, 1, 1), mode="symmetric"), "pad: {name: z, padding: 1, mode: symmetric}"),
        (
            Slice((0, 1, 0, 0), (1, 2, 3, 8), (1, 2, 2, 1)),
            "slice: {name: z, begin: [0, 1, 0, 0], end: [1, 4, 5, 8], step: [1, 2, 2, 1]}",
        ),
        (Activate(Activation("elu", alpha=0.25)), "elu: {name: z, alpha: 0.25}"),
        (Activate(Activation("elu", alpha=1.0)), "elu: {name: z}"),
    ],
)
def test_written_layers_read_back(op, text, tmp_path: Path):
    net = single(op)
    assert f"    - {text}\n" in network_text(net)
    assert_same_network(read_netfile(write_netfile(net, tmp_path)).network, net)

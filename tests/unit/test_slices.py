"""Slices and channel shuffles: shapes, the oracle, passes, types, and how a net.yaml says them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from dscompile import oracle
from dscompile.errors import BadInputError
from dscompile.frontend.netfile import read_netfile
from dscompile.frontend.writer import network_text, write_netfile
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import SIGMOID, Activate, Binary, Constant, Conv2D, Op, Shuffle, Slice
from dscompile.ir.shapes import ShapeError, output_shape
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.passes import canonicalize
from dscompile.quantization.batches import batched
from tests.int8_networks import Int8Net
from tests.unit.netfiles import assert_same_network, diagnostics, frame, network, only, place

CHANNELS = (3, 17, 58, 100)


def single(op: Op, shape: tuple[int, ...]) -> Network:
    """A network of one layer."""
    net = NetworkBuilder("single")
    return net.build([net.add("z", op, [net.input(Tensor("x", shape))])])


def result(op: Op, x: np.ndarray) -> np.ndarray:
    return oracle.run(single(op, x.shape), {"x": x})["z"]


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("channels", CHANNELS)
def test_a_slice_is_numpys(channels, axis):
    x = np.random.default_rng(channels).standard_normal((1, 5, 4, channels)).astype(np.float32)
    begins, sizes = [0] * 4, list(x.shape)
    begins[axis], sizes[axis] = 1, x.shape[axis] - 2
    got = result(Slice(tuple(begins), tuple(sizes)), x)
    np.testing.assert_array_equal(got, np.take(x, range(1, x.shape[axis] - 1), axis))


@pytest.mark.parametrize(("channels", "groups"), [(3, 3), (3, 1), (17, 17), (58, 2), (58, 29), (100, 4), (100, 10)])
def test_a_shuffle_is_a_transposition_of_groups_and_channels(channels, groups):
    x = np.random.default_rng(groups).standard_normal((1, 3, 2, channels)).astype(np.float32)
    want = x.reshape(1, 3, 2, groups, channels // groups).swapaxes(3, 4).reshape(x.shape)
    np.testing.assert_array_equal(result(Shuffle(groups), x), want)


def test_integers_are_moved_as_reals_are():
    net = Int8Net((1, 2, 3, 6))
    names = [net.add("s", Shuffle(3), ["x"]), net.add("p", Slice((0, 0, 1, 2), (1, 2, 2, 3)), ["x"])]
    x = np.random.default_rng(1).integers(-128, 128, (1, 2, 3, 6)).astype(np.int8)
    got = oracle.run(net.build(names), {"x": x})
    np.testing.assert_array_equal(got["s"], x[..., [0, 2, 4, 1, 3, 5]])
    np.testing.assert_array_equal(got["p"], x[:, :, 1:, 2:5])


@pytest.mark.parametrize("op", [Slice((0, 0, 0, 1), (1, 4, 4, 2)), Shuffle(3)])
def test_moved_integers_keep_their_scale(op):
    net = Int8Net()
    net.add("y", op, ["x"], quantization=Quantization((0.1,), 0))
    with pytest.raises(BadInputError, match="moves 'x' to 'y', which must have the same scale and zero point"):
        net.build(["y"])


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (Slice((0, 0), (1, 4)), "begins [0, 0] and sizes [1, 4] do not fit the axes of [1, 4, 5, 6]"),
        (Slice((0, 0, 0, 4), (1, 4, 5, 3)), "elements 4 to 7 of axis 3 are not all inside [1, 4, 5, 6]"),
        (Slice((0, -1, 0, 0), (1, 4, 5, 6)), "elements -1 to 3 of axis 1 are not all inside [1, 4, 5, 6]"),
        (Slice((0, 0, 0, 0), (1, 4, 0, 6)), "elements 0 to 0 of axis 2 are not all inside [1, 4, 5, 6]"),
        (Shuffle(4), "4 groups do not divide 6 channels"),
        (Shuffle(0), "0 groups do not divide 6 channels"),
    ],
)
def test_what_lies_outside_is_refused(op, message):
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        output_shape(op, [(1, 4, 5, 6)])


def chain(*ops: Op) -> Network:
    """Layers one after the other on an image [1, 4, 4, 6], behind an activation that stays."""
    net = NetworkBuilder("chain")
    tensor = net.add("first", Activate(SIGMOID), [net.input(Tensor("x", (1, 4, 4, 6)))])
    for number, op in enumerate(ops):
        tensor = net.add(f"l{number}", op, [tensor])
    return net.build([tensor])


@pytest.mark.parametrize(
    ("ops", "left"),
    [
        ([Slice((0, 0, 0, 0), (1, 4, 4, 6))], []),
        ([Slice((0, 1, 0, 2), (1, 3, 4, 4)), Slice((0, 1, 0, 1), (1, 2, 4, 2))], [Slice((0, 2, 0, 3), (1, 2, 4, 2))]),
        ([Shuffle(1)], []),
        ([Shuffle(6)], []),
        ([Shuffle(2)], [Shuffle(2)]),
    ],
)
def test_what_moves_nothing_goes_and_slices_of_slices_are_one(ops, left):
    before = chain(*ops)
    after = canonicalize(before)
    assert [layer.op for layer in after.layers[1:]] == left
    x = {"x": np.random.default_rng(2).standard_normal((1, 4, 4, 6)).astype(np.float32)}
    for name in before.outputs:
        np.testing.assert_array_equal(oracle.run(before, x)[name], oracle.run(after, x)[name])


def test_constants_are_moved_while_compiling():
    net = NetworkBuilder("constants")
    x = net.input(Tensor("x", (1, 1, 1, 2)))
    value = np.arange(6, dtype=np.float32).reshape(1, 1, 1, 6)
    shuffled = net.add("s", Shuffle(2), [net.add("c", Constant((1, 1, 1, 6)), [], value=value)])
    part = net.add("p", Slice((0, 0, 0, 3), (1, 1, 1, 2)), [shuffled])
    after = canonicalize(net.build([net.add("y", Binary("add"), [x, part])]))
    assert [type(layer.op) for layer in after.layers] == [Constant, Binary]
    np.testing.assert_array_equal(after.weight(after.layers[0], "value").reshape(-1), [4, 2])


def test_parts_that_nobody_reads_go():
    net = NetworkBuilder("parts")
    x = net.input(Tensor("x", (1, 2, 2, 6)))
    names = [net.add(f"p{begin}", Slice((0, 0, 0, begin), (1, 2, 2, 3)), [x]) for begin in (0, 3)]
    assert [layer.name for layer in canonicalize(net.build(names[1:])).layers] == ["p3"]


def test_several_samples_are_sliced_at_once():
    net = chain(Slice((0, 1, 0, 2), (1, 3, 4, 3)), Shuffle(3))
    grown = batched(net, 3)
    x = np.random.default_rng(3).standard_normal((3, 4, 4, 6)).astype(np.float32)
    got = oracle.run(grown, {"x": x})[grown.outputs[0]]
    for number in range(3):
        one = oracle.run(net, {"x": x[number : number + 1]})[net.outputs[0]]
        np.testing.assert_array_equal(got[number : number + 1], one)


# net.yaml


def slices_of(net: Network) -> dict[str, Slice]:
    return {layer.output: layer.op for layer in net.layers if isinstance(layer.op, Slice)}


def test_a_split_has_several_results():
    net = network("- split: {name: halves, parts: 2}\n- add: {from: [halves.0, halves.1]}")
    want = {f"halves.{n}": Slice((0, 0, 0, 2 * n), (1, 8, 8, 2)) for n in range(2)}
    assert slices_of(net) == want


def test_a_split_by_sizes_along_any_axis_can_end_a_network():
    net = network("- split: {sizes: [1, 5, 2], axis: 1}")
    assert net.outputs == ("split.0", "split.1", "split.2")
    assert [net.shape(name)[1] for name in net.outputs] == [1, 5, 2]


@pytest.mark.parametrize(
    ("keys", "want"),
    [
        ("channels: [1, 3]", Slice((0, 0, 0, 1), (1, 8, 8, 2))),
        ("rows: [2, 8], columns: [0, 1]", Slice((0, 2, 0, 0), (1, 6, 1, 4))),
        ("begin: [0, 1, 2, 3], end: [1, 2, 4, 4]", Slice((0, 1, 2, 3), (1, 1, 2, 1))),
    ],
)
def test_a_slice_is_ranges_or_two_corners(keys, want):
    assert network(f"- slice: {{{keys}}}").layers[0].op == want


def test_a_shuffle_has_groups():
    assert network("- shuffle: {groups: 2}").layers[0].op == Shuffle(2)


@pytest.mark.parametrize(
    ("layers", "where", "message"),
    [
        ("- split", (6, 7, 5), "split needs 'parts' or 'sizes'"),
        ("- split: {parts: 2, sizes: [2, 2]}", (6, 7, 5), "give 'parts' or 'sizes', not both"),
        ("- split: {parts: 1}", (6, 22, 1), "'parts' must be at least 2, not the number 1"),
        ("- split: {sizes: [4]}", (6, 22, 1), "'sizes' are 2 to 256 numbers, not 1"),
        ("- split: {parts: 3}", (6, 7, 5), "3 parts do not divide axis 3 of [1, 8, 8, 4]"),
        ("- split: {sizes: [1, 2]}", (6, 7, 5), "sizes [1, 2] add up to 3, axis 3 of [1, 8, 8, 4] has 4"),
        ("- split: {parts: 2, axis: 4}", (6, 7, 5), "axis 4 is outside the 4 axes of its input"),
        ("- split: {parts: 2, output: a}", (6, 33, 1), "'output' names one tensor, and split makes several"),
        ("- split: {parts: 2, from: [x, x]}", (6, 7, 5), "needs 1 input, got 2"),
        ("- split: {parts: 2}\n- relu", (7, 7, 4), "needs 'from': 'split' has several results"),
        ("- split: {parts: 2}\n- relu: {from: split}", (7, 20, 5), "reads 'split': 'split' has several results"),
        ("- split: {parts: 5}\n- relu: {from: split.4}", (6, 7, 5), "5 parts do not divide axis 3 of [1, 8, 8, 4]"),
        ("- slice", (6, 7, 5), "slice needs ranges, or 'begin' and 'end'"),
        ("- slice: {begin: [0]}", (6, 7, 5), "slice needs ranges, or 'begin' and 'end'"),
        ("- slice: {channels: [2, 2]}", (6, 25, 1), "'channels' from 2 to 2 leaves nothing"),
        ("- slice: {channels: [2, 5]}", (6, 7, 5), "channels 2 to 5 are not all inside [1, 8, 8, 4]"),
        ("- flatten\n- slice: {rows: [0, 1]}", (7, 7, 5), "'rows' are those of an image [1, H, W, C], not of [1, 256]"),
        (
            "- slice: {begin: [0, 1], end: [1, 2]}",
            (6, 7, 5),
            "'begin' [0, 1] and 'end' [1, 2] must have a number for each axis of [1, 8, 8, 4]",
        ),
        ("- shuffle", (6, 7, 7), "shuffle needs 'groups'"),
        ("- shuffle: {groups: 3}", (6, 7, 7), "3 groups do not divide 4 channels"),
    ],
)
def test_what_is_wrong_is_said_in_its_place(layers, where, message):
    found = only(diagnostics(frame(layers)))
    assert found.message == message
    assert place(found)[:2] == where[:2]


def test_a_split_as_output_asks_for_one_of_its_parts():
    found = only(diagnostics(frame("- split: {parts: 2}", rest="  outputs: [split]\n")))
    assert found.message == "output 'split': 'split' has several results"
    assert found.help == "name one of split.0, split.1"


def test_a_split_of_integers_has_no_scale_of_its_own():
    found = only(diagnostics(frame("- split: {parts: 2, scale: 0.5}")))
    assert found.message == "a scale belongs to one tensor, and split stands for several layers"


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (Slice((0, 0, 0, 3), (1, 4, 5, 3)), "slice: {name: z, channels: [3, 6]}"),
        (Slice((0, 1, 2, 0), (1, 3, 1, 6)), "slice: {name: z, rows: [1, 4], columns: [2, 3]}"),
        (Slice((0, 0, 0, 0), (1, 4, 5, 6)), "slice: {name: z, begin: [0, 0, 0, 0], end: [1, 4, 5, 6]}"),
        (Shuffle(2), "shuffle: {name: z, groups: 2}"),
    ],
)
def test_written_layers_read_back(op, text, tmp_path: Path):
    net = single(op, (1, 4, 5, 6))
    assert f"    - {text}\n" in network_text(net)
    assert_same_network(read_netfile(write_netfile(net, tmp_path)).network, net)


@pytest.mark.parametrize("shape", [(1, 17), (1, 3, 17), (1, 2, 3, 2, 17)])
def test_written_slices_of_other_ranks_read_back(shape, tmp_path: Path):
    for axis in range(1, len(shape)):
        begins = tuple(1 if other == axis else 0 for other in range(len(shape)))
        sizes = tuple(1 if other == axis else size for other, size in enumerate(shape))
        net = single(Slice(begins, sizes), shape)
        assert_same_network(read_netfile(write_netfile(net, tmp_path)).network, net)


def test_a_split_reads_back_as_its_slices(tmp_path: Path):
    net = network("- split: {parts: 2}\n- conv: {out: 3, kernel: 3, from: split.1}\n- concat: {from: [split.0, conv]}")
    assert isinstance(net.layers[2].op, Conv2D)
    assert_same_network(read_netfile(write_netfile(net, tmp_path)).network, net)

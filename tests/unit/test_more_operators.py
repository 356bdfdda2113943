"""Differences, quotients and extremes, more activations, strides of slices, mirrored borders, blocks of pixels.

The importer and the oracle against onnxruntime, then compiled code against the oracle.
"""

from __future__ import annotations

import numpy as np
import pytest

from dscompile import oracle
from dscompile.errors import BadInputError, UnsupportedError
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import (
    ERF,
    GELU,
    GELU_TANH,
    RELU,
    Activate,
    Activation,
    Binary,
    Conv2D,
    DepthToSpace,
    Op,
    Pad,
    Pads,
    Pool,
    Resize,
    Slice,
    SpaceToDepth,
)
from dscompile.ir.tensor import Quantization, Tensor
from dscompile.passes import canonicalize
from tests import mcu
from tests.import_onnx_models import checked, imported, model, node, op_names, randoms
from tests.native import TARGETS_FIRST_FAST, assert_equals_oracle, target_here

IMAGE = {"x": (1, 6, 5, 8)}
Q = Quantization((0.05,), -3)


# The importer


@pytest.mark.parametrize("op", ["Sub", "Div", "Max", "Min"])
@pytest.mark.parametrize("shape", [(1, 6, 5, 8), (1, 6, 1, 1), (1, 1, 5, 8)])
def test_two_computed_tensors(op, shape, tmp_path):
    nodes = [node("Sigmoid", "b", "r"), node(op, "x r")]
    network = checked(model(nodes, {"x": IMAGE["x"], "b": shape}), tmp_path)
    assert network.layers[-1].op == Binary(op.lower())
    checked(model([nodes[0], node(op, "r x")], {"x": (1, 6, 5, 8), "b": shape}), tmp_path, 1e-4)


@pytest.mark.parametrize("op", ["Sub", "Div", "Max", "Min"])
@pytest.mark.parametrize("shape", [(6, 1, 1), (8,), (1, 6, 5, 8)])
def test_constants_on_the_left(op, shape, tmp_path):
    nodes = [node("Sigmoid", "x", "s"), node(op, "c s")]
    checked(model(nodes, IMAGE, {"c": randoms(*shape)}), tmp_path)


@pytest.mark.parametrize(("op", "want"), [("Max", Activation("clip", 0.25)), ("Min", Activation("clip", high=0.25))])
@pytest.mark.parametrize("order", ["x c", "c x"])
def test_extremes_with_one_number_are_clips(op, want, order, tmp_path):
    network = checked(model([node(op, order)], IMAGE, {"c": np.float32(0.25)}), tmp_path)
    assert [layer.op for layer in network.layers] == [Activate(want)]


@pytest.mark.parametrize("op", ["Max", "Min", "Mean", "Sum"])
@pytest.mark.parametrize("names", ["x", "x a", "x a b"])
def test_any_number_of_tensors(op, names, tmp_path):
    inputs = dict.fromkeys(names.split(), IMAGE["x"])
    nodes = [node(op, names, "m"), node("Relu", "m")]
    checked(model(nodes, inputs), tmp_path)


@pytest.mark.parametrize(
    ("name", "attributes", "want", "opset"),
    [
        ("Erf", {}, ERF, 17),
        ("Elu", {}, Activation("elu", alpha=1.0), 17),
        ("Elu", {"alpha": 0.5}, Activation("elu", alpha=0.5), 17),
        ("Gelu", {}, GELU, 20),
        ("Gelu", {"approximate": "tanh"}, GELU_TANH, 20),
    ],
)
def test_activations(name, attributes, want, opset, tmp_path):
    network = checked(model([node(name, "x", **attributes)], IMAGE, opset=opset), tmp_path)
    assert network.layers[0].op == Activate(want)


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [[0, 0, 2, 3, 0, 0, 1, 4], [0, 0, 0, 0, 0, 0, 4, 0]])
def test_borders_made_of_what_is_inside(mode, pads, tmp_path):
    made = model([node("Pad", "x p", mode=mode)], IMAGE, {"p": np.array(pads)}, opset=19)
    assert checked(made, tmp_path, 0.0).layers[0].op.mode == mode


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("block", [2, 3])
def test_depth_to_space_and_back(mode, block, tmp_path):
    shape = (1, 5 * block * block, 4, 3)
    checked(model([node("DepthToSpace", "x", blocksize=block, mode=mode)], {"x": shape}), tmp_path, 0.0)
    shape = (1, 5, 4 * block, 3 * block)
    checked(model([node("SpaceToDepth", "x", blocksize=block)], {"x": shape}), tmp_path, 0.0)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_slices_with_steps(axis, tmp_path):
    constants = {"s": np.array([1]), "e": np.array([100]), "a": np.array([axis]), "t": np.array([2])}
    checked(model([node("Slice", "x s e a t")], IMAGE, constants), tmp_path, 0.0)


def test_the_focus_of_a_yolo_is_four_slices(tmp_path):
    nodes, constants = [], {"e": np.array([100, 100]), "a": np.array([2, 3]), "t": np.array([2, 2])}
    for index, start in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        constants[f"s{index}"] = np.array(start)
        nodes.append(node("Slice", f"x s{index} e a t", f"p{index}"))
    nodes.append(node("Concat", "p0 p1 p2 p3", axis=1))
    checked(model(nodes, {"x": (1, 3, 8, 6)}, constants), tmp_path, 0.0)


@pytest.mark.parametrize("indices", [np.array(2), np.array([-1]), np.array([0, 1, 2, 5, 3]), np.array([4, 4])])
@pytest.mark.parametrize("axis", [1, -1])
def test_gather_of_constant_indices(indices, axis, tmp_path):
    checked(model([node("Gather", "x i", axis=axis)], IMAGE, {"i": indices}), tmp_path, 0.0)


@pytest.mark.parametrize(
    ("name", "attributes", "weights"),
    [
        ("Conv", {"pads": [1, 2], "strides": [2], "dilations": [2]}, (4, 6, 3)),
        ("Conv", {"group": 6, "kernel_shape": [5], "auto_pad": "SAME_UPPER"}, (6, 1, 5)),
        ("MaxPool", {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}, None),
        ("AveragePool", {"kernel_shape": [2]}, None),
    ],
)
def test_windows_over_sequences(name, attributes, weights, tmp_path):
    constants = {} if weights is None else {"w": randoms(*weights)}
    nodes = [node(name, "x" if weights is None else "x w", "m", **attributes), node("Relu", "m")]
    checked(model(nodes, {"x": (1, 6, 17)}, constants), tmp_path)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "window",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 3], "pads": [1, 0, 0, 1]},
        {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [0, 1, 1, 0]},
        {"kernel_shape": [1, 1], "strides": [2, 4]},
    ],
    ids=str,
)
def test_windows_that_reach_over_the_border(op, window, tmp_path):
    for size in ((5, 8), (6, 7), (7, 9), (4, 10)):
        checked(model([node(op, "x", ceil_mode=1, **window)], {"x": (1, 3, *size)}), tmp_path)


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceSum", "ReduceMean"])
@pytest.mark.parametrize("axes", [[2, 3], [1], [-1], [1, 2, 3], None])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions(op, axes, keepdims, tmp_path):
    named = {"axes": np.array(axes)} if axes else {}
    nodes = [node("Relu", "x", "r"), node(op, "r axes" if axes else "r", keepdims=keepdims)]
    if not axes and not keepdims:
        nodes = [*nodes[:1], node(op, "r", "m", keepdims=0), node("Unsqueeze", "m zero")]
        named = {"zero": np.array([0])}
    checked(model(nodes, IMAGE, named, opset=18), tmp_path)


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceSum", "ReduceMean"])
def test_reductions_of_nothing(op, tmp_path):
    made = model([node(op, "x", "m", noop_with_empty_axes=1), node("Relu", "m")], IMAGE, opset=18)
    assert op_names(checked(made, tmp_path)) == ["Activate"]


@pytest.mark.parametrize(
    ("made", "kind", "message"),
    [
        (model([node("Gelu", "x", approximate="erf")], IMAGE, opset=20), BadInputError, "neither none nor tanh"),
        (model([node("DepthToSpace", "x", blocksize=2, mode="RCD")], IMAGE), BadInputError, "neither DCR nor CRD"),
        (model([node("SpaceToDepth", "x")], IMAGE), BadInputError, "blocksize must be at least 1, not 0"),
        (model([node("Pad", "x p", mode="circle")], IMAGE, {"p": [0] * 8}), BadInputError, "mode 'circle' is none of"),
        (
            model([node("Gather", "x i", axis=1)], IMAGE, {"i": np.array([6])}),
            BadInputError,
            r"indices \[6\] of axis 1",
        ),
        (
            model([node("Pad", "x p", mode="reflect")], IMAGE, {"p": np.array([0, 0, 5, 0, 0, 0, 0, 0])}),
            BadInputError,
            r"an image of \[5, 8\] has too few pixels to reflect into \[5, 0, 0, 0\]",
        ),
    ],
)
def test_what_is_wrong_is_named(made, kind, message, tmp_path):
    with pytest.raises(kind, match=message):
        imported(made, tmp_path)


# Passes


def test_differences_and_quotients_with_constants_become_part_of_a_convolution(tmp_path):
    for op, order in (("Sub", "c k"), ("Sub", "k c"), ("Div", "c k")):
        nodes = [node("Conv", "x w", "c"), node(op, order)]
        constants = {"w": randoms(4, 6, 1, 1), "k": np.abs(randoms(4, 1, 1)) + 0.5}
        network = checked(model(nodes, IMAGE, constants), tmp_path)
        assert op_names(canonicalize(network)) == ["Conv2D"]


@pytest.mark.parametrize(("kind", "neutral"), [("sub", 0.0), ("div", 1.0)])
def test_a_neutral_constant_goes_only_on_the_right(kind, neutral):
    for swapped in (False, True):
        net = NetworkBuilder("neutral")
        x = net.add("clip", Activate(RELU), [net.input(Tensor("x", (1, 2, 2, 3)))])
        constant = net.add(
            "c", __import__("dscompile.ir.ops").ir.ops.Constant((1,)), value=np.full(1, neutral, np.float32)
        )
        network = net.build([net.add("y", Binary(kind), [constant, x] if swapped else [x, constant])])
        assert ("Binary" in op_names(canonicalize(network))) == swapped


def test_a_slice_of_a_slice_with_steps_is_one():
    net = NetworkBuilder("slices")
    x = net.input(Tensor("x", (1, 20, 4, 2)))
    outer = net.add("outer", Slice((0, 1, 0, 0), (1, 9, 4, 2), (1, 2, 1, 1)), [x])
    network = net.build([net.add("inner", Slice((0, 2, 0, 0), (1, 3, 4, 2), (1, 3, 1, 1)), [outer])])
    (layer,) = canonicalize(network).layers
    assert layer.op == Slice((0, 5, 0, 0), (1, 3, 4, 2), (1, 6, 1, 1))


# Batches, which networks are quantized with


@pytest.mark.parametrize(
    "op",
    [
        DepthToSpace((2, 3), crops=Pads(1, 0, 0, 2)),
        DepthToSpace((3, 2), "crd"),
        SpaceToDepth((2, 1)),
        Resize((5, 3), "bilinear"),
        Resize((5, 9), "nearest"),
        Pad(Pads(1, 2, 0, 1), mode="reflect"),
        Slice((0, 1, 0, 2), (2, 2, 4, 3), (1, 2, 1, 2)),
    ],
    ids=str,
)
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_images_of_a_batch_are_done_one_by_one(op, int8):
    def run(x, op):
        net = NetworkBuilder("batch", "tflite" if int8 else None)
        net.input(Tensor("x", x.shape, "int8", Q) if int8 else Tensor("x", x.shape))
        return oracle.run(net.build([net.add("y", op, ["x"])]), {"x": x})["y"]

    x = np.random.default_rng(0).integers(-128, 128, (2, 4, 4, 12)).astype(np.int8 if int8 else np.float32)
    one = Slice(op.begins, (1, *op.sizes[1:]), op.steps) if isinstance(op, Slice) else op
    np.testing.assert_array_equal(run(x, op), np.concatenate([run(x[:1], one), run(x[1:], one)]))


# Compiled code


class Net(NetworkBuilder):
    """A network of many operators that all read pools over its inputs; convolutions with padding read their results."""

    def __init__(self, *, int8: bool) -> None:
        super().__init__("many", "tflite" if int8 else None)
        self.rng = np.random.default_rng(5)
        self.int8 = int8
        self.made: list[str] = []

    def image(self, channels: int, number: int = 0) -> str:
        name = f"x{channels}_{number}"
        if f"{name}_pool" not in self.tensors:
            shape = (1, 6, 8, channels)
            self.input(Tensor(name, shape, "int8", Q) if self.int8 else Tensor(name, shape))
            self.add(f"{name}_pool", Pool("max", (2, 2), (1, 1), Pads(0, 1, 0, 1)), [name])
        return f"{name}_pool"

    def append(self, op: Op, *sources: str) -> None:
        """The operator, and a depthwise convolution of its result."""
        name = f"op{len(self.made)}"
        scaled = isinstance(op, Activate) or (isinstance(op, Binary) and op.kind == "sub")
        self.add(name, op, sources, quantization=Quantization((0.07,), 5) if self.int8 and scaled else None)
        depth = self.tensors[name].shape[3]
        conv = Conv2D(depth, (3, 3), pads=Pads(1, 1, 1, 1), groups=depth)
        kernel = self.rng.integers(-60, 61, (3, 3, 1, depth))
        if self.int8:
            scales = np.full(depth, 0.005, np.float32)
            weights = {"kernel": kernel.astype(np.int8), "kernel_scale": scales}
            self.made += [self.add(f"{name}_conv", conv, [name], quantization=Q, **weights), name]
        else:
            scaled_kernel = (kernel * 0.005).astype(np.float32)
            self.made += [self.add(f"{name}_conv", conv, [name], kernel=scaled_kernel), name]


MOVES = [
    *(Pad(Pads(2, 1, 0, 3), mode=mode) for mode in ("reflect", "symmetric", "edge", "wrap")),
    Slice((0, 1, 0, 1), (1, 3, 4, 8), (1, 2, 2, 2)),
    Slice((0, 0, 1, 0), (1, 6, 3, 16), (1, 1, 3, 1)),
    SpaceToDepth((2, 2)),
    SpaceToDepth((3, 1)),
]
SPREADS = [
    (DepthToSpace((2, 2)), 12),
    (DepthToSpace((2, 2)), 64),
    (DepthToSpace((2, 2), "crd", Pads(1, 0, 0, 1)), 12),
    (DepthToSpace((1, 4), crops=Pads(0, 1, 5, 2)), 12),
    (DepthToSpace((4, 1), "crd"), 64),
]
ACTIVATIONS = [GELU, GELU_TANH, ERF, Activation("elu", alpha=1.0), Activation("elu", alpha=0.3)]


def everything(*, int8: bool) -> Network:
    """Every operator of this page."""
    net = Net(int8=int8)
    x, other = net.image(17), net.image(17, 1)
    for op in MOVES:
        net.append(op, x)
    for op, channels in SPREADS:
        net.append(op, net.image(channels))
    for binary in (Binary("sub"), Binary("max", RELU), Binary("min")):
        net.append(binary, x, other)
    for activation in ACTIVATIONS:
        net.append(Activate(activation), x)
    if not int8:
        positive = net.add("positive", Activate(Activation("clip", 0.5)), [other])
        vector = net.add("vector", Pool("max"), [positive])
        for first, second in ((x, positive), (x, vector), (vector, positive)):
            net.append(Binary("div"), first, second)
        net.append(Binary("sub"), vector, x)
    return net.build(net.made)


@pytest.mark.slow
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("target", TARGETS_FIRST_FAST)
def test_compiled_operators_equal_the_oracle(target, int8):
    assert_equals_oracle(everything(int8=int8), target_here(target))


@pytest.mark.slow
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_operators_as_c_equal_the_oracle(int8):
    mcu.assert_equals_oracle(everything(int8=int8))


# Constants


def spelled_gelu(scaled: str, total: str, first: str, last: str) -> list:
    """The nodes of a gelu: the erf's input, the sum with 1, and the two products."""
    op = "Div" if "r" in scaled else "Mul"
    gate = [node(op, scaled, "d"), node("Erf", "d", "e"), node("Add", total, "p")]
    return [*gate, node("Mul", first, "m"), node("Mul", last)]


@pytest.mark.parametrize(
    "spelled",
    [
        spelled_gelu("x r", "e o", "x p", "m h"),
        spelled_gelu("s x", "o e", "h x", "p m"),
        spelled_gelu("x s", "e o", "p h", "m x"),
    ],
    ids=["torch", "half first", "gate first"],
)
def test_a_gelu_that_is_spelled_out_gets_its_name_back(spelled, tmp_path):
    numbers = {"r": 2**0.5, "s": 0.5**0.5, "o": 1.0, "h": 0.5}
    network = checked(model(spelled, IMAGE, {name: np.float32(value) for name, value in numbers.items()}), tmp_path)
    assert [layer.op for layer in canonicalize(network).layers] == [Activate(GELU)]


def test_what_looks_like_a_gelu_of_something_else_is_left_alone(tmp_path):
    nodes = [node("Erf", "x", "e"), node("Add", "e o", "p"), node("Mul", "x p", "m"), node("Mul", "m h")]
    network = checked(model(nodes, IMAGE, {"o": np.float32(1), "h": np.float32(0.5)}), tmp_path)
    assert GELU not in [layer.op.activation for layer in canonicalize(network).layers if isinstance(layer.op, Activate)]


def test_rare_operators_on_constants_are_evaluated_by_onnx(tmp_path):
    nodes = [
        node("Shape", "x", "s"),
        node("ReduceProd", "s", "n", keepdims=1),
        node("Tile", "minus two", "t"),
        node("Concat", "one n", "target", axis=0),
        node("Reshape", "x target", "f"),
        node("Range", "zero four one0", "r"),
        node("Gather", "f r", axis=1),
    ]
    constants = {"minus": np.array([-1]), "two": np.array([2]), "one": np.array([1])}
    constants |= {"zero": np.array(0), "four": np.array(4), "one0": np.array(1)}
    network = checked(model(nodes, IMAGE, constants), tmp_path, 0.0)
    assert network.shape("y") == (1, 4)


@pytest.mark.parametrize(
    ("made", "kind", "message"),
    [
        (
            model([node("Tile", "c n", "t"), node("Add", "x t")], IMAGE, {"c": randoms(8), "n": np.array([1 << 30])}),
            UnsupportedError,
            "Tile: would make a constant of 8589934592 elements",
        ),
        (
            model(
                [node("Range", "a b d", "t"), node("Add", "x t")],
                IMAGE,
                {"a": np.float32(0), "b": np.float32(1e9), "d": np.float32(1)},
            ),
            UnsupportedError,
            "Range: would make a constant of 1000000000 elements",
        ),
        (
            model([node("Pad", "c p", "t"), node("Add", "x t")], IMAGE, {"c": randoms(8), "p": np.array([1 << 30, 0])}),
            UnsupportedError,
            "Pad: would make a constant of",
        ),
        (
            model([node("GatherND", "c i", "t"), node("Add", "x t")], IMAGE, {"c": randoms(8), "i": np.array([[99]])}),
            BadInputError,
            "GatherND: cannot be evaluated on its constant inputs",
        ),
    ],
)
def test_constants_that_cannot_be_are_refused(made, kind, message, tmp_path):
    with pytest.raises(kind, match=message):
        imported(made, tmp_path)

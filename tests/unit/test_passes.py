"""What each pass makes of tiny networks, literally."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.ir.network import Layer, NetworkBuilder
from dscompile.ir.ops import (
    HARD_SIGMOID,
    HARD_SWISH,
    NONE,
    RELU,
    RELU6,
    SIGMOID,
    SWISH,
    Activate,
    Activation,
    BatchNorm,
    Binary,
    Concat,
    Constant,
    Conv2D,
    Dense,
    Pad,
    Pads,
    Pool,
    Reshape,
    Softmax,
    Transpose,
)
from dscompile.ir.tensor import Tensor
from dscompile.passes import canonicalize
from dscompile.passes.drop_unused import drop_unused
from dscompile.passes.fold_batch_norm import fold_batch_norm
from dscompile.passes.fold_constants import fold_constants
from dscompile.passes.fold_pads import fold_pads
from dscompile.passes.fuse_activations import fuse_activations
from dscompile.passes.recognize_activations import recognize_activations
from dscompile.passes.remove_identities import remove_identities

POINTWISE = Conv2D(2, (1, 1))
KERNEL = np.float32([[[[1, 2], [3, 4], [5, 6]]]])  # of POINTWISE on 3 channels
IMAGE = (1, 4, 4, 3)
PRELU = Activation("prelu")


class Net(NetworkBuilder):
    """A network that begins with the input `x`."""

    def __init__(self, shape=IMAGE):
        super().__init__("tiny")
        self.input(Tensor("x", shape))

    def conv(self, op=POINTWISE, **weights):
        return self.add("conv", op, ["x"], kernel=KERNEL, **weights)

    def constant(self, name, value):
        array = np.asarray(value, np.float32)
        return self.add(name, Constant(array.shape), value=array)


def layers(network):
    """(name, op, inputs, output) of every layer."""
    return [(layer.name, layer.op, layer.inputs, layer.output) for layer in network.validate().layers]


def weights(network):
    return {key: array.tolist() for key, array in network.weights.items()}


# Batch norm

NORM = {
    "gamma": np.float32([2, 3]),
    "beta": np.float32([10, 20]),
    "mean": np.float32([1, 2]),
    "variance": np.float32([3.75, 0.0]),
}  # with epsilon 0.25: scale [1, 6], shift [9, 8]


def test_batch_norm_folds_into_kernel_and_bias_of_the_convolution_before_it():
    net = Net()
    net.add("norm", BatchNorm(0.25), [net.conv(bias=np.float32([100, 200]))], **NORM)
    network = fold_batch_norm(net.build(["norm"]))
    assert layers(network) == [("conv", POINTWISE, ("x",), "norm")]
    assert weights(network) == {
        "conv.kernel": [[[[1, 12], [3, 24], [5, 36]]]],
        "conv.bias": [109, 1208],
    }


def test_batch_norm_gives_a_bias_to_a_depthwise_convolution_without():
    net = Net((1, 4, 4, 2))
    op = Conv2D(2, (1, 2), groups=2)
    net.add("depthwise", op, ["x"], kernel=np.float32([[[[1, 1]], [[2, 2]]]]))
    net.add("norm", BatchNorm(0.25), ["depthwise"], **NORM)
    network = fold_batch_norm(net.build(["norm"]))
    assert layers(network) == [("depthwise", op, ("x",), "norm")]
    assert weights(network) == {"depthwise.kernel": [[[[1, 6]], [[2, 12]]]], "depthwise.bias": [9, 8]}


def test_batch_norm_folds_into_a_dense_layer():
    net = Net((1, 1))
    net.add("dense", Dense(2), ["x"], kernel=np.float32([[5, 7]]))
    net.add("norm", BatchNorm(0.25), ["dense"], **NORM)
    network = fold_batch_norm(net.build(["norm"]))
    assert layers(network) == [("dense", Dense(2), ("x",), "norm")]
    assert weights(network) == {"dense.kernel": [[5, 42]], "dense.bias": [9, 8]}


DEPTHWISE_NORM = Conv2D(2, (1, 1), groups=2)


def test_batch_norm_after_an_activation_becomes_a_depthwise_convolution():
    net = Net()
    net.add("norm", BatchNorm(0.25), [net.conv(Conv2D(2, (1, 1), activation=RELU))], **NORM)
    network = fold_batch_norm(net.build(["norm"]))
    assert layers(network)[1] == ("norm", DEPTHWISE_NORM, ("conv",), "norm")
    assert weights(network) == {"conv.kernel": KERNEL.tolist(), "norm.kernel": [[[[1, 6]]]], "norm.bias": [9, 8]}


def test_batch_norm_of_a_tensor_with_another_reader_stays_apart():
    net = Net()
    net.add("norm", BatchNorm(0.25), [net.conv()], **NORM)
    net.add("sum", Binary("add"), ["conv", "norm"])
    network = fold_batch_norm(net.build(["sum"]))
    assert layers(network) == [
        ("conv", POINTWISE, ("x",), "conv"),
        ("norm", DEPTHWISE_NORM, ("conv",), "norm"),
        ("sum", Binary("add"), ("conv", "norm"), "sum"),
    ]


def test_batch_norm_of_an_output_stays_apart():
    net = Net()
    net.add("norm", BatchNorm(0.25), [net.conv()], **NORM)
    assert layers(fold_batch_norm(net.build(["norm", "conv"])))[1] == ("norm", DEPTHWISE_NORM, ("conv",), "norm")


def test_batch_norm_of_an_input_vector_becomes_a_product_and_a_sum():
    net = Net((1, 2))
    net.add("norm", BatchNorm(0.25), ["x"], **NORM)
    network = fold_batch_norm(net.build(["norm"]))
    assert layers(network) == [
        ("norm.scale", Constant((2,)), (), "norm.scale"),
        ("norm.shift", Constant((2,)), (), "norm.shift"),
        ("norm.product", Binary("mul"), ("x", "norm.scale"), "norm.product"),
        ("norm", Binary("add"), ("norm.product", "norm.shift"), "norm"),
    ]
    assert weights(network) == {"norm.scale.value": [1, 6], "norm.shift.value": [9, 8]}


def test_new_names_do_not_collide_with_those_of_the_network():
    net = Net((1, 2))
    net.add("norm.scale", Activate(RELU), ["x"])
    net.add("norm", BatchNorm(0.25), ["norm.scale"], **NORM)
    names = [layer.name for layer in fold_batch_norm(net.build(["norm"])).validate().layers]
    assert names == ["norm.scale", "norm.scale_2", "norm.shift", "norm.product", "norm"]


def test_folded_weights_are_float32_and_read_only():
    net = Net()
    net.add("norm", BatchNorm(0.25), [net.conv()], **NORM)
    kernel = fold_batch_norm(net.build(["norm"])).weights["conv.kernel"]
    assert (kernel.dtype, kernel.flags.writeable) == (np.float32, False)


# Activations


@pytest.mark.parametrize("op", [POINTWISE, Pool("max", (2, 2)), Pool("average")], ids=["conv", "max", "average"])
def test_activation_joins_the_layer_before_it(op):
    net = Net()
    kernel = {"kernel": KERNEL} if op is POINTWISE else {}
    net.add("first", op, ["x"], **kernel)
    net.add("relu", Activate(RELU), ["first"])
    ((name, fused, inputs, output),) = layers(fuse_activations(net.build(["relu"])))
    assert (name, inputs, output, fused.activation) == ("first", ("x",), "relu", RELU)


def test_activation_joins_a_sum_and_a_dense_layer():
    net = Net((1, 3))
    net.add("dense", Dense(3), ["x"], kernel=np.eye(3, dtype=np.float32))
    net.add("swish", Activate(SWISH), ["dense"])
    net.add("sum", Binary("add"), ["swish", "x"])
    net.add("relu", Activate(RELU), ["sum"])
    assert layers(fuse_activations(net.build(["relu"]))) == [
        ("dense", Dense(3, SWISH), ("x",), "swish"),
        ("sum", Binary("add", RELU), ("swish", "x"), "relu"),
    ]


def test_only_the_first_of_two_activations_joins():
    net = Net()
    net.add("relu", Activate(RELU), [net.conv()])
    net.add("sigmoid", Activate(SIGMOID), ["relu"])
    assert layers(fuse_activations(net.build(["sigmoid"]))) == [
        ("conv", Conv2D(2, (1, 1), activation=RELU), ("x",), "relu"),
        ("sigmoid", Activate(SIGMOID), ("relu",), "sigmoid"),
    ]


def test_prelu_stays_a_layer():
    net = Net()
    net.add("prelu", Activate(PRELU), [net.conv()], slope=np.float32([1, 2]))
    network = net.build(["prelu"])
    assert fuse_activations(network) is network


def test_activation_stays_where_its_input_is_an_output_or_read_twice():
    net = Net()
    net.add("relu", Activate(RELU), [net.conv()])
    exposed = net.build(["relu", "conv"])
    assert fuse_activations(exposed) is exposed
    net.add("sum", Binary("add"), ["conv", "relu"])
    shared = net.build(["sum"])
    assert fuse_activations(shared) is shared


def test_activation_of_an_input_or_a_softmax_stays():
    net = Net()
    net.add("softmax", Softmax(), [net.add("relu", Activate(RELU), ["x"])])
    net.add("sigmoid", Activate(SIGMOID), ["softmax"])
    network = net.build(["sigmoid"])
    assert fuse_activations(network) is network


# Activations spelled out


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("gate", "want"),
    [
        (HARD_SIGMOID, HARD_SWISH),
        (Activation("hard_sigmoid", alpha=float(np.float32(1 / 6))), HARD_SWISH),
        (SIGMOID, SWISH),
    ],
)
def test_product_with_its_own_gate_is_recognized(gate, want, swapped):
    net = Net()
    net.add("gate", Activate(gate), ["x"])
    net.add("mul", Binary("mul"), ["gate", "x"] if swapped else ["x", "gate"])
    network = recognize_activations(net.build(["mul"]))
    assert layers(network) == [("gate", Activate(gate), ("x",), "gate"), ("mul", Activate(want), ("x",), "mul")]


def test_hard_sigmoid_of_another_slope_is_not_half_of_hard_swish():
    net = Net()
    net.add("gate", Activate(Activation("hard_sigmoid", alpha=0.2)), ["x"])
    net.add("mul", Binary("mul"), ["x", "gate"])
    network = net.build(["mul"])
    assert recognize_activations(network) is network


def test_gate_of_another_tensor_is_squeeze_and_excite_not_swish():
    net = Net()
    net.add("squeezed", Pool("average"), ["x"])
    net.add("gate", Activate(SIGMOID), ["squeezed"])
    net.add("mul", Binary("mul"), ["x", "gate"])
    network = net.build(["mul"])
    assert recognize_activations(network) is network


def spelled_out(*, fused, sixth_first=False, three=(3.0,), sixth=1 / 6):
    net = Net()
    three, sixth = net.constant("three", three), net.constant("sixth", [sixth])
    if fused:
        clip = net.add("clip", Binary("add", RELU6), [three, "x"])
    else:
        clip = net.add("clip", Activate(RELU6), [net.add("add", Binary("add"), ["x", three])])
    if sixth_first:
        net.add("y", Binary("mul"), ["x", net.add("gate", Binary("mul"), [sixth, clip])])
    else:
        net.add("y", Binary("mul"), [net.add("product", Binary("mul"), ["x", clip]), sixth])
    return net.build(["y"])


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("sixth_first", [False, True])
def test_spelled_out_hard_swish_is_one_layer(fused, sixth_first):
    network = canonicalize(spelled_out(fused=fused, sixth_first=sixth_first))
    assert layers(network) == [("y", Activate(HARD_SWISH), ("x",), "y")]


def test_spelled_out_hard_sigmoid_is_recognized_before_its_3_is_folded_into_a_bias():
    net = Net()
    three, sixth = net.constant("three", [3]), net.constant("sixth", [1 / 6])
    net.add("clip", Activate(RELU6), [net.add("add", Binary("add"), [net.conv(), three])])
    net.add("y", Binary("mul"), ["clip", sixth])
    network = canonicalize(net.build(["y"]))
    assert layers(network) == [("conv", Conv2D(2, (1, 1), activation=HARD_SIGMOID), ("x",), "y")]
    assert list(network.weights) == ["conv.kernel"]


@pytest.mark.parametrize("wrong", [{"three": (2.5,)}, {"sixth": 0.2}, {"three": (3.0, 3.0, 3.1)}])
def test_other_constants_are_not_hard_swish(wrong):
    network = spelled_out(fused=True, **wrong)
    assert recognize_activations(network) is network


@pytest.mark.parametrize(("three", "sixth"), [((1, 2, 2, 1), (1,)), ((1,), (1, 2, 2, 1)), ((1,), (1, 1, 1, 1, 1))])
def test_a_constant_that_widens_the_product_is_not_hard_swish(three, sixth):
    net = Net((1, 1, 1, 3))
    net.add("clip", Binary("add", RELU6), ["x", net.constant("three", np.full(three, 3))])
    net.add(
        "y",
        Binary("mul"),
        [net.add("product", Binary("mul"), ["x", "clip"]), net.constant("sixth", np.full(sixth, 1 / 6))],
    )
    network = net.build(["y"])
    assert recognize_activations(network) is network


# Pads


def test_pad_of_zeros_joins_the_pads_of_every_convolution_that_reads_it():
    net = Net()
    net.add("pad", Pad(Pads(1, 2, 3, 4)), ["x"])
    net.add("first", Conv2D(2, (1, 1)), ["pad"], kernel=KERNEL)
    net.add("second", Conv2D(2, (1, 1), (2, 2), Pads(0, 1, 0, 1)), ["pad"], kernel=KERNEL)
    network = fold_pads(net.build(["first", "second"]))
    assert layers(network) == [
        ("first", Conv2D(2, (1, 1), pads=Pads(1, 2, 3, 4)), ("x",), "first"),
        ("second", Conv2D(2, (1, 1), (2, 2), Pads(1, 3, 3, 5)), ("x",), "second"),
    ]


@pytest.mark.parametrize("reader", [Pool("max", (2, 2)), Pool("average", (2, 2)), Activate(RELU)])
def test_pad_stays_where_another_layer_reads_it(reader):
    net = Net()
    net.add("pad", Pad(Pads(1, 1, 1, 1)), ["x"])
    net.add("conv", POINTWISE, ["pad"], kernel=KERNEL)
    net.add("reader", reader, ["pad"])
    network = net.build(["conv", "reader"])
    assert fold_pads(network) is network


def test_pad_of_another_value_and_pad_that_is_an_output_stay():
    net = Net()
    net.add("ones", Pad(Pads(1, 1, 1, 1), 1.0), ["x"])
    net.add("zeros", Pad(Pads(1, 1, 1, 1)), ["x"])
    net.add("first", POINTWISE, ["ones"], kernel=KERNEL)
    net.add("second", POINTWISE, ["zeros"], kernel=KERNEL)
    network = net.build(["first", "second", "zeros"])
    assert fold_pads(network) is network


# Constants


def test_layers_of_constants_are_evaluated():
    net = Net((1, 2))
    first, second = net.constant("first", [[1, -2]]), net.constant("second", [[10, 20]])
    net.add("sum", Binary("add", RELU), [first, second])
    net.add("joined", Concat(1), ["sum", first])
    net.add("turned", Transpose((1, 0)), ["joined"])
    net.add("flat", Reshape((1, 4)), ["turned"])
    network = drop_unused(fold_constants(net.build(["flat"])))
    assert layers(network) == [("flat", Constant((1, 4)), (), "flat")]
    assert weights(network) == {"flat.value": [[11, 18, 1, -2]]}


@pytest.mark.parametrize(
    ("op", "want"),
    [
        (Activate(Activation("clip", -1, 1)), [-1, 0, 1]),
        (Activate(HARD_SWISH), [-1 / 3, 0, 5 / 3]),
        (Activate(Activation("hard_sigmoid", alpha=0.25)), [0, 0.5, 1]),
        (Activate(SIGMOID), [0.11920292, 0.5, 0.88079708]),
        (Activate(SWISH), [-0.23840584, 0, 1.76159416]),
        (Activate(Activation("tanh")), [-0.96402758, 0, 0.96402758]),
        (Activate(Activation("leaky_relu", alpha=0.5)), [-1, 0, 2]),
        (Activate(NONE), [-2, 0, 2]),
        (Softmax(), [0.01587624, 0.11731043, 0.86681333]),
        (Softmax(0.5), [0.09003057, 0.24472847, 0.66524096]),
        (Binary("mul"), [4, 0, 4]),
    ],
    ids=str,
)
def test_constants_go_through_every_function(op, want):
    net = Net((1, 3))
    value = net.constant("value", [[-2, 0, 2]])
    net.add("y", op, [value, value] if isinstance(op, Binary) else [value])
    network = fold_constants(net.build(["y"]))
    np.testing.assert_allclose(network.weights["y.value"], [want], rtol=1e-6)


def test_constant_image_is_padded():
    net = Net()
    net.add("y", Pad(Pads(left=1, bottom=1), 5.0), [net.constant("value", [[[[1]]]])])
    network = fold_constants(net.build(["y"]))
    assert network.weights["y.value"].tolist() == [[[[5], [1]], [[5], [5]]]]


def test_layers_with_weights_are_left_to_run_on_constants():
    net = Net((1, 3))
    value = net.constant("value", [[-2, 0]])
    net.add("prelu", Activate(PRELU), [value], slope=np.float32([1, 2]))
    net.add("dense", Dense(1), ["prelu"], kernel=np.float32([[1], [2]]))
    network = net.build(["dense"])
    assert fold_constants(network) is network


@pytest.mark.parametrize("shape", [(1,), (2,), (1, 1, 1, 2), ()])
def test_sum_with_a_constant_per_channel_goes_into_the_bias(shape):
    net = Net()
    constant = net.constant("c", np.full(shape, 7))
    net.add("sum", Binary("add", RELU), [net.conv(bias=np.float32([1, 2])), constant])
    network = drop_unused(fold_constants(net.build(["sum"])))
    assert layers(network) == [("conv", Conv2D(2, (1, 1), activation=RELU), ("x",), "sum")]
    assert weights(network) == {"conv.kernel": KERNEL.tolist(), "conv.bias": [8, 9]}


def test_product_with_a_constant_per_channel_goes_into_kernel_and_bias():
    net = Net()
    constant = net.constant("c", [10, 100])
    net.add("product", Binary("mul"), [constant, net.conv(bias=np.float32([1, 2]))])
    network = drop_unused(fold_constants(net.build(["product"])))
    assert layers(network) == [("conv", POINTWISE, ("x",), "product")]
    assert weights(network) == {"conv.kernel": [[[[10, 200], [30, 400], [50, 600]]]], "conv.bias": [10, 200]}


@pytest.mark.parametrize("shape", [(4, 4, 1), (1, 4, 1, 2), (1, 1, 1, 1, 2)])
def test_constant_per_pixel_or_of_higher_rank_stays(shape):
    net = Net()
    net.add("sum", Binary("add"), [net.conv(), net.constant("c", np.arange(np.prod(shape)).reshape(shape))])
    network = net.build(["sum"])
    assert fold_constants(network) is network


def test_constant_that_widens_a_single_channel_stays():
    net = Net((1, 4, 4, 1))
    net.add("conv", Conv2D(1, (1, 1)), ["x"], kernel=np.ones((1, 1, 1, 1), np.float32))
    net.add("sum", Binary("add"), ["conv", net.constant("c", [1, 2, 3])])
    network = net.build(["sum"])
    assert fold_constants(network) is network


@pytest.mark.parametrize(("kind", "neutral"), [("add", 0.0), ("mul", 1.0)])
@pytest.mark.parametrize("swapped", [False, True])
def test_sum_with_0_and_product_with_1_vanish(kind, neutral, swapped):
    net = Net()
    net.add("relu", Activate(RELU), ["x"])
    constant = net.constant("c", [neutral] * 3)
    net.add("same", Binary(kind), [constant, "relu"] if swapped else ["relu", constant])
    net.add("y", Softmax(), ["same"])
    network = drop_unused(fold_constants(net.build(["y"])))
    assert layers(network) == [("relu", Activate(RELU), ("x",), "relu"), ("y", Softmax(), ("relu",), "y")]


def test_neutral_constant_under_an_activation_leaves_the_activation():
    net = Net()
    net.add("y", Binary("add", RELU), ["x", net.constant("c", [0])])
    assert layers(drop_unused(fold_constants(net.build(["y"])))) == [("y", Activate(RELU), ("x",), "y")]


def test_neutral_constant_that_widens_its_partner_stays():
    net = Net((1, 1, 1, 3))
    net.add("relu", Activate(RELU), ["x"])
    net.add("sum", Binary("add"), ["relu", net.constant("c", np.zeros((1, 2, 2, 1)))])
    net.add("y", Softmax(), ["sum"])
    network = net.build(["y"])
    assert fold_constants(network) is network


# Identities


@pytest.mark.parametrize(
    "op",
    [
        Reshape((1, 1, 1, 3)),
        Transpose((0, 1, 2, 3)),
        Transpose((0, 2, 1, 3)),
        Pad(Pads()),
        Pool("average"),
        Pool("max", (1, 1), (2, 2)),
        Activate(NONE),
    ],
    ids=str,
)
def test_layer_that_does_nothing_vanishes(op):
    net = Net((1, 1, 1, 3))
    net.add("first", Activate(RELU), ["x"])
    net.add("same", op, ["first"])
    net.add("last", Softmax(), ["same"])
    network = remove_identities(net.build(["last"]))
    assert layers(network) == [("first", Activate(RELU), ("x",), "first"), ("last", Softmax(), ("first",), "last")]


def test_output_keeps_its_name_when_the_identity_before_it_vanishes():
    net = Net()
    net.add("first", Activate(RELU), ["x"])
    net.add("second", Softmax(), ["first"])
    net.add("same", Activate(NONE), ["first"])
    network = remove_identities(net.build(["same", "second"]))
    assert layers(network) == [("first", Activate(RELU), ("x",), "same"), ("second", Softmax(), ("same",), "second")]


def test_identity_between_two_outputs_or_input_and_output_stays_as_a_copy():
    net = Net()
    net.add("copy", Reshape(IMAGE), ["x"])
    net.add("first", Activate(RELU), ["x"])
    net.add("second", Activate(NONE), ["first"])
    network = net.build(["copy", "first", "second"])
    assert remove_identities(network) is network


def test_reshapes_and_transposes_in_a_row_become_one():
    net = Net((1, 2, 3, 5))
    net.add("turn1", Transpose((0, 3, 1, 2)), ["x"])
    net.add("turn2", Transpose((0, 2, 1, 3)), ["turn1"])
    net.add("flat1", Reshape((1, 6, 5)), ["turn2"])
    net.add("flat2", Reshape((1, 30)), ["flat1"])
    network = drop_unused(remove_identities(net.build(["flat2"])))
    assert layers(network) == [
        ("turn2", Transpose((0, 1, 3, 2)), ("x",), "turn2"),
        ("flat2", Reshape((1, 30)), ("turn2",), "flat2"),
    ]


def test_transpose_and_its_inverse_vanish():
    net = Net((1, 2, 3, 5))
    net.add("there", Transpose((0, 3, 1, 2)), [net.add("relu", Activate(RELU), ["x"])])
    net.add("back", Transpose((0, 2, 3, 1)), ["there"])
    network = canonicalize(net.build(["back"]))
    assert layers(network) == [("relu", Activate(RELU), ("x",), "back")]


def test_transpose_of_axes_of_size_1_is_a_reshape():
    net = Net((1, 1, 1, 5))
    net.add("turn", Transpose((0, 3, 1, 2)), ["x"])
    net.add("flat", Reshape((1, 5)), ["turn"])
    network = canonicalize(net.build(["flat"]))
    assert layers(network) == [("flat", Reshape((1, 5)), ("x",), "flat")]


def test_pool_over_one_pixel_with_an_activation_is_the_activation():
    net = Net((1, 1, 1, 3))
    net.add("pool", Pool("average", activation=RELU), ["x"])
    assert layers(remove_identities(net.build(["pool"]))) == [("pool", Activate(RELU), ("x",), "pool")]


def test_pool_of_stride_2_over_many_pixels_stays():
    net = Net()
    net.add("pool", Pool("max", (1, 1), (2, 2)), ["x"])
    network = net.build(["pool"])
    assert remove_identities(network) is network


# Unused layers


def test_layers_that_lead_to_no_output_go_with_their_tensors_and_weights():
    net = Net()
    net.add("kept", Activate(RELU), ["x"])
    net.add("dead", Softmax(), [net.conv()])
    network = drop_unused(net.build(["kept"]))
    assert layers(network) == [("kept", Activate(RELU), ("x",), "kept")]
    assert (sorted(network.tensors), dict(network.weights)) == (["kept", "x"], {})


# All together


def test_conv_batch_norm_relu6_with_a_pad_before_is_one_convolution():
    net = Net((1, 5, 5, 3))
    net.add("pad", Pad(Pads(0, 1, 0, 1)), ["x"])
    net.add("stem", Conv2D(2, (3, 3), (2, 2)), ["pad"], kernel=np.ones((3, 3, 3, 2), np.float32))
    net.add("norm", BatchNorm(0.25), ["stem"], **NORM)
    net.add("relu6", Activate(RELU6), ["norm"])
    network = canonicalize(net.build(["relu6"], labels=["cat", "dog"]))
    op = Conv2D(2, (3, 3), (2, 2), Pads(0, 1, 0, 1), activation=RELU6)
    assert network.layers == (Layer("stem", op, ("x",), "relu6"),)
    assert network.labels == ("cat", "dog")


def test_a_canonical_network_is_returned_as_it_is():
    net = Net()
    network = net.build([net.conv()])
    assert canonicalize(network) is network

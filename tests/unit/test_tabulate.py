"""Functions of one int8 become tables: which ones do, and that no integer changes."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile import oracle
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import (
    HARD_SIGMOID,
    NONE,
    RELU,
    SIGMOID,
    Activate,
    Activation,
    Binary,
    Constant,
    Dequantize,
    Lookup,
    Quantize,
)
from dscompile.ir.tensor import Quantization, Rounding, Tensor
from dscompile.passes import canonicalize
from tests.import_onnx_models import op_names

GIVEN, GATE, MADE = Quantization((0.06,), -7), Quantization((1 / 255,), -128), Quantization((0.031,), 19)
EVERY = {"x": np.arange(-128, 128, dtype=np.int8).reshape(1, 4, 4, 16)}


class Spelled(NetworkBuilder):
    """A network over `x`, all 256 int8, with float32 in between."""

    def __init__(self, rounding: Rounding = "float32") -> None:
        super().__init__("spelled", rounding)
        self.input(Tensor("x", (1, 4, 4, 16), "int8", GIVEN))

    def real(self, source: str) -> str:
        return self.add(f"{source}_real", Dequantize(), [source])

    def whole(self, name: str, source: str, made: Quantization = MADE) -> str:
        return self.add(name, Quantize(), [source], dtype="int8", quantization=made)


def check(network: Network, wanted: list[str]) -> None:
    """Canonically it has these operators, and makes the same integers of all 256 ones."""
    small = canonicalize(network)
    assert op_names(small) == wanted
    for name, integers in oracle.run(network, EVERY).items():
        np.testing.assert_array_equal(oracle.run(small, EVERY)[name], integers)


@pytest.mark.parametrize("rounding", ["float32", "tflite"])
@pytest.mark.parametrize("activation", [SIGMOID, HARD_SIGMOID, Activation("leaky_relu", alpha=0.1)])
def test_an_activation_in_float32_is_a_table(activation: Activation, rounding: Rounding) -> None:
    net = Spelled(rounding)
    check(net.build([net.whole("y", net.add("f", Activate(activation), [net.real("x")]))]), ["Lookup"])


@pytest.mark.parametrize("gate", [SIGMOID, HARD_SIGMOID])
def test_x_times_its_gate_is_one_table(gate: Activation) -> None:
    """What quantizers make of SiLU and hard-swish: the gate is int8, and so is the product."""
    net = Spelled()
    quantized = net.whole("gate", net.add("f", Activate(gate), [net.real("x")]), GATE)
    check(net.build([net.add("y", Binary("mul"), ["x", quantized], quantization=MADE)]), ["Lookup"])


def test_both_factors_may_be_float32() -> None:
    net = Spelled()
    x = net.real("x")
    product = net.add("p", Binary("mul"), [x, net.add("f", Activate(SIGMOID), [x])])
    check(net.build([net.whole("y", product)]), ["Lookup"])


def test_constants_of_one_element_take_part_from_either_side() -> None:
    net = Spelled()
    three = net.add("three", Constant((1, 1, 1, 1)), [], value=np.full((1, 1, 1, 1), 3, np.float32))
    net.add("d", Binary("sub", RELU), [three, net.real("x")])
    check(net.build([net.whole("y", "d")]), ["Lookup"])


def test_another_scale_is_a_table() -> None:
    net = Spelled()
    check(net.build([net.whole("y", net.real("x"))]), ["Lookup"])


def test_a_table_of_a_table_is_one() -> None:
    net = Spelled()
    table = np.random.default_rng(0).integers(-128, 128, 256).astype(np.int8)
    net.add("once", Lookup(), ["x"], quantization=MADE, table=table)
    net.add("twice", Lookup(), ["once"], quantization=MADE, table=table[::-1].copy())
    check(net.build(["twice"]), ["Lookup"])


def test_what_others_read_is_a_table_of_its_own() -> None:
    net = Spelled()
    gate = net.whole("gate", net.add("f", Activate(SIGMOID), [net.real("x")]), GATE)
    check(net.build([gate, net.add("y", Binary("mul"), ["x", gate], quantization=MADE)]), ["Lookup", "Lookup"])


def test_functions_of_two_tensors_and_of_channels_are_none() -> None:
    net = Spelled()
    net.input(Tensor("other", (1, 1, 1, 16), "int8", GIVEN))
    net.add("y", Binary("mul"), ["x", "other"], quantization=MADE)
    slopes = net.add("slopes", Constant((1, 1, 1, 16)), [], value=np.ones((1, 1, 1, 16), np.float32) * 0.3)
    scaled = net.add("s", Binary("mul"), [net.real("x"), slopes])
    network = net.build(["y", net.whole("z", scaled)])
    assert op_names(canonicalize(network)) == op_names(network)


def test_products_in_fixed_point_stay_what_they_are() -> None:
    net = Spelled("tflite")
    network = net.build([net.add("y", Binary("mul", NONE), ["x", "x"], quantization=MADE)])
    assert canonicalize(network) is network


def test_a_table_over_reals_is_refused() -> None:
    net = Spelled()
    net.add("y", Lookup(), [net.real("x")], table=np.zeros(256, np.int8))
    with pytest.raises(Exception, match="a lookup makes int8 of int8"):
        net.build(["y"])


def test_extremes_are_not_rounded() -> None:
    net = Spelled()
    net.add("y", Binary("max", rounded_as="uint8"), ["x", "x"])
    with pytest.raises(Exception, match="cannot be rounded_as uint8"):
        net.build(["y"])

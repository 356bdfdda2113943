"""The int8 addition as C: every pair of numbers, beside the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dscompile.ir.network import Layer, Network, NetworkBuilder
from dscompile.ir.ops import NONE, RELU, Binary, Conv2D
from dscompile.ir.tensor import Quantization, Rounding, Tensor
from dscompile.oracle import run
from dscompile.plan.mcu.arithmetic import IntegerSum
from dscompile.plan.mcu.products import ConvKernel
from dscompile.plan.mcu.small_kernels import BinaryKernel
from dscompile.plan.mcu.sums import integer_sum
from tests.mcu import HostModel, here, planned, write

Scales = tuple[tuple[float, int], tuple[float, int], tuple[float, int]]

# Some four pairs of bytes contradict each other so close to a half that no plane rounds them all, away from zero ...
AWAY: Scales = ((0.08070000261068344, 11), (0.09030000120401382, 42), (0.09860000014305115, 19))
EVEN: Scales = ((0.09860000014305115, 21), (0.04679999873042107, 40), (0.10239999741315842, 39))  # or to even
FAR: Scales = ((0.05, 100), (0.05, 90), (0.7, 40))  # the sum `centered` has its zero point after the shift
HALVES: dict[Rounding, Scales] = {"tflite": AWAY, "single": AWAY, "float32": EVEN}
SCALES: list[Scales] = [
    AWAY,
    EVEN,
    FAR,
    ((0.05, -3), (0.031, 17), (0.07, 5)),
    ((0.0235, -128), (0.11, 0), (0.09, -20)),
    ((0.5, 1), (0.5, 1), (0.75, -128)),
    ((0.5, -7), (0.5, 3), (1.0, 2)),  # every other pair is a tie
    ((0.05, 11), (0.02, 4), (1.3, -60)),  # the sum has a far larger scale
]

NUMBERS = np.arange(-128, 128, dtype=np.int8)
PAIRS = {"a": np.tile(NUMBERS[None, :, None], (1, 1, 256)), "b": np.tile(NUMBERS[None, None, :], (1, 256, 1))}
CHANNELS = 8  # of images of all pairs
IMAGES = {name: pairs.reshape(1, 64, -1, CHANNELS) for name, pairs in PAIRS.items()}
FUSING = ("c99", "cortex-m4", "cortex-m0plus", "rv32imc")  # cores whose convolutions round halves


@pytest.mark.parametrize("affine", [True, False], ids=["searched", "own_arithmetic"])
@pytest.mark.parametrize(
    ("rounding", "rounded_as"),
    [
        ("float32", "int8"),
        ("float32", "uint8"),
        ("float32", "centered"),
        ("tflite", "int8"),
        ("half-up", "int8"),
        ("single", "int8"),
    ],
)
@pytest.mark.parametrize("some", [SCALES[:4], SCALES[4:]], ids=["first", "others"])
def test_every_pair_of_numbers_is_added_as_the_oracle_does(tmp_path: Path, some, rounding, rounded_as, affine):
    network = sums_of_pairs(
        [(scales, Binary("add", RELU if scales[2][1] == 5 else NONE, rounded_as=rounded_as)) for scales in some],
        rounding,
    )
    assert_computes_all_pairs(HostModel(write(network, tmp_path / "sum", affine=affine, measured=False)), network)


@pytest.mark.parametrize("rounded_as", ["int8", "uint8", "centered"])
@pytest.mark.parametrize("some", [SCALES[:4], [*SCALES[4:], ((0.5, -7), (0.5, 3), (32.0, 2))]], ids=["first", "others"])
def test_every_pair_of_numbers_is_multiplied_in_float32_as_the_oracle_does(tmp_path: Path, some, rounded_as):
    op = Binary("mul", rounded_as=rounded_as)
    network = sums_of_pairs([(scales, op) for scales in some], "float32")
    assert_computes_all_pairs(HostModel(write(network, tmp_path / "product", measured=False)), network)


@pytest.mark.parametrize("scales", SCALES)
def test_ties_rounded_away_from_zero_are_two_multiplications(scales):
    assert plane(scales, "tflite") is not None


@pytest.mark.parametrize("rounding", HALVES)
def test_halves_that_are_no_plane_take_two_instructions_more(rounding):
    found = plane(HALVES[rounding], rounding)
    assert found is not None
    assert found.halves is not None
    assert found.halves.to == ("even" if rounding == "float32" else "away")


def test_many_ties_rounded_to_even_keep_their_own_arithmetic():
    assert plane(((0.05, -3), (0.031, 17), (0.07, 5)), "float32") is None


@pytest.mark.parametrize("core", [*FUSING, "cortex-m55", "rv64gcv"])
@pytest.mark.parametrize("rounding", HALVES)
def test_convolutions_add_with_halves_where_their_cores_can(rounding, core, tmp_path):
    network = sum_in_a_convolution(HALVES[rounding], rounding, Binary("add"))
    kernels = [f.kernel for f in planned(network, here(core)).functions]
    assert any(isinstance(kernel, BinaryKernel) for kernel in kernels) == (core not in FUSING)
    assert any(isinstance(kernel, ConvKernel) and kernel.residual for kernel in kernels) == (core in FUSING)
    assert_adds_all_pairs(HostModel(write(network, tmp_path / "sum", here(core), measured=False)), network)


@pytest.mark.parametrize("core", [*FUSING, "cortex-m55", "rv64gcv"])
def test_a_zero_point_after_the_shift_is_added_in_a_step_of_its_own(core, tmp_path):
    """Convolutions add residuals in 32 bits, which do not hold it before the shift."""
    op = Binary("add", rounded_as="centered")
    network = sum_in_a_convolution(FAR, "float32", op)
    searched = integer_sum(network, network.layers[-1], op)
    assert searched is not None
    assert searched.zero_point == FAR[2][1]
    assert_adds_all_pairs(HostModel(write(network, tmp_path / "sum", here(core), measured=False)), network)


def assert_adds_all_pairs(model: HostModel, network: Network) -> None:
    np.testing.assert_array_equal(model.run(IMAGES)["y"], run(network, IMAGES)["y"])


def plane(scales: Scales, rounding: Rounding) -> IntegerSum | None:
    network = sum_of_pairs(scales, rounding, Binary("add"))
    (layer,) = network.layers
    assert isinstance(layer.op, Binary)
    return integer_sum(network, layer, layer.op)


def assert_computes_all_pairs(model: HostModel, network: Network) -> None:
    pairs = {name: PAIRS[name[0]] for name in network.inputs}
    got, expected = model.run(pairs), run(network, pairs)
    for name in network.outputs:
        np.testing.assert_array_equal(got[name], expected[name], name)


def sum_of_pairs(scales: Scales, rounding: Rounding, op: Binary) -> Network:
    """y0 = a0 + b0 of [256, 256]."""
    return sums_of_pairs([(scales, op)], rounding)


def sums_of_pairs(cases: Sequence[tuple[Scales, Binary]], rounding: Rounding) -> Network:
    """y0 = a0 + b0, y1 = a1 + b1 and so on, all of [256, 256]; one C compiler reads them all."""
    tensors, layers = {}, []
    for number, (scales, op) in enumerate(cases):
        first, second, made = names = tuple(f"{letter}{number}" for letter in "aby")
        for name, (scale, zero_point) in zip(names, scales, strict=True):
            tensors[name] = Tensor(name, (1, 256, 256), "int8", Quantization((scale,), zero_point))
        layers.append(Layer(made, op, (first, second), made))
    inputs = tuple(name for layer in layers for name in layer.inputs)
    outputs = tuple(layer.output for layer in layers)
    return Network("sums", inputs, outputs, tensors, tuple(layers), rounding=rounding).validate()


def sum_in_a_convolution(scales: Scales, rounding: Rounding, op: Binary) -> Network:
    """y = a + b of images, where a convolution hands on a as it is."""
    first, second, made = (Quantization((scale,), zero_point) for scale, zero_point in scales)
    builder = NetworkBuilder("sum", rounding)
    for name, quantization in (("a", first), ("b", second)):
        builder.input(Tensor(name, IMAGES[name].shape, "int8", quantization))
    weights = np.eye(CHANNELS, dtype=np.int8).reshape(1, 1, CHANNELS, CHANNELS) * np.int8(127)
    same = builder.add(
        "same",
        Conv2D(CHANNELS, (1, 1)),
        ["a"],
        quantization=first,
        kernel=weights,
        bias=np.zeros(CHANNELS, np.int32),
        kernel_scale=np.full(CHANNELS, 1 / 127, np.float32),
    )
    return builder.build([builder.add("y", op, [same, "b"], quantization=made)])

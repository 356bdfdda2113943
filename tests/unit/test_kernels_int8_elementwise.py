"""Int8 kernels without weights against the oracle, over whole ranges where these are small enough."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from dscompile import oracle
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import (
    RELU6,
    Activate,
    Activation,
    Binary,
    Dequantize,
    Lookup,
    Mean,
    Pads,
    Pool,
    Quantize,
    RoundedAs,
    Softmax,
)
from dscompile.ir.tensor import DType, Quantization, Rounding, Tensor
from dscompile.plan.int8_elementwise import Int8SumKernel
from dscompile.plan.integer_softmax import softmax_powers
from dscompile.plan.mcu.arithmetic import FloatBinary, IntegerBinary, IntegerSum
from dscompile.plan.mcu.sums import integer_binary
from tests.native import TARGETS_FIRST_FAST, opened, planned, target_here
from tests.unit.test_mcu_add import HALVES

pytestmark = pytest.mark.sampled

ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
BYTES = np.arange(-128, 128).astype(np.int8)
Q = Quantization((0.05,), -3)
TIES = Quantization((0.031 * 0.0473 * 64,), 21)
FIRST, SECOND, MADE = Quantization((0.031,), 7), Quantization((0.0473,), -128), Quantization((0.067,), 21)

targets = pytest.mark.parametrize("target", TARGETS_FIRST_FAST)


def assert_exact(network: Network, target: str, **inputs: object) -> None:
    """The artifact's outputs are the oracle's, bit for bit."""
    arrays = {name: np.asarray(array) for name, array in inputs.items()}
    results = opened(network, target_here(target)).run(arrays)
    for name, want in oracle.run(network, arrays).items():
        np.testing.assert_array_equal(results[name], want)


def two_bytes(
    op: Binary,
    rounding: Rounding,
    made: Quantization = MADE,
    channels: int = 16,
    operands: tuple[Quantization, Quantization] = (FIRST, SECOND),
) -> Network:
    """op over all pairs of bytes, as images."""
    builder = NetworkBuilder("pairs", rounding)
    for name, quantization in zip("ab", operands, strict=True):
        builder.input(Tensor(name, (1, 256, 256 // channels, channels), "int8", quantization))
    return builder.build([builder.add("y", op, ["a", "b"], quantization=made)])


def all_pairs(channels: int = 16) -> dict[str, object]:
    shape = (1, 256, 256 // channels, channels)
    return {"a": np.repeat(BYTES, 256).reshape(shape), "b": np.tile(BYTES, 256).reshape(shape)}


@targets
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("op", [Binary("add"), Binary("add", RELU6), Binary("mul"), Binary("mul", RELU6)])
def test_sums_and_products_of_all_pairs_of_bytes(op: Binary, rounding: Rounding, target: str):
    assert_exact(two_bytes(op, rounding), target, **all_pairs())


@pytest.mark.parametrize("rounded_as", ["uint8", "centered"])
@pytest.mark.parametrize("made", [MADE, Quantization((1.9,), -60)])
def test_sums_that_are_rounded_as_other_runtimes_do(rounded_as: RoundedAs, made: Quantization):
    assert_exact(two_bytes(Binary("add", rounded_as=rounded_as), "float32", made), "x86-avx2", **all_pairs())


@targets
@pytest.mark.parametrize("rounded_as", ["uint8", "centered"])
def test_products_that_are_rounded_as_other_runtimes_do(rounded_as: RoundedAs, target: str):
    assert_exact(two_bytes(Binary("mul", rounded_as=rounded_as), "float32", TIES), target, **all_pairs())


@targets
@pytest.mark.parametrize("channels", [1, 3, 16, 17, 100])
def test_tables_of_images(channels: int, target: str):
    builder = NetworkBuilder("tables", "tflite")
    builder.input(Tensor("x", (1, 16, 16, channels), "int8", Q))
    table = np.random.default_rng(channels).integers(-128, 128, 256).astype(np.int8)
    network = builder.build([builder.add("y", Lookup(), ["x"], quantization=MADE, table=table)])
    assert_exact(network, target, x=np.resize(BYTES, (1, 16, 16, channels)))


def test_a_product_that_is_the_same_for_all_pairs():
    assert_exact(two_bytes(Binary("mul"), "tflite", Quantization((1000.0,), 5)), "x86-avx2", **all_pairs())


@pytest.mark.parametrize("rounding", ["tflite", "half-up", "single"])
def test_sums_in_the_networks_own_fixed_point(rounding: Rounding):
    """The form that remains where no two multiplications are found."""
    network = two_bytes(Binary("add"), rounding)
    (layer,) = network.layers
    assert isinstance(layer.op, Binary)
    own = integer_binary(network, layer, layer.op)
    assert isinstance(own, IntegerBinary)
    assert_kernel_adds(Int8SumKernel((65536,), (1,), (1,), (1,), own), network)


def test_sums_by_two_searched_multiplications():
    network = two_bytes(Binary("add"), "half-up")
    program = planned(network, target_here("x86-avx2"))
    (kernel,) = [f.kernel for f in program.functions if isinstance(f.kernel, Int8SumKernel)]
    assert isinstance(kernel.arithmetic, IntegerSum)
    assert_kernel_adds(replace(kernel, shape=(65536,), a=(1,), b=(1,), y=(1,)), network)


@targets
@pytest.mark.parametrize("rounding", ["tflite", "single"])
def test_sums_whose_halves_are_no_plane(rounding: Rounding, target: str):
    first, second, made = (Quantization((scale,), zero_point) for scale, zero_point in HALVES[rounding])
    network = two_bytes(Binary("add"), rounding, made, operands=(first, second))
    kernels = [f.kernel for f in planned(network, target_here(target)).functions]
    (kernel,) = [kernel for kernel in kernels if isinstance(kernel, Int8SumKernel)]
    assert isinstance(kernel.arithmetic, IntegerSum)
    assert kernel.arithmetic.halves is not None
    assert_exact(network, target, **all_pairs())


def test_sums_in_float32_are_fused_multiply_adds():
    network = two_bytes(Binary("add"), "float32")
    (layer,) = network.layers
    assert isinstance(layer.op, Binary)
    own = integer_binary(network, layer, layer.op)
    assert isinstance(own, FloatBinary)
    assert_kernel_adds(Int8SumKernel((65536,), (1,), (1,), (1,), own), network)


def assert_kernel_adds(kernel: Int8SumKernel, network: Network) -> None:
    from dscompile.run.kernel import CompiledKernel

    pairs = {name: np.asarray(array) for name, array in all_pairs().items()}
    y = np.zeros(65536, np.int8)
    CompiledKernel(kernel, None, target_here("x86-avx2"))(pairs["a"].ravel(), pairs["b"].ravel(), y)
    np.testing.assert_array_equal(y, oracle.run(network, pairs)["y"].ravel())


@targets
@pytest.mark.parametrize("op", ["add", "mul"])
@pytest.mark.parametrize("second", [(1, 1, 1, 17), (1, 1, 1, 1), (1,), (17,), (1, 3, 5, 17), (1, 3, 1, 17)])
def test_broadcasts(op: str, second: tuple[int, ...], target: str, rng: np.random.Generator):
    builder = NetworkBuilder("broadcast", "tflite")
    builder.input(Tensor("a", (1, 3, 5, 17), "int8", FIRST))
    builder.input(Tensor("b", second, "int8", SECOND))
    network = builder.build([builder.add("y", Binary("mul" if op == "mul" else "add"), ["b", "a"], quantization=MADE)])
    inputs = {name: rng.integers(-128, 128, network.shape(name)).astype(np.int8) for name in ("a", "b")}
    assert_exact(network, target, **inputs)


@targets
@pytest.mark.parametrize("kind", ["average", "max"])
@pytest.mark.parametrize(
    ("kernel", "stride", "pads"),
    [
        ((0, 0), (1, 1), Pads()),
        ((3, 3), (2, 2), Pads(0, 1, 0, 1)),
        ((2, 2), (2, 2), Pads()),
        ((3, 2), (1, 1), Pads(1, 1, 1, 0)),
    ],
)
def test_pools(
    kind: str, kernel: tuple[int, int], stride: tuple[int, int], pads: Pads, target: str, rng: np.random.Generator
):
    builder = NetworkBuilder("pool", "tflite")
    builder.input(Tensor("x", (1, 7, 8, 17), "int8", Q))
    op = Pool("max" if kind == "max" else "average", kernel, stride, pads, activation=RELU6)
    network = builder.build([builder.add("y", op, ["x"])])
    for x in (rng.integers(-128, 128, (1, 7, 8, 17)), np.full((1, 7, 8, 17), -128)):
        assert_exact(network, target, x=x.astype(np.int8))


@targets
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_means(rounding: Rounding, target: str, rng: np.random.Generator):
    builder = NetworkBuilder("mean", rounding)
    builder.input(Tensor("x", (1, 7, 5, 33), "int8", Q))
    network = builder.build([builder.add("y", Mean(), ["x"], quantization=Quantization((0.013,), 40))])
    for x in (rng.integers(-128, 128, (1, 7, 5, 33)), np.full((1, 7, 5, 33), -128), np.full((1, 7, 5, 33), 127)):
        assert_exact(network, target, x=x.astype(np.int8))


@targets
@pytest.mark.parametrize("kind", ["clip", "hard_swish", "sigmoid", "tanh", "swish", "leaky_relu", "hard_sigmoid"])
def test_activations_of_all_bytes(kind: str, target: str):
    builder = NetworkBuilder("activation", "tflite")
    builder.input(Tensor("x", (1, 256), "int8", Q))
    activation = Activation(kind, -1.0, 2.5, 0.1)  # type: ignore[arg-type]
    network = builder.build([builder.add("y", Activate(activation), ["x"], quantization=MADE)])
    assert_exact(network, target, x=BYTES.reshape(1, 256))


@targets
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("rounding", ["tflite", "float32"])
def test_reals_become_integers_and_back(dtype: DType, rounding: Rounding, target: str, rng: np.random.Generator):
    quantization = Quantization((0.0125,), 9)
    builder = NetworkBuilder("quantize", rounding)
    builder.input(Tensor("x", (1, 4000)))
    whole = builder.add("q", Quantize(), ["x"], dtype=dtype, quantization=quantization)
    network = builder.build([whole, builder.add("r", Dequantize(), [whole])])
    halves = np.float32(0.0125) * (np.arange(-300, 300).astype(np.float32) + np.float32(0.5))
    x = np.concatenate(
        [
            halves,
            np.nextafter(halves, np.float32(np.inf)),
            np.nextafter(halves, np.float32(-np.inf)),
            np.float32([np.nan, -np.nan, np.inf, -np.inf, 3e38, -3e38, 0.0, -0.0, 1e-40]),
        ]
    )
    rest = rng.normal(0, 2, 4000 - len(x)).astype(np.float32)
    assert_exact(network, target, x=np.concatenate([x, rest]).reshape(1, 4000).astype(np.float32))


@targets
@pytest.mark.parametrize("given", ["int8", "uint8"])
@pytest.mark.parametrize("made", ["int8", "uint8"])
def test_changes_of_scale_of_all_bytes(given: DType, made: DType, target: str):
    builder = NetworkBuilder("rescale", "tflite")
    low = -128 if given == "int8" else 0
    builder.input(Tensor("x", (1, 256), given, Quantization((0.05,), 3)))
    result = builder.add("y", Quantize(), ["x"], dtype=made, quantization=Quantization((0.031,), 77))
    assert_exact(builder.build([result]), target, x=np.arange(low, low + 256).astype(given).reshape(1, 256))


@targets
@pytest.mark.parametrize("length", [1, 2, 17, 1000])
@pytest.mark.parametrize("scale", [0.9, 0.05, 0.0007])
def test_softmax(length: int, scale: float, target: str, rng: np.random.Generator):
    builder = NetworkBuilder("softmax", "tflite")
    builder.input(Tensor("x", (1, 5, length), "int8", Quantization((scale,), 4)))
    network = builder.build([builder.add("y", Softmax(), ["x"], quantization=Quantization((1 / 256,), -128))])
    x = rng.integers(-128, 128, (1, 5, length))
    x[0, 0], x[0, 1] = -128, 127
    assert_exact(network, target, x=x.astype(np.int8))


def test_powers_of_a_softmax_fall_from_1_to_0():
    powers = softmax_powers(1 << 30, 27, -31)  # a step of 1 is 1 in Q5.26
    np.testing.assert_allclose(powers[:32] / 2.0**31, np.exp(-np.arange(32.0)), rtol=0, atol=2e-7)
    assert powers[0] == 2**31 - 1
    assert not powers[32:].any()

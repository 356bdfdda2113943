"""Layers of the rounding float32 whose factors are floats: kernels of cores with a float unit, as their portable twins.

The assembly itself: tests/emulated/test_mcu_floats.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle

import numpy as np
import pytest

from dscompile.ir.network import Array, Network
from dscompile.ir.ops import NONE, RELU6
from dscompile.ir.tensor import Quantization
from dscompile.plan.mcu.products import ConvKernel, DepthwiseKernel, SeparableKernel
from tests.mcu import assert_equals_oracle, here, planned
from tests.packed_networks import stored
from tests.unit.test_mcu_kernels import Case, depthwise, int8
from tests.unit.test_mcu_planes import LAYERS as ALONE
from tests.unit.test_mcu_residual import BLOCKS
from tests.unit.test_mcu_rows import CHAINS, chain, memory_for_rows  # noqa: F401 -- a fixture
from tests.unit.test_mcu_turned import BLOCKS as BLOCKS_OF_TURNED
from tests.unit.test_mcu_turned import turning_is_free  # noqa: F401 -- a fixture

CORES = {"cortex-m4": "dsp", "cortex-m55": "mve", "rv64gcv": "rvv"}
LAYERS = {
    "conv_3x3_stride_2_on_odd_sizes": Case(7, 9, 3, 8, stride=(2, 2)),
    "conv_5x5_valid_of_17_channels": Case(8, 6, 17, 3, (5, 5), activation=RELU6),
    "pointwise_of_100_channels": Case(3, 5, 100, 33, (1, 1)),
    "pointwise_to_one_channel": Case(4, 5, 12, 1, (1, 1), activation=NONE),
    "pointwise_linear_to_9_channels": Case(5, 7, 16, 9, (1, 1), activation=NONE),
    "depthwise_3x3_same": depthwise(6, 5, 16, activation=NONE),
    "depthwise_5x5_stride_2_of_17_channels": depthwise(9, 7, 17, kernel=(5, 5), stride=(2, 2)),
    "depthwise_7x7_on_a_smaller_image": depthwise(3, 4, 3, kernel=(7, 7)),
    "depthwise_with_dilation": depthwise(8, 8, 4, dilation=(2, 1), activation=RELU6),
    "separable_same": depthwise(25, 5, 16, then=16),
    "separable_of_odd_channels": depthwise(5, 7, 17, then=33, activation=NONE),
}
WITHOUT_FLOATS = ("c99", "cortex-m3", "cortex-m0plus", "rv32imc")
EXCEPTIONS = ["pointwise_of_100_channels", "pointwise_linear_to_9_channels", "depthwise_3x3_same"]
IMAGES: dict[str, tuple[str, Callable[[], Network]]] = {
    **{f"rows_{name}": ("rows", partial(chain, name)) for name in CHAINS},
    **{f"turned_{name}": ("turned", partial(BLOCKS_OF_TURNED.__getitem__, name)) for name in BLOCKS_OF_TURNED},
    **{f"planes_{name}": ("planes", partial(ALONE.__getitem__, name)) for name in ALONE},
}
SUMS = ["pointwise_of_17_swapped", "conv_5x5_with_two_relus", "separable_of_24", "separable_of_19_swapped"]


def in_floats(name: str) -> Network:
    """A layer, or a convolution with a sum."""
    return int8(LAYERS[name].network() if name in LAYERS else BLOCKS[name].network(), "float32")


def in_powers(network: Network, every: int = 1, layer: str = "") -> Network:
    """The same with scales that are powers of two, so that many products are halves.

    Of weights those of one channel in `every`, and of a `layer` only if it is given.
    """

    def power(scale: float) -> float:
        return float(2.0 ** np.round(np.log2(scale)))

    def rounded(quantization: Quantization | None) -> Quantization | None:
        return quantization and replace(quantization, scales=tuple(map(power, quantization.scales)))

    tensors = {name: replace(t, quantization=rounded(t.quantization)) for name, t in network.tensors.items()}

    def of_channels(scales: Array) -> Array:
        return np.array([scale if i % every else power(scale) for i, scale in enumerate(scales)], np.float32)

    weights = {
        name: of_channels(array) if name.startswith(layer) and name.endswith("kernel_scale") else array
        for name, array in network.weights.items()
    }
    return replace(network, tensors=tensors, weights=weights).validate()


def with_a_tiny_scale(network: Network) -> Network:
    """The same with results that no 32 bits hold before they are clamped."""
    tensors = dict(network.tensors)
    for name in network.outputs:
        tensors[name] = replace(tensors[name], quantization=Quantization((1e-11,), 127))
    return replace(network, tensors=tensors).validate()


def some_channels(network: Network, core: str) -> dict[str, int]:
    """Method -> channels of the convolutions that a core without a float unit rounds as floats."""
    program = planned(network, here(core))
    kernels = [function.kernel for function in program.functions]
    methods = {k.epilogue.method for k in kernels if isinstance(k, ConvKernel | DepthwiseKernel)}
    exceptions = [int((array < 0).sum()) for name, array in program.constants.items() if name.endswith(".multiplier")]
    return dict(zip(methods, exceptions, strict=True))


def variants(network: Network, core: str, *, fpu: bool = True) -> set[str]:
    """Those of the convolutions, all of which have factors in float32."""
    target = here(core) if fpu else replace(here(core), features=here(core).features - {"fpu"})
    kernels = [function.kernel for function in planned(network, target, affine=False).functions]
    found = [kernel for kernel in kernels if isinstance(kernel, ConvKernel | DepthwiseKernel | SeparableKernel)]
    assert {kernel.epilogue.method for kernel in found} == {"float32"}
    return {kernel.variant for kernel in found}


# Of each layer on one core, another one each time; tests/emulated/test_mcu_floats.py has all.
@pytest.mark.parametrize(("name", "core"), list(zip([*LAYERS, *SUMS], cycle(CORES), strict=False)))
def test_factors_in_float32_are_exact(name, core):
    network = in_floats(name)
    assert variants(network, core) <= {CORES[core], "planes"}
    assert_equals_oracle(network, (0,), here(core), affine=False)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", ["pointwise_linear_to_9_channels", "depthwise_3x3_same", "separable_same"])
def test_halves_go_to_even(name, core):
    network = in_powers(in_floats(name))
    assert_equals_oracle(network, (0, 1), here(core))


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", ["pointwise_linear_to_9_channels", "depthwise_3x3_same"])
def test_results_that_leave_32_bits_are_clamped(name, core):
    assert_equals_oracle(with_a_tiny_scale(in_floats(name)), (0,), here(core), affine=False)


@pytest.mark.parametrize("core", WITHOUT_FLOATS)
@pytest.mark.parametrize("name", ["pointwise_linear_to_9_channels", "depthwise_3x3_same"])
def test_results_that_leave_32_bits_are_clamped_without_a_float_unit(name, core):
    assert_equals_oracle(with_a_tiny_scale(in_floats(name)), (0,), here(core))


def depthwise_methods(network: Network) -> set[tuple[str, str]]:
    """Variants of depthwise layers on a Cortex-M4, and how they are rounded."""
    kernels = [function.kernel for function in planned(network, here("cortex-m4")).functions]
    parts = [k.depthwise if isinstance(k, SeparableKernel) else k for k in kernels]
    return {(k.variant, k.epilogue.method) for k in parts if isinstance(k, DepthwiseKernel)}


@pytest.mark.usefixtures("memory_for_rows", "turning_is_free")
@pytest.mark.parametrize("name", list(IMAGES)[::3])  # tests/emulated/test_mcu_floats.py has all
def test_depthwise_layers_of_other_images_have_factors_in_float32(name):
    variant, network = IMAGES[name]
    network = in_powers(int8(network(), "float32"))
    assert (variant, "float32") in depthwise_methods(network)
    assert_equals_oracle(network, (0, 1), here("cortex-m4"))


def test_weights_of_four_bits_have_factors_in_float32_too():
    network = stored(in_floats("pointwise_of_100_channels"), "int4")
    assert variants(network, "cortex-m4") == {"dsp"}
    for core in CORES:
        assert_equals_oracle(network, (0,), here(core), affine=False)


@pytest.mark.parametrize("core", WITHOUT_FLOATS)
@pytest.mark.parametrize("name", EXCEPTIONS)
def test_without_a_float_unit_some_channels_are_rounded_as_floats(name, core):
    network = in_powers(in_floats(name), every=3)
    method = "narrow-or-float32" if core == "cortex-m0plus" else "affine-or-float32"
    (found,) = some_channels(network, core).items()
    assert found[0] == method
    channels = network.layers[0].op.out_channels  # type: ignore[union-attr]
    assert 0 < found[1] <= channels // 3 + 1
    assert_equals_oracle(network, (0, 1), here(core))


@pytest.mark.parametrize("core", WITHOUT_FLOATS)
def test_without_a_float_unit_all_channels_can_be_exceptions(core):
    assert_equals_oracle(in_powers(in_floats("pointwise_linear_to_9_channels")), (0,), here(core))


def test_a_layer_in_portable_c_leaves_no_image_in_rows():
    """Its pointwise part alone has a kernel that could: after a depthwise one without pairs it is portable too."""
    network = in_powers(int8(chain("two_of_8_channels"), "float32"), layer="depthwise0")
    target = replace(here("cortex-m4"), features=here("cortex-m4").features - {"fpu"})
    separable = [f.kernel for f in planned(network, target).functions if isinstance(f.kernel, SeparableKernel)]
    assert [kernel.variant for kernel in separable] == ["c99", "dsp"]
    assert_equals_oracle(network, (0,), target)


@pytest.mark.parametrize("core", CORES)
def test_with_vectors_but_without_a_float_unit_they_are_left_to_the_compiler(core):
    assert variants(in_floats("pointwise_of_100_channels"), core, fpu=False) <= {"c99", "block"}

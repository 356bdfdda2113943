"""Tables of activations in the step of the convolution before them: the C twin against the oracle, what is fused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import HARD_SWISH, Binary, Conv2D
from dscompile.ir.tensor import Tensor
from dscompile.passes import canonicalize
from dscompile.plan.mcu import convolutions
from dscompile.plan.mcu.costs import kernel_instructions
from dscompile.plan.mcu.fusion import fused_layers
from dscompile.plan.mcu.kernels import McuKernel
from dscompile.plan.mcu.products import ConvKernel, DepthwiseKernel, SeparableKernel
from dscompile.plan.mcu.small_kernels import LookupKernel
from tests.mcu import HostModel, assert_equals_oracle, here, planned, random_inputs, write
from tests.unit.test_mcu_kernels import Case, depthwise, int8

CASES = {
    "conv_to_odd_channels": Case(7, 9, 3, 7, stride=(2, 2), activation=HARD_SWISH),
    "pointwise": Case(6, 6, 16, 32, (1, 1), activation=HARD_SWISH),
    "single_pixels": Case(1, 3, 17, 33, (1, 1), activation=HARD_SWISH),
    "depthwise_5x5": depthwise(6, 6, 12, kernel=(5, 5), activation=HARD_SWISH),
    "depthwise_of_odd_channels": depthwise(6, 5, 17, activation=HARD_SWISH),
    "before_a_product": depthwise(6, 6, 12, activation=HARD_SWISH, then=8),
    "before_a_product_of_three_channels": depthwise(5, 6, 3, activation=HARD_SWISH, then=5),
}


def kernels(network: Network, core: str = "cortex-m4", **more: object) -> list[McuKernel]:
    found = planned(network, here(core), **more).functions  # type: ignore[arg-type]
    return [function.kernel for function in found if isinstance(function.kernel, McuKernel)]


def inverted(to: int) -> Network:
    """Expanded, depthwise, projected, with a hard-swish behind each; the sum of that and the input."""
    rng = np.random.default_rng(5)
    builder = NetworkBuilder("inverted")
    x = builder.input(Tensor("x", (1, 8, 8, 8)))
    y = builder.add("expand", Conv2D(24, (1, 1), activation=HARD_SWISH), [x], kernel=weights(rng, 1, 8, 24))
    op = Conv2D(24, (3, 3), (1, 1), depthwise(8, 8, 24).network().layers[0].op.pads, groups=24, activation=HARD_SWISH)  # type: ignore[union-attr]
    y = builder.add("depthwise", op, [y], kernel=weights(rng, 3, 1, 24))
    y = builder.add("project", Conv2D(to, (1, 1), activation=HARD_SWISH), [y], kernel=weights(rng, 1, 24, to))
    return builder.build([builder.add("sum", Binary("add"), [x, y]) if to == 8 else y])


def weights(rng: np.random.Generator, size: int, depth: int, out: int) -> np.ndarray:
    return rng.normal(0, 0.3, (size, size, depth, out)).astype(np.float32)


@pytest.mark.parametrize("name", CASES)
def test_layers_with_a_table_equal_the_oracle(name):
    network = int8(CASES[name].network(), "float32" if len(name) % 2 else "tflite")
    assert not any(isinstance(kernel, LookupKernel) for kernel in kernels(network))
    assert_equals_oracle(network, (0, 1), here("cortex-m4"))


def test_a_block_is_two_steps_with_three_tables():
    network = canonicalize(int8(inverted(16), "tflite"))
    expand, separable = kernels(network)
    assert isinstance(expand, ConvKernel)
    assert isinstance(separable, SeparableKernel)
    assert (expand.lookup, separable.depthwise.lookup, separable.lookup) == (True, True, True)
    assert_equals_oracle(network, (0, 1), here("cortex-m4"))


def test_a_table_between_a_convolution_and_a_sum_is_in_the_convolution():
    network = int8(inverted(8), "tflite")
    assert [kernel.kind for kernel in kernels(network)] == ["pointwise", "separable", "binary"]
    assert_equals_oracle(network, (0, 1), here("cortex-m4"))


def test_without_tables_a_table_ends_a_step():
    network = canonicalize(int8(inverted(16), "tflite"))
    depthwise_layer = next(layer for layer in network.layers if layer.name == "depthwise")
    assert len(fused_layers(network, depthwise_layer).layers) == 1
    assert len(fused_layers(network, depthwise_layer, tables=True).layers) == 4


def test_cores_without_pairs_look_up_in_a_layer_of_its_own():
    network = int8(CASES["pointwise"].network(), "tflite")
    for core in ("c99", "cortex-m3", "cortex-m55"):
        assert [kernel.kind for kernel in kernels(network, core)] == ["pointwise", "lookup"]


def test_a_layer_without_a_searched_rounding_has_its_table_behind_it():
    network = int8(CASES["depthwise_5x5"].network(), "tflite")
    assert [kernel.kind for kernel in kernels(network, affine=False)] == ["depthwise", "lookup"]


def test_a_stream_reads_tables_row_by_row(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(convolutions, "pays_turned", lambda _kernel, _turned: False)
    network = int8(inverted(16), "tflite")
    found = [k for k in kernels(network, memory="balanced") if isinstance(k, ConvKernel | SeparableKernel)]
    assert all(kernel.by_row and kernel.lookup for kernel in found)
    model = HostModel(write(network, tmp_path / "a", here("cortex-m4"), memory="balanced"))
    inputs = random_inputs(network, 0)
    for name, expected in oracle_outputs(network, inputs).items():
        np.testing.assert_array_equal(model.run(inputs)[name], expected)


def test_a_table_costs_a_load_for_each_result():
    (with_table,) = kernels(int8(CASES["depthwise_5x5"].network(), "tflite"))
    assert isinstance(with_table, DepthwiseKernel)
    more = kernel_instructions(with_table, "thumb2") - kernel_instructions(replace(with_table, lookup=False), "thumb2")
    assert more == pytest.approx(6 * 6 * 12)

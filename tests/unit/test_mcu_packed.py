"""Packed weights: the same bytes as the oracle, whatever a layer's shape and its target's kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.api.reference import oracle_outputs
from dscompile.artifact import load_artifact
from dscompile.ir.ops import NONE
from dscompile.ir.storage import Storage
from dscompile.ir.tensor import Rounding
from tests.mcu import HostModel, assert_equals_oracle, here, random_inputs, write
from tests.native import TARGETS, target_here
from tests.native import assert_equals_oracle as assert_native_equals_oracle
from tests.packed_networks import plainly, stored, sums_of_all_lengths, tower
from tests.unit.test_mcu_kernels import Case, int8

PACKED: tuple[Storage, ...] = ("int4", "2:4", "int4-2:4")
CORES = ("c99", "cortex-m0plus", "cortex-m4", "cortex-m55", "rv32imc", "rv64gcv")
ROUNDINGS: tuple[Rounding, ...] = ("tflite", "float32", "half-up", "single")


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("storage", PACKED)
def test_packed_layers_of_all_shapes_equal_the_oracle(storage, core):
    rounding: Rounding = "tflite" if core == "cortex-m4" else ROUNDINGS[(len(storage) + len(core)) % 4]
    assert_equals_oracle(stored(tower(rounding), storage), (0, 1), here(core))


@pytest.mark.parametrize("core", ["cortex-m55", "rv64gcv"])
@pytest.mark.parametrize("storage", PACKED)
def test_twins_of_vectors_equal_the_oracle_for_sums_of_all_lengths(storage, core):
    rounding: Rounding = "float32" if storage == "int4" else "tflite"
    assert_equals_oracle(stored(sums_of_all_lengths(rounding), storage), (0,), here(core))


CASES = {
    "pointwise_of_64_channels_to_8": Case(4, 4, 64, 8, (1, 1)),
    "pointwise_linear_to_15_channels": Case(4, 5, 12, 15, (1, 1), activation=NONE),
    "pointwise_that_grows_in_place": Case(4, 4, 4, 32, (1, 1)),
    "pointwise_of_one_channel": Case(3, 3, 1, 1, (1, 1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("storage", PACKED)
@pytest.mark.parametrize("name", CASES)
def test_packed_kernel_equals_the_oracle(name, storage, core):
    rounding = "tflite" if core == "cortex-m4" else ROUNDINGS[len(name) % 4]
    assert_equals_oracle(stored(int8(CASES[name].network(), rounding), storage), (0,), here(core))


def test_packed_and_plain_artifacts_give_the_same_bytes_and_the_manifest_says_what_is_saved(tmp_path):
    network = stored(tower("tflite"), "int4")
    packed = write(network, tmp_path / "packed", here("cortex-m4"))
    plain = write(plainly(network), tmp_path / "plain", here("cortex-m4"))
    inputs = random_inputs(network, 3)
    expected = oracle_outputs(network, inputs)
    for artifact in (packed, plain):
        np.testing.assert_array_equal(HostModel(artifact).run(inputs)["scores"], expected["scores"])
    assert plain.manifest.packed == ()
    assert load_artifact(packed.directory).manifest.packed == packed.manifest.packed
    sizes = {one.layer: (one.storage, one.size_bytes, one.plain_bytes) for one in packed.manifest.packed}
    assert sizes["wide"] == ("int4", 9 * 8, 8 * 17)
    assert sizes["scores"] == ("int4", 7 * 2, 7 * 3)
    assert "depthwise" not in sizes
    saved = plain.manifest.sizes.weights - packed.manifest.sizes.weights
    assert saved >= sum(one.saved_bytes for one in packed.manifest.packed) > 0


@pytest.mark.slow
@pytest.mark.every_case
@pytest.mark.parametrize("storage", PACKED)
def test_hosted_targets_and_portable_c_give_the_same_bytes(storage):
    network = stored(tower("tflite"), storage)
    assert_native_equals_oracle(network, target_here(TARGETS[0]))
    assert_equals_oracle(network, (0, 1), here("c99"))


def test_a_layer_whose_channels_can_hold_one_value_alone_is_packed_without_what_it_does_not_read():
    network = stored(tower("half-up"), "int4-2:4")
    weights = dict(network.weights)
    bias = weights["odd.bias"].copy()
    bias[[1, 4]] = -(1 << 22)  # never above 0
    weights["odd.bias"] = bias
    assert_equals_oracle(replace(network, weights=weights), (0,), here("rv32imc"))

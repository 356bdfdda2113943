"""Grouped convolutions as compiled code, where groups are whole vector blocks, parts of them, and across them."""

from __future__ import annotations

import numpy as np
import pytest

from dscompile.frontend.netfile import read_netfile
from dscompile.frontend.zoo import zoo_yaml
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import RELU, Activate, Conv2D, Pads
from dscompile.ir.tensor import Tensor
from dscompile.passes.pipeline import canonicalize
from dscompile.passes.split_groups import split_groups
from dscompile.plan.planning import plan
from dscompile.target import find_target
from tests import mcu
from tests.native import TARGETS_FIRST_FAST, assert_equals_oracle, target_here
from tests.quantized_networks import Quantizer

# Channels, filters, groups: as in ShuffleNet, and such as meet blocks of 4, 8 and 16 lanes in all ways.
GROUPS = [(240, 60, 3), (60, 240, 3), (32, 64, 2), (24, 48, 12), (15, 9, 3), (34, 51, 17), (10, 70, 5)]


def grouped(channels: int, filters: int, groups: int) -> Network:
    """A 1x1 and a 3x3 convolution in groups, of what another layer made."""
    net, rng = NetworkBuilder("grouped"), np.random.default_rng(channels + groups)
    x = net.input(Tensor("x", (1, 5, 6, channels)))
    before = net.add("before", Activate(RELU), [x])

    def convolution(name: str, source: str, op: Conv2D, given: int) -> str:
        shape = (*op.kernel, given // groups, op.out_channels)
        kernel = (rng.normal(size=shape) / np.sqrt(np.prod(shape[:3]))).astype(np.float32)
        return net.add(name, op, [source], kernel=kernel, bias=rng.normal(size=op.out_channels).astype(np.float32))

    first = convolution("first", before, Conv2D(filters, (1, 1), groups=groups, activation=RELU), channels)
    second = Conv2D(channels, (3, 3), (2, 2), Pads(1, 1, 1, 1), groups=groups)
    return net.build([convolution("second", first, second, filters), first])


@pytest.mark.slow
@pytest.mark.sampled
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("sizes", GROUPS, ids=str)
@pytest.mark.parametrize("target", TARGETS_FIRST_FAST)
def test_groups_of_any_size_equal_the_oracle(target, sizes, int8):
    network = grouped(*sizes)
    if int8:
        network = Quantizer(network, np.random.default_rng(0), "tflite", float_borders=False).run()
    assert_equals_oracle(network, target_here(target))


@pytest.mark.parametrize(
    ("target", "most"),
    [("x86-avx512", 1.04), ("x86-avx2", 1.01), ("arm64-neon", 1.01), ("c99", 1.01)],
    ids=lambda value: str(value),
)
def test_shufflenet_has_the_weights_of_its_groups(target, most, tmp_path):
    path = tmp_path / "net.yaml"
    path.write_text(zoo_yaml("shufflenet_v1"))
    network = canonicalize(read_netfile(path).network)
    parameters = sum(array.nbytes for array in network.weights.values())
    packed = sum(array.nbytes for array in plan(network, find_target(target)).constants.values())
    assert parameters <= packed <= most * parameters


@pytest.mark.parametrize("core", ["c99", "cortex-m4"])
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_c_computes_each_group_over_its_channels(int8, core, tmp_path):
    network = grouped(60, 24, 3)
    if int8:
        network = Quantizer(network, np.random.default_rng(0), "tflite", float_borders=False).run()
    artifact = mcu.write(network, tmp_path / "artifact", mcu.here(core), measured=False)
    assert mcu.differences(mcu.HostModel(artifact), network, (0, 1)) == []
    parameters = sum(array.size for key, array in network.weights.items() if key.endswith(".kernel"))
    packed = plan(canonicalize(network), find_target(core)).constants
    assert sum(array.size for key, array in packed.items() if key.endswith(".weights")) <= 1.02 * parameters


def test_few_weights_stay_together():
    network = grouped(8, 8, 4)
    assert split_groups(network) is network


def test_depthwise_convolutions_are_no_groups_to_split():
    network = grouped(300, 300, 300)
    assert split_groups(network) is network

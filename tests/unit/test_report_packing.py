"""What a build says of weights that it does not store or multiply as expected."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dscompile.ir.network import Network
from dscompile.passes import canonicalize
from dscompile.plan.planning import plan
from dscompile.report.packing import packing_notes
from dscompile.target import find_target
from tests.packed_networks import plainly, stored, tower


def notes(network: Network, target: str) -> list[str]:
    return list(packing_notes(target, network, plan(canonicalize(network), find_target(target))))


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m0plus", "cortex-m55", "rv32imc", "rv64gcv", "c99"])
def test_weights_that_are_packed_as_asked_need_no_note(target):
    assert notes(stored(tower("tflite"), "int4"), target) == []


@pytest.mark.parametrize("target", ["x86-avx2", "arm64-neon", "rv64gcv", "cortex-m55"])
def test_weights_of_a_byte_each_need_no_note(target):
    assert notes(plainly(stored(tower("tflite"), "int4")), target) == []


@pytest.mark.parametrize("target", ["x86-avx2", "arm64-neon", "cuda-sm80"])
def test_targets_with_a_byte_for_each_weight_say_so(target):
    assert notes(stored(tower("tflite"), "int4"), target) == [
        f"{target}: weights have a byte each; 'storage' is for targets of standalone C"
    ]


def test_short_sums_that_leave_nothing_out_on_helium_are_named():
    (note,) = notes(stored(tower("tflite"), "2:4"), "cortex-m55")
    assert note.startswith("cortex-m55: weights are stored otherwise than asked: 'wide' as plain, not 2:4, 'pointwise'")
    assert note.endswith(
        "; sums of 16 products or less take fewer bytes so, because vectors go through whole steps of 32"
    )


def test_layers_without_the_vectors_that_they_would_have_are_named():
    network = stored(tower("tflite"), "2:4")
    kernel = network.weights["pointwise.kernel"].copy()
    kernel[kernel == -127] = -128
    *_, note = notes(replace(network, weights={**network.weights, "pointwise.kernel": kernel}), "rv64gcv")
    assert note == (
        "rv64gcv: 1 layer with packed weights takes several times the instructions: pointwise; vectors sum up two "
        "products in 16 bits, which weights of -128 would leave; 'storage: plain' gives these layers vectors"
    )


def test_layers_whose_groups_of_four_are_no_longer_the_same_are_named():
    network = stored(tower("tflite"), "int4-2:4")
    bias = network.weights["odd.bias"].copy()
    bias[[1, 4]] = -(1 << 22)  # never above 0: these channels are left out, and others move up
    (note,) = notes(replace(network, weights={**network.weights, "odd.bias": bias}), "c99")
    assert note.startswith("c99: weights are stored otherwise than asked: 'pointwise' as int4, not int4-2:4")
    assert note.endswith(
        "some groups of four have more than two weights other than 0, once channels that hold one value only are left "
        "out or groups of channels are multiplied together"
    )

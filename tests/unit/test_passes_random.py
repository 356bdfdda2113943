"""Property: whatever the passes do to a random network, the oracle says the same before and after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.network import Network
from dscompile.ir.ops import Activate, BatchNorm, Reshape
from dscompile.oracle import run, run_all
from dscompile.passes import canonicalize
from dscompile.passes.drop_unused import drop_unused
from dscompile.passes.fold_batch_norm import fold_batch_norm
from dscompile.passes.fold_constants import fold_constants
from dscompile.passes.fold_pads import fold_pads
from dscompile.passes.fuse_activations import fuse_activations
from dscompile.passes.pipeline import PASSES
from dscompile.passes.recognize_activations import recognize_activations
from dscompile.passes.remove_identities import remove_identities
from tests.networks import STEPS, random_inputs, random_network

SEEDS = range(40)


def assert_same_results(before: Network, after: Network, seed: int) -> None:
    inputs = random_inputs(before, seed)
    want, got = run(before, inputs), run(after.validate(), inputs)
    assert list(want) == list(got)
    for name, expected in want.items():
        tolerance = 1e-5 * max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(got[name], expected, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("run_pass", sorted(set(PASSES), key=lambda run: run.__name__), ids=lambda run: run.__name__)
def test_each_pass_keeps_what_a_network_computes(run_pass):
    for seed in SEEDS:
        network = random_network(seed, max_layers=14)
        assert_same_results(network, run_pass(network), seed)


@pytest.mark.parametrize(
    ("run_pass", "steps"),
    [
        (fold_batch_norm, {"conv", "depthwise", "pointwise", "flatten", "dense", "batch_norm"}),
        (fold_constants, {"conv", "depthwise", "flatten", "dense", "binary_with_constant"}),
        (fold_pads, {"conv", "depthwise", "pad"}),
        (fuse_activations, {"conv", "depthwise", "pool", "activate"}),
        (recognize_activations, {"conv", "spelled_hard_swish", "activate"}),
        (remove_identities, {"reshape", "transpose", "pad", "activate", "pool"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_pass_finds_work_and_keeps_results_on_networks_made_for_it(run_pass, steps):
    matched = 0
    for seed in range(60):
        network = random_network(seed, max_layers=10, steps=steps)
        rewritten = run_pass(network)
        matched += rewritten is not network
        assert_same_results(network, rewritten, seed)
    assert matched >= 15


def test_unread_layers_go_and_the_other_results_stay():
    dropped = 0
    for seed in SEEDS:
        grown = random_network(seed, max_layers=14)
        network = replace(grown, outputs=grown.outputs[:1])
        rewritten = drop_unused(network)
        dropped += len(network.layers) - len(rewritten.layers)
        assert_same_results(network, rewritten, seed)
    assert dropped >= 40


def test_all_passes_together_keep_what_a_network_computes():
    for seed in SEEDS:
        network = random_network(seed, max_layers=20)
        assert_same_results(network, canonicalize(network), seed)


@pytest.mark.slow
def test_all_passes_together_keep_what_many_networks_compute():
    for seed in range(1000, 1600):
        network = random_network(seed, max_layers=24)
        assert_same_results(network, canonicalize(network), seed)


def test_canonicalizing_twice_changes_nothing_more():
    for seed in SEEDS:
        once = canonicalize(random_network(seed, max_layers=20))
        assert canonicalize(once) is once


def test_inputs_outputs_and_their_borders_stay():
    for seed in SEEDS:
        before = random_network(seed, max_layers=20)
        after = canonicalize(before)
        assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
        for name in (*before.inputs, *before.outputs):
            assert after.tensor(name) == before.tensor(name)


def test_canonical_networks_have_no_batch_norm_and_no_dead_layer():
    for seed in SEEDS:
        grown = random_network(seed, max_layers=20)
        network = canonicalize(replace(grown, outputs=grown.outputs[:1]))
        assert not [layer for layer in network.layers if isinstance(layer.op, BatchNorm)]
        read = {name for layer in network.layers for name in layer.inputs}
        assert [layer.output for layer in network.layers if layer.output not in read | set(network.outputs)] == []


def test_networks_of_one_seed_are_the_same():
    first, second = random_network(5), random_network(5)
    assert (first.layers, first.tensors, first.outputs) == (second.layers, second.tensors, second.outputs)
    assert all(np.array_equal(first.weights[key], second.weights[key]) for key in first.weights)


def test_max_layers_holds_and_every_step_occurs():
    layers = [layer for seed in range(100) for layer in random_network(seed, max_layers=9).layers]
    assert max(len(random_network(seed, max_layers=9).layers) for seed in range(100)) == 9
    assert len({type(layer.op) for layer in layers}) == 18


@pytest.mark.parametrize("step", sorted(STEPS))
def test_a_network_of_one_step_has_only_that(step):
    network = random_network(3, max_layers=6, steps={step})
    assert len(network.layers) >= 1
    if step == "activate":
        assert {type(layer.op) for layer in network.layers} == {Activate}
    if step == "flatten":
        assert {type(layer.op) for layer in network.layers} == {Reshape}


def test_inferred_shapes_are_what_the_oracle_makes():
    for seed in SEEDS:
        network = random_network(seed, max_layers=20)
        for name, array in run_all(network, random_inputs(network, seed)).items():
            assert (array.shape, array.dtype) == (network.shape(name), np.float32), name

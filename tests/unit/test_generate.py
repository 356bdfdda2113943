"""The generator of random networks, what it finds, and how failing networks are made small."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from typing import get_args

import numpy as np
import pytest

from dscompile import oracle
from dscompile.frontend.netfile import read_netfile
from dscompile.ir.network import Network
from dscompile.ir.ops import Activate, BatchNorm, Binary, Concat, Conv2D, Op, Pool, Reshape
from dscompile.oracle.float_ops import FLOAT_OPS
from dscompile.oracle.int8_ops import INT8_OPS
from tests.generate.__main__ import main, report_failure
from tests.generate.cases import MAKERS, make_case
from tests.generate.covering import X86_EVERY, covering_seeds, features
from tests.generate.minimize import minimized, weight_of
from tests.generate.rebuild import Changes, rebuilt
from tests.generate.ways import standalone_c
from tests.networks import random_inputs, random_network
from tests.quantized_networks import random_int8_network

SHARES = 6  # of the networks of one long test, in tests of their own


@pytest.fixture(scope="module")
def networks() -> list[Network]:
    """The first 400 networks."""
    return [make_case(seed).network for seed in range(400)]


def test_every_operator_is_made(networks):
    """A new operator needs a step in tests/networks.py, or a form in the Quantizer of tests/quantized_networks.py."""
    made = Counter(type(layer.op) for network in networks for layer in network.layers)
    assert [op.__name__ for op in get_args(Op) if not made[op]] == []


def test_integers_are_computed_by_every_operator_that_has_them(networks):
    made = {type(layer.op) for n in networks if n.is_quantized for layer in n.layers if n.is_quantized_layer(layer)}
    # A Quantize of floats is counted as int8 by the oracle, and batch norm is folded before.
    assert [op.__name__ for op in INT8_OPS if op not in made] == []


def test_graphs_have_branches_several_inputs_and_several_outputs(networks):
    assert sum(len(network.inputs) > 1 for network in networks) >= 10
    assert sum(len(network.outputs) > 1 for network in networks) >= 100
    assert sum(any(len(readers) > 1 for readers in n.consumers.values()) for n in networks) >= 100
    assert sum(len(layer.inputs) > 1 for n in networks for layer in n.layers) >= 100
    assert 150 <= sum(network.is_quantized for network in networks) <= 250


@pytest.mark.parametrize("seed", range(len(MAKERS)))
def test_one_seed_is_one_network(seed):
    first, second = make_case(seed), make_case(seed)
    assert first.network.layers == second.network.layers
    assert all(np.array_equal(first.network.weights[key], second.network.weights[key]) for key in first.network.weights)


def has(network: Network, *kinds: type) -> bool:
    return all(any(isinstance(layer.op, kind) for layer in network.layers) for kind in kinds)


@pytest.mark.parametrize("kind", [Conv2D, Pool, Concat, Binary, Activate, BatchNorm, Reshape])
def test_a_fault_of_one_operator_leaves_that_operator_alone(kind):
    network = next(n for n in map(random_network, range(200)) if has(n, kind) and len(n.layers) > 6)
    small = minimized(network, lambda candidate: has(candidate, kind)).validate()
    assert [type(layer.op) for layer in small.layers] == [kind]
    assert max(tensor.elements for tensor in small.tensors.values()) <= 4


def test_a_fault_of_two_operators_together_leaves_those():
    def fails(network: Network) -> bool:
        return any(
            isinstance(reader.op, Pool)
            for layer in network.layers
            if isinstance(layer.op, Conv2D) and layer.op.stride == (2, 2)
            for reader in network.consumers[layer.output]
        )

    network = next(n for n in map(random_network, range(2000)) if fails(n) and len(n.layers) > 5)
    small = minimized(network, fails).validate()
    assert [type(layer.op) for layer in small.layers] == [Conv2D, Pool]
    (convolution, _pool) = small.layers
    assert replace(convolution.op, stride=(1, 1)) == Conv2D(1, (1, 1))
    assert not small.has_weight(convolution, "bias")
    assert small.shape(small.inputs[0]) == (1, 1, 1, 1)


def test_only_smaller_valid_networks_are_tried_and_only_so_many():
    tried: list[Network] = []

    def fails(network: Network) -> bool:
        tried.append(network.validate())
        return False

    network = random_int8_network(12)
    assert minimized(network, fails, most_trials=50) is network
    assert 0 < len(tried) <= 50
    assert all(weight_of(candidate) < weight_of(network) for candidate in tried)


@pytest.mark.parametrize("seed", range(20))
def test_networks_with_smaller_inputs_still_run(seed):
    network = random_network(seed) if seed % 2 else random_int8_network(seed)
    shapes = {name: (*network.shape(name)[:-1], max(1, network.shape(name)[-1] // 2)) for name in network.inputs}
    made = rebuilt(network, Changes(shapes=shapes))
    if made is not None:
        inputs = random_inputs(made, 0) if not made.is_quantized else _integers(made)
        results = oracle.run(made, inputs)
        assert [results[name].shape for name in made.outputs] == [made.shape(name) for name in made.outputs]


def _integers(network: Network) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    tensors = [network.tensor(name) for name in network.inputs]
    return {
        t.name: rng.normal(size=t.shape).astype(np.float32)
        if t.dtype == "float32"
        else rng.integers(-128, 128, t.shape).astype(t.dtype)
        for t in tensors
    }


def plant(monkeypatch, table, op, fault) -> None:
    """Puts a fault into the oracle: results of `op` that fulfil `fault` are off."""
    right = table[op]

    def wrong(layer_op, operands):
        result = right(layer_op, operands)
        return result + 1 if fault(layer_op) else result

    monkeypatch.setitem(table, op, wrong)


@pytest.mark.slow
def test_a_planted_fault_of_floats_becomes_a_file_of_one_layer(monkeypatch, tmp_path, capsys):
    plant(monkeypatch, FLOAT_OPS, Pool, lambda op: op.kind == "max" and bool(op.pads))
    way = standalone_c("c99")
    for seed in range(0, 400, 2):
        case = make_case(seed)
        if len(case.network.layers) > 5 and has(case.network, Pool) and (verdict := way.verdict(case.network)):
            break
    assert verdict.kind == "differs"
    small = report_failure(case, way, verdict, tmp_path)
    assert len(small.layers) == 1
    assert small.layers[0].op.kind == "max"
    folder = tmp_path / f"{seed}-c99"
    written = read_netfile(folder / "net.yaml").network
    assert way.verdict(written).kind == "differs"
    told = (folder / "failure.txt").read_text()
    assert told.startswith(f"seed {seed} ({case.maker}), c99 (c99)\n")
    assert f"python -m tests.generate --count 1 --seed {seed} --ways c99" in told
    assert f"{len(case.network.layers)} layers -> 1" in capsys.readouterr().out


@pytest.mark.slow
def test_a_planted_fault_of_int8_becomes_a_file_of_one_layer(monkeypatch, tmp_path):
    plant(monkeypatch, INT8_OPS, Concat, lambda op: op.axis == 3)
    monkeypatch.setattr("dscompile.oracle.execute.np.array_equal", lambda *_: True)  # 127 + 1 is no int8
    way = standalone_c("c99")
    for seed in range(1, 400, 2):
        case = make_case(seed)
        if len(case.network.layers) > 5 and has(case.network, Concat) and (verdict := way.verdict(case.network)):
            break
    small = report_failure(case, way, verdict, tmp_path)
    assert [type(layer.op) for layer in small.layers] == [Concat]


def test_the_command_tells_how_many_networks_agree(capsys, tmp_path):
    assert main(["--count", "2", "--seed", "4", "--ways", "c99", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("2 networks, 0 failures; 1 float, few layers, 2 c99")
    with pytest.raises(SystemExit):
        main(["--ways", "c98"])
    assert "'c98' is none of c99, x86" in capsys.readouterr().err


@cache
def networks_that_cover_200() -> list[int]:
    return covering_seeds(range(200))


def test_networks_that_bring_nothing_new_are_left_out():
    chosen = networks_that_cover_200()
    assert 80 < len(chosen) < 140
    made = {seed: features(make_case(seed)) for seed in range(200)}
    assert set().union(*(made[seed] for seed in chosen)) == set().union(*made.values())


@pytest.mark.every_case
@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_networks_with_all_that_200_have_equal_the_oracle_as_c_and_some_as_libraries(share, tmp_path, capsys):
    seeds = networks_that_cover_200()[share::SHARES]
    command = ["--seeds", ",".join(map(str, seeds)), "--x86-every", str(X86_EVERY), "--output", str(tmp_path)]
    assert main(command) == 0, capsys.readouterr().out

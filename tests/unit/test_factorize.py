"""Standard convolutions as sums of separable ones: the decomposition, the rewritten network, errors and bounds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dscompile import oracle
from dscompile.errors import BadInputError, BudgetError, UsageError
from dscompile.factorization import Budget, factorize_network
from dscompile.factorization.knapsack import MOST_STATES, Option, choose
from dscompile.factorization.norms import convolution_norm
from dscompile.factorization.spectrum import composed, spectrum
from dscompile.frontend.load import load_network
from dscompile.frontend.netfile import read_netfile
from dscompile.frontend.writer import write_netfile
from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import (
    HARD_SWISH,
    RELU,
    Activate,
    Activation,
    BatchNorm,
    Binary,
    Concat,
    Constant,
    Conv2D,
    Dense,
    Pad,
    Pads,
    Pool,
    Reshape,
    Softmax,
)
from dscompile.ir.tensor import Tensor
from tests.models import model_path
from tests.networks import random_inputs, random_network
from tests.quantized_networks import random_int8_network


def convolution(
    op: Conv2D, shape: tuple[int, ...] = (1, 9, 8, 4), *, kernel: np.ndarray | None = None, bias: bool = True
) -> Network:
    """A network that is one convolution with random weights."""
    rng = np.random.default_rng(7)
    builder = NetworkBuilder("one")
    builder.input(Tensor("x", shape))
    size = (*op.kernel, shape[3] // op.groups, op.out_channels)
    weights = rng.normal(size=size).astype(np.float32) if kernel is None else kernel.astype(np.float32)
    shift = rng.normal(size=op.out_channels).astype(np.float32) if bias else None
    builder.add("conv", op, ["x"], kernel=weights, bias=shift)
    return builder.build(["conv"])


def samples(network: Network, count: int = 3):
    return [random_inputs(network, seed) for seed in range(count)]


def forced(network: Network, rank: int, *, fit: bool = False, count: int = 3):
    return factorize_network(network, Budget(rank=rank, even_if_dearer=True), samples(network, count), fit=fit)


def largest_difference(first: Network, second: Network) -> float:
    """Of the outputs, relative to their largest magnitude."""
    worst = 0.0
    for sample in samples(first):
        wanted, got = oracle.run(first, sample), oracle.run(second, sample)
        for name in wanted:
            worst = max(worst, float(np.abs(got[name] - wanted[name]).max()) / float(np.abs(wanted[name]).max()))
    return worst


WINDOWS = [
    Conv2D(6, (3, 3), pads=Pads(1, 1, 1, 1), activation=RELU),
    Conv2D(6, (3, 3), (2, 2), Pads(0, 1, 0, 1)),
    Conv2D(5, (5, 1), (1, 2), Pads(2, 2, 0, 0), activation=HARD_SWISH),
    Conv2D(7, (3, 2), dilation=(2, 1)),
    Conv2D(6, (3, 3), groups=2, activation=RELU),
    Conv2D(2, (3, 3), pads=Pads(1, 1, 1, 1)),
]


@pytest.mark.parametrize("op", WINDOWS, ids=lambda op: f"{op.kernel}-{op.stride}-{op.groups}-{op.out_channels}")
def test_the_full_rank_is_the_same_convolution(op):
    network = convolution(op)
    found = forced(network, 99)
    assert found.layers[0].rank == min(op.kernel[0] * op.kernel[1], op.out_channels // op.groups)
    assert [type(layer.op) for layer in found.network.layers] == [Conv2D, Conv2D]
    assert [layer.name for layer in found.network.layers] == ["conv.depthwise", "conv.pointwise"]
    assert found.network.layers[1].output == "conv"
    assert found.layers[0].discarded == 0
    assert largest_difference(network, found.network) < 1e-6


def test_one_input_channel_and_no_bias_are_factorized_too():
    network = convolution(Conv2D(8, (3, 3)), (1, 6, 6, 1), bias=False)
    found = forced(network, 8)
    assert not found.network.has_weight(found.network.layers[1], "bias")
    assert largest_difference(network, found.network) < 1e-6


def test_a_separable_kernel_needs_rank_1_and_loses_nothing():
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(3, 3, 4, 1)) * rng.normal(size=(1, 1, 4, 6))
    network = convolution(Conv2D(6, (3, 3)), kernel=kernel)
    found = factorize_network(network, Budget(max_error=1e-5), samples(network), fit=False)
    assert found.layers[0].rank == 1
    assert found.layers[0].discarded_share < 1e-13
    assert largest_difference(network, found.network) < 1e-6


def test_the_discarded_energy_is_that_of_the_kernel_that_is_missing():
    kernel = np.random.default_rng(3).normal(size=(3, 3, 4, 8))
    found = spectrum(kernel, 2)
    for rank in range(1, 5):
        rest = kernel - composed(found.depthwise_kernel(rank), found.pointwise_kernel(rank), 8, 2)
        assert found.discarded(rank) == pytest.approx(float((rest**2).sum()), abs=1e-12)
    assert found.energy == pytest.approx(float((kernel**2).sum()))
    assert np.allclose(np.linalg.norm(found.filters, axis=1), 1)


def test_no_other_kernel_of_rank_1_is_nearer():
    rng = np.random.default_rng(4)
    kernel = rng.normal(size=(3, 3, 1, 8))
    least = spectrum(kernel, 1).discarded(1)
    for _ in range(200):
        taps, weights = rng.normal(size=(3, 3, 1, 1)), rng.normal(size=(1, 1, 1, 8))
        product = taps * weights
        best = (product * kernel).sum() / (product**2).sum() * product
        assert ((kernel - best) ** 2).sum() >= least


@pytest.mark.parametrize("seed", range(4))
def test_multiplications_are_those_of_the_written_layers(seed):
    network = convolution(WINDOWS[seed])
    found = forced(network, 2)
    op, made = WINDOWS[seed], network.shape("conv")
    pixels, per_group = made[1] * made[2], 4 // op.groups
    assert found.macs_before == pixels * op.kernel[0] * op.kernel[1] * per_group * op.out_channels
    assert found.macs_after == pixels * 2 * 4 * (op.kernel[0] * op.kernel[1] + op.out_channels // op.groups)


def test_a_layer_that_would_not_get_cheaper_stays():
    builder = NetworkBuilder("two")
    builder.input(Tensor("x", (1, 8, 8, 4)))
    rng = np.random.default_rng(0)
    builder.add("wide", Conv2D(16, (3, 3)), ["x"], kernel=rng.normal(size=(3, 3, 4, 16)).astype(np.float32))
    builder.add("thin", Conv2D(2, (3, 3)), ["wide"], kernel=rng.normal(size=(3, 3, 16, 2)).astype(np.float32))
    network = builder.build(["thin"])
    found = factorize_network(network, Budget(rank=2), samples(network), fit=False)
    assert [(layer.name, layer.rank, layer.cheaper_up_to) for layer in found.layers] == [
        ("wide", 2, 5),
        ("thin", None, 1),
    ]
    assert found.layers[1].macs_after == found.layers[1].macs_before


def test_batch_norm_is_folded_first():
    rng = np.random.default_rng(5)
    builder = NetworkBuilder("normed")
    builder.input(Tensor("x", (1, 8, 8, 3)))
    builder.add("conv", Conv2D(8, (3, 3)), ["x"], kernel=rng.normal(size=(3, 3, 3, 8)).astype(np.float32))
    weights = {role: rng.uniform(0.5, 1, 8).astype(np.float32) for role in ("gamma", "beta", "mean", "variance")}
    builder.add("norm", BatchNorm(), ["conv"], **weights)
    builder.add("relu", Activate(RELU), ["norm"])
    network = builder.build(["relu"])
    found = forced(network, 8)
    assert [layer.name for layer in found.network.layers] == ["conv.depthwise", "conv.pointwise"]
    assert largest_difference(network, found.network) < 1e-6


def mixed_network() -> Network:
    """Convolutions, and after them every operator through which a change can be followed."""
    rng = np.random.default_rng(9)

    def normal(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)

    builder = NetworkBuilder("mixed")
    builder.input(Tensor("x", (1, 12, 12, 3)))
    builder.add(
        "stem", Conv2D(16, (3, 3), pads=Pads(1, 1, 1, 1), activation=HARD_SWISH), ["x"], kernel=normal(3, 3, 3, 16)
    )
    builder.add("deep", Conv2D(16, (3, 3), (2, 2), groups=16, activation=RELU), ["stem"], kernel=normal(3, 3, 1, 16))
    builder.add(
        "body", Conv2D(16, (3, 3), pads=Pads(1, 1, 1, 1), activation=RELU), ["deep"], kernel=normal(3, 3, 16, 16)
    )
    builder.add("slope", Activate(Activation("prelu")), ["body"], slope=normal(16))
    builder.add("sum", Binary("add"), ["slope", "deep"])
    builder.add("gate", Pool("average"), ["sum"])
    builder.add("scaled", Binary("mul"), ["sum", "gate"])
    builder.add("join", Concat(3), ["scaled", "deep"])
    builder.add("pad", Pad(Pads(1, 0, 0, 1)), ["join"])
    builder.add("max", Pool("max", (2, 2), (2, 2)), ["pad"])
    builder.add("mean", Pool("average", (2, 2), (1, 1)), ["max"])
    size = builder.tensors["mean"].elements
    builder.add("flat", Reshape((1, size)), ["mean"])
    builder.add("half", Constant((1, 1)), value=np.full((1, 1), 0.5, np.float32))
    builder.add("less", Binary("mul"), ["flat", "half"])
    builder.add("dense", Dense(6), ["less"], kernel=normal(size, 6))
    builder.add("softmax", Softmax(), ["dense"])
    return builder.build(["softmax", "sum"])


@pytest.mark.parametrize("fit", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_bounds_hold_what_is_measured(rank, fit):
    found = forced(mixed_network(), rank, fit=fit)
    assert found.unbounded is None
    assert found.change.error <= found.bound
    assert found.change.error <= found.sum_at_outputs * (1 + 1e-9)
    for layer in found.layers:
        assert 0 < layer.measured <= layer.bound * (1 + 1e-5)


FOLLOWED = ("conv", "depthwise", "pool", "residual", "concat", "shuffle", "activate")


def test_bounds_hold_on_random_networks():
    followed = 0
    for seed in range(40):
        network = random_network(seed, max_layers=6, steps=FOLLOWED)
        try:
            found = forced(network, 2, count=2)
        except BadInputError:
            continue
        assert all(layer.measured <= layer.bound + 1e-5 for layer in found.layers)
        if found.bound is not None and np.isfinite(found.bound):
            followed += 1
            assert found.change.error <= found.bound + 1e-5
    assert followed >= 10


def test_the_norm_of_a_convolution_bounds_its_gain_and_is_near_to_it():
    rng = np.random.default_rng(11)
    for op in (Conv2D(4, (3, 3), pads=Pads(1, 1, 1, 1)), Conv2D(6, (3, 3), (2, 2), groups=2), Conv2D(4, (5, 1))):
        network = convolution(op, (1, 16, 16, 4), bias=False)
        layer = network.layers[0]
        bound = convolution_norm(op, network.weight(layer, "kernel"))
        x = rng.normal(size=(1, 16, 16, 4)).astype(np.float32)
        transposed = np.linalg.norm(oracle.run(network, {"x": x})["conv"]) / np.linalg.norm(x)
        assert transposed <= bound
    impulse = np.zeros((3, 3, 4, 4))
    impulse[1, 1] = 2 * np.eye(4)
    assert convolution_norm(Conv2D(4, (3, 3)), impulse) == pytest.approx(2, rel=0.05)


def options(rng: np.random.Generator, units: int) -> list[list[Option]]:
    return [
        [Option(float(rng.integers(20)), tuple(float(n) for n in rng.integers(20, size=units))) for _ in range(4)]
        for _ in range(4)
    ]


@pytest.mark.parametrize("units", [1, 2])
@pytest.mark.parametrize("seed", range(25))
def test_the_choice_is_as_good_as_the_best_of_all_combinations(seed, units):
    groups = options(np.random.default_rng(seed), units)
    limits = (30.0, 25.0)[:units]
    found = choose(groups, limits)
    fitting = [
        sum(option.loss for option in combination)
        for combination in itertools.product(*groups)
        if all(sum(option.costs[unit] for option in combination) <= limits[unit] for unit in range(units))
    ]
    assert (found is None) == (not fitting)
    if found is not None:
        assert sum(group[index].loss for group, index in zip(groups, found, strict=True)) == min(fitting)


def test_more_choices_than_are_kept_still_keep_to_the_limit():
    rng = np.random.default_rng(0)
    groups = [[Option(float(a), (float(b),)) for a, b in rng.random((9, 2))] for _ in range(40)]
    assert MOST_STATES < 9**40
    found = choose(groups, (15.0,))
    assert found is not None
    assert sum(group[index].costs[0] for group, index in zip(groups, found, strict=True)) <= 15.0


def small_network() -> Network:
    """Two convolutions whose singular values fall."""
    rng = np.random.default_rng(2)
    builder = NetworkBuilder("small")
    builder.input(Tensor("x", (1, 8, 8, 3)))
    for number, (before, after) in enumerate(itertools.pairwise((3, 8, 12))):
        terms = [
            0.3**rank * rng.normal(size=(3, 3, before, 1)) * rng.normal(size=(1, 1, before, after)) for rank in range(8)
        ]
        kernel = (sum(terms) / np.sqrt(9 * before)).astype(np.float32)
        op = Conv2D(after, (3, 3), pads=Pads(1, 1, 1, 1), activation=RELU)
        builder.add(f"conv{number}", op, ["x" if number == 0 else "conv0"], kernel=kernel)
    return builder.build(["conv1"])


def test_ranks_within_a_limit_of_mac_are_the_best_by_brute_force():
    """Of all combinations of ranks that keep to the limit, the chosen one's outputs are nearest, or nearly."""
    network = small_network()
    inputs = samples(network)
    limit = 40_000
    found = factorize_network(network, Budget(max_macs=limit), inputs, fit=False)
    assert found.macs_after <= limit
    errors = []
    for ranks in itertools.product(range(1, 9), repeat=2):
        alone = [forced_layer(network, name, rank) for name, rank in zip(("conv0", "conv1"), ranks, strict=True)]
        macs = sum(macs for macs, _ in alone)
        if macs <= limit:
            errors.append(sum(error**2 for _, error in alone) ** 0.5)
    assert found.change.error <= 1.5 * min(errors)


def forced_layer(network: Network, name: str, rank: int) -> tuple[int, float]:
    """MAC of one layer at a rank, and the change of the outputs if only it is factorized."""
    from dscompile.factorization.candidates import find_candidates, truncated, with_pairs
    from dscompile.factorization.change import Reference

    candidate = next(c for c in find_candidates(network, None) if c.layer.name == name)
    own = min(rank, candidate.spectrum.full_rank)
    change = Reference(network, samples(network)).change(
        with_pairs(network, {name: truncated(network, candidate, own)})
    )
    return candidate.costs[own - 1].macs, change.error


def test_an_error_limit_is_kept_and_saves_more_the_larger_it_is():
    network = small_network()
    macs = []
    for limit in (0.05, 0.2, 0.5):
        found = factorize_network(network, Budget(max_error=limit), samples(network), fit=False)
        assert found.change.error <= limit
        macs.append(found.macs_after)
    assert macs == sorted(macs, reverse=True)
    assert macs[-1] < macs[0] < found.macs_before


def test_fitting_to_data_brings_outputs_nearer_also_on_other_data():
    network = small_network()
    data = [{"x": (1 + 0.3 * random_inputs(network, seed)["x"]).astype(np.float32)} for seed in range(24)]
    plain = factorize_network(network, Budget(rank=1), data[:12], fit=False)
    fitted = factorize_network(network, Budget(rank=1), data[:12], fit=True)
    assert fitted.fitted
    assert not plain.fitted
    assert fitted.change.error < 0.7 * plain.change.error

    def error(found):
        wanted, got = (np.concatenate([oracle.run(n, x)["conv1"] for x in data[12:]]) for n in (network, found.network))
        return np.linalg.norm(got - wanted)

    assert error(fitted) < 0.7 * error(plain)


def test_grouped_layers_and_dead_inputs_are_fitted():
    network = convolution(Conv2D(6, (3, 3), groups=2))
    found = forced(network, 1, fit=True)
    assert found.change.error <= forced(network, 1).change.error
    zeros = [{"x": np.zeros((1, 9, 8, 4), np.float32)}]
    silent = factorize_network(network, Budget(rank=1, even_if_dearer=True), zeros, fit=True)
    assert silent.change.error < 1e-6


def test_limits_of_cycles_count_what_the_caller_prices():
    network = small_network()
    price = lambda net, layer: 1000.0 * (layer.name == "conv1") + net.shape(layer.output)[3]  # noqa: E731
    found = factorize_network(network, Budget(max_cycles=200), samples(network), fit=False, price=price)
    assert [layer.rank is None for layer in found.layers] == [True, False]
    assert found.layers[1].price_before == 1012
    with pytest.raises(BudgetError, match=r"the lowest ranks leave \d+ cycles, more than the 1 allowed"):
        factorize_network(network, Budget(max_cycles=1), samples(network), fit=False, price=price)


def test_limits_that_exclude_each_other_are_refused():
    """Ranks that save MAC and cost cycles, of which each limit alone can be kept to."""
    network = small_network()
    price = lambda _network, layer: 10.0 if layer.name.startswith("conv") and "." not in layer.name else 20.0  # noqa: E731
    with pytest.raises(BudgetError, match="no ranks keep to the limits of MAC and of cycles together"):
        factorize_network(network, Budget(max_macs=20_000, max_cycles=20), samples(network), fit=False, price=price)


def test_a_limit_of_mac_that_no_ranks_keep_is_refused_with_the_nearest():
    network = small_network()
    with pytest.raises(BudgetError, match=r"the lowest ranks leave 14016 MAC, more than the 100 allowed") as refused:
        factorize_network(network, Budget(max_macs=100), samples(network), fit=False)
    assert refused.value.diagnostics[0].help == "the nearest is --max-macs 14016"
    assert factorize_network(network, Budget(max_macs=14016), samples(network), fit=False).macs_after == 14016


def test_an_error_limit_that_no_layer_keeps_is_refused_with_the_nearest():
    network = small_network()
    with pytest.raises(BudgetError, match="no layer gets cheaper within a relative change of 1e-09") as refused:
        factorize_network(network, Budget(max_error=1e-9), samples(network), fit=False)
    assert "the nearest is rank" in (refused.value.diagnostics[0].help or "")


def test_limits_of_mac_and_error_that_exclude_each_other_are_refused():
    network = small_network()
    with pytest.raises(BudgetError, match=r"the outputs change by .*, more than 0.01, within the other limits"):
        factorize_network(network, Budget(max_error=0.01, max_macs=20_000), samples(network), fit=False)


def test_networks_without_a_cheaper_rank_are_refused():
    network = convolution(Conv2D(2, (1, 2)))
    with pytest.raises(BudgetError, match="no layer gets cheaper by any rank"):
        factorize_network(network, Budget(max_error=0.5), samples(network), fit=False)
    with pytest.raises(UsageError, match="rank 1 makes no layer cheaper") as refused:
        factorize_network(network, Budget(rank=1), samples(network), fit=False)
    assert "the highest ranks that do: none" in (refused.value.diagnostics[0].help or "")


def test_int8_networks_and_those_without_standard_convolutions_are_refused():
    with pytest.raises(BadInputError, match="this network is int8, and singular values are those of real numbers"):
        factorize_network(random_int8_network(0), Budget(rank=1), [], fit=False)
    network = convolution(Conv2D(4, (3, 3), groups=4))
    with pytest.raises(BadInputError, match="the network has no standard convolution to factorize"):
        factorize_network(network, Budget(rank=1), samples(network), fit=False)


def test_a_change_through_a_layer_without_a_known_slope_has_no_bound(monkeypatch):
    monkeypatch.setattr("dscompile.factorization.norms._SLOPES", {"none": 1.0})
    network = mixed_network()
    found = forced(network, 1)
    assert found.bound is None
    assert found.unbounded == "stem"
    assert found.layers[0].measured <= found.layers[0].bound


def test_the_written_network_is_read_as_the_same(tmp_path):
    found = forced(mixed_network(), 2)
    path = write_netfile(found.network, tmp_path)
    again = read_netfile(path).network
    assert again.layers == found.network.layers
    assert all(np.array_equal(again.weights[key], found.network.weights[key]) for key in again.weights)


@pytest.mark.slow
@pytest.mark.models
def test_the_trained_resnet_loses_less_with_each_rank_and_nothing_with_all():
    """With kernels fitted to photographs; without, a low rank of every layer changes all outputs."""
    from tests.photographs import crops, split

    network = load_network(model_path("pretrainedResnet_float.tflite")).network
    images = crops(split(0, 3)[0], 8, 32, 1) * 255
    inputs = [{network.inputs[0]: image[None]} for image in images]
    errors = []
    for rank in (1, 3, 5, 9):
        found = factorize_network(network, Budget(rank=rank, even_if_dearer=True), inputs, fit=True)
        errors.append(found.change.error)
        assert len(found.layers) == 7
        assert found.change.error <= found.bound
        assert found.change.error <= found.sum_at_outputs + 1e-9
        assert all(layer.measured <= layer.bound + 1e-6 for layer in found.layers)
        if rank == 3:
            plain = factorize_network(network, Budget(rank=rank), inputs, fit=False)
            assert found.change.error < 0.5 * plain.change.error
    assert errors == sorted(errors, reverse=True)
    assert found.change.max_error < 1e-5

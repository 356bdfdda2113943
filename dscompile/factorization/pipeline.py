"""From a network and a budget to the factorized network and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dscompile.errors import BadInputError
from dscompile.factorization.bounds import Bounds, LayerError, find_bounds
from dscompile.factorization.candidates import Candidate, Cost, Pair, find_candidates, truncated, with_pairs
from dscompile.factorization.change import Change, Reference
from dscompile.factorization.choice import Ranks, Trial, choose_ranks
from dscompile.factorization.fitting import fitted_pairs
from dscompile.factorization.settings import Budget, Price
from dscompile.ir.cost import layer_macs, layer_parameters
from dscompile.ir.network import Network
from dscompile.passes import canonicalize
from dscompile.quantization.settings import Sample

Stage = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""

# Elements of the largest tensor over all samples: they are kept in memory in several forms.
_MOST_ELEMENTS = 1 << 24
_MOST_SAMPLES = 64


@dataclass(frozen=True)
class LayerReport:
    """A standard convolution and what became of it.

    `rank` is None where the layer stays as it was. `discarded` is the sum of the squared singular values that are left
    out, `discarded_share` its part of all. `bound` and `measured` are the layer's own error on the samples, relative to
    its sums (dscompile.factorization.bounds). `at_outputs` is what the layer changes at the network's outputs, relative
    to them, with the layers before it factorized already. Prices are 0 without a machine.
    """

    name: str
    kernel: tuple[int, int]
    in_channels: int
    out_channels: int
    full_rank: int
    cheaper_up_to: int
    rank: int | None
    discarded: float
    discarded_share: float
    macs_before: int
    macs_after: int
    price_before: float
    price_after: float
    bound: float
    measured: float
    at_outputs: float


@dataclass(frozen=True)
class Factorized:
    """The factorized network beside `original`, the canonical form of the network that was given.

    `fitted`: pointwise kernels and biases were fitted to the samples, which brought the outputs nearer. `bound` is that
    of the relative change of the outputs, None where it passes the layer `unbounded`, of which no slope is known.
    """

    network: Network
    original: Network
    layers: tuple[LayerReport, ...]
    change: Change
    fitted: bool
    bound: float | None
    unbounded: str | None

    @property
    def sum_at_outputs(self) -> float:
        """What all layers change at the outputs, added up: no less than `change.error`."""
        return sum(layer.at_outputs for layer in self.layers)

    @property
    def macs_before(self) -> int:
        """Multiply-accumulates of the network as it was."""
        return sum(layer_macs(self.original, layer) for layer in self.original.layers)

    @property
    def macs_after(self) -> int:
        """Multiply-accumulates of the factorized network."""
        return sum(layer_macs(self.network, layer) for layer in self.network.layers)

    @property
    def parameters_before(self) -> int:
        """Stored numbers of the network as it was."""
        return sum(layer_parameters(self.original, layer) for layer in self.original.layers)

    @property
    def parameters_after(self) -> int:
        """Stored numbers of the factorized network."""
        return sum(layer_parameters(self.network, layer) for layer in self.network.layers)


def factorize_network(
    network: Network,
    budget: Budget,
    samples: Sequence[Sample],
    *,
    fit: bool,
    price: Price | None = None,
    progress: Stage = lambda _what, _done, _total: None,
) -> Factorized:
    """A float32 network with standard convolutions replaced by sums of separable ones.

    Changes are measured on `samples` (at least one). With `fit` pointwise kernels and biases are fitted to them, if
    that brings the outputs nearer. `price` is what `budget.max_cycles` limits, and what is saved first.

    Raises BadInputError for int8 networks and for those without standard convolutions, UsageError for a rank that
    makes no layer cheaper, BudgetError for limits that cannot be kept to, with the nearest.
    """
    if network.is_quantized:
        raise BadInputError(
            "this network is int8, and singular values are those of real numbers",
            help="factorize the float32 network, then run 'dscompile quantize' on the result",
        )
    original = canonicalize(network)
    candidates = find_candidates(original, price)
    if not candidates:
        raise BadInputError(
            "the network has no standard convolution to factorize",
            help="1x1 and depthwise convolutions are what others become",
        )
    work = _Work(original, candidates, _spread(original, samples), fit, progress)
    names = {candidate.layer.name for candidate in candidates}
    others = [layer for layer in original.layers if layer.name not in names]
    fixed = Cost(
        sum(layer_macs(original, layer) for layer in others),
        sum(price(original, layer) for layer in others) if price is not None else 0.0,
    )
    trial = choose_ranks(candidates, fixed, budget, work.attempt, price is not None)
    progress("bounding errors", 0, 0)
    bounds = find_bounds(original, trial.pairs, work.samples)
    shares = work.shares(trial.pairs)
    layers = tuple(
        _report(original, candidate, trial.ranks, bounds, shares.get(candidate.layer.name, 0.0))
        for candidate in candidates
    )
    return Factorized(trial.network, original, layers, trial.change, trial.fitted, bounds.outputs, bounds.unbounded)


class _Work:
    """What all trials share."""

    def __init__(
        self, network: Network, candidates: Sequence[Candidate], samples: Sequence[Sample], fit: bool, progress: Stage
    ) -> None:
        self.network = network
        self.candidates = {candidate.layer.name: candidate for candidate in candidates}
        self.samples = samples
        self.fit = fit
        self.progress = progress
        self.reference = Reference(network, samples)

    def attempt(self, ranks: Ranks) -> Trial:
        """The network with these ranks: truncated, or fitted where that is nearer to the original."""
        told = ", ".join(f"{name} to {rank}" for name, rank in ranks.items())
        self.progress(f"factorizing {told}" if len(ranks) < 3 else f"factorizing {len(ranks)} layers", 0, 0)
        chosen = {name: (self.candidates[name], rank) for name, rank in ranks.items()}
        pairs = {name: truncated(self.network, candidate, rank) for name, (candidate, rank) in chosen.items()}
        plain = self._measured(ranks, pairs, fitted=False)
        if not self.fit or plain.change.error == 0:
            return plain
        fitted = self._measured(ranks, fitted_pairs(self.network, chosen, self.samples), fitted=True)
        return min(plain, fitted, key=lambda trial: trial.change.error)

    def shares(self, pairs: Mapping[str, Pair]) -> dict[str, float]:
        """What each pair changes at the outputs, with those before it in place."""
        names = list(pairs)
        grown = (with_pairs(self.network, {name: pairs[name] for name in names[: n + 1]}) for n in range(len(names)))
        return dict(zip(names, self.reference.steps(grown), strict=True))

    def _measured(self, ranks: Ranks, pairs: Mapping[str, Pair], *, fitted: bool) -> Trial:
        network = with_pairs(self.network, pairs).validate()
        return Trial(ranks, pairs, network, self.reference.change(network), fitted)


def _spread(network: Network, samples: Sequence[Sample]) -> Sequence[Sample]:
    """As many of the samples as memory allows, evenly spread, but at least one."""
    largest = max(tensor.elements for tensor in network.tensors.values())
    count = min(len(samples), _MOST_SAMPLES, max(1, _MOST_ELEMENTS // largest))
    return [samples[index * len(samples) // count] for index in range(count)]


def _report(network: Network, candidate: Candidate, ranks: Ranks, bounds: Bounds, share: float) -> LayerReport:
    layer, found = candidate.layer, candidate.spectrum
    rank = ranks.get(layer.name)
    after = candidate.cost if rank is None else candidate.costs[rank - 1]
    discarded = 0.0 if rank is None else found.discarded(rank)
    error = bounds.layers.get(layer.name, LayerError(0.0, 0.0))
    return LayerReport(
        name=layer.name,
        kernel=candidate.op.kernel,
        in_channels=network.shape(layer.inputs[0])[3],
        out_channels=candidate.op.out_channels,
        full_rank=found.full_rank,
        cheaper_up_to=len(candidate.cheaper_ranks()),
        rank=rank,
        discarded=discarded,
        discarded_share=discarded / found.energy if found.energy else 0.0,
        macs_before=candidate.cost.macs,
        macs_after=after.macs,
        price_before=candidate.cost.price,
        price_after=after.price,
        bound=error.bound,
        measured=error.measured,
        at_outputs=share,
    )

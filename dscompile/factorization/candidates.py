"""Which layers can be factorized, what each rank costs, and the network with the new layers in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dscompile.factorization.settings import Price
from dscompile.factorization.spectrum import Spectrum, spectrum
from dscompile.ir.cost import layer_macs
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Conv2D
from dscompile.ir.shapes import output_shape
from dscompile.ir.tensor import Tensor
from dscompile.passes.rewrite import as_weight, fresh_name, substitute


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates, and the price on a machine (0 where none is given)."""

    macs: int
    price: float


@dataclass(frozen=True)
class Candidate:
    """A standard convolution: `costs[r - 1]` is that of rank r, up to the full one."""

    layer: Layer
    spectrum: Spectrum
    cost: Cost
    costs: tuple[Cost, ...]

    @property
    def op(self) -> Conv2D:
        """The convolution."""
        assert isinstance(self.layer.op, Conv2D)
        return self.layer.op

    def cheaper_ranks(self) -> range:
        """The ranks with fewer multiply-accumulates than the convolution itself."""
        return range(1, 1 + sum(cost.macs < self.cost.macs for cost in self.costs))


@dataclass(frozen=True)
class Pair:
    """The two layers in the place of a convolution, with their weights."""

    depthwise: Layer
    pointwise: Layer
    middle: Tensor
    weights: Mapping[str, Array]


def find_candidates(network: Network, price: Price | None) -> tuple[Candidate, ...]:
    """The convolutions that mix channels and rows or columns: no depthwise, no 1x1, in the order of the network."""
    return tuple(_candidate(network, layer, price) for layer in network.layers if _is_standard(network, layer))


def _is_standard(network: Network, layer: Layer) -> bool:
    op = layer.op
    if not isinstance(op, Conv2D) or op.kernel == (1, 1):
        return False
    return op.out_channels > op.groups and not op.is_depthwise(network.shape(layer.inputs[0])[3])


def _candidate(network: Network, layer: Layer, price: Price | None) -> Candidate:
    op = layer.op
    assert isinstance(op, Conv2D)
    found = spectrum(network.weight(layer, "kernel"), op.groups)
    before = Cost(layer_macs(network, layer), price(network, layer) if price is not None else 0.0)
    costs = tuple(_pair_cost(network, layer, rank, price) for rank in range(1, found.full_rank + 1))
    return Candidate(layer, found, before, costs)


def _pair_cost(network: Network, layer: Layer, rank: int, price: Price | None) -> Cost:
    op = layer.op
    assert isinstance(op, Conv2D)
    channels = network.shape(layer.inputs[0])[3]
    zero = np.zeros((), np.float32)
    depthwise = np.broadcast_to(zero, (*op.kernel, 1, channels * rank))
    pointwise = np.broadcast_to(zero, (1, 1, channels // op.groups * rank, op.out_channels))
    made = pair(network, layer, depthwise, pointwise, _bias(network, layer))
    grown = with_pairs(network, {layer.name: made})
    both = (made.depthwise, made.pointwise)
    return Cost(
        sum(layer_macs(grown, part) for part in both),
        sum(price(grown, part) for part in both) if price is not None else 0.0,
    )


def truncated(network: Network, candidate: Candidate, rank: int) -> Pair:
    """The pair of the first `rank` terms."""
    found = candidate.spectrum
    return pair(
        network,
        candidate.layer,
        as_weight(found.depthwise_kernel(rank)),
        as_weight(found.pointwise_kernel(rank)),
        _bias(network, candidate.layer),
    )


def pair(network: Network, layer: Layer, depthwise: Array, pointwise: Array, bias: Array | None) -> Pair:
    """Two layers `<layer>.depthwise` and `<layer>.pointwise`: the window goes to the first, the rest to the second."""
    op = layer.op
    assert isinstance(op, Conv2D)
    source = network.shape(layer.inputs[0])
    name = fresh_name(network, f"{layer.name}.depthwise")
    first = Conv2D(depthwise.shape[3], op.kernel, op.stride, op.pads, op.dilation, source[3])
    second = Conv2D(op.out_channels, (1, 1), groups=op.groups, activation=op.activation)
    last = fresh_name(network, f"{layer.name}.pointwise")
    weights = {f"{name}.kernel": depthwise, f"{last}.kernel": pointwise}
    if bias is not None:
        weights[f"{last}.bias"] = bias
    return Pair(
        Layer(name, first, layer.inputs, name),
        Layer(last, second, (name,), layer.output),
        Tensor(name, output_shape(first, [source])),
        weights,
    )


def with_pairs(network: Network, pairs: Mapping[str, Pair]) -> Network:
    """The network with pairs in the places of the layers that `pairs` names."""
    weights = {key: value for made in pairs.values() for key, value in made.weights.items()}
    changes = {name: [made.depthwise, made.pointwise] for name, made in pairs.items()}
    return substitute(network, changes, weights, [made.middle for made in pairs.values()])


def _bias(network: Network, layer: Layer) -> Array | None:
    return network.weight(layer, "bias") if network.has_weight(layer, "bias") else None

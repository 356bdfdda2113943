"""Watches a float32 network at work: which values its tensors take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.errors import BadInputError
from dscompile.ir.network import Network
from dscompile.ir.ops import Pad
from dscompile.ir.tensor import Quantization
from dscompile.oracle import run_all
from dscompile.quantization.batches import batched, in_batches
from dscompile.quantization.histogram import Histogram, histogram_of
from dscompile.quantization.ranges import Range, choose_range, parameters
from dscompile.quantization.settings import Method, Sample
from dscompile.quantization.ties import fixed_output, moves, tied_groups

Advance = Callable[[int, int], None]
"""Called with how many samples are done, and of how many."""


@dataclass(frozen=True)
class Observation:
    """The values of one tensor over all samples.

    `peaks` [C] is the largest magnitude in each channel, `energies` [C] the sum of squares over all samples and pixels.
    """

    histogram: Histogram
    peaks: NDArray[np.float64]
    energies: NDArray[np.float64]


def observe(network: Network, samples: Sequence[Sample], advance: Advance) -> Mapping[str, Observation]:
    """Runs all samples through the oracle -> what every tensor held.

    Raises BadInputError if a tensor is not finite.
    """
    seen: dict[str, Observation] = {}
    for batch in in_batches(network, samples):
        for name, array in run_all(batched(network, batch.count), batch.sample).items():
            values = array.astype(np.float64)
            if not np.isfinite(values).all():
                producer = network.producers.get(name)
                row = int(np.argwhere(~np.isfinite(values))[0, 0])
                raise BadInputError(
                    f"'{name}' becomes infinite or NaN with sample {batch.first + row} of the calibration data",
                    layer=producer.name if producer is not None else None,
                    help="the weights are damaged, or the data are not scaled as the network expects",
                )
            channels = values.reshape(-1, values.shape[-1])
            new = Observation(histogram_of(values), np.abs(channels).max(axis=0), (channels**2).sum(axis=0))
            old = seen.get(name)
            seen[name] = new if old is None else _joined(old, new)
        advance(batch.first + batch.count, len(samples))
    return seen


def _joined(old: Observation, new: Observation) -> Observation:
    return Observation(
        old.histogram.merged(new.histogram), np.maximum(old.peaks, new.peaks), old.energies + new.energies
    )


def tensor_parameters(
    network: Network, seen: Mapping[str, Observation], method: Method, keep: float
) -> Mapping[str, Quantization]:
    """Scale and zero point of every tensor.

    Tied tensors share the range of all values that layers compute into them; what pools, pads and reshapes only hand on
    counts once.
    """
    groups = tied_groups(network)
    chosen: dict[tuple[str, ...], Quantization] = {}
    for group in groups.values():
        if group not in chosen:
            chosen[group] = _group_parameters(network, group, seen, method, keep)
    return {name: chosen[group] for name, group in groups.items()}


def _group_parameters(
    network: Network, group: tuple[str, ...], seen: Mapping[str, Observation], method: Method, keep: float
) -> Quantization:
    producers = [network.producers.get(name) for name in group]
    for producer in producers:
        fixed = fixed_output(producer.op) if producer is not None else None
        if fixed is not None:
            return fixed
    sources = [
        seen[name].histogram
        for name, producer in zip(group, producers, strict=True)
        if producer is None or not moves(producer.op)
    ]
    histogram = sources[0]
    for other in sources[1:]:
        histogram = histogram.merged(other)
    chosen: Range = choose_range(histogram, method, keep)
    for producer in producers:
        if producer is not None and isinstance(producer.op, Pad) and np.isfinite(producer.op.value):
            chosen = chosen.including(producer.op.value)
    return parameters(chosen)

"""How far the outputs of a factorized network are from those of the original, measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.factorization.bounds import ratio
from dscompile.ir.network import Network
from dscompile.oracle import run
from dscompile.quantization.batches import batched, in_batches
from dscompile.quantization.measure import comparable_outputs, replace_outputs
from dscompile.quantization.settings import Sample

Reals = NDArray[np.float64]
Outputs = Mapping[str, Reals]


@dataclass(frozen=True)
class Change:
    """Outputs beside the original's.

    What an ArgMax reads counts as an output in place of its indices. `error` is the root of
    sum of (new - old)^2 / sum of old^2 over all samples, of several outputs the largest; `max_error` the largest
    difference. `top1` is the share of samples whose first output has its largest element at the same index; None if it
    has only one element.
    """

    samples: int
    error: float
    max_error: float
    top1: float | None


class Reference:
    """The original's outputs on some samples, computed once."""

    def __init__(self, network: Network, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self._names = comparable_outputs(network)
        self.wanted = self._outputs(network)

    def change(self, network: Network) -> Change:
        """The change that another network, of the same inputs and outputs, makes."""
        got = self._outputs(network)
        first = self._names[0]
        rows = [outputs[first].reshape(len(self.samples), -1) for outputs in (self.wanted, got)]
        same = rows[0].argmax(axis=1) == rows[1].argmax(axis=1)
        return Change(
            samples=len(self.samples),
            error=self._error(self.wanted, got),
            max_error=max(float(np.abs(got[name] - old).max()) for name, old in self.wanted.items()),
            top1=float(same.mean()) if rows[0].shape[1] > 1 else None,
        )

    def steps(self, networks: Iterable[Network]) -> tuple[float, ...]:
        """What each network changes beside the one before it, the first beside the original, relative to the original.

        By the triangle inequality they add up to no less than the change of the last.
        """
        errors, before = [], self.wanted
        for network in networks:
            after = self._outputs(network)
            errors.append(self._error(before, after))
            before = after
        return tuple(errors)

    def _error(self, before: Outputs, after: Outputs) -> float:
        """The root of sum of (after - before)^2 / sum of original^2, of several outputs the largest."""
        return max(ratio(_square(after[name] - old), _square(self.wanted[name])) for name, old in before.items())

    def _outputs(self, network: Network) -> Outputs:
        """The outputs [n, ...] of all samples."""
        seen = replace_outputs(network, self._names)
        parts = [run(batched(seen, batch.count), batch.sample) for batch in in_batches(seen, self.samples)]
        return {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in self._names}


def _square(array: Reals) -> float:
    return float((array**2).sum())

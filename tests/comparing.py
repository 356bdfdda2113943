"""Outputs of built networks beside the oracle's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dscompile.api.reference import OracleStream
from dscompile.ir.network import Array, Network


def expected_outputs(network: Network, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """The oracle's outputs, and indices that rounding of floats may make of them (see oracle/argmax.py)."""
    stream = OracleStream(network)
    return stream.step(inputs), stream.runners_up


def wrong_outputs(
    results: Mapping[str, Array], expected: Mapping[str, Array], others: Mapping[str, Array], tolerance: float
) -> Iterator[str]:
    """Every output that is not as expected: integers differ, floats by more than `tolerance` of the largest magnitude.

    Where `others` has an integer for an output, that is as good.
    """
    for name, right in expected.items():
        if right.dtype != np.float32:
            wrong = int(((results[name] != right) & (results[name] != others.get(name, right))).sum())
            if wrong:
                yield f"output {name}: {wrong} of {right.size} integers"
            continue
        error = float(np.abs(results[name] - right).max()) / max(float(np.abs(right).max()), 1e-6)
        if not error <= tolerance:  # NaN is a difference too
            yield f"output {name}: {error:.3g} of its maximum"

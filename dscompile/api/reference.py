"""What the oracle says to inputs in the layout of the network's border."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dscompile.report.progress import Event, Progress

if TYPE_CHECKING:
    from dscompile.ir.network import Array, Network
    from dscompile.report.vectors import Vectors


def oracle_outputs(network: Network, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The oracle's outputs by name; inputs and outputs have border shapes, and the types of their tensors."""
    from dscompile import oracle

    feeds = {name: oracle.from_border(network.tensor(name), array) for name, array in inputs.items()}
    results = oracle.run(network, feeds)
    return {name: oracle.to_border(network.tensor(name), values) for name, values in results.items()}


class Golden:
    """Golden vectors of a network, computed once for all targets, when they are first asked for.

    The oracle runs the network as it was read, so that the passes are judged too.
    """

    def __init__(self, network: Network, seed: int) -> None:
        self._network = network
        self._seed = seed
        self._vectors: Vectors | None = None
        self._selftest: dict[str, Array] | None = None

    def vectors(self, progress: Progress) -> Vectors:
        """Outputs for the inputs of `seed` and a few more."""
        import numpy as np

        from dscompile.report.vectors import Vectors, seeded_inputs, vector_seeds

        if self._vectors is None:
            network = self._network
            inputs = [network.tensor(name) for name in network.inputs]
            seeds = vector_seeds(self._seed, sum(network.tensor(name).size_bytes for name in network.outputs))
            rows = []
            for index, seed in enumerate(seeds):
                progress(Event("running the oracle", index, len(seeds)))
                rows.append(oracle_outputs(network, seeded_inputs(inputs, seed)))
            outputs = tuple(np.stack([row[name] for row in rows]) for name in network.outputs)
            self._vectors = Vectors(seeds, outputs)
        return self._vectors

    def selftest_outputs(self, inputs: Mapping[str, Array], progress: Progress) -> dict[str, Array]:
        """Outputs for the input of selftest.c."""
        if self._selftest is None:
            progress(Event("running the oracle"))
            self._selftest = oracle_outputs(self._network, inputs)
        return self._selftest

"""What the oracle says to inputs in the layout of the network's border."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dscompile.report.progress import Event, Progress

if TYPE_CHECKING:
    from dscompile.ir.network import Array, Network
    from dscompile.report.vectors import Vectors


class OracleStream:
    """Consecutive inferences by the oracle; without state they have nothing to do with each other."""

    def __init__(self, network: Network) -> None:
        from dscompile.oracle import Stream

        self._network = network
        self._stream = Stream(network)

    def step(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The next outputs by name; inputs and outputs have border shapes, and the types of their tensors."""
        from dscompile import oracle

        network = self._network
        feeds = {name: oracle.from_border(network.tensor(name), array) for name, array in inputs.items()}
        results = self._stream.step(feeds)
        return {name: oracle.to_border(network.tensor(name), values) for name, values in results.items()}

    @property
    def runners_up(self) -> dict[str, Array]:
        """Indices that are nearly right beside the last outputs, by name (oracle/argmax.py: runners_up)."""
        from dscompile import oracle

        tensor = self._network.tensor
        return {name: oracle.to_border(tensor(name), values) for name, values in self._stream.runners_up.items()}


def oracle_outputs(network: Network, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The oracle's outputs of one inference, the first of a stream; see OracleStream."""
    return OracleStream(network).step(inputs)


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
            inputs = [network.tensor(name) for name in network.user_inputs]
            output_bytes = sum(network.tensor(name).size_bytes for name in network.user_outputs)
            seeds = vector_seeds(self._seed, output_bytes, is_stream=bool(network.states))
            stream, rows, others = OracleStream(network), [], []
            for index, seed in enumerate(seeds):
                progress(Event("running the oracle", index, len(seeds)))
                rows.append(stream.step(seeded_inputs(inputs, seed)))
                others.append(stream.runners_up)
            outputs = tuple(np.stack([row[name] for row in rows]) for name in network.user_outputs)
            self._vectors = Vectors(
                seeds,
                outputs,
                {
                    index: np.stack([row[name] for row in others])
                    for index, name in enumerate(network.user_outputs)
                    if name in others[0]
                },
            )
        return self._vectors

    def selftest_outputs(self, inputs: Mapping[str, Array], progress: Progress) -> dict[str, Array]:
        """Outputs for the input of selftest.c; of a network with state, after as many inferences as that runs.

        Indices that may as well be others are -1.
        """
        import numpy as np

        from dscompile.emit.selftest import STEPS
        from dscompile.oracle.argmax import NO_INDEX

        if self._selftest is None:
            progress(Event("running the oracle"))
            stream = OracleStream(self._network)
            for _ in range(STEPS if self._network.states else 1):
                self._selftest = stream.step(inputs)
            assert self._selftest is not None
            for name, others in stream.runners_up.items():
                self._selftest[name] = np.where(others != NO_INDEX, np.int32(NO_INDEX), self._selftest[name])
        return self._selftest

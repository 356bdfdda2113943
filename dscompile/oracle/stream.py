"""A network step by step, with the state that it keeps from one inference to the next."""

from __future__ import annotations

from collections.abc import Mapping

from dscompile.ir.network import Array, Network
from dscompile.ir.tensor import TOLERANCES
from dscompile.oracle.argmax import runners_up
from dscompile.oracle.execute import run_all


class Stream:
    """Consecutive inferences of one stream; of a network without state they have nothing to do with each other."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.state: dict[str, Array] = {state.name: state.initial for state in network.states}
        self.runners_up: dict[str, Array] = {}

    def step(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The user's outputs of the next inference, by name; shapes, types and errors are those of `oracle.run`.

        `runners_up` has indices that are nearly right beside them, for outputs that are indices of a float32 tensor.
        """
        results = run_all(self.network, {**inputs, **self.state})
        nearly = runners_up(self.network, results, TOLERANCES["float32"])
        self.runners_up = {name: nearly[name] for name in self.network.user_outputs if name in nearly}
        self.state = {state.name: results[state.next] for state in self.network.states}
        return {name: results[name] for name in self.network.user_outputs}

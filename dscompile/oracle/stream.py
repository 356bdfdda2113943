"""A network step by step, with the state that it keeps from one inference to the next."""

from __future__ import annotations

from collections.abc import Mapping

from dscompile.ir.network import Array, Network
from dscompile.oracle.execute import run


class Stream:
    """Consecutive inferences of one stream; of a network without state they have nothing to do with each other."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.state: dict[str, Array] = {state.name: state.initial for state in network.states}

    def step(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The user's outputs of the next inference, by name; shapes, types and errors are those of `oracle.run`."""
        results = run(self.network, {**inputs, **self.state})
        self.state = {state.name: results[state.next] for state in self.network.states}
        return {name: results[name] for name in self.network.user_outputs}

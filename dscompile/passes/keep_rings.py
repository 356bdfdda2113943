"""A state that holds the last rows of a stream keeps them where they are read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Concat, Slice
from dscompile.ir.state import State
from dscompile.ir.tensor import Shape, Tensor
from dscompile.passes.rewrite import fresh_name


def keep_rings(network: Network) -> Network:
    """Of rows = concat(state, new), state' = the last of rows: `rows` itself becomes the state.

    Exporters join what a state kept with new rows, let layers read the result, and cut the next state from it. Kept is
    then what the layers read, and an inference begins with a shift of it by as many rows as are new: no copy into a
    buffer and none back, and on processors whose kernels read it where it is, one memmove in place. Not where more rows
    are new than old, since the state would grow by the new ones for nothing.
    """
    for state in network.states:
        found = _ring(network, state)
        if found is not None:
            network = _kept(network, state, *found)
    return network


def _ring(network: Network, state: State) -> tuple[Layer, Layer] | None:
    """The Concat that reads a state, and the Slice that makes the next one of its result; None if it is no ring."""
    readers, cut = network.consumers[state.name], network.producers.get(state.next)
    if len(readers) != 1 or cut is None or not isinstance(cut.op, Slice) or network.consumers[state.next]:
        return None
    (join,) = readers
    if not isinstance(join.op, Concat) or join.inputs.count(state.name) != 1 or join.inputs[0] != state.name:
        return None
    if cut.inputs != (join.output,) or join.output in network.outputs:
        return None
    axis, given, rows = join.op.axis, network.shape(state.name), network.shape(join.output)
    new = rows[axis] - given[axis]
    return (join, cut) if cut.op == Slice(_begins(rows, axis, new), given) and new <= given[axis] else None


def _kept(network: Network, state: State, join: Layer, cut: Layer) -> Network:
    """The network whose state is the result of `join`. The old state's tensor is a slice of the new one's."""
    assert isinstance(join.op, Concat)
    axis, old, rows = join.op.axis, network.tensor(state.name), network.tensor(join.output)
    new = rows.shape[axis] - old.shape[axis]
    inner = fresh_name(network, f"{state.name}.kept")
    shift = Layer(
        fresh_name(network, f"{state.name}.shift"),
        Slice(_begins(rows.shape, axis, new), old.shape),
        (state.name,),
        inner,
    )
    never_read = np.repeat(np.take(state.initial, [0], axis), new, axis)
    grown = State(state.name, state.next, np.concatenate([never_read, state.initial], axis))
    tensors: dict[str, Tensor] = {
        **network.tensors,
        inner: replace(old, name=inner),
        state.name: replace(rows, name=state.name),
        state.next: replace(rows, name=state.next),
    }
    # The result of the join is the next state now, and bears its name.
    layers = [shift]
    for layer in network.layers:
        if layer.name == cut.name:
            continue
        inputs = tuple({join.output: state.next, state.name: inner}.get(name, name) for name in layer.inputs)
        output = state.next if layer.name == join.name else layer.output
        layers.append(replace(layer, inputs=inputs, output=output))
    states = tuple(grown if each is state else each for each in network.states)
    return replace(network, tensors=tensors, states=states).with_layers(layers)


def _begins(rows: Shape, axis: int, first: int) -> tuple[int, ...]:
    return tuple(first if each == axis else 0 for each in range(len(rows)))

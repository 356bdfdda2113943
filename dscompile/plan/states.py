"""States in a program: their old and their new value share memory, so nothing may be overwritten too early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dscompile.errors import UnsupportedError
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Reshape
from dscompile.plan.mcu.small_kernels import MoveKernel
from dscompile.plan.program import Program


def kept_tensors(network: Network) -> frozenset[str]:
    """Inputs and outputs of a network that lie in its state, and not in buffers of their own."""
    return frozenset(name for state in network.states for name in (state.name, state.next))


def early_writes(program: Program) -> tuple[str, ...]:
    """States that some call writes although a later call, or the same, reads their old value.

    A MoveKernel may: it reads what it overwrites before it does.
    """
    functions = {function.symbol: function for function in program.functions}
    calls = [call for step in program.steps for call in step.calls if call.symbol in functions]
    early = []
    for state in program.network.states:
        read, written = -1, len(calls)
        for index, call in enumerate(calls):
            function = functions[call.symbol]
            if any(operand.space == "input" and operand.name == state.name for operand in call.operands):
                read = index if not isinstance(function.kernel, MoveKernel) else index - 1
            if any(operand.space == "output" and operand.name == state.next for operand in call.operands):
                written = min(written, index)
        if written <= read:
            early.append(state.name)
    return tuple(early)


def plan_with_states(network: Network, plan: Callable[[Network], Program]) -> Program:
    """The program of a network by `plan`, with states written late enough.

    Where a state's new value is ready while the old one is still read, it waits in the arena until all layers have run;
    then states are written in an order in which none is read later, as one that takes another's value reads it.
    Raises UnsupportedError for states that take each other's values in a circle, for which there is no such order.
    """
    program = plan(network)
    late: list[str] = []
    for _ in range(len(network.states) + 1):
        early = early_writes(program)
        if not early:
            return program
        late = [*(name for name in late if name not in early), *reversed(early)]
        program = plan(_delayed(network, late))
    raise UnsupportedError(
        f"states {', '.join(repr(name) for name in late)} take each other's old values",
        help="let layers compute the new values, or keep both in one state",
    )


def _delayed(network: Network, late: Sequence[str]) -> Network:
    """The network with the new values of these states copied where they belong after all its layers, in this order."""
    layers, tensors = list(network.layers), dict(network.tensors)
    copies = []
    for state in sorted((s for s in network.states if s.name in late), key=lambda s: late.index(s.name)):
        waiting = f"{state.next}.waiting"
        tensors[waiting] = replace(tensors[state.next], name=waiting)
        layers = [_renamed(layer, state.next, waiting) for layer in layers]
        copies.append(Layer(f"{state.name}.update", Reshape(tensors[waiting].shape), (waiting,), state.next))
    return replace(network, tensors=tensors).with_layers([*layers, *copies])


def _renamed(layer: Layer, old: str, new: str) -> Layer:
    inputs = tuple(new if name == old else name for name in layer.inputs)
    return replace(layer, inputs=inputs, output=new if layer.output == old else layer.output)

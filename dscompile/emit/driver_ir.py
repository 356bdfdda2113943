"""The driver as LLVM's intermediate language: the same functions as `<net>.c`, for machines without a C compiler.

What compiled the kernels makes an object of it, so that `lib<net>.a` is whole without any tool. Behaviour and symbols
are those of templates/native/driver.c.j2 and variants.c.j2; a test holds both to the same results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from dscompile.emit.driver import LayerRow
from dscompile.emit.interface import Interface, Port
from dscompile.emit.processor import needed_words, processor
from dscompile.emit.render import render
from dscompile.emit.weights import Weights
from dscompile.plan.program import Operand, Program
from dscompile.target import Target


@dataclass(frozen=True)
class Pointer:
    """`base`, a parameter or the weights, and bytes behind it."""

    base: str
    offset_bytes: int


@dataclass(frozen=True)
class KernelCall:
    """A call of a kernel by its symbol in the library; `bounds` are those of loops that it does from first to last."""

    symbol: str
    pointers: tuple[Pointer, ...]
    bounds: tuple[int, ...]


@dataclass(frozen=True)
class StepCalls:
    """The calls of a step, and where its result lies; `layer` is its row in the layer table."""

    layer: int
    calls: tuple[KernelCall, ...]
    result: Pointer


@dataclass(frozen=True)
class ProgramCalls:
    """A program: its name as a variant, its steps, where inputs and outputs have their places in the arena.

    `kernels` are the symbols it calls with their numbers of pointers and of bounds, `needs` the bits of each word of
    features that the processor must have.
    """

    name: str
    steps: tuple[StepCalls, ...]
    places: tuple[int, ...]
    kernels: tuple[tuple[str, int, int], ...]
    needs: tuple[int, ...]


def has_driver_ir(machine: Target, *, chooses: bool) -> bool:
    """Whether there is such a driver for the least of the machines that a library is for.

    It must be named by a triple; if the library `chooses` among variants, the auxiliary vector must tell of features.
    """
    return bool(machine.triple) and (not chooses or bool(processor(machine).auxiliary))


def program_calls(
    program: Program, interface: Interface, weights: Weights, symbols: Mapping[str, str], first_layer: int = 0
) -> ProgramCalls:
    """The calls of a checked program; `symbols` are those of its kernels in the library."""
    point = partial(_pointer, program, _parameters(program, interface), f"@{interface.prefix}_weights", weights.offsets)
    bounds = {f.symbol: tuple(bound for extent in f.extents for bound in (0, extent)) for f in program.functions}
    steps = tuple(
        StepCalls(
            first_layer + index,
            tuple(
                KernelCall(symbols[call.symbol], tuple(map(point, call.operands)), bounds[call.symbol])
                for call in step.calls
            ),
            point(step.result),
        )
        for index, step in enumerate(program.steps)
    )
    homes = {**program.inputs, **program.outputs}
    return ProgramCalls(
        name=program.target.name,
        steps=steps,
        places=tuple(program.buffer(homes[port.tensor.name]).offset_bytes for port in interface.ports),
        kernels=tuple(
            dict.fromkeys((call.symbol, len(call.pointers), len(call.bounds)) for step in steps for call in step.calls)
        ),
        needs=needed_words(program.target) if interface.has_variants else (),
    )


def driver_ir(
    interface: Interface,
    programs: Sequence[ProgramCalls],
    layers: Sequence[LayerRow],
    target: Target,
    fingerprint: int,
    *,
    has_weights: bool,
) -> str:
    """The driver's module: of one program, or of several (best first) if the interface has variants.

    `target` is what the library is built for; `has_driver_ir` must hold for it.
    """
    return render(
        "native/driver.ll.j2",
        net=interface,
        programs=programs,
        layers=layers,
        alignment=target.arena_alignment,
        fingerprint=fingerprint,
        has_weights=has_weights,
        asked=processor(target).auxiliary if interface.has_variants else (),
    )


def weights_ir(assembly: str) -> str:
    """A module of nothing but assembly: the weights (emit/weights.py)."""
    return render("native/weights.ll.j2", lines=assembly.splitlines())


def _parameters(program: Program, interface: Interface) -> dict[tuple[str, str], Port | int]:
    """(Space, tensor) -> the port of `run` that points there, or where it lies in the state."""
    found: dict[tuple[str, str], Port | int] = {("input", port.tensor.name): port for port in interface.inputs}
    found.update({("output", port.tensor.name): port for port in interface.outputs})
    for state, slot in zip(program.network.states, interface.slots, strict=True):
        found["input", state.name] = found["output", state.next] = slot.offset_bytes
    return found


def _pointer(
    program: Program,
    parameters: Mapping[tuple[str, str], Port | int],
    weights: str,
    offsets: Mapping[str, int],
    operand: Operand,
) -> Pointer:
    if operand.space == "arena":
        return Pointer("%arena", program.buffer(operand.name).offset_bytes + operand.offset_bytes)
    if operand.space == "constant":
        return Pointer(weights, offsets[operand.name] + operand.offset_bytes)
    port = parameters[operand.space, operand.name]
    if isinstance(port, int):
        return Pointer("%state", port + operand.offset_bytes)
    return Pointer(f"%{port.parameter}", operand.offset_bytes)

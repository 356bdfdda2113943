"""The driver: the C file that calls the kernels of a program in order, over the user's arena."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dscompile.emit.interface import Interface, Port
from dscompile.emit.names import C_TYPES, c_comment, c_identifier, spaced, unique_identifiers
from dscompile.emit.weights import Weights
from dscompile.ir.tensor import DTYPE_BYTES
from dscompile.plan.kernels import Parameter
from dscompile.plan.program import Buffer, Call, Function, Operand, Program, Stage, Step, Stream

if TYPE_CHECKING:  # only hosted targets have threads
    from dscompile.plan.phases import Phase, Share

_UINT32_MAX = 2**32 - 1
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        "auto break case char const continue default do double else enum extern float for goto if inline int "
        "long register restrict return short signed sizeof static struct switch typedef union unsigned void "
        "volatile while",
    )
)


@dataclass(frozen=True)
class Region:
    """A named offset: a buffer of the arena, or a constant among the weights."""

    macro: str
    offset_bytes: int
    comment: str


@dataclass(frozen=True)
class Prototype:
    """Declaration of a kernel."""

    symbol: str
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class KernelCall:
    """One call: the kernel's C symbol and its argument expressions."""

    symbol: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class StageCode:
    """A stage of a stream (plan/program.py: Stage): numbers for the table in C, the call, who else reads its image."""

    offset: str
    stage: Stage
    call: KernelCall
    comment: str
    holder: int


@dataclass(frozen=True)
class StreamCode:
    """A step that is a stream: the number of its first stage among all, and pointers in C."""

    first: int
    stages: tuple[StageCode, ...]
    counters: str
    source: str
    sink: str
    sink_row_bytes: int
    pushed: bool


@dataclass(frozen=True)
class StepCode:
    """A step as a static function: what it takes (`arena` or ports), calls, and where its result lies."""

    name: str
    comment: str
    parameters: tuple[str, ...]
    arguments: tuple[str, ...]
    calls: tuple[KernelCall, ...]
    result: str
    stream: StreamCode | None = None


@dataclass(frozen=True)
class SharedCall:
    """Calls of which a thread does a part of `major` times `minor` rounds; `lean` says who does what is left over.

    Their arguments take the rounds from `todo` (templates/native/rounds.c).
    """

    comment: str
    calls: tuple[KernelCall, ...]
    major: int
    minor: int
    lean: int


@dataclass(frozen=True)
class PhaseCode:
    """Calls between two barriers. `locals` is what of the job they take. One thread does all of them if `alone`."""

    name: str
    locals: tuple[str, ...]
    calls: tuple[SharedCall, ...]
    alone: bool


@dataclass(frozen=True)
class LayerRow:
    """A row of the public layer table."""

    name: str
    macs: int
    result_bytes: int


@dataclass(frozen=True)
class Home:
    """The place of an input or output in the arena: the port, the macro of its offset, and its pointer in C."""

    port: Port
    offset: str
    pointer: str


@dataclass(frozen=True)
class Driver:
    """What the driver template lays out. `unused` are the parameters of `run` that no step takes.

    `phases` are the same calls for several threads, where the interface has any.
    """

    buffers: tuple[Region, ...]
    constants: tuple[Region, ...]
    prototypes: tuple[Prototype, ...]
    steps: tuple[StepCode, ...]
    homes: tuple[Home, ...]
    layers: tuple[LayerRow, ...]
    unused: tuple[str, ...]
    phases: tuple[PhaseCode, ...] = ()


@dataclass(frozen=True)
class Places:
    """How C points into the arena and among the weights: text around an offset."""

    arena: str = "region(arena, {})"
    constant: str = "constant({})"


IN_HOST_MEMORY = Places()
IN_CONTEXT = Places("context->arena + {}", "context->weights + {}")


def kernel_symbols(program: Program, interface: Interface, scope: str = "") -> dict[str, str]:
    """Symbol in the kernels object -> symbol in the library, always `<prefix>_...`, so that networks do not clash.

    With a `scope`, always `<prefix>_<scope>_...`, so that variants of a network do not clash.
    """
    start = f"{interface.prefix}_"
    wanted = {}
    for function in program.functions:
        cleaned = c_identifier(function.symbol, "kernel").removeprefix(start)
        wanted[function.symbol] = f"{start}{scope}_{cleaned}" if scope else start + cleaned
    return unique_identifiers(wanted, "kernel", interface.declared)


def plan_driver(
    program: Program, interface: Interface, weights: Weights, scope: str = "", places: Places = IN_HOST_MEMORY
) -> Driver:
    """The driver of a checked program; `scope` stands in front of all names in it, for one variant of several."""
    return _Writer(program, interface, weights, scope=scope, places=places).driver()


def plan_steps(program: Program, interface: Interface, arrays: Mapping[str, str]) -> Driver:
    """The driver of a checked program whose constants are C arrays: `arrays` maps their names to identifiers."""
    return _Writer(program, interface, Weights(b"", dict.fromkeys(program.constants, 0)), arrays).driver()


class _Writer:
    """Turns a program's names into C names, and its operands into expressions."""

    def __init__(
        self,
        program: Program,
        interface: Interface,
        weights: Weights,
        arrays: Mapping[str, str] | None = None,
        scope: str = "",
        places: Places = IN_HOST_MEMORY,
    ) -> None:
        self.scope = scope
        self.places = places
        self.arrays = arrays or {}
        self.program = program
        self.weights = weights
        self.ports = {port.tensor.name: port for port in interface.inputs}
        self.results = {port.tensor.name: port for port in interface.outputs}
        self.slots = {slot.tensor.name: slot.offset_bytes for slot in interface.slots}
        self.slots |= {state.next: self.slots[state.name] for state in program.network.states}
        self.interface = interface
        self.copies = {
            name: (f"weights_{use.region.name.lower()}", offset)
            for use in program.weights
            if use.region.copy
            for name, offset in use.offsets.items()
        }
        self.symbols = kernel_symbols(program, interface, scope)
        self.functions = {function.symbol: function for function in program.functions}
        taken = interface.macros
        self.buffer_macros = _macros(f"{scope} buffer", [b.name for b in program.buffers], taken)
        taken = (*taken, *self.buffer_macros.values())
        self.constant_macros = _macros(f"{scope} weights", program.constants, taken)

    def driver(self) -> Driver:
        """Everything, in the order of the program."""
        program = self.program
        used = {call.symbol for step in program.steps for call in step.every_call}
        steps = tuple(self._step(index, step) for index, step in enumerate(program.steps))
        taken = {argument for step in steps for argument in step.arguments}
        return Driver(
            buffers=tuple(self._buffer(buffer) for buffer in program.buffers),
            constants=tuple(
                Region(self.constant_macros[name], self.weights.offsets[name], c_comment(name))
                for name in program.constants
            ),
            prototypes=tuple(self._prototype(f) for f in program.functions if f.symbol in used),
            steps=steps,
            homes=tuple(self._home(port) for port in self.interface.ports if port is not self.interface.pushed),
            layers=tuple(
                LayerRow(step.name, min(step.macs, _UINT32_MAX), min(step.result_bytes, _UINT32_MAX))
                for step in program.steps
            ),
            unused=tuple(name for name in self.interface.arguments if name not in taken),
            phases=self._phases() if self.interface.has_threads else (),
        )

    def _phases(self) -> tuple[PhaseCode, ...]:
        from dscompile.plan.phases import plan_phases

        return tuple(self._phase(index, phase) for index, phase in enumerate(plan_phases(self.program)))

    def _phase(self, index: int, phase: Phase) -> PhaseCode:
        calls: list[SharedCall] = []
        step = -1
        for share in phase.shares:
            named = c_comment(f"Step {share.step}: {self.program.steps[share.step].name}.")
            calls.append(
                SharedCall(
                    comment=named if share.step != step else "",
                    calls=tuple(self._shared(share, call, phase.alone) for call in share.calls),
                    major=share.major,
                    minor=share.minor,
                    lean=share.lean,
                )
            )
            step = share.step
        parameters, arguments = self._taken([call for share in phase.shares for call in share.calls])
        return PhaseCode(
            name=f"{self.scope}{'_' if self.scope else ''}phase_{index}",
            locals=tuple(
                f"{declaration.replace(' *', ' *const ')} = job->{name}"
                for declaration, name in zip(parameters, arguments, strict=True)
            ),
            calls=tuple(calls),
            alone=phase.alone,
        )

    def _shared(self, share: Share, call: Call, alone: bool) -> KernelCall:
        """A call of a phase, whole or with the rounds that a thread is to do."""
        extents = self.functions[call.symbol].extents
        loops = (1, 0) if share.swapped else (0, 1)[: len(extents)]
        bounds = [f"todo.{end}[{loop}]" for loop in loops for end in ("first", "end")]
        is_whole = alone or len(share.calls) > 1
        return KernelCall(
            self.symbols[call.symbol], (*self._pointers(call), *(_whole(extents) if is_whole else bounds))
        )

    def _pointers(self, call: Call) -> tuple[str, ...]:
        """The pointers of a call as C."""
        parameters = self.functions[call.symbol].parameters
        return tuple(
            self._expression(operand, parameter) for operand, parameter in zip(call.operands, parameters, strict=True)
        )

    def _taken(self, calls: Iterable[Call]) -> tuple[list[str], list[str]]:
        """What calls take of the parameters of `run`: declarations, and names."""
        operands = [operand for call in calls for operand in call.operands]
        ports = [self._port(operand) for operand in operands]
        taken: list[tuple[str, str]] = []
        if any(operand.space == "arena" or self._is_copied(operand) for operand in operands):
            taken.append((self.interface.lent_parameter, self.interface.lent))
        if any(self._is_kept(operand) for operand in operands):
            taken.append((f"{self.interface.prefix}_state *state", "state"))
        for port in self.interface.ports:
            if port in ports:
                const = "const " if port in self.interface.inputs else ""
                taken.append((f"{const}{port.c_type} *{port.parameter}", port.parameter))
        return [declaration for declaration, _ in taken], [name for _, name in taken]

    def _buffer(self, buffer: Buffer) -> Region:
        first, last = max(buffer.first, 0), min(buffer.last, len(self.program.steps) - 1)
        steps = f"step {first}" if first == last else f"steps {first} to {last}"
        where = f", in {buffer.region}" if buffer.region else ""
        return Region(
            self.buffer_macros[buffer.name], buffer.offset_bytes, f"{spaced(buffer.size_bytes)} B, {steps}{where}"
        )

    def _home(self, port: Port) -> Home:
        homes = self.program.inputs if port in self.interface.inputs else self.program.outputs
        offset = self.buffer_macros[homes[port.tensor.name]]
        return Home(port, offset, self._in_arena(homes[port.tensor.name], offset))

    def _in_arena(self, buffer: str, offset: str) -> str:
        """The pointer to an offset in the memory of a buffer."""
        if not self.interface.blocks:
            return self.places.arena.format(offset)
        region = self.program.buffer(buffer).region
        member = f"arena_{region.lower()}" if region else "arena"
        return f"region(arenas->{member}->bytes, {offset})"

    def _is_copied(self, operand: Operand) -> bool:
        """Whether an operand is a constant that is read where it was copied to."""
        return operand.space == "constant" and operand.name in self.copies

    def _prototype(self, function: Function) -> Prototype:
        names = unique_identifiers({p.name: p.name for p in function.parameters}, "pointer", _KEYWORDS)
        declared = tuple(f"{_pointer(p)}{names[p.name]}" for p in function.parameters)
        bounds = [f"int32_t {end}_{loop}" for loop in range(len(function.extents)) for end in ("first", "end")]
        return Prototype(self.symbols[function.symbol], (*declared, *bounds))

    def _step(self, index: int, step: Step) -> StepCode:
        parameters, arguments = self._taken(step.calls)
        return StepCode(
            name=f"{self.scope}{'_' if self.scope else ''}step_{index}_{c_identifier(step.name, 'step')}",
            comment=self._comment(index, step),
            parameters=tuple(parameters) or ("void",),
            arguments=tuple(arguments),
            calls=tuple(
                KernelCall(
                    self.symbols[call.symbol],
                    (*self._pointers(call), *_whole(self.functions[call.symbol].extents)),
                )
                for call in step.calls
            ),
            result=self._expression(step.result, None),
            stream=None if step.stream is None else self._stream(index, step, step.stream),
        )

    def _stream(self, index: int, step: Step, stream: Stream) -> StreamCode:
        """The stages of a stream, numbered through all streams."""
        before = [each.stream for each in self.program.steps[:index] if each.stream is not None]
        calls = list(zip(stream.stages, step.calls, strict=True))
        sources = [self._image(stage, call) for stage, call in calls]
        holders = {stage.residual_stage: number for number, (stage, _) in enumerate(calls)}
        codes = [
            StageCode(
                self.buffer_macros[source.name] if source.space == "arena" else "0u",
                stage,
                KernelCall(self.symbols[call.symbol], self._row_arguments(stage, call)),
                c_comment(f"{list(self._rows(stage))} rows of {spaced(stage.row_bytes)} B"),
                holders.get(number, -1),
            )
            for number, ((stage, call), source) in enumerate(zip(calls, sources, strict=True))
        ]
        return StreamCode(
            first=sum(len(each.stages) for each in before),
            stages=tuple(codes),
            counters=self._expression(stream.counters, None),
            source=self._expression(sources[0], None),
            sink=self._expression(step.result, None),
            sink_row_bytes=stream.sink_row_bytes,
            pushed=stream.pushed,
        )

    def _rows(self, stage: Stage) -> tuple[int, int]:
        return stage.size, stage.outputs

    def _image(self, stage: Stage, call: Call) -> Operand:
        """What a stage reads through its window."""
        names = [parameter.name for parameter in self.functions[call.symbol].parameters]
        return call.operands[names.index(stage.image)]

    def _row_arguments(self, stage: Stage, call: Call) -> tuple[str, ...]:
        """The arguments of a call by row: pointers to rows and taps are in `job`."""
        function = self.functions[call.symbol]
        rows = {stage.image: "job->x", stage.residual: "job->residual", function.parameters[-1].name: "job->y"}
        pointers = tuple(
            rows.get(parameter.name) or self._expression(operand, parameter)
            for operand, parameter in zip(call.operands, function.parameters, strict=True)
        )
        return (*pointers, *(f"job->{name}" for name in function.bounds))

    def _is_kept(self, operand: Operand) -> bool:
        """Whether an operand lies in the state."""
        return operand.space in ("input", "output") and operand.name in self.slots

    def _port(self, operand: Operand) -> Port | None:
        if self._is_kept(operand):
            return None
        if operand.space == "input":
            return self.ports[operand.name]
        return self.results[operand.name] if operand.space == "output" else None

    def _expression(self, operand: Operand, parameter: Parameter | None) -> str:
        """The pointer as C; `parameter` None: for the hook, which takes any pointer."""
        if self._is_kept(operand):
            return f"kept(state, {self.slots[operand.name] + operand.offset_bytes}u)"
        port = self._port(operand)
        if port is not None:
            elements = operand.offset_bytes // DTYPE_BYTES[port.tensor.dtype]
            return f"{port.parameter} + {elements}" if elements else port.parameter
        shift = f" + {operand.offset_bytes}u" if operand.offset_bytes else ""
        if self._is_copied(operand):
            member, offset = self.copies[operand.name]
            return f"copied(arenas->{member}->bytes, {offset + operand.offset_bytes}u)"
        if operand.name in self.arrays and operand.space == "constant":
            elements = operand.offset_bytes // self.program.constants[operand.name].itemsize
            return f"{self.arrays[operand.name]} + {elements}" if elements else self.arrays[operand.name]
        if operand.space == "constant":
            return self.places.constant.format(f"{self.constant_macros[operand.name]}{shift}")
        return self._in_arena(operand.name, f"{self.buffer_macros[operand.name]}{shift}")

    def _comment(self, index: int, step: Step) -> str:
        """`Step 3: block1.depthwise, depthwise [1, 48, 48, 8] -> [1, 24, 24, 8], 41 472 MAC, result 18 432 B.`"""
        network = self.program.network
        layers = {layer.name: layer for layer in network.layers}
        known = [layers[name] for name in step.layers if name in layers]
        parts = [step.kind]
        if known:
            inputs = ", ".join(str(list(network.shape(name))) for name in known[0].inputs)
            parts[0] += f" {inputs} -> {list(network.shape(known[-1].output))}".replace("  ", " ")
        if step.macs:
            parts.append(f"{spaced(step.macs)} MAC")
        parts.append(f"result {spaced(step.result_bytes)} B")
        if step.note:
            parts.append(step.note)
        fused = [name for name in step.layers if name != step.name]
        with_others = f" with {', '.join(fused)}" if fused else ""
        return c_comment(f"Step {index}: {step.name}{with_others}: {', '.join(parts)}.")


def _whole(extents: Iterable[int]) -> list[str]:
    """The bounds of loops that are done from the first round to the last."""
    return [bound for extent in extents for bound in ("0", str(extent))]


def _pointer(parameter: Parameter) -> str:
    const = "" if parameter.written else "const "
    return f"{const}{C_TYPES[parameter.dtype]} *"


def _macros(role: str, names: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """Name -> macro `<ROLE>_<NAME>`, different from the macros in `taken`."""
    wanted = {name: f"{role.strip()} {name}" for name in names}
    unique = unique_identifiers(wanted, role.split()[-1], (macro.lower() for macro in taken))
    return {name: identifier.upper() for name, identifier in unique.items()}

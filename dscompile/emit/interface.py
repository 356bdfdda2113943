"""The C interface of a network: what its header declares, the same on every target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dscompile.emit.names import C_TYPES, c_comment, network_prefix, unique_identifiers
from dscompile.emit.state import Fill, fills
from dscompile.errors import BadInputError
from dscompile.ir.network import Network
from dscompile.ir.state import STATE_ALIGNMENT, Slot, slots, state_bytes
from dscompile.ir.tensor import INTEGER_RANGES, Rounding, Tensor

if TYPE_CHECKING:  # reading an artifact needs no plan
    from dscompile.plan.program import Program

_LETTERS = {"nhwc": {3: "NWC ", 4: "NHWC "}, "nchw": {3: "NCW ", 4: "NCHW "}}


@dataclass(frozen=True)
class Port:
    """An input or output in C: its parameter of `run`, its accessor into the arena, and the stem of its macros."""

    tensor: Tensor
    parameter: str
    accessor: str
    macro: str

    @property
    def c_type(self) -> str:
        """Type of an element."""
        return C_TYPES[self.tensor.dtype]

    @property
    def is_integer(self) -> bool:
        """Whether its elements are integers that stand for reals."""
        return self.tensor.dtype in INTEGER_RANGES

    @property
    def is_index(self) -> bool:
        """Whether its elements are indices, the result of an ArgMax."""
        return self.tensor.dtype == "int32"

    @property
    def elements(self) -> int:
        """Elements of the user's buffer."""
        return self.tensor.elements

    @property
    def size_macro(self) -> str:
        """The macro with the number of elements."""
        return f"{self.macro}_SIZE"

    @property
    def scale(self) -> float | None:
        """The scale of an integer tensor; None for floats."""
        return None if self.tensor.quantization is None else self.tensor.quantization.scale

    @property
    def zero_point(self) -> str:
        """The zero point of an integer tensor as a C expression."""
        value = 0 if self.tensor.quantization is None else self.tensor.quantization.zero_point
        return str(value) if value >= 0 else f"({value})"

    @property
    def description(self) -> str:
        """For comments: `"mfcc": float32 NHWC [1, 49, 10, 1]`."""
        shape = self.tensor.border_shape
        is_map = self.is_index and len(shape) == 3  # [1, H, W], without channels
        letters = "" if is_map else _LETTERS[self.tensor.border].get(len(shape), "")
        return f'"{c_comment(self.tensor.name)}": {self.tensor.dtype} {letters}{list(shape)}'


@dataclass(frozen=True)
class Block:
    """Memory that the caller lends where there are several: a part of the arena, or the copy of constants.

    `name` is that of its member in `<net>_arenas` and the end of its type's, `region` the memory's.
    """

    name: str
    size_bytes: int
    region: str
    is_copy: bool = False

    @property
    def macro(self) -> str:
        """The end of its macros."""
        return self.name.upper()


@dataclass(frozen=True)
class Interface:
    """Names that a network's header declares. `macro` is the prefix of its macros.

    `has_variants`: the library holds several and chooses when it runs. `rounding` is that of an int8 network.
    `on_device`: inputs and outputs lie in the memory of a GPU, and so does what a context holds. `slots` are what the
    network keeps from one inference to the next; only with them is there a state. `has_threads`: there is a pool of
    threads, and an inference that several of them share. `pushed` is the input that may come row by row. `blocks` are
    the memories that the caller lends, if there are several: then a structure of pointers stands in place of the arena.
    `weight_regions` are the memories that the linker places constants in, if they have names.
    """

    name: str
    prefix: str
    macro: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    labels: tuple[str, ...]
    has_variants: bool = False
    rounding: Rounding | None = None
    on_device: bool = False
    slots: tuple[Slot, ...] = ()
    has_threads: bool = False
    pushed: Port | None = None
    blocks: tuple[Block, ...] = ()
    weight_regions: tuple[str, ...] = ()

    @property
    def row_elements(self) -> int:
        """Elements of a row of the input that is pushed."""
        assert self.pushed is not None
        return math.prod(self.pushed.tensor.shape[2:])

    @property
    def row_count(self) -> int:
        """Rows of the input that is pushed."""
        assert self.pushed is not None
        return self.pushed.tensor.shape[1]

    @property
    def accessors(self) -> tuple[Port, ...]:
        """The ports that have a place in the arena."""
        return tuple(port for port in self.ports if port is not self.pushed)

    @property
    def lent(self) -> str:
        """The first parameter of `run`: the arena, or the structure of several."""
        return "arenas" if self.blocks else "arena"

    @property
    def lent_parameter(self) -> str:
        """Its declaration."""
        return f"{'const ' if self.blocks else ''}{self.prefix}_{self.lent} *{self.lent}"

    @property
    def has_copies(self) -> bool:
        """Whether constants are copied before the first inference."""
        return any(block.is_copy for block in self.blocks)

    @property
    def state_bytes(self) -> int:
        """Bytes of the state; 0 for a network that keeps nothing."""
        return state_bytes(self.slots)

    @property
    def state_alignment(self) -> int:
        """Where the state may begin: at multiples of so many bytes."""
        return STATE_ALIGNMENT

    @property
    def pool_bytes(self) -> int:
        """Bytes of a pool of threads: templates/native/crew.c, with room for larger threads and mutexes."""
        return 4096

    @property
    def most_threads(self) -> int:
        """How many threads a pool may have, with its caller."""
        return 64

    @property
    def fills(self) -> tuple[Fill, ...]:
        """What `reset` writes."""
        return fills(self.slots)

    @property
    def memory(self) -> tuple[str, ...]:
        """The first parameters of `run`: what the caller lends."""
        return (self.lent, "state") if self.slots else (self.lent,)

    @property
    def arguments(self) -> list[str]:
        """The parameters of `run`."""
        return [*self.memory, *(port.parameter for port in self.ports)]

    @property
    def ports(self) -> tuple[Port, ...]:
        """Inputs, then outputs: the order of the parameters of `run`."""
        return (*self.inputs, *self.outputs)

    @property
    def run_parameters(self) -> list[str]:
        """Declarations of the parameters of `run`."""
        if self.on_device:
            return [
                f"{self.prefix}_context *context",
                *(f"const {port.c_type} *{port.parameter}" for port in self.inputs),
                *(f"{port.c_type} *{port.parameter}" for port in self.outputs),
                "struct CUstream_st *stream",
            ]
        return [
            self.lent_parameter,
            *(f"{self.prefix}_{name} *{name}" for name in self.memory[1:]),
            *(f"const {port.c_type} {port.parameter}[{port.size_macro}]" for port in self.inputs),
            *(f"{port.c_type} {port.parameter}[{port.size_macro}]" for port in self.outputs),
        ]

    @property
    def pointers(self) -> list[str]:
        """The parameters of `run` as untyped pointers."""
        return [f"const void *{name}" for name in self.arguments]

    @property
    def exported(self) -> tuple[str, ...]:
        """Every symbol that the library offers."""
        labels = ("labels",) if self.labels else ()
        variant = ("variant",) if self.has_variants else ()
        reset = ("reset",) if self.slots else ()
        threads = ("run_parallel", "pool_start", "pool_stop") if self.has_threads else ()
        load = ("load_weights",) if self.has_copies else ()
        rows = ("begin", "push_row") if self.pushed is not None else ()
        names = ("fingerprint", *labels, "layers", "run", "run_profiled", *threads, *reset, *load, *variant, *rows)
        if self.on_device:
            return tuple(f"{self.prefix}_{name}" for name in (*names, "create", "destroy", "arena", "weights"))
        return (*(f"{self.prefix}_{name}" for name in names), *(port.accessor for port in self.accessors))

    @property
    def declared(self) -> tuple[str, ...]:
        """Every identifier with our prefix that C code cannot use for something else."""
        names = ("labels", "arena", "state", "status", "layer", "hook", "weights", "context", "pool", "chosen")
        blocks = ("arenas", *(block.name for block in self.blocks)) if self.blocks else ()
        return (*self.exported, *(f"{self.prefix}_{name}" for name in (*names, *blocks)))

    @property
    def macros(self) -> tuple[str, ...]:
        """Every macro that the header defines."""
        names = ("H", "FINGERPRINT", "ALIGNED", "ARENA_SIZE", "ARENA_ALIGN", "WEIGHTS_SIZE", "LAYER_COUNT")
        kept = ("STATE_SIZE", "STATE_ALIGN") if self.slots else ()
        rows = ("MORE", "ROW_SIZE", "ROW_COUNT") if self.pushed is not None else ()
        pool = ("POOL_SIZE", "POOL_ALIGN", "MAX_THREADS", "ERROR_THREADS") if self.has_threads else ()
        status = ("OK", "ERROR_NULL", "ERROR_ALIGNMENT", "ERROR_PROCESSOR", "ERROR_DEVICE", "ONLY_VARIANT")
        sections = ("WEIGHTS_ATTR", "CODE_ATTR", *(f"WEIGHTS_{name.upper()}_ATTR" for name in self.weight_regions))
        blocks = tuple(f"{block.macro}_{end}" for block in self.blocks for end in ("SIZE", "ATTR"))
        ports = ("SIZE", "SCALE", "ZERO_POINT")
        return (
            *(f"{self.macro}_{name}" for name in (*names, *status, *sections, *kept, *pool, *blocks, *rows)),
            *(f"{port.macro}_{name}" for port in self.ports for name in ports),
        )

    @property
    def header(self) -> str:
        """File name of the header."""
        return f"{self.prefix}.h"


def network_interface(
    network: Network,
    *,
    has_variants: bool = False,
    on_device: bool = False,
    has_threads: bool = False,
    takes_rows: bool = False,
    blocks: tuple[Block, ...] = (),
    weight_regions: tuple[str, ...] = (),
) -> Interface:
    """The interface of a network; `takes_rows`: its input may be pushed row by row.

    Raises BadInputError if its labels do not fit its first output.
    """
    prefix = network_prefix(network.name)
    outputs = _ports(prefix, "output", [network.tensor(name) for name in network.user_outputs])
    if network.labels and len(network.labels) != outputs[0].elements:
        raise BadInputError(
            f"the network has {len(network.labels)} labels, but its output '{outputs[0].tensor.name}' has "
            f"{outputs[0].elements} elements",
            help="give one label for each element, or none",
        )
    inputs = _ports(prefix, "input", [network.tensor(name) for name in network.user_inputs])
    return Interface(
        name=network.name,
        prefix=prefix,
        macro=prefix.upper(),
        inputs=inputs,
        outputs=outputs,
        labels=network.labels,
        has_variants=has_variants,
        on_device=on_device,
        rounding=network.rounding,
        slots=slots(network.states, network.tensors),
        has_threads=has_threads,
        pushed=inputs[0] if takes_rows else None,
        blocks=blocks,
        weight_regions=weight_regions,
    )


def program_interface(program: Program) -> Interface:
    """The interface of a program of standalone C: with several memories if it has them."""
    split = () if program.split is None else program.split.uses
    copies = [use for use in program.weights if use.region.copy]
    parts = [Block(f"arena_{use.region.name.lower()}", use.size_bytes, use.region.name) for use in split]
    if not parts and copies:
        parts = [Block("arena", program.arena_bytes, "")]
    alignment = program.target.arena_alignment
    parts += [
        Block(f"weights_{use.region.name.lower()}", max(use.size_bytes, alignment), use.region.name, is_copy=True)
        for use in copies
    ]
    homes = tuple(use.region.name for use in program.weights if not use.region.copy)
    return network_interface(
        program.network, takes_rows=program.pushed is not None, blocks=tuple(parts), weight_regions=homes
    )


def _ports(prefix: str, role: str, tensors: Sequence[Tensor]) -> tuple[Port, ...]:
    """A single tensor is just `input` or `output`; several carry their names."""
    if len(tensors) == 1:
        return (Port(tensors[0], role, f"{prefix}_{role}", f"{prefix}_{role}".upper()),)
    names = unique_identifiers({tensor.name: tensor.name for tensor in tensors}, "tensor")
    return tuple(
        Port(
            tensor,
            f"{role}_{names[tensor.name]}",
            f"{prefix}_{role}_{names[tensor.name]}",
            f"{prefix}_{role}_{names[tensor.name]}".upper(),
        )
        for tensor in tensors
    )

"""What a device runs: code with a function main() to measure, and the memory that it works in.

The memory begins with its image: input and packed weights. Behind it lie the output and the arena.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dscompile.data import data_directory
from dscompile.emit.render import render
from dscompile.emit.weights import lay_out_shared
from dscompile.plan.program import Call, Function, Operand, Program
from dscompile.target import Target
from dscompile.toolchain import find_toolchain
from dscompile.version import __version__

Form = Literal["library", "program"]
ALIGNMENT = 64


@dataclass(frozen=True)
class Runnable:
    """`code` is a shared library to load, or a static program for an emulator; `image` the first bytes of its memory.

    The output lies `output_bytes` long at `output_offset`. `timed` are the symbols of the kernels that main() calls. A
    device gives up after `limit_s`. If main() `times_itself`, its output is what was measured, and it is called once.
    """

    code: bytes
    image: bytes
    memory_bytes: int
    output_offset: int
    output_bytes: int
    timed: tuple[str, ...] = ()
    limit_s: float = 20.0
    times_itself: bool = False


class Memory:
    """Where everything lies: inputs, the constants of all programs, outputs, an arena for one program at a time.

    The programs are of one network.
    """

    def __init__(self, programs: Sequence[Program], inputs: Mapping[str, bytes], measured_bytes: int = 0) -> None:
        """`measured_bytes`: the output of the runnable is something measured, not the output of the network."""
        self.programs = programs
        self._alignment = max(ALIGNMENT, programs[0].target.arena_alignment)
        self._end = 0
        image = bytearray()
        self._inputs: dict[str, int] = {}
        for name, content in inputs.items():
            self._inputs[name] = self._place(len(content))
            image.extend(content)
            image.extend(bytes(self._end - len(image)))
        weights = lay_out_shared([program.constants for program in programs], self._alignment)
        begin = self._place(len(weights[0].blob))
        self._constants = [{name: begin + offset for name, offset in own.offsets.items()} for own in weights]
        image.extend(weights[0].blob)
        self.image = bytes(image)
        network = programs[0].network
        sizes = {name: network.tensor(name).size_bytes for name in network.outputs}
        self.output_bytes = measured_bytes or sum(sizes.values())
        self.output_offset = self._end
        if measured_bytes:
            self._place(measured_bytes)
        self._outputs = {name: self._place(size) for name, size in sizes.items()}
        self._arena = self._place(max(program.arena_bytes for program in programs))
        self.size_bytes = self._end

    def call(self, call: Call, symbol: str, variant: int = 0) -> str:
        """A call of the program number `variant` as C."""
        return f"{symbol}({', '.join(f'memory + {self._offset(operand, variant)}' for operand in call.operands)})"

    def _place(self, size: int) -> int:
        """Room behind what there is; where it begins."""
        begin = self._end
        self._end += -(-size // self._alignment) * self._alignment
        return begin

    def _offset(self, operand: Operand, variant: int) -> int:
        match operand.space:
            case "input":
                base = self._inputs[operand.name]
            case "output":
                base = self._outputs[operand.name]
            case "constant":
                base = self._constants[variant][operand.name]
            case "arena":
                base = self._arena + self.programs[variant].buffer(operand.name).offset_bytes
        return base + operand.offset_bytes

    def runnable(
        self, code: bytes, timed: Sequence[str] = (), limit_s: float = 20.0, *, times_itself: bool = False
    ) -> Runnable:
        """Linked code with this memory."""
        place = (self.output_offset, self.output_bytes)
        return Runnable(code, self.image, self.size_bytes, *place, tuple(timed), limit_s, times_itself)


def prototype(function: Function, symbol: str) -> str:
    """The declaration of a kernel, without its result."""
    return f"{symbol}({', '.join(['void *'] * len(function.parameters))})"


def link(source: str, objects: Sequence[bytes], memory: Memory, target: Target, form: Form) -> bytes:
    """Compiles `source` and links it with kernels. Raises ToolError without a compiler for the target."""
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        directory = Path(scratch)
        (directory / "candidate.c").write_text(source, encoding="utf-8")
        files = ["candidate.c"]
        for index, content in enumerate(objects):
            (directory / f"kernels{index}.o").write_bytes(content)
            files.append(f"kernels{index}.o")
        flags = ["-fPIC", "-shared"]
        if form == "program":
            sizes = {
                "MEMORY_BYTES": memory.size_bytes,
                "IMAGE_BYTES": len(memory.image),
                "OUTPUT_OFFSET": memory.output_offset,
                "OUTPUT_BYTES": memory.output_bytes,
            }
            flags = ["-static", *(f"-D{name}={size}u" for name, size in sizes.items())]
            files.append(str(data_directory("templates") / "tune" / "candidate_main.c"))
        arguments = ["-std=c11", "-O1", *flags, *files, "-lm", "-o", "candidate"]
        find_toolchain(target).compile(arguments, directory, "linking a candidate")
        return (directory / "candidate").read_bytes()


def source_of(template: str, memory: Memory, **values: object) -> str:
    """The C file of `templates/tune/<template>` for a memory."""
    return render(f"tune/{template}", memory_bytes=memory.size_bytes, version=__version__, **values)

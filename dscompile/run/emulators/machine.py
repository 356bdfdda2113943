"""An emulated microcontroller as the rest of the project sees it: write memory, call a function, read memory."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from dscompile.errors import CheckFailedError, Diagnostic, UsageError
from dscompile.firmware.image import Image, Symbol
from dscompile.run.emulators.causes import explain_arm, explain_riscv
from dscompile.run.emulators.counting import MARKS, NO_ADDRESS, Counters

DEFAULT_LIMIT = 2_000_000_000  # instructions: 20 seconds of a 100 MHz core, half a minute in an emulator
Argument = str | int


@dataclass(frozen=True)
class EmulatedRun:
    """One call of a function.

    `outputs` are the bytes read, by symbol. `instructions` are those executed from the function's first to its return,
    with everything it called; conditional instructions that were skipped count. `result` is what it returned, as 32
    unsigned bits. `stack_bytes` is the depth of the deepest word that it wrote below the stack pointer it was called
    with. `marks` are the instructions executed before each call of the function asked for, `printed` is what the
    program wrote with firmware_print().
    """

    outputs: Mapping[str, bytes]
    instructions: int
    result: int
    stack_bytes: int
    marks: tuple[int, ...] = ()
    printed: str = ""


class StepBlocks(Protocol):
    """Blocks, straight runs of instructions, that the steps of a program executed."""

    def of_step(self, step: int) -> Iterable[tuple[bytes, int, int]]:
        """The code of every block that a step executed, how often it did, and how often a jump followed."""


@dataclass(frozen=True)
class Fault:
    """How a program failed: `kind` in words, the address of the instruction, and the nearest symbol with its offset.

    `instructions` were executed in the blocks up to the one that failed, `address` is the bad address if one is known.
    """

    kind: str
    pc: int
    symbol: str
    instructions: int
    address: int | None = None


class FirmwareFault(CheckFailedError):  # noqa: N818 -- a fault is what the processor calls it
    """The program faulted or did not end; `fault` says how."""

    def __init__(self, fault: Fault, *, help: str | None = None) -> None:
        self.fault = fault
        at = "" if fault.address is None else f" at address 0x{fault.address:08x}"
        super().__init__(
            f"the program stopped with a fault: {fault.kind}{at}, in {fault.symbol} (pc 0x{fault.pc:08x})", help=help
        )


@dataclass
class Machine(ABC):
    """A booted program that waits for calls. Memory keeps its content from one call to the next, as on a device.

    A context manager: leaving it ends the emulator. After a fault the machine is of no use any more.
    """

    image: Image
    counters: Counters = field(default_factory=Counters)

    @abstractmethod
    def close(self) -> None:
        """Ends the emulator."""

    @abstractmethod
    def write(self, address: int, content: bytes) -> None:
        """Puts bytes into memory."""

    @abstractmethod
    def read(self, address: int, size: int) -> bytes:
        """Takes bytes out of memory."""

    @abstractmethod
    def proceed(self) -> None:
        """Runs on to the next stop at firmware_stop. Raises FirmwareFault."""

    @abstractmethod
    def take_printed(self) -> str:
        """What the program printed since this was last asked."""

    def watch_steps(self, steps: int) -> StepBlocks | None:
        """From now on counts the blocks of calls, apart for each of `steps`; calls of the mark end them (`run`).

        To be called once. None where the emulator does not tell blocks.
        """
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def run(
        self,
        entry: str,
        *,
        arguments: Sequence[Argument] = (),
        writes: Mapping[str, bytes] | None = None,
        reads: Mapping[str, int] | None = None,
        limit: int = DEFAULT_LIMIT,
        mark: str | None = None,
    ) -> EmulatedRun:
        """Writes memory, calls the function `entry`, reads memory.

        `arguments` are at most four words: numbers, or symbols for their addresses. `writes` maps symbols to what is
        put there before the call, `reads` symbols to how many bytes are taken afterwards. With `mark`, the name of a
        function, its calls are recorded. Raises UsageError for a symbol that is not there or too small, and
        FirmwareFault if the program faults or executes more than `limit` instructions.
        """
        writes, reads = writes or {}, reads or {}
        self._check(arguments, writes, reads, limit)
        words = [self._word(argument) for argument in arguments]
        start = self.image.symbol(entry).address
        mark_address = NO_ADDRESS if mark is None else self.image.symbol(mark).address
        for name, content in writes.items():
            self.write(self.image.symbol(name).address, content)
        self._set("firmware_entry", self.image.function_address(entry))
        self._set("firmware_arguments", *words, *[0] * (4 - len(words)))
        stop, fault = (self.image.symbol(f"firmware_{name}").address for name in ("returned", "fault_handler"))
        self.counters.prepare(start, stop, fault, limit, mark_address)
        self.proceed()
        self._raise_fault()
        return EmulatedRun(
            outputs={name: self.read(self.image.symbol(name).address, size) for name, size in reads.items()},
            instructions=self.counters.instructions,
            result=self._get("firmware_result")[0],
            stack_bytes=self._stack_bytes(),
            marks=tuple(self.counters.mark_counts[: min(self.counters.marks, MARKS)]),
            printed=self.take_printed(),
        )

    def expire(self) -> FirmwareFault:
        """The error for a run that took more instructions than it may."""
        fault = self.fault(f"it did not end within {self.counters.limit} instructions", self.counters.last)
        return FirmwareFault(fault, help="an endless loop, or the limit is too low for this network")

    def fault(self, kind: str, pc: int, address: int | None = None) -> Fault:
        """A fault at `pc`."""
        return Fault(kind, pc, self.image.nearest(pc), self.counters.instructions, address)

    def _check(
        self, arguments: Sequence[Argument], writes: Mapping[str, bytes], reads: Mapping[str, int], limit: int
    ) -> None:
        problems = []
        if len(arguments) > 4:
            problems.append(Diagnostic(f"at most four arguments can be passed, not {len(arguments)}"))
        if limit < 1:
            problems.append(Diagnostic(f"the limit must be at least one instruction, not {limit}"))
        wanted = [(name, len(content), "written") for name, content in writes.items()]
        wanted += [(name, size, "read") for name, size in reads.items()]
        for name, size, verb in wanted:
            symbol = self.image.symbol(name)
            if size > symbol.size_bytes:
                problems.append(Diagnostic(f"{size} bytes are to be {verb} at '{name}', which has {symbol.size_bytes}"))
        if problems:
            raise UsageError(problems)

    def _word(self, argument: Argument) -> int:
        if isinstance(argument, int):
            return argument & ((1 << 8 * self._word_bytes) - 1)
        symbol: Symbol = self.image.symbol(argument)
        return self.image.function_address(argument) if symbol.is_function else symbol.address

    def _get(self, name: str, words: int = 1) -> tuple[int, ...]:
        return struct.unpack(f"<{words}I", self.read(self.image.symbol(name).address, 4 * words))

    def _set(self, name: str, *words: int) -> None:
        content = b"".join(word.to_bytes(self._word_bytes, "little") for word in words)
        self.write(self.image.symbol(name).address, content)

    @property
    def _word_bytes(self) -> int:
        """Bytes of an address and of a number in a register."""
        return self.image.symbol("firmware_entry").size_bytes

    def _stack_bytes(self) -> int:
        used = self._get("firmware_stack_used")[0]
        room = self.image.symbol("firmware_stack_top").address - self.image.symbol("firmware_stack_bottom").address
        if used >= room:
            raise FirmwareFault(
                self.fault(f"the stack of {room} bytes overflowed", self.counters.last),
                help="large arrays belong into the arena, not on the stack",
            )
        return used

    def _raise_fault(self) -> None:
        cause, status, address, pc, _ = self._get("firmware_fault", 5)
        if cause:
            kind, has_address = explain_arm(cause, status) if self.image.is_arm else explain_riscv(cause - 1)
            raise FirmwareFault(self.fault(kind, pc or self.counters.last, address if has_address else None))

"""Unicorn: QEMU's processors as a library, installed by pip; in this process, and quick to start."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dscompile.board import UnicornCpu
from dscompile.errors import ToolError
from dscompile.firmware.image import Image
from dscompile.firmware.toolchains import require_board
from dscompile.run.emulators.causes import explain_riscv
from dscompile.run.emulators.counting import Counters, helper_library
from dscompile.run.emulators.machine import FirmwareFault, Machine
from dscompile.target import Target

if TYPE_CHECKING:
    from unicorn import Uc

_PAGE = 4096
_PERIPHERALS = (0xE0000000, 0x100000)  # Armv7-M, B3.1: the private peripheral bus; here plain memory
# Exceptions that reach unicorn's hook. Source: target/arm/cpu.h of QEMU.
_ARM_EXCEPTIONS = {
    1: "undefined instruction",
    2: "supervisor call",
    3: "instruction fetch from where there is no memory",
    4: "bad or unaligned access to memory",
    7: "breakpoint",
    17: "use of a floating-point unit that is not there",
    18: "invalid return address or state",
    20: "invalid state",
    22: "unaligned access",
    23: "division by zero",
}


# Semihosting: the instructions that ask for it, and the one operation that is answered.
_ARM_BREAKPOINT = bytes.fromhex("abbe")  # bkpt 0xab
_RISCV_BREAKPOINT = bytes.fromhex("73001000")  # ebreak
_SYS_WRITE0 = 4


class _Counting(ctypes.Structure):
    """`unicorn_counting` of templates/run/unicorn_counting.c."""

    _fields_ = (
        ("count", ctypes.POINTER(Counters)),
        ("stop", ctypes.c_void_p),
        ("read", ctypes.c_void_p),
        ("read_register", ctypes.c_void_p),
        ("code", ctypes.c_char_p),
        ("code_address", ctypes.c_uint64),
        ("code_size", ctypes.c_uint64),
        ("is_arm", ctypes.c_uint64),
        ("pc_register", ctypes.c_uint64),
        ("misaligned", ctypes.c_uint64),
        ("misaligned_address", ctypes.c_uint64),
        ("misaligned_pc", ctypes.c_uint64),
    )
    misaligned: int
    misaligned_address: int
    misaligned_pc: int


class WatchedRange(ctypes.Structure):
    """`watched_range` of templates/run/unicorn_counting.c: addresses, and the bytes loaded and stored there."""

    _fields_ = (
        ("start", ctypes.c_uint64),
        ("end", ctypes.c_uint64),
        ("loaded", ctypes.c_uint64),
        ("stored", ctypes.c_uint64),
    )
    start: int
    end: int
    loaded: int
    stored: int


class _Watching(ctypes.Structure):
    """`watching` of templates/run/unicorn_counting.c."""

    _fields_ = (
        ("count", ctypes.POINTER(Counters)),
        ("ranges", ctypes.POINTER(WatchedRange)),
        ("range_count", ctypes.c_uint64),
    )


class _Stepping(ctypes.Structure):
    """`stepping` of templates/run/unicorn_counting.c."""

    _fields_ = (
        ("count", ctypes.POINTER(Counters)),
        ("code_address", ctypes.c_uint64),
        ("halfwords", ctypes.c_uint64),
        ("steps", ctypes.c_uint64),
        ("sizes", ctypes.POINTER(ctypes.c_uint32)),
        ("executed", ctypes.POINTER(ctypes.c_uint64)),
        ("jumped", ctypes.POINTER(ctypes.c_uint64)),
        ("left", ctypes.c_void_p),
        ("end", ctypes.c_uint64),
    )


class UnicornBlocks:
    """Blocks that the steps of a program execute: how often, and how often they end with a jump."""

    def __init__(self, address: int, code: bytes, steps: int) -> None:
        self._code, self._steps = code, steps
        self._halfwords = len(code) // 2
        self._sizes = (ctypes.c_uint32 * self._halfwords)()
        self._executed = (ctypes.c_uint64 * (steps * self._halfwords))()
        self._jumped = (ctypes.c_uint64 * (steps * self._halfwords))()
        self._address = address

    def structure(self, counters: Counters) -> _Stepping:
        """What the C function fills."""
        return _Stepping(
            ctypes.pointer(counters),
            self._address,
            self._halfwords,
            self._steps,
            self._sizes,
            self._executed,
            self._jumped,
        )

    def of_step(self, step: int) -> Iterator[tuple[bytes, int, int]]:
        """The code of every block that a step executes, how often it does, and how often a jump follows."""
        for at in range(self._halfwords):
            index = step * self._halfwords + at
            if self._executed[index]:
                yield self._code[2 * at : 2 * at + self._sizes[at]], self._executed[index], self._jumped[index]


class UnicornMachine(Machine):
    """A program booted in unicorn."""

    def __init__(self, image: Image, target: Target) -> None:
        """Loads and boots. Raises ToolError if unicorn or a C compiler is missing, or unicorn lacks the core."""
        super().__init__(image)
        board = require_board(target)
        if board.unicorn is None:
            raise ToolError(f"unicorn has no core for target {target.name}", help="run it under QEMU")
        self._engine = _open(board.unicorn)
        code = board.memory(board.sections.code)
        for memory in board.memories:
            is_flash = memory.name in (board.sections.code, board.sections.constants)
            is_writable = not is_flash or memory.name in (board.sections.data, board.sections.stack)
            permissions = (4 if memory.name == board.sections.code else 0) | 1 | (2 if is_writable else 0)
            self._engine.mem_map(memory.origin, -(-memory.size_bytes // _PAGE) * _PAGE, permissions)
        for segment in image.segments:
            self._engine.mem_write(segment.address, segment.content)
        self._exception: int | None = None
        self._printed = b""
        self._bad_address: int | None = None
        self._pc_register = self._set_up_processor(code.origin)
        end = max(s.address + len(s.content) for s in image.segments if code.origin <= s.address < code.end)
        self._code = (code.origin, bytes(self._engine.mem_read(code.origin, end - code.origin)))
        self._hook(*self._code, target.has("unaligned"))
        self._stop = image.symbol("firmware_stop").address
        self._resume = image.symbol("firmware_resume").address
        self._emulate(image.symbol("firmware_reset").address)

    def close(self) -> None:
        """Lets go of the engine, which frees its memory."""
        self._engine = None

    def write(self, address: int, content: bytes) -> None:
        """Puts bytes into memory."""
        self._engine.mem_write(address, content)

    def read(self, address: int, size: int) -> bytes:
        """Takes bytes out of memory."""
        return bytes(self._engine.mem_read(address, size))

    def proceed(self) -> None:
        """Runs on to the next stop. Raises FirmwareFault."""
        self._emulate(self._resume)
        if self.counters.expired:
            raise self.expire()

    def take_printed(self) -> str:
        """What the program printed since this was last asked."""
        new, self._printed = self._printed, b""
        return new.decode("utf-8", "replace")

    def _set_up_processor(self, code: int) -> int:
        """The stack pointer of a fresh Arm core; returns unicorn's number of the program counter."""
        from unicorn import arm_const, riscv_const

        if not self.image.is_arm:
            return int(riscv_const.UC_RISCV_REG_PC)
        self._engine.mem_map(*_PERIPHERALS, 3)
        (stack,) = struct.unpack("<I", self.read(code, 4))
        self._engine.reg_write(arm_const.UC_ARM_REG_SP, stack)
        return int(arm_const.UC_ARM_REG_PC)

    def _hook(self, address: int, code: bytes, may_be_unaligned: bool) -> None:
        """Puts the block counter and the check of alignments, C functions, and the handlers of faults in place."""
        import unicorn
        from unicorn.unicorn_py3.unicorn import uclib

        library = ctypes.CDLL(str(helper_library("unicorn_counting")))
        self._counting = _Counting(
            count=ctypes.pointer(self.counters),
            stop=ctypes.cast(uclib.uc_emu_stop, ctypes.c_void_p),
            read=ctypes.cast(uclib.uc_mem_read, ctypes.c_void_p),
            code=code,
            code_address=address,
            code_size=len(code),
            is_arm=self.image.is_arm,
            read_register=ctypes.cast(uclib.uc_reg_read, ctypes.c_void_p),
            pc_register=self._pc_register,
        )
        hooks = [(unicorn.UC_HOOK_BLOCK, library.on_block)]
        if not may_be_unaligned:
            hooks.append((unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, library.on_access))
        for kind, function in hooks:
            self._add_hook(kind, function, self._counting)
        self._engine.hook_add(unicorn.UC_HOOK_INTR, self._on_exception)
        self._engine.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_bad_access)

    def _add_hook(self, kind: int, function: object, argument: ctypes.Structure) -> None:
        """Lets unicorn call a C function, which gets `argument`, whatever the address."""
        import unicorn
        from unicorn.unicorn_py3.unicorn import uclib

        status = uclib.uc_hook_add(
            self._engine._uch,
            ctypes.byref(ctypes.c_size_t()),
            kind,
            ctypes.cast(function, ctypes.c_void_p),  # type: ignore[arg-type]
            ctypes.cast(ctypes.pointer(argument), ctypes.c_void_p),
            ctypes.c_uint64(1),  # a range that is empty: all addresses
            ctypes.c_uint64(0),
        )
        if status != unicorn.UC_ERR_OK:
            raise ToolError(f"unicorn refused a hook (error {status})", help="pip install -U unicorn")

    def watch(self, spans: Sequence[tuple[int, int]]) -> Sequence[WatchedRange]:
        """From now on counts the bytes that calls load and store in each [start, end); the counts are in the result.

        Spans must not overlap. To be called once.
        """
        import unicorn

        library = ctypes.CDLL(str(helper_library("unicorn_counting")))
        ranges = (WatchedRange * max(1, len(spans)))(*(WatchedRange(start, end) for start, end in spans))
        self._watching = _Watching(ctypes.pointer(self.counters), ranges, len(spans))
        self._add_hook(unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, library.on_watched, self._watching)
        return ranges[: len(spans)]

    def watch_steps(self, steps: int) -> UnicornBlocks:
        """As `Machine.watch_steps`."""
        import unicorn

        library = ctypes.CDLL(str(helper_library("unicorn_counting")))
        blocks = UnicornBlocks(*self._code, steps)
        self._stepping = blocks.structure(self.counters)
        self._add_hook(unicorn.UC_HOOK_BLOCK, library.on_stepped, self._stepping)
        return blocks

    def _on_exception(self, engine: Uc, number: int, _user: object) -> None:
        if not self._print():
            self._exception = number
            engine.emu_stop()

    def _print(self) -> bool:
        """Does what semihosting's SYS_WRITE0 asks for; False if the program stands at anything else."""
        from unicorn import UcError

        pc, expected = self._pc(), _ARM_BREAKPOINT if self.image.is_arm else _RISCV_BREAKPOINT
        operation, argument = (self._engine.reg_read(register) for register in self._semihosting_registers())
        text = b""
        try:
            if operation != _SYS_WRITE0 or self.read(pc, len(expected)) != expected:
                return False
            while (byte := self.read(argument + len(text), 1)) != b"\0":
                text += byte
        except UcError:  # no memory there: the fault is reported as it is
            return False
        self._printed += text
        self._engine.reg_write(self._pc_register, pc + len(expected) | (1 if self.image.is_arm else 0))
        return True

    def _semihosting_registers(self) -> tuple[int, int]:
        """The registers of the operation and of its argument."""
        from unicorn import arm_const, riscv_const

        if self.image.is_arm:
            return int(arm_const.UC_ARM_REG_R0), int(arm_const.UC_ARM_REG_R1)
        return int(riscv_const.UC_RISCV_REG_A0), int(riscv_const.UC_RISCV_REG_A1)

    def _on_bad_access(self, _engine: Uc, _access: int, address: int, *_rest: object) -> bool:
        self._bad_address = address
        return False

    def _emulate(self, begin: int) -> None:
        """Runs from an address to firmware_stop. Raises FirmwareFault."""
        import unicorn

        self._exception = self._bad_address = None
        is_running = True
        while is_running:
            try:
                self._engine.emu_start(begin | (1 if self.image.is_arm else 0), self._stop)
                is_running = False
            except unicorn.UcError as error:
                # RISC-V's ebreak comes as an error instead of an exception.
                if not self._print():
                    kind = _UNICORN_ERRORS.get(error.errno, str(error))
                    raise FirmwareFault(self.fault(kind, self._pc(), self._bad_address)) from error
                begin = self._pc()
        if self._counting.misaligned:
            address = self._counting.misaligned_address
            raise FirmwareFault(self.fault("unaligned access", self._counting.misaligned_pc & ~1, address))
        if self._exception is not None:
            number = self._exception
            kind = _ARM_EXCEPTIONS.get(number, f"exception {number}") if self.image.is_arm else explain_riscv(number)[0]
            raise FirmwareFault(self.fault(kind, self._pc()))

    def _pc(self) -> int:
        return int(self._engine.reg_read(self._pc_register)) & ~1


# Source: enum uc_err of unicorn.h.
_UNICORN_ERRORS = {
    6: "bad access to memory",
    7: "bad access to memory",
    8: "instruction fetch from where there is no memory",
    10: "undefined instruction",
    12: "store to read-only memory",
    13: "load that memory protection forbids",
    14: "instruction fetch that memory protection forbids",
    21: "unhandled exception of the processor",
}


def _open(cpu: UnicornCpu) -> Uc:
    """An engine with the core. Raises ToolError if unicorn is not installed or does not know it."""
    try:
        import unicorn
        from unicorn import arm_const, riscv_const
    except ImportError as error:
        raise ToolError("unicorn is not installed", help="pip install 'dscompile[emulate]'") from error
    constants = arm_const if cpu.architecture == "arm" else riscv_const
    prefix = "UC_CPU_ARM_" if cpu.architecture == "arm" else "UC_CPU_"
    model = getattr(constants, f"{prefix}{cpu.model}", None)
    if model is None:
        raise ToolError(f"this unicorn has no core '{cpu.model}'", help="pip install -U unicorn")
    if cpu.architecture == "arm":
        engine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    else:
        engine = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
    engine.ctl_set_cpu_model(model)
    return engine

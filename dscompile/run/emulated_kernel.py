"""One kernel for 64-bit Arm by itself, under qemu-aarch64: called on NumPy buffers, its instructions counted."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dscompile.data import data_directory
from dscompile.errors import ToolError
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.int8_kernels import Int8Kernel
from dscompile.plan.kernels import Kernel, Parameter
from dscompile.plan.knobs import Knobs
from dscompile.plan.program import Function
from dscompile.run.emulators.qemu_user import InstructionCounts, UserRun, run_counted
from dscompile.run.operands import ALIGNMENT, At, Operand, Signature
from dscompile.target import Target
from dscompile.toolchain import disassemble, find_toolchain

if TYPE_CHECKING:
    from tvm.s_tir import Schedule

_SYMBOL = "dscompile_kernel"


class EmulatedKernel:
    """A kernel as a function on NumPy arrays, run as a program of its own in an emulator.

    Operands are those of `dscompile.run.kernel.CompiledKernel`. A call returns the instructions that it executed.
    """

    def __init__(
        self, kernel: Kernel | Bf16ConvKernel | Int8Kernel, knobs: Knobs | None, target: Target, *, cpu: str = "max"
    ) -> None:
        """Schedules, compiles and links `kernel`; `cpu` is the core that QEMU plays.

        Raises ToolError if the cross compiler is missing, ValueError for knobs that do not divide what they tile.
        """
        from dscompile import compute
        from dscompile.schedule.native import compile_functions

        code = compile_functions([Function(_SYMBOL, kernel, kernel.parameters, knobs)], target)
        self._set_up(code, Signature.of(compute.define(kernel), kernel.parameters), target, cpu)

    @classmethod
    def from_schedule(
        cls, schedule: Schedule, parameters: Sequence[Parameter], target: Target, *, cpu: str = "max"
    ) -> EmulatedKernel:
        """Compiles what was scheduled by hand; `parameters` are those of `CompiledKernel.from_schedule`."""
        from dscompile.schedule.native import compile_scheduled

        prim = schedule.mod["main"]
        self = cls.__new__(cls)
        code = compile_scheduled(prim, parameters, _SYMBOL, target)
        self._set_up(code, Signature.of(prim, parameters), target, cpu)
        return self

    def _set_up(self, code: bytes, signature: Signature, target: Target, cpu: str) -> None:
        self.parameters = signature.parameters
        self.target = target
        self.object = code
        self._cpu = cpu
        self._signature = signature
        self._directory = tempfile.TemporaryDirectory(prefix="dscompile-")  # removed with this object
        self._program = self._link(Path(self._directory.name))

    def __call__(self, *operands: Operand) -> InstructionCounts:
        """Runs the kernel once and returns what it executed, without what it called.

        Raises UsageError as `CompiledKernel` does, ToolError if qemu-aarch64 is missing or the program fails.
        """
        views = self._signature.check(operands)
        run = run_counted(
            self._program,
            [_description(view, p.written) for view, p in zip(views, self.parameters, strict=True)],
            cpu=self._cpu,
            stdin=b"".join(view.array.tobytes() for view in views),
        )
        if run.status:
            raise ToolError(f"the emulated kernel ended with status {run.status} on -cpu {self._cpu}")
        self._take_results(run, [view for view, p in zip(views, self.parameters, strict=True) if p.written])
        return run.counts[_SYMBOL]

    def reach(self, name: str) -> int:
        """Elements from the first of the parameter's view to the end of its last."""
        return self._signature.reach[[parameter.name for parameter in self.parameters].index(name)]

    def disassembly(self) -> str:
        """The kernel's machine code as the toolchain's objdump shows it. Raises ToolError if there is none."""
        return disassemble(self.object, _SYMBOL, self.target)

    def _link(self, directory: Path) -> Path:
        source = data_directory("templates") / "run" / "kernel_main.c"
        (directory / "kernel.o").write_bytes(self.object)
        options = ["-std=c99", "-O1", "-static", *self._signature.definitions(_SYMBOL)]
        command = [*options, str(source), "kernel.o", "-lm", "-o", "kernel"]
        find_toolchain(self.target).compile(command, directory, "linking the kernel")
        return directory / "kernel"

    def _take_results(self, run: UserRun, written: Sequence[At]) -> None:
        start = 0
        for view in written:
            array = view.array
            array[:] = np.frombuffer(run.stdout, array.dtype, array.size, start)
            start += array.nbytes


def _description(view: At, written: bool) -> str:
    """An argument of templates/run/kernel_main.c."""
    misalignment = int(view.array.ctypes.data) % ALIGNMENT
    return f"{view.array.nbytes},{misalignment},{view.offset * view.array.itemsize},{int(written)}"

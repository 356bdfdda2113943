"""One kernel by itself: compiled, called on NumPy buffers, timed, disassembled. For research, tests and tuning.

Kernels are functions over strided views, so an operand is a flat float32 array and the element in it where the view
begins. Kernels use aligned vector moves; `aligned_copy` and `aligned_buffer` give arrays that every kernel takes.
"""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dscompile.data import data_directory
from dscompile.errors import ToolError, UsageError
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.int8_kernels import Int8Kernel
from dscompile.plan.kernels import Kernel, Parameter
from dscompile.plan.knobs import Knobs
from dscompile.plan.program import Function
from dscompile.run.operands import At, Operand, Signature, aligned_buffer, aligned_copy
from dscompile.target import Target, runs_here
from dscompile.toolchain import disassemble, find_toolchain

if TYPE_CHECKING:
    from tvm.s_tir import Schedule
    from tvm.tirx import PrimFunc

__all__ = ["At", "CompiledKernel", "aligned_buffer", "aligned_copy"]

_SYMBOL = "dscompile_kernel"
_SAMPLE_NS = 200_000  # a sample lasts at least this long, or clock and interrupts would show in it
_MAX_CALLS = 1 << 20


class CompiledKernel:
    """A kernel as a function on NumPy arrays: `kernel(x, weights, bias, At(y, 96))`.

    Operands come in the order of `parameters`; results are written into the arrays given for the written ones. Shape
    and strides of every view are constants of the code, as the kernel says.
    """

    def __init__(self, kernel: Kernel | Bf16ConvKernel | Int8Kernel, knobs: Knobs | None, target: Target) -> None:
        """Schedules and compiles `kernel` with `knobs` (None for kinds that take none).

        Raises ToolError if `target` does not run on this machine or its C compiler is missing, ValueError for knobs
        that do not divide what they tile.
        """
        from dscompile import compute
        from dscompile.schedule.native import compile_functions

        _require_host(target)
        function = Function(_SYMBOL, kernel, kernel.parameters, knobs)
        code = compile_functions([function], target)
        self._set_up(code, compute.define(kernel), kernel.parameters, target)

    @classmethod
    def from_schedule(
        cls, schedule: Schedule | PrimFunc, parameters: Sequence[Parameter], target: Target
    ) -> CompiledKernel:
        """Compiles what was scheduled by hand: a `tvm.s_tir.Schedule`, or the PrimFunc in it.

        `parameters` are `kernel.parameters` of the kernel whose definition was scheduled, or others of the same names
        for a definition of your own; they bind strides and alignments to its buffers. Raises as the constructor does,
        and UsageError if the names differ.
        """
        from dscompile.schedule.native import compile_scheduled

        _require_host(target)
        prim = schedule.mod["main"] if hasattr(schedule, "mod") else schedule
        names, wanted = [str(p.name) for p in prim.params], [p.name for p in parameters]
        if names != wanted:
            raise UsageError(f"the PrimFunc takes {', '.join(names)}; the parameters are {', '.join(wanted)}")
        self = cls.__new__(cls)
        self._set_up(compile_scheduled(prim, parameters, _SYMBOL, target), prim, parameters, target)
        return self

    def _set_up(self, code: bytes, prim: PrimFunc, parameters: Sequence[Parameter], target: Target) -> None:
        self.parameters = tuple(parameters)
        self.target = target
        self.object = code
        self._signature = Signature.of(prim, parameters)
        library = _load(code, self._signature, target)
        self._call = getattr(library, _SYMBOL)
        self._call.argtypes = [ctypes.c_void_p] * len(self.parameters)
        self._call.restype = ctypes.c_int32
        self._time_ns = library.dscompile_kernel_ns
        self._time_ns.argtypes = [ctypes.c_void_p * len(self.parameters), ctypes.c_int64]
        self._time_ns.restype = ctypes.c_int64

    def __call__(self, *operands: Operand) -> None:
        """Runs the kernel once.

        Raises UsageError naming every operand that is missing, of the wrong type, too short for its view, not aligned
        as the parameter wants it, or read-only although the kernel writes to it.
        """
        self._call(*self._pointers(operands))

    def latency_us(self, *operands: Operand, repeats: int = 20) -> float:
        """Median time of one call in microseconds (see `latencies_us`)."""
        return float(np.median(self.latencies_us(*operands, repeats=repeats)))

    def latencies_us(self, *operands: Operand, repeats: int = 20) -> NDArray[np.float64]:
        """Time of one call in microseconds, `repeats` samples of it.

        Each sample is a loop of calls, in C, of at least 0.2 ms. Operands stay in the caches from one call to the next
        as far as they fit. Raises UsageError as a call does, and for fewer than one repeat.
        """
        if repeats < 1:
            raise UsageError(f"the number of repeats must be at least 1, not {repeats}")
        pointers = (ctypes.c_void_p * len(self.parameters))(*self._pointers(operands))
        calls = 1
        while (elapsed := self._time_ns(pointers, calls)) < _SAMPLE_NS and calls < _MAX_CALLS:
            calls = min(_MAX_CALLS, calls * max(2, min(16, _SAMPLE_NS // max(elapsed, 1) + 1)))
        return np.array([self._time_ns(pointers, calls) / calls / 1000.0 for _ in range(repeats)])

    def disassembly(self) -> str:
        """The kernel's machine code as the toolchain's objdump shows it. Raises ToolError if there is none."""
        return disassemble(self.object, _SYMBOL, self.target)

    def _pointers(self, operands: Sequence[Operand]) -> list[int]:
        return [view.address for view in self._signature.check(operands)]


def _require_host(target: Target) -> None:
    if not runs_here(target):
        raise ToolError(f"kernels for {target.name} do not run on this machine", help="use the target 'host'")


def _load(code: bytes, signature: Signature, target: Target) -> ctypes.CDLL:
    """The kernel's object and the timing loop, linked into a library and loaded."""
    source = data_directory("templates") / "run" / "latency.c"
    definitions = signature.definitions(_SYMBOL)
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        directory = Path(scratch)
        (directory / "kernel.o").write_bytes(code)
        find_toolchain(target).compile(
            ["-O2", "-fPIC", "-shared", "-Wl,--no-undefined", *definitions, str(source), "kernel.o", "-o", "kernel.so"],
            directory,
            "linking the kernel",
        )
        return ctypes.CDLL(str(directory / "kernel.so"))

"""One kernel by itself: compiled, called on NumPy buffers, timed, disassembled. For research, tests and tuning.

Kernels are functions over strided views, so an operand is a flat float32 array and the element in it where the view
begins. Kernels use aligned vector moves; `aligned_copy` and `aligned_buffer` give arrays that every kernel takes.
"""

from __future__ import annotations

import ctypes
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dscompile.data import data_directory
from dscompile.errors import Diagnostic, ToolError, UsageError
from dscompile.ir.network import Array
from dscompile.plan.int8_kernels import Int8Kernel
from dscompile.plan.kernels import Kernel, Parameter
from dscompile.plan.knobs import Knobs
from dscompile.plan.program import Function
from dscompile.target import Target, runs_here
from dscompile.toolchain import find_toolchain, run_tool

if TYPE_CHECKING:
    from tvm.s_tir import Schedule
    from tvm.tirx import PrimFunc

Floats = NDArray[np.float32]

ALIGNMENT = 64  # bytes: the widest vector of any target, and a cache line
_SYMBOL = "dscompile_kernel"
_SAMPLE_NS = 200_000  # a sample lasts at least this long, or clock and interrupts would show in it
_MAX_CALLS = 1 << 20


@dataclass(frozen=True)
class At:
    """An operand: the view begins `offset` elements into `array` (flat, float32, in one piece)."""

    array: Array
    offset: int = 0


Operand = Array | At


class CompiledKernel:
    """A kernel as a function on NumPy arrays: `kernel(x, weights, bias, At(y, 96))`.

    Operands come in the order of `parameters`; results are written into the arrays given for the written ones. Shape
    and strides of every view are constants of the code, as the kernel says.
    """

    def __init__(self, kernel: Kernel | Int8Kernel, knobs: Knobs | None, target: Target) -> None:
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
        self._reach = tuple(
            _reach(_shape_in(buffer, parameter), parameter.strides)
            for buffer, parameter in zip(prim.params, parameters, strict=True)
        )
        library = _load(code, len(self.parameters), target)
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
        objdump = find_toolchain(self.target).binutil("objdump")
        with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
            Path(scratch, "kernel.o").write_bytes(self.object)
            options = [f"--disassemble={_SYMBOL}", "--no-show-raw-insn", "--reloc", "-M", "intel"]
            return run_tool([objdump, *options, "kernel.o"], Path(scratch), "disassembling the kernel")

    def _pointers(self, operands: Sequence[Operand]) -> list[int]:
        """Addresses of the operands' first elements."""
        views = [operand if isinstance(operand, At) else At(operand) for operand in operands]
        if len(views) != len(self.parameters):
            names = ", ".join(parameter.name for parameter in self.parameters)
            raise UsageError(f"the kernel takes {len(self.parameters)} operands ({names}), not {len(views)}")
        problems = [
            Diagnostic(f"operand '{parameter.name}' {problem}")
            for parameter, view, reach in zip(self.parameters, views, self._reach, strict=True)
            if (problem := _problem(parameter, view, reach))
        ]
        if problems:
            raise UsageError(problems)
        return [view.array.ctypes.data + view.array.itemsize * view.offset for view in views]


def aligned_buffer(elements: int, fill: float = np.nan) -> Floats:
    """`elements` float32 at a multiple of 64 bytes, each `fill`."""
    room = np.empty(elements + ALIGNMENT // 4, np.float32)
    start = -room.ctypes.data % ALIGNMENT // 4
    buffer = room[start : start + elements]
    buffer[:] = fill
    return buffer


def aligned_copy(array: Array) -> Floats:
    """The elements of `array` in order, flat, as float32 at a multiple of 64 bytes."""
    buffer = aligned_buffer(array.size)
    buffer[:] = array.ravel()
    return buffer


def _shape_in(buffer: Any, parameter: Parameter) -> tuple[int, ...]:
    """The shape of a buffer in elements of the parameter, of which the buffer's own may hold several."""
    *outer, last = (int(n) for n in buffer.shape)
    return (*outer, last * np.dtype(str(buffer.dtype)).itemsize // np.dtype(parameter.dtype).itemsize)


def _reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from a view's first to the end of its last."""
    if not strides:
        return math.prod(shape)
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def _problem(parameter: Parameter, view: At, reach: int) -> str:
    """What is wrong with an operand, or nothing."""
    array, offset = view.array, view.offset
    if array.dtype != parameter.dtype or array.ndim != 1 or not array.flags.c_contiguous:
        return f"must be a flat {parameter.dtype} array in one piece, not {array.dtype} {list(array.shape)}"
    if not 0 <= offset <= array.size - reach:
        return f"needs {reach} elements from element {offset} on; the array has {array.size}"
    if (array.ctypes.data + array.itemsize * offset) % parameter.alignment:
        return f"must begin at a multiple of {parameter.alignment} bytes; make the array with aligned_copy()"
    if parameter.written and not array.flags.writeable:
        return "is written to, and the array is read-only"
    return ""


def _require_host(target: Target) -> None:
    if not runs_here(target):
        raise ToolError(f"kernels for {target.name} do not run on this machine", help="use the target 'host'")


def _load(code: bytes, parameters: int, target: Target) -> ctypes.CDLL:
    """The kernel's object and the timing loop, linked into a library and loaded."""
    source = data_directory("templates") / "run" / "latency.c"
    definitions = [
        f"-DKERNEL={_SYMBOL}",
        f"-DPARAMETERS={', '.join(['void *'] * parameters)}",
        f"-DARGUMENTS={', '.join(f'p[{index}]' for index in range(parameters))}",
    ]
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        directory = Path(scratch)
        (directory / "kernel.o").write_bytes(code)
        find_toolchain(target).compile(
            ["-O2", "-fPIC", "-shared", "-Wl,--no-undefined", *definitions, str(source), "kernel.o", "-o", "kernel.so"],
            directory,
            "linking the kernel",
        )
        return ctypes.CDLL(str(directory / "kernel.so"))

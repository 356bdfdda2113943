"""From scheduled kernels to an object file with a plain C interface: no libtvm, no packed calls, no undefined symbols.

Every function becomes `int32_t symbol(T *, ...)`, its parameters in the order of `Function.parameters`. Of a function
with extents, `int32_t first, int32_t end` of each of these loops follow.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import s_tir, tirx

from dscompile.plan.kernels import Parameter
from dscompile.plan.mcu.kernels import McuKernel
from dscompile.plan.program import Function
from dscompile.schedule import scheduled
from dscompile.schedule.barrier import insert_barriers
from dscompile.schedule.bf16_instructions import link
from dscompile.schedule.dot_products import lower_dot_products
from dscompile.schedule.held_constants import place_constants
from dscompile.schedule.prefetch import insert_prefetches
from dscompile.schedule.ranges import with_ranges
from dscompile.target import Target

_NO_ALIAS = "tirx.noalias"
_BUFFER_FIELDS = {field.name: field for field in tirx.BufferType.__tvm_ffi_type_info__.fields}

PrimFunc = Any
Progress = Callable[[int, int, str], None]


def compile_functions(functions: Sequence[Function], target: Target, progress: Progress | None = None) -> bytes:
    """A relocatable ELF object with all `functions` for `target`.

    `progress(done, total, symbol)` is called before each function is lowered.
    """
    lowered: dict[str, PrimFunc] = {}
    for function in _reported(functions, progress):
        lowered[function.symbol] = lower(function, target)
    return _object(lowered, target)


@dataclass(frozen=True)
class RangedFunctions:
    """An object file, and the functions in it with the extents of the loops that a call may do a part of."""

    content: bytes
    functions: tuple[Function, ...]


def compile_ranged(functions: Sequence[Function], target: Target, progress: Progress | None = None) -> RangedFunctions:
    """As `compile_functions`, with functions that several threads can share: their outermost loops take bounds."""
    lowered: dict[str, PrimFunc] = {}
    ranged: list[Function] = []
    for function in _reported(functions, progress):
        flat = _flat(_scheduled(function, target), function.parameters, function.symbol, target)
        loops = with_ranges(flat, [parameter.name for parameter in function.parameters if parameter.written])
        lowered[function.symbol] = with_pointers(loops.prim, function.symbol, bounds=loops.bounds)
        ranged.append(replace(function, extents=loops.extents))
    return RangedFunctions(_object(lowered, target), tuple(ranged))


def _reported(functions: Sequence[Function], progress: Progress | None) -> Iterator[Function]:
    for index, function in enumerate(functions):
        if progress is not None:
            progress(index, len(functions), function.symbol)
        yield function


def compile_scheduled(prim: PrimFunc, parameters: Sequence[Parameter], symbol: str, target: Target) -> bytes:
    """A relocatable ELF object with one PrimFunc, scheduled by whoever calls, as the function `symbol`.

    `parameters` are those of the kernel that `prim` computes: views and alignments behind its buffers.
    """
    return _object({symbol: lower_scheduled(prim, parameters, symbol, target)}, target)


def _object(lowered: Mapping[str, PrimFunc], target: Target) -> bytes:
    # TVM's code generator takes the promise that pointers do not alias from any function for the whole module.
    if not all(_NO_ALIAS in prim.attrs for prim in lowered.values()):
        lowered = {symbol: prim.without_attr(_NO_ALIAS) for symbol, prim in lowered.items()}
    machine = llvm_target(target)
    module = lower_dot_products(tvm.IRModule(place_constants(link(lowered), target)), machine)
    library = tvm.get_global_func("target.build.llvm")(module, machine)
    return object_bytes(library)


def object_bytes(module: Any) -> bytes:
    """The relocatable object of a module that LLVM compiled.

    It goes through memory where the system has files there: LLVM ends the whole process when a disk is full.
    """
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("kernels.o"), "rb") as file:
            module.write_to_file(f"/proc/self/fd/{file.fileno()}", "o")
            return file.read()
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        path = Path(scratch) / "kernels.o"
        module.write_to_file(str(path), "o")
        return path.read_bytes()


def llvm_target(target: Target) -> Any:
    """TVM's description of `target`."""
    description: dict[str, object] = {"kind": "llvm", "mcpu": target.mcpu}
    if target.triple:
        description["mtriple"] = target.triple
    if target.attributes:
        description["mattr"] = list(target.attributes)
    return tvm.target.Target(description)


def lower(function: Function, target: Target) -> PrimFunc:
    """The scheduled kernel of `function`, lowered to loops over raw pointers, ready for LLVM."""
    return lower_scheduled(_scheduled(function, target), function.parameters, function.symbol, target)


def _scheduled(function: Function, target: Target) -> PrimFunc:
    if isinstance(function.kernel, McuKernel):
        raise ValueError(f"{function.symbol} is a kernel of the standalone C backend")
    return scheduled(function.kernel, function.knobs, target)


def lower_scheduled(prim: PrimFunc, parameters: Sequence[Parameter], symbol: str, target: Target) -> PrimFunc:
    """A scheduled PrimFunc, lowered to loops over raw pointers, ready for LLVM."""
    return with_pointers(_flat(prim, parameters, symbol, target), symbol)


def _flat(prim: PrimFunc, parameters: Sequence[Parameter], symbol: str, target: Target) -> PrimFunc:
    """A scheduled PrimFunc, lowered to flat loops over its buffers."""
    prim = bind_views(prim, parameters)
    module = tvm.IRModule({symbol: prim.with_attr("global_symbol", symbol)})
    module = tirx.transform.BindTarget(llvm_target(target))(module)
    module = _lowering()(module)
    return insert_barriers(insert_prefetches(module[symbol]))


def bind_views(prim: PrimFunc, parameters: Sequence[Parameter]) -> PrimFunc:
    """Gives the parameters of `prim` their strides and alignments, and returns it.

    TE can only define dense buffers and `PrimFunc.specialize` refuses to add strides. So they are set in the types of
    the function's own buffers, which no other function shares: whoever calls has just made it.
    """
    views = {parameter.name: parameter for parameter in parameters}
    for buffer in prim.params:
        view = views.get(buffer.name)
        if view is None:
            continue
        _set(buffer, "data_alignment", view.alignment)
        if view.strides:
            _set(buffer, "strides", [tirx.IntImm("int32", each) for each in _in_elements(view, str(buffer.dtype))])
    return prim


def _set(buffer: Any, field: str, value: object) -> None:
    """Sets a field of a buffer's type by TVM's reflection; in Python it can only be read."""
    _BUFFER_FIELDS[field].setter(buffer.ty, value)


def _in_elements(view: Parameter, dtype: str) -> tuple[int, ...]:
    """Strides of a view in elements of `dtype`, which may hold several of the parameter's own."""
    size = np.dtype(dtype).itemsize // np.dtype(view.dtype).itemsize
    *outer, last = view.strides
    if any(stride % size for stride in outer) or (size > 1 and last != 1):
        raise ValueError(f"strides {list(view.strides)} of '{view.name}' are no multiples of {size}")
    return (*(stride // size for stride in outer), last)


def _lowering() -> Any:
    """The passes between a scheduled PrimFunc and flat loops, for CPUs.

    TVM's default pipeline without what makes packed calls, threads of GPUs, and float8/bfloat16 storage.
    """
    return tvm.ir.transform.Sequential(
        [
            s_tir.transform.CanonicalizeLoop(),
            s_tir.transform.LowerInitBlock(),
            s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
            s_tir.transform.ConvertBlocksToOpaque(),
            s_tir.transform.CompactBufferAllocation(),
            s_tir.transform.LowerMatchBuffer(),
            s_tir.transform.StmtSimplify(),
            s_tir.transform.LowerOpaqueBlock(),
            tirx.transform.FlattenBuffer(),
            tirx.transform.NarrowDataType(32),
            s_tir.transform.LoopPartition(),
            tirx.transform.VectorizeLoop(True),
            tirx.transform.StorageRewrite(),
            s_tir.transform.HoistIfThenElse(),
            tirx.transform.UnrollLoop(),
            s_tir.transform.RenormalizeSplitPattern(),
            tirx.transform.StmtSimplify(),
            tirx.transform.RemoveNoOp(),
            s_tir.transform.RewriteUnsafeSelect(),
            tirx.transform.CommonSubexprElim(),
        ]
    )


def with_pointers(prim: PrimFunc, symbol: str, *, returns: bool = True, bounds: Sequence[Any] = ()) -> PrimFunc:
    """Buffer parameters become raw pointers; the function returns 0 (or nothing) and has C linkage.

    `bounds` are variables that become parameters behind the pointers.
    """
    from tvm.ir import PointerType, PrimType

    pointers = {p.name: tirx.Var(p.name, PointerType(PrimType(str(p.dtype)))) for p in prim.params}
    statements = list(prim.body.seq) if isinstance(prim.body, tirx.SeqStmt) else [prim.body]
    for index, statement in enumerate(statements):
        if isinstance(statement, tirx.DeclBuffer):
            name = str(statement.data).removesuffix(".data")
            if name in pointers:
                statements[index] = tirx.DeclBuffer(statement.buffer, data=pointers[name])
    if returns:
        statements.append(tirx.stmt.Return(tirx.const(0, "int32")))
    result = PrimType("int32") if returns else None
    body = tirx.SeqStmt(statements) if len(statements) > 1 else statements[0]
    plain = tirx.PrimFunc([*(pointers[p.name] for p in prim.params), *bounds], body, ret_type=result, attrs=prim.attrs)
    return plain.with_attr({"global_symbol": symbol, "calling_conv": 0})

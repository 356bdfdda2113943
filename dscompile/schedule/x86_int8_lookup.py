"""Functions of one byte for x86: a table of 256 entries is 16 registers, from which VPSHUFB takes 32 bytes at once.

VPSHUFB gives entry `index % 16` where an index is not negative, and 0 elsewhere. Indices go down by 16 from register to
register until they are negative, so a byte collects the first few registers; these hold what the exclusive or of
all before it has to become. Bytes of one sign take eight registers, with their highest bit turned the others the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx

from dscompile import compute
from dscompile.plan.int8_elementwise import LookupKernel
from dscompile.schedule import x86_vectors as x86
from dscompile.schedule.vector_code import Code, load

Expr = Any
Buffer = Any
PrimFunc = Any

STEP = 16  # entries of a register
HALF = 8  # registers for bytes of one sign
BYTES = 32  # of a vector
VECTORS = 2  # that share a register of the table while it is there


def lookup_by_vpshufb(kernel: LookupKernel) -> PrimFunc | None:
    """The kernel, or None if entries are no bytes or what lies together is shorter than a vector."""
    run = _contiguous(kernel)
    if kernel.made not in ("int8", "uint8") or run < BYTES:
        return None
    function = compute.define(kernel)
    x, table, y = function.params
    inner = _merged(kernel, run)
    code = Code()
    registers = code.vectors(2 * HALF, "int8", BYTES, "registers")
    for half in (0, 1):
        # The bytes that are not negative as signed ones come first.
        begin = 128 * (half if kernel.given == "uint8" else 1 - half)
        for index in range(HALF):
            entries = _entries(table, begin + STEP * index)
            if index:
                entries = entries ^ _entries(table, begin + STEP * (index - 1))
            code.keep(registers, HALF * half + index, tirx.reinterpret(f"int8x{BYTES}", entries))

    def write(outer: list[Expr]) -> None:
        def vectors(first: Expr, count: int) -> None:
            at = [[*outer, *[0] * (inner - 1), first + BYTES * v] for v in range(count)]
            given = [tirx.reinterpret(f"int8x{BYTES}", load(x, place, BYTES)) for place in at]
            for place, found in zip(at, _found(code, registers, given), strict=True):
                code.store(y, place, tirx.reinterpret(f"{kernel.made}x{BYTES}", found))

        full = run // (VECTORS * BYTES)
        with code.loop(full, "group") as group:
            vectors(group * (VECTORS * BYTES), VECTORS)
        done = full * VECTORS * BYTES
        if run - done >= BYTES:
            vectors(done, 1)
            done += BYTES
        with code.loop(run - done, "rest") as rest:
            place = [*outer, *[0] * (inner - 1), done + rest]
            entry = tirx.Cast("int32", tirx.BufferLoad(x, place)) + (0 if kernel.given == "uint8" else 128)
            code.store(y, place, tirx.BufferLoad(table, [entry]))

    _loops(code, list(kernel.shape[: len(kernel.shape) - inner]), [], write)
    return code.body_of(function)


def _found(code: Code, registers: Buffer, given: list[Expr]) -> list[Expr]:
    """The entries of some vectors of bytes."""
    results: list[Expr] = []
    for half in (0, 1):
        indices = [code.value(v ^ x86.splat(-128, "int8", BYTES), "index") for v in given] if half else given
        for register in range(HALF):
            entries = code.value(tirx.BufferLoad(registers, [HALF * half + register]), "entries")
            if register:
                indices = [code.value(x86.vpsubsb(index, STEP), "index") for index in indices]
            taken = [x86.vpshufb(entries, index) for index in indices]
            if results:
                taken = [before ^ more for before, more in zip(results, taken, strict=True)]
            results = [code.value(value, "found") for value in taken]
    return results


def _entries(table: Buffer, first: int) -> Expr:
    """16 entries, twice, as VPSHUFB works in halves of 16 bytes."""
    return x86.shuffle([tirx.reinterpret("int8x16", load(table, [first], STEP))], [*range(STEP), *range(STEP)])


def _contiguous(kernel: LookupKernel) -> int:
    """Elements that lie together in both views."""
    run = 1
    for size, x, y in reversed(list(zip(kernel.shape, kernel.x, kernel.y, strict=True))):
        if size > 1 and not x == y == run:
            break
        run *= size
    return run


def _merged(kernel: LookupKernel, run: int) -> int:
    """How many of the last axes these are."""
    count, size = 0, 1
    while size < run or (count < len(kernel.shape) and kernel.shape[-1 - count] == 1):
        count += 1
        size *= kernel.shape[-count]
    return count


def _loops(code: Code, sizes: list[int], outer: list[Expr], body: Callable[[list[Expr]], None]) -> None:
    """`body(indices)` for all indices of the axes `sizes`."""
    if not sizes:
        body(outer)
        return
    with code.loop(sizes[0], "axis") as index:
        _loops(code, sizes[1:], [*outer, index], body)

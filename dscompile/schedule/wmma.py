"""The warp's matrix instructions of CUDA C++ (nvcuda::wmma) on tiles of 16 x 16 x 16 halves with float32 sums.

CUDA C++ Programming Guide, Warp Matrix Functions: pointers are multiples of 32 bytes, the elements between rows (their
`pitch`) a multiple of 8 halves or 4 floats. All threads of a warp call them with the same arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import ir, tirx

from dscompile.plan.gpu.tensor_kernels import SIDE
from dscompile.schedule.thread_code import Buffer, Expr, ThreadCode

_FLOATS = ir.PointerType(ir.PrimType("float32"))
A, B, SUMS = "wmma.matrix_a", "wmma.matrix_b", "wmma.accumulator"

# What the text of a kernel that uses this module begins with.
HEAD = """\
#include <cuda_fp16.h>
#include <mma.h>

/* Rounds four floats to half, nearest or even, and stores them at a multiple of 8 bytes. */
static __device__ __forceinline__ void store_halves(half *to, float4 from)
{
    union {
        half2 pairs[2];
        uint2 both;
    } rounded = {{__floats2half2_rn(from.x, from.y), __floats2half2_rn(from.z, from.w)}};
    *(uint2 *)to = rounded.both;
}

/* Shared memory that halves leave free holds sums. */
static __device__ __forceinline__ float *as_floats(half *at)
{
    return (float *)at;
}

static __device__ __forceinline__ void load_quad(float *to, half *from)
{
    *(float4 *)to = *(const float4 *)from;
}
"""


def fragments(code: ThreadCode, count: int, use: str, name: str) -> Buffer:
    """Tiles that the warp's registers hold: factors of halves, or float32 sums."""
    return code.registers((count * SIDE * SIDE,), "float32" if use == SUMS else "float16", name, use)


def clear(code: ThreadCode, sums: Buffer, index: Expr) -> None:
    """sums[index] = 0."""
    code.do(tirx.tvm_fill_fragment(sums.data, SIDE, SIDE, SIDE, index, tirx.const(0.0, "float32")))


def load(code: ThreadCode, to: Buffer, index: Expr, source: Buffer, first: Expr, pitch: int) -> None:
    """to[index] = the tile of shared memory that begins at `first`, row by row."""
    pointer = tirx.address_of(tirx.BufferLoad(source, [first]))
    code.do(tirx.tvm_load_matrix_sync(to.data, SIDE, SIDE, SIDE, index, pointer, pitch, "row_major"))


def multiply(code: ThreadCode, sums: Buffer, index: Expr, a: Buffer, a_index: Expr, b: Buffer, b_index: Expr) -> None:
    """sums[index] += a[a_index] b[b_index]."""
    code.do(tirx.tvm_mma_sync(sums.data, index, a.data, a_index, b.data, b_index, sums.data, index))


def store(code: ThreadCode, to: Buffer, first: Expr, pitch: int, sums: Buffer, index: Expr) -> None:
    """The floats that begin in the array of halves `to` at float number `first` = sums[index], row by row."""
    pointer = tirx.call_extern(_FLOATS, "as_floats", tirx.address_of(tirx.BufferLoad(to, [first * 2])))
    code.do(tirx.tvm_store_matrix_sync(sums.data, SIDE, SIDE, SIDE, index, pointer, pitch, "row_major"))


def store_halves(code: ThreadCode, to: Buffer, first: Expr, source: Buffer, index: Sequence[Expr]) -> None:
    """Four consecutive floats of `source` become halves at `first`, which is a multiple of four."""
    *outer, last = index
    value = tirx.BufferLoad(source, [*outer, tirx.Ramp(last, 1, 4)])
    code.do(tirx.call_extern("void", "store_halves", tirx.address_of(tirx.BufferLoad(to, [first])), value))


def load_quad(code: ThreadCode, to: Buffer, source: Buffer, first: Expr) -> None:
    """to[0:4] = the floats that begin in the array of halves `source` at float number `first`."""
    target = tirx.address_of(tirx.BufferLoad(to, [0]))
    code.do(tirx.call_extern("void", "load_quad", target, tirx.address_of(tirx.BufferLoad(source, [first * 2]))))

"""What kernels need besides CUDA: operators on vectors and on vectors in memory, all of them inlined."""

from __future__ import annotations

LANES = "xyzw"
FLOAT4_OPERATORS, INT4_OPERATORS = ("+", "-", "*", "/"), ("+", "-", "*", "<<", ">>", "&", "|")

COMPARISONS = ("<", "<=", ">", ">=")


def _preamble() -> str:
    lines = ["#include <cuda_fp16.h>", "#include <cuda_runtime.h>", "#include <stdint.h>", ""]
    inline = "static __device__ __forceinline__"
    lines.append("/* Vectors: every operation is that of each lane. */")
    for kind, signs in (("float", FLOAT4_OPERATORS), ("int", INT4_OPERATORS)):
        four = f"{kind}4"
        lines.append(f"{inline} {four} splat({kind} x) {{ return make_{four}(x, x, x, x); }}")
        for sign in signs:
            values = ", ".join(f"a.{lane} {sign} b.{lane}" for lane in LANES)
            lines.append(f"{inline} {four} operator{sign}({four} a, {four} b) {{ return make_{four}({values}); }}")
        for sign in COMPARISONS:
            values = ", ".join(f"a.{lane} {sign} b.{lane}" for lane in LANES)
            lines.append(f"{inline} ushort4 operator{sign}({four} a, {four} b) {{ return make_ushort4({values}); }}")
        values = ", ".join(f"which.{lane} ? a.{lane} : b.{lane}" for lane in LANES)
        lines.append(f"{inline} {four} select(ushort4 which, {four} a, {four} b) {{ return make_{four}({values}); }}")
        lines.append(f"{inline} void operator+=({four} &a, {four} b) {{ a = a + b; }}")
        for name in ("max", "min"):
            values = ", ".join(f"{name}(a.{lane}, b.{lane})" for lane in LANES)
            lines.append(f"{inline} {four} {name}({four} a, {four} b) {{ return make_{four}({values}); }}")
        values = ", ".join(f"({kind})a.{lane}" for lane in LANES)
        other = "int4" if kind == "float" else "float4"
        lines.append(f"{inline} {four} to_{kind}({other} a) {{ return make_{four}({values}); }}")
        lines.append(f"{inline} {four} load4(const {kind} *from) {{ return *(const {four} *)from; }}")
        lines.append(f"{inline} void store4({kind} *to, {four} value) {{ *({four} *)to = value; }}")
    lines.append(f"{inline} int packed(int a, int b, int c, int d)")
    lines.append("{")
    lines.append("    return (a & 255) | ((b & 255) << 8) | ((c & 255) << 16) | ((d & 255) << 24);")
    lines.append("}")
    return "\n".join(lines) + "\n"


PREAMBLE = _preamble()
"""What kernels of a file need before the first of them."""

HELPERS = frozenset(("splat", "packed", "select", "load4", "store4", "to_float", "to_int", "max", "min"))
"""Functions that kernels call by these names, so that no variable may have them."""

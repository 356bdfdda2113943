"""The operator dot4: the sum of four products of signed bytes, on 32-bit words that hold them.

It is pure and vectorizes like any product, so that schedules of int8 kernels look like those of float ones. What it
becomes is a target's business: dscompile/schedule/dot_products.py has the rules.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx

Expr = Any

NAME = "dscompile.dot4"
WORD = 4  # bytes

tvm.ir.register_op_attr(NAME, "TCallEffectKind", 1)  # pure
tvm.ir.register_op_attr(NAME, "TVectorizable", True)
tvm.ir.register_op_attr(NAME, "TScriptPrinterName", NAME)


def dot4(x: Expr, w: Expr) -> Expr:
    """sum_i x_i w_i in int32, for the four signed bytes i of the int32 words x and w."""
    return tirx.call_intrin("int32", tvm.ir.Op.get(NAME), x, w)


def by_shifts_and_products(x: Expr, w: Expr) -> Expr:
    """What dot4 means, in operations that every target has; `x` and `w` may be vectors."""
    return _byte(x, 0) * _byte(w, 0) + _byte(x, 1) * _byte(w, 1) + _byte(x, 2) * _byte(w, 2) + _byte(x, 3) * _byte(w, 3)


def _byte(word: Expr, index: int) -> Expr:
    """Byte `index` of a word, the lowest first, with its sign."""
    dtype = word.dtype if hasattr(word, "dtype") else word.ty.dtype
    top = tirx.shift_left(word, tirx.const(24 - 8 * index, dtype))
    return tirx.shift_right(top, tirx.const(24, dtype))

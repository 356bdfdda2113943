"""The operator held: a float32 constant that the instruction which needs it may read from memory.

It is pure and vectorizes like what it stands beside. What it becomes is a target's business:
dscompile/schedule/held_constants.py.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx

Expr = Any

NAME = "dscompile.held"

tvm.ir.register_op_attr(NAME, "TCallEffectKind", 1)  # pure
tvm.ir.register_op_attr(NAME, "TVectorizable", True)
tvm.ir.register_op_attr(NAME, "TScriptPrinterName", NAME)


def held(value: float, beside: Expr) -> Expr:
    """The constant `value`; in a vector, if `beside` becomes one."""
    return tirx.call_intrin("float32", tvm.ir.Op.get(NAME), tirx.const(value, "float32"), beside)

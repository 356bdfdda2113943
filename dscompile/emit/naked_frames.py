"""Stack of functions that are assembly from end to end, of which the compiler knows nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAKED = re.compile(r"__attribute__\(\(naked[^\n]*?(\w+)\((?:const )?\w+ [^\n]*\n\{\n(.*?)\n\}\n", re.DOTALL)
_PUSHED = re.compile(r'"(v?)push \{([^}]*)\}')
_SUBTRACTED = re.compile(r'"sub sp, #(\d+)|"addi sp, sp, -(\d+)')
_RANGE = re.compile(r"[rd](\d+)-[rd](\d+)")


def naked_frames(code: str) -> Mapping[str, int]:
    """Bytes of stack by the name of each naked function of a C file, for Arm and RISC-V: all that it ever pushes."""
    return {name: _frame(body) for name, body in _NAKED.findall(code)}


def _frame(assembly: str) -> int:
    pushed = sum((8 if vector else 4) * _count(registers) for vector, registers in _PUSHED.findall(assembly))
    return pushed + sum(int(arm or riscv) for arm, riscv in _SUBTRACTED.findall(assembly))


def _count(registers: str) -> int:
    """`r4-r11, lr` is 9."""
    ranges = [_RANGE.fullmatch(part.strip()) for part in registers.split(",")]
    return sum(int(found[2]) - int(found[1]) + 1 if found else 1 for found in ranges)

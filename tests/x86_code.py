"""Machine code of x86 as objdump shows it: its innermost loops, and which of their instructions touch the stack."""

from __future__ import annotations

import re
from dataclasses import dataclass

_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(\S.*)$")
_JUMP = re.compile(r"^j\w+\s+([0-9a-f]+)\b")


@dataclass(frozen=True)
class Loop:
    """The instructions of a loop that has no other inside."""

    instructions: tuple[str, ...]

    def count(self, name: str) -> int:
        """How many instructions of this name there are."""
        return sum(text.split()[0] == name for text in self.instructions)

    @property
    def stack_accesses(self) -> int:
        """Instructions that read or write a vector on the stack; what broadcasts read was put there on purpose."""
        vectors = [text for text in self.instructions if text.startswith("v") and not text.startswith("vpbroadcast")]
        return sum(bool(re.search(r"\[r[sb]p[+-]", text)) for text in vectors)


def innermost_loops(disassembly: str) -> list[Loop]:
    """Innermost loops in the order of their code."""
    lines = [found.groups() for found in map(_INSTRUCTION.match, disassembly.splitlines()) if found]
    at = {int(address, 16): index for index, (address, _) in enumerate(lines)}
    back = [
        (at[int(jump.group(1), 16)], index)
        for index, (_, text) in enumerate(lines)
        if (jump := _JUMP.match(text)) and at.get(int(jump.group(1), 16), index + 1) <= index
    ]
    return [
        Loop(tuple(text for _, text in lines[start : end + 1]))
        for start, end in back
        if not any(start <= other and last < end for other, last in back)
    ]

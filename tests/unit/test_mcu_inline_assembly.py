"""Inline assembly in the helpers of standalone C: what it writes shares no register with what it still reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dscompile.data import data_directory

HELPERS = sorted((data_directory("templates") / "mcu" / "helpers").glob("*.c"))
_BLOCK = re.compile(
    r"__asm(?: volatile)?\((?P<code>.*?)\n\s*:(?P<outputs>.*?)\n\s*:(?P<inputs>.*?)(?:\n\s*:.*?)?\);", re.S
)


def shared_registers(text: str) -> list[str]:
    """Outputs of several instructions for which a compiler may take the register of an input of the same value."""
    found = []
    for block in _BLOCK.finditer(text):
        lines = re.findall(r'"[^"]+"', block["code"])
        outputs = re.findall(r'"([=+]&?)[rl]"\((\w+)\)', block["outputs"])
        inputs = re.findall(r'"[rl]"', block["inputs"])
        if len(lines) > 1 and inputs:
            found += [name for mode, name in outputs if "&" not in mode]
    return found


@pytest.mark.parametrize("path", HELPERS, ids=lambda path: path.stem)
def test_outputs_that_are_written_before_the_last_input_is_read_have_registers_of_their_own(path: Path):
    assert shared_registers(path.read_text()) == []


def test_a_register_that_could_be_shared_is_found():
    text = '__asm volatile("add %0, #8\\n"\n "add %0, %1\\n"\n : "+r"(to)\n : "r"(step)\n : "memory");'
    assert shared_registers(text) == ["to"]
    assert shared_registers(text.replace("+r", "+&r")) == []

"""Objects of LLVM go through memory, and are the same through a file, on systems that have no files in memory."""

from __future__ import annotations

import os

import pytest

from dscompile.schedule.machine_code import object_of
from dscompile.target import find_target


def test_an_object_is_the_same_through_memory_and_through_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    module, target = "define i32 @one() { ret i32 1 }\n", find_target("x86-avx2")
    through_memory = object_of(module, target)
    monkeypatch.delattr(os, "memfd_create")
    assert through_memory.startswith(b"\x7fELF")
    assert object_of(module, target) == through_memory

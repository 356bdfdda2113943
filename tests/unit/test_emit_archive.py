"""Static libraries without `ar`: the bytes that GNU's writes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dscompile.emit.archive import archive
from dscompile.emit.elf import global_symbols
from tests.tiny_programs import compiled
from tests.tools import require_tools

OBJECTS = {
    "a.o": "int one(void) { return 1; } static int own(void) { return 2; } int two(void) { return own() + one(); }",
    "a_name_of_more_than_15_letters.o": "extern int one(void); __attribute__((weak)) int weak(void) { return one(); }",
    "another_of_more_than_15_letter.o": "const char bytes[3] = {1, 2, 3};",
}


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("first", ["a.o", "ab.o", "fifteen__char.o"])
def test_an_archive_has_the_bytes_that_gnu_ar_writes(count: int, first: str, tmp_path: Path) -> None:
    require_tools("gcc", "ar")
    members = [(name, compiled(source)) for name, source in OBJECTS.items()][:count]
    members[0] = (first, members[0][1])
    for name, content in members:
        (tmp_path / name).write_bytes(content)
    subprocess.run(["ar", "rcsD", "gnu.a", *(name for name, _ in members)], cwd=tmp_path, check=True)
    assert archive(members) == (tmp_path / "gnu.a").read_bytes()


def test_symbols_that_others_see_are_those_that_are_defined_and_not_static() -> None:
    require_tools("gcc")
    assert set(global_symbols(compiled(OBJECTS["a.o"]))) == {"one", "two"}
    assert global_symbols(compiled(OBJECTS["a_name_of_more_than_15_letters.o"])) == ("weak",)
    with pytest.raises(ValueError, match="not a little-endian ELF object"):
        global_symbols(b"no object")

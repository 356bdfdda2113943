"""Weights and code go where a firmware's linker script wants them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from dscompile.api.networks import read_network
from dscompile.emit.mcu_code import placeable
from dscompile.target import find_target
from tests.emulated.conftest import require_compiler
from tests.mcu import write

MODEL = Path(__file__).parents[1] / "data" / "kws_ref_model_int8.tflite"


def symbols(path: Path, kind: str) -> dict[str, set[str]]:
    """Section -> names of the symbols of a kind in it."""
    found: dict[str, set[str]] = {}
    with path.open("rb") as file:
        elf = ELFFile(file)
        for table in elf.iter_sections():
            if isinstance(table, SymbolTableSection):
                for symbol in table.iter_symbols():
                    if symbol["st_info"]["type"] == kind and isinstance(symbol["st_shndx"], int):
                        section = elf.get_section(symbol["st_shndx"]).name
                        found.setdefault(section, set()).add(symbol.name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus"])
def test_all_code_and_all_weights_lie_in_the_sections_that_were_named(core: str, tmp_path: Path):
    require_compiler(core, "gcc")
    artifact = write(read_network(MODEL, None).network, tmp_path / "kws", find_target(core))
    name = artifact.manifest.c_name
    board = find_target(core).board
    places = [
        f'-D{name.upper()}_{what}_ATTR=__attribute__((section(".{what.lower()}")))' for what in ("CODE", "WEIGHTS")
    ]
    for stem in (name, f"{name}_weights"):
        command = [f"{board.gcc.prefix}gcc", *board.gcc.flags, "-std=c99", "-O2", "-ffunction-sections", *places]
        command += ["-Wall", "-Wextra", "-Werror", "-c", artifact.directory / f"{stem}.c", "-o", tmp_path / f"{stem}.o"]
        subprocess.run(command, check=True)
    code = symbols(tmp_path / f"{name}.o", "STT_FUNC")
    assert set(code) == {".code"}
    assert {f"{name}_run", f"{name}_input"} <= code[".code"]
    assert set(symbols(tmp_path / f"{name}_weights.o", "STT_OBJECT")) == {".weights"}


def test_the_attribute_stands_at_functions_only():
    code = (
        "static void f(int a)\nstatic inline int g(void)\n__attribute__((naked, noinline)) static void h(int *x)\n"
        "static const int32_t table[2] = {1, (2)};\nstatic net_arena arena;\n    static const char s[] = f(1);\n"
    )
    assert placeable(code, "NET").splitlines() == [
        "static NET_CODE_ATTR void f(int a)",
        "static inline NET_CODE_ATTR int g(void)",
        "__attribute__((naked, noinline)) static NET_CODE_ATTR void h(int *x)",
        "static const int32_t table[2] = {1, (2)};",
        "static net_arena arena;",
        "    static const char s[] = f(1);",
    ]

"""Linked programs and objects as pyelftools reads them: symbols, loaded bytes, sizes."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dscompile.errors import BadInputError, Position, ToolError, UsageError, did_you_mean

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

Place = Literal["code", "constants", "data", "zeros"]

_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_STB_LOCAL, _STT_FUNC, _STT_SECTION, _STT_FILE, _SHN_ABS = 0, 2, 3, 4, 0xFFF1
_MACHINES = {("EM_ARM", 32), ("EM_AARCH64", 64), ("EM_RISCV", 32), ("EM_RISCV", 64)}


@dataclass(frozen=True)
class Symbol:
    """A symbol; `address` is where the processor finds it, without Thumb's lowest bit. `place` is None if undefined."""

    name: str
    address: int
    size_bytes: int
    place: Place | None
    is_function: bool
    is_global: bool


@dataclass(frozen=True)
class Segment:
    """Bytes to be loaded at `address`."""

    address: int
    content: bytes


@dataclass(frozen=True)
class Section:
    """A section that is loaded."""

    name: str
    place: Place
    size_bytes: int


@dataclass(frozen=True)
class Image:
    """What an ELF file holds. `sections` are those that are loaded, `is_arm` is for 32 bits (with Thumb)."""

    path: Path
    is_arm: bool
    entry: int
    segments: tuple[Segment, ...]
    symbols: tuple[Symbol, ...]
    sections: tuple[Section, ...]

    def symbol(self, name: str) -> Symbol:
        """The symbol called `name`. Raises UsageError if the program has none, or several static ones."""
        found = self._by_name.get(name, ())
        defined = [s for s in found if s.is_global] or list(found)
        if len(defined) == 1:
            return defined[0]
        if not defined:
            raise UsageError(
                f"the program {self.path.name} has no symbol '{name}'",
                help=did_you_mean(name, self._by_name) or "name it among the symbols of build_firmware()",
            )
        raise UsageError(f"the program {self.path.name} has {len(defined)} static symbols '{name}'")

    def function_address(self, name: str) -> int:
        """The address to call: on Arm with the lowest bit set."""
        return self.symbol(name).address | (1 if self.is_arm else 0)

    def nearest(self, address: int) -> str:
        """`name+0x1c` for the nearest symbol of code at or below an address; the bare address if there is none."""
        symbol = self.code_symbol(address)
        if symbol is None:
            return f"0x{address:08x}"
        offset = address - symbol.address
        return f"{symbol.name}+0x{offset:x}" if offset else symbol.name

    def code_symbol(self, address: int) -> Symbol | None:
        """The nearest symbol of code at or below an address."""
        index = bisect.bisect_right(self._code_addresses, address) - 1
        return None if index < 0 or address >= self._code_end else self._code[index]

    def word(self, address: int) -> int:
        """The 32 bits that are loaded at an address. Raises UsageError if nothing is."""
        for segment in self.segments:
            offset = address - segment.address
            if 0 <= offset <= len(segment.content) - 4:
                return int.from_bytes(segment.content[offset : offset + 4], "little")
        raise UsageError(f"the program {self.path.name} loads nothing at 0x{address:x}")

    @cached_property
    def _by_name(self) -> dict[str, tuple[Symbol, ...]]:
        names: dict[str, tuple[Symbol, ...]] = {}
        for symbol in self.symbols:
            if symbol.place is not None or symbol.is_global:
                names[symbol.name] = (*names.get(symbol.name, ()), symbol)
        return names

    @cached_property
    def _code(self) -> list[Symbol]:
        return sorted((s for s in self.symbols if s.place == "code"), key=lambda s: (s.address, s.is_global))

    @cached_property
    def _code_addresses(self) -> list[int]:
        return [symbol.address for symbol in self._code]

    @cached_property
    def _code_end(self) -> int:
        last = self._code[-1]
        return max(s.address + max(s.size_bytes, 1) for s in self._code) + (0 if last.size_bytes else 64)


def read_image(path: Path) -> Image:
    """Reads an ELF file for Arm (32 or 64 bits) or RISC-V (32 or 64 bits).

    Raises BadInputError if it is none, ToolError if pyelftools is not installed.
    """
    try:
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile
    except ImportError as error:
        raise ToolError("reading ELF files needs pyelftools", help="pip install 'dscompile[emulate]'") from error
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            if (elf["e_machine"], elf.elfclass) not in _MACHINES:
                raise BadInputError("not a program for Arm or RISC-V", position=Position(str(path)))
            return _image(path, elf)
    except (ELFError, OSError) as error:
        raise BadInputError(f"cannot read the ELF file: {error}", position=Position(str(path))) from error


def undefined_symbols(objects: Iterable[Path]) -> frozenset[str]:
    """Names that objects use and none of them defines."""
    symbols = [symbol for path in objects for symbol in read_image(path).symbols if symbol.is_global]
    return frozenset(s.name for s in symbols if s.place is None) - {s.name for s in symbols if s.place is not None}


def _image(path: Path, elf: ELFFile) -> Image:
    is_arm = elf["e_machine"] == "EM_ARM"
    sections = list(elf.iter_sections())
    places = [_place(section["sh_flags"], section["sh_type"]) for section in sections]
    loaded = tuple(
        Section(section.name, place, section["sh_size"])
        for section, place in zip(sections, places, strict=True)
        if place is not None
    )
    symbols = tuple(_symbols(elf, places, is_arm=is_arm))
    segments = tuple(
        Segment(segment["p_paddr"], segment.data())
        for segment in elf.iter_segments()
        if segment["p_type"] == "PT_LOAD" and segment["p_filesz"]
    )
    return Image(path, is_arm, elf["e_entry"], segments, symbols, loaded)


def _symbols(elf: ELFFile, places: Sequence[Place | None], *, is_arm: bool) -> Iterator[Symbol]:
    """The symbols of the table, but for those of files, of sections and of kinds of code ($t and so on).

    pyelftools parses one symbol in 50 us, and a program has hundreds.
    """
    table = elf.get_section_by_name(".symtab")
    if table is None:
        return
    layout = struct.Struct(("<" if elf.little_endian else ">") + ("IIIBBH" if elf.elfclass == 32 else "IBBHQQ"))
    content, names = table.data(), elf.get_section(table["sh_link"]).data()
    for fields in layout.iter_unpack(content[: len(content) // layout.size * layout.size]):
        if elf.elfclass == 32:
            start, value, size, info, _, index = fields
        else:
            start, info, _, index, value, size = fields
        name = names[start : names.find(b"\0", start)].decode("utf-8", "replace")
        kind = info & 15
        if not name or name.startswith("$") or kind in (_STT_FILE, _STT_SECTION):
            continue
        is_function = kind == _STT_FUNC
        yield Symbol(
            name=name,
            address=value & ~1 if is_arm and is_function else value,
            size_bytes=size,
            place=places[index] if index < len(places) else ("data" if index == _SHN_ABS else None),
            is_function=is_function,
            is_global=info >> 4 != _STB_LOCAL,
        )


def _place(flags: int, kind: str) -> Place | None:
    if not flags & _SHF_ALLOC:
        return None
    if kind == "SHT_NOBITS":
        return "zeros"
    if flags & _SHF_EXECINSTR:
        return "code"
    return "data" if flags & _SHF_WRITE else "constants"

"""Sections and symbols of a relocatable little-endian ELF object: enough to know what of it ends up where, to rename
its functions and to list its symbols without a binutil of the machine it is for.

Source of the layout: System V ABI, chapter 4, "Object Files".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_HEADERS = {1: struct.Struct("<16sHHIIIIIHHHHHH"), 2: struct.Struct("<16sHHIQQQIHHHHHH")}  # by EI_CLASS
_SECTIONS = {1: struct.Struct("<10I"), 2: struct.Struct("<IIQQQQIIQQ")}
_SHF_WRITE, _SHF_ALLOC = 1, 2
_SHT_SYMTAB = 2
_SYMBOL = struct.Struct("<IBBHQQ")  # of 64-bit objects
_STB_LOCAL, _STV_HIDDEN = 0, 2


@dataclass(frozen=True)
class Section:
    """A section: its name, its size in memory, whether it is loaded, and whether it may be written."""

    name: str
    size_bytes: int
    loaded: bool
    writable: bool

    @property
    def is_mutable(self) -> bool:
        """Whether a program can change it; .data.rel.ro is only written by the loader."""
        return self.loaded and self.writable and not self.name.startswith(".data.rel.ro")


def read_sections(content: bytes) -> tuple[Section, ...]:
    """The sections of an object file. Raises ValueError if it is none."""
    header, entries = _tables(content)
    try:
        names = entries[header[13]][4]
        return tuple(
            Section(
                _name(content, names + entry[0]), entry[5], bool(entry[2] & _SHF_ALLOC), bool(entry[2] & _SHF_WRITE)
            )
            for entry in entries
        )
    except IndexError as error:
        raise ValueError("the ELF object is cut short") from error


def rename_symbols(content: bytes, names: Mapping[str, str], prefix: str) -> bytes:
    """A 64-bit object whose functions are called as `names` says; others that it defines get `prefix` in front.

    All become hidden: whoever links the object into a library can call them, and the library does not export them.
    Raises ValueError if it is no such object.
    """
    header, entries = _tables(content)
    if content[4] != 2:
        raise ValueError("not a 64-bit ELF object")
    result = bytearray(content)
    for table in entries:
        if table[1] != _SHT_SYMTAB:
            continue
        offset, size, link = table[4:7]
        strings = entries[link]
        text = bytearray(content[strings[4] : strings[4] + strings[5]])
        for place in range(offset, offset + size, _SYMBOL.size):
            name, info, other, section, value, extent = _SYMBOL.unpack_from(content, place)
            if info >> 4 == _STB_LOCAL or section == 0:
                continue
            old = _name(content, strings[4] + name)
            new = names.get(old, f"{prefix}{old}")
            _SYMBOL.pack_into(result, place, len(text), info, other & ~3 | _STV_HIDDEN, section, value, extent)
            text += new.encode() + b"\0"
        moved = (*strings[:4], len(result), len(text), *strings[6:])
        result += text
        _SECTIONS[2].pack_into(result, header[6] + link * header[11], *moved)
    return bytes(result)


def global_symbols(content: bytes) -> tuple[str, ...]:
    """What a 64-bit object defines for others, in the order of its symbol table. Raises ValueError if it is none."""
    _, entries = _tables(content)
    found = []
    for table in entries:
        if table[1] == _SHT_SYMTAB:
            strings = entries[table[6]][4]
            for place in range(table[4], table[4] + table[5], _SYMBOL.size):
                name, info, _, section, _, _ = _SYMBOL.unpack_from(content, place)
                if info >> 4 != _STB_LOCAL and section != 0:
                    found.append(_name(content, strings + name))
    return tuple(found)


def loaded_bytes(content: bytes) -> int:
    """Bytes of code and data that an object brings into a program."""
    return sum(section.size_bytes for section in read_sections(content) if section.loaded)


def mutable_sections(content: bytes, allowed: Iterable[tuple[str, int]] = ()) -> tuple[str, ...]:
    """Names of the sections with data that a program can change: what "no mutable globals" forbids.

    `allowed` are the names and exact sizes of sections that may be there all the same.
    """
    known = set(allowed)
    found = [s for s in read_sections(content) if s.is_mutable and s.size_bytes]
    return tuple(s.name for s in found if (s.name, s.size_bytes) not in known)


def _tables(content: bytes) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """The file header and the section headers."""
    layout = _HEADERS.get(content[4]) if len(content) > 6 and content[:4] == b"\x7fELF" and content[5] == 1 else None
    if layout is None or len(content) < layout.size:
        raise ValueError("not a little-endian ELF object")
    header, section = layout.unpack_from(content), _SECTIONS[content[4]]
    try:
        return header, [section.unpack_from(content, header[6] + index * header[11]) for index in range(header[12])]
    except struct.error as error:
        raise ValueError("the ELF object is cut short") from error


def _name(content: bytes, start: int) -> str:
    return content[start : content.index(b"\0", start)].decode("ascii", "replace")

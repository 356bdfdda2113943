"""Sections of a relocatable little-endian ELF object, 64-bit or 32-bit: enough to know what of it ends up where.

Source of the layout: System V ABI, chapter 4, "Object Files".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_HEADERS = {1: struct.Struct("<16sHHIIIIIHHHHHH"), 2: struct.Struct("<16sHHIQQQIHHHHHH")}  # by EI_CLASS
_SECTIONS = {1: struct.Struct("<10I"), 2: struct.Struct("<IIQQQQIIQQ")}
_SHF_WRITE, _SHF_ALLOC = 1, 2


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
    layout = _HEADERS.get(content[4]) if len(content) > 6 and content[:4] == b"\x7fELF" and content[5] == 1 else None
    if layout is None or len(content) < layout.size:
        raise ValueError("not a little-endian ELF object")
    header, section = layout.unpack_from(content), _SECTIONS[content[4]]
    table, entry_bytes, count, names_index = header[6], header[11], header[12], header[13]
    try:
        entries = [section.unpack_from(content, table + index * entry_bytes) for index in range(count)]
        names = entries[names_index][4]
        return tuple(
            Section(
                _name(content, names + entry[0]), entry[5], bool(entry[2] & _SHF_ALLOC), bool(entry[2] & _SHF_WRITE)
            )
            for entry in entries
        )
    except (struct.error, IndexError) as error:
        raise ValueError("the ELF object is cut short") from error


def loaded_bytes(content: bytes) -> int:
    """Bytes of code and data that an object brings into a program."""
    return sum(section.size_bytes for section in read_sections(content) if section.loaded)


def mutable_sections(content: bytes) -> tuple[str, ...]:
    """Names of the sections with data that a program can change: what "no mutable globals" forbids."""
    return tuple(s.name for s in read_sections(content) if s.is_mutable and s.size_bytes)


def _name(content: bytes, start: int) -> str:
    return content[start : content.index(b"\0", start)].decode("ascii", "replace")

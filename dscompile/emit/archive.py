"""Static libraries: the `ar` archive that linkers on Linux read, the same bytes each time and without any tool.

Source of the layout: System V ABI, chapter 7, "Archive File", with the names of GNU ar: a symbol table `/` whose
offsets are big-endian words, and a table `//` of names that are longer than 15 characters.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from dscompile.emit.elf import global_symbols

_MAGIC = b"!<arch>\n"
_HEADER_BYTES = 60
_LONGEST_NAME = 15  # of the 16 bytes of the field one is the slash at the end


def archive(members: Sequence[tuple[str, bytes]]) -> bytes:
    """A static library of ELF objects, (file name, content), in this order; all dated 1970 and owned by nobody."""
    symbols = [(index, symbol) for index, (_, content) in enumerate(members) for symbol in global_symbols(content)]
    names = b"".join(symbol.encode() + b"\0" for _, symbol in symbols)
    long_names, fields = _name_fields([name for name, _ in members])

    at = len(_MAGIC) + _room(4 + 4 * len(symbols) + len(names)) + (_room(len(long_names)) if long_names else 0)
    starts = []
    for _, content in members:
        starts.append(at)
        at += _room(len(content))
    offsets = [starts[index] for index, _ in symbols]
    table = struct.pack(f">{1 + len(offsets)}I", len(offsets), *offsets) + names

    pieces = [_MAGIC, _member("/", "0", table + bytes(len(table) % 2))]
    if long_names:
        pieces.append(_member("//", "", long_names + b"\n" * (len(long_names) % 2)))
    pieces += [_member(field, "644", content) for field, (_, content) in zip(fields, members, strict=True)]
    return b"".join(pieces)


def _name_fields(names: Sequence[str]) -> tuple[bytes, list[str]]:
    """The table of long names, and for each member its name, or where it begins in the table."""
    table, fields = b"", []
    for name in names:
        if len(name) > _LONGEST_NAME:
            fields.append(f"/{len(table)}")
            table += f"{name}/\n".encode()
        else:
            fields.append(f"{name}/")
    return table, fields


def _member(name: str, mode: str, content: bytes) -> bytes:
    """A member with its header: date, owner and group are 0; those of the names are blank, as is their mode."""
    zero = "0" if mode else ""
    head = f"{name:<16}{zero:<12}{zero:<6}{zero:<6}{mode:<8}{len(content):<10}`\n"
    return head.encode() + content + b"\n" * (len(content) % 2)


def _room(size: int) -> int:
    """Bytes that a member of this size takes; each begins at an even offset."""
    return _HEADER_BYTES + size + size % 2

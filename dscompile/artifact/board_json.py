"""The board of a microcontroller target as JSON, so that an artifact can be compiled and run again later."""

from __future__ import annotations

from dscompile.artifact.fields import Fields, Json
from dscompile.board import Board, GccTools, Memory, QemuMachine, Sections, UnicornCpu, ZigTools


def board_to_json(board: Board) -> Json:
    """The board as nested objects."""
    return {
        "float_unit": board.float_unit,
        "memories": memories_to_json(board),
        "sections": dict(vars(board.sections)),
        "gcc": None if board.gcc is None else {"prefix": board.gcc.prefix, "flags": list(board.gcc.flags)},
        "zig": zig_to_json(board.zig),
        "qemu": None
        if board.qemu is None
        else {"program": board.qemu.program, "machine": board.qemu.machine, "options": list(board.qemu.options)},
        "unicorn": None if board.unicorn is None else dict(vars(board.unicorn)),
    }


def zig_to_json(zig: ZigTools | None) -> Json | None:
    """`zig cc` as an object; null if there is none."""
    return None if zig is None else {"target": zig.triple, "cpu": zig.cpu, "static": zig.static_triple}


def zig_from_json(fields: Fields) -> ZigTools:
    """`zig cc` in an object; `static` may be missing, as in artifacts of older builds."""
    static = fields.text("static") if fields.has_value("static") else ""
    return ZigTools(fields.text("target"), fields.text("cpu"), static)


def memories_to_json(board: Board) -> list[Json]:
    """Where its memories lie, how large they are, and what an access costs where that is known."""
    return [
        {
            "name": memory.name,
            "origin": memory.origin,
            "bytes": memory.size_bytes,
            **({} if memory.cost is None else {"cost": memory.cost}),
        }
        for memory in board.memories
    ]


def _memory_from_json(fields: Fields) -> Memory:
    """A memory in an object; `cost` may be missing, as in artifacts of older builds."""
    cost = fields.number("cost") if fields.has_value("cost") else None
    return Memory(fields.text("name"), fields.whole("origin"), fields.whole("bytes"), cost)


def board_from_json(fields: Fields) -> Board | None:
    """The board in an object; None, with an entry in `fields.problems`, if it makes no sense."""
    inner = {key: fields.child(key) for key in ("gcc", "zig", "qemu", "unicorn") if fields.has_value(key)}
    gcc, zig, qemu, unicorn = (inner.get(key) for key in ("gcc", "zig", "qemu", "unicorn"))
    sections = fields.child("sections")
    try:
        return Board(
            fields.children("memories", _memory_from_json),
            Sections(*(sections.text(use) for use in ("code", "constants", "data", "stack"))),
            fields.text("float_unit"),
            GccTools(gcc.text("prefix"), gcc.texts("flags")) if gcc else None,
            zig_from_json(zig) if zig else None,
            QemuMachine(qemu.text("program"), qemu.text("machine"), qemu.texts("options")) if qemu else None,
            UnicornCpu(unicorn.text("architecture"), unicorn.text("model")) if unicorn else None,
        )
    except ValueError as error:
        fields.problems.append(f"'{fields.where.rstrip('.')}': {error}")
        return None

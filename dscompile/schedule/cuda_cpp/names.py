"""What loops, arrays and values are called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from dscompile.schedule.cuda_cpp.indices import item_of
from dscompile.schedule.cuda_cpp.preamble import HELPERS
from dscompile.schedule.cuda_cpp.tree import (
    Assign,
    Binary,
    Call,
    Declare,
    Evaluate,
    Expr,
    For,
    Function,
    If,
    Index,
    Name,
    Number,
    Raw,
    Statement,
    Token,
    Unary,
    all_of,
    bodies_of,
    everywhere,
    nodes_of,
    rewritten,
    with_bodies,
)
from dscompile.schedule.cuda_cpp.types import POSITIONS, RESULTS

_AXES = {
    "ax2": "quad", "n": "quad", "ax3": "row", "i": "row", "ax4": "column",
    "j": "column", "ax5": "lane", "lane": "lane", "ax6": "tap_row", "r": "tap_row", "ax7": "tap_column",
    "q": "tap_column", "ax8": "step",
}  # fmt: skip
_PARTS_OF_STEP = {"0": "step", "1": "part", "2": "channel"}


def _loop_name(loop: For, is_module: bool) -> str:
    """What a loop of the definitions of compute/gpu_module.py goes through, by TVM's name of it."""
    nodes = set(nodes_of(loop.body))
    if any(isinstance(node, Binary) and item_of(node) == loop.variable for node in nodes):
        return "round"
    if not is_module:
        return "i" if re.match(r"ax\d", loop.variable) else loop.variable
    copied = {name for s in loop.body for name in _copied_to(s)}
    if len(copied) == 1 and "_weights" in copied.pop():
        return "quad"
    axis, *rest = loop.variable.split("_")
    rest = [part for part in rest if part not in ("init", "s")]
    if axis == "ax8":
        return _PARTS_OF_STEP.get(rest[0], "step") if rest else "step"
    return _AXES.get(axis, "i" if re.match(r"ax\d", axis) else loop.variable)


def _copied_to(statement: Statement) -> Iterator[str]:
    """The array that a statement (or all that it contains) fills from another one."""
    match statement:
        case Evaluate(Call("store4", (Unary("&", Index(Name(name), _)), Call("load4") | Index()))):
            yield name
        case Assign(Index(Name(name), _), Call("load4") | Index(), "="):
            yield name
        case If(_, then, ()) | For(body=then):
            for inner in then:
                yield from _copied_to(inner)
        case _:
            yield ""


def _variable_name(statement: Declare, known: Mapping[str, str]) -> str:
    if statement.name.startswith("__shared_int"):
        return known.get(statement.name, "index")
    if re.fullmatch(r"condval(_\d+)?|__\d+|v_|v__\d+|__shared_\w+", statement.name):
        return "value"
    return re.sub(r"_(shared|local)$", "", statement.name.removesuffix("_ptr"))


def _index_names(statements: Sequence[Statement], is_module: bool) -> dict[str, str]:
    """Indices of which it is clear what they are: items and tiles."""
    known: dict[str, str] = {}
    indices = [s for s in all_of(statements) if isinstance(s, Declare) and s.name.startswith("__shared_int")]
    parts: dict[str, list[tuple[str, str]]] = {"tile_row": [], "tile_column": []}
    for index in indices:
        match index.value:
            case Binary("/" | ">>" as sign, Name("tile"), Number(text)):
                parts["tile_row"].append((index.name, text if sign == "/" else str(1 << int(text))))
            case Binary("%" | "&" as sign, Name("tile"), Number(text)):
                parts["tile_column"].append((index.name, text if sign == "%" else str(int(text) + 1)))
            case Binary() as value if item_of(value) is not None:
                known[index.name] = "item"
    columns = {count for part in parts.values() for _, count in part}
    if is_module and len(columns) == 1:
        known |= {name: part for part, found in parts.items() for name, _ in found}
    return known


def renamed(function: Function, statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """Names that are unique wherever they can be seen."""
    fixed = {p.name for p in function.parameters} | HELPERS | set(RESULTS) | set(POSITIONS.values()) | {function.name}
    is_module = any(isinstance(s, Declare) and s.name.startswith("patch_") for s in statements)
    index_names = _index_names(statements, is_module)
    variables = [s for s in all_of(statements) if isinstance(s, Declare | For)]
    counts = Counter(s.name if isinstance(s, Declare) else s.variable for s in variables)
    given: dict[str, str] = {}

    def new(old: str, wanted: str, visible: Collection[str]) -> str:
        if counts[old] > 1:
            return old
        places = re.search(r"_(shared|local)_ptr$", old)
        tries = [wanted, f"{wanted}_{places[1]}"] if places else [wanted]
        number = 2
        while tries[0] in visible:
            tries.pop(0)
            if not tries:
                tries.append(f"{wanted}_{number}" if not places else f"{wanted}_{places[1]}_{number}")
                number += 1
        given[old] = tries[0]
        return tries[0]

    def block(statements: Sequence[Statement], visible: set[str]) -> None:
        visible = set(visible)
        for statement in statements:
            if isinstance(statement, Declare):
                visible.add(new(statement.name, _variable_name(statement, index_names), visible))
            inner = visible
            if isinstance(statement, For):
                inner = visible | {new(statement.variable, _loop_name(statement, is_module), visible)}
            for body in bodies_of(statement):
                block(body, inner)

    block(statements, fixed | {name for name, count in counts.items() if count > 1})

    def named(statements: Sequence[Statement]) -> tuple[Statement, ...]:
        done: list[Statement] = []
        for statement in statements:
            if isinstance(statement, Declare):
                statement = replace(statement, name=given.get(statement.name, statement.name))
            elif isinstance(statement, For):
                statement = replace(statement, variable=given.get(statement.variable, statement.variable))
            elif isinstance(statement, Raw):
                statement = Raw(tuple(Token(given.get(t.text, t.text), t.before) for t in statement.tokens))
            done.append(with_bodies(statement, [named(body) for body in bodies_of(statement)]))
        return tuple(done)

    def changed(node: Expr) -> Expr:
        return Name(given.get(node.name, node.name)) if isinstance(node, Name) else node

    return everywhere(named(statements), lambda expression: rewritten(expression, changed))

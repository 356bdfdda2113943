"""Values that are used more than once get a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from dscompile.schedule.cuda_cpp.indices import item_of
from dscompile.schedule.cuda_cpp.tree import (
    Assign,
    Binary,
    Call,
    Cast,
    Choice,
    Declare,
    Evaluate,
    Expr,
    For,
    Index,
    Name,
    Number,
    Statement,
    Unary,
    all_of,
    bodies_of,
    everywhere,
    expressions_of,
    nodes_of,
    walk,
    with_bodies,
)
from dscompile.schedule.cuda_cpp.types import POSITIONS, PURE_CALLS, Types

_LEAST = 2  # operators of a value that gets a name


def with_shared_values(statements: Sequence[Statement], types: Types) -> tuple[Statement, ...]:
    """Indices that occur more than once within a block, and values within a statement, get names."""
    return _Sharing(types).block(statements)


class _Sharing:
    def __init__(self, types: Types) -> None:
        self._types = types
        self._positions = set(POSITIONS.values())
        self._shared: set[str] = set()
        self._count = 0

    def block(self, statements: Sequence[Statement]) -> tuple[Statement, ...]:
        """A block, then those within it."""
        done = list(statements)
        declared = {s.name for s in all_of(statements) if isinstance(s, Declare)}
        declared |= {s.variable for s in all_of(statements) if isinstance(s, For)}
        while (found := self._repeated_index(done, declared)) is not None:
            name = self._named("int")
            self._positions.add(name)
            self._shared.add(name)
            first = next(i for i, s in enumerate(done) if found in set(nodes_of([s])))
            done = list(_with_name(done, found, name))
            done.insert(first, Declare("int", name, value=found, words=("const",)))
        inner = [with_bodies(s, [self.block(body) for body in bodies_of(s)]) for s in done]
        return tuple(part for statement in inner for part in self._with_values(statement))

    def _with_values(self, statement: Statement) -> list[Statement]:
        """A statement after declarations of the values that it uses more than once."""
        done = [statement]
        while isinstance(statement, Assign | Evaluate | Declare):
            uses = Counter(
                node for s in done for e in expressions_of(s) for node in _unconditional(e) if self._is_value(node)
            )
            found = max((node for node, count in uses.items() if count > 1), key=_operators, default=None)
            if found is None:
                break
            kind = self._types.of(found) or ""
            name = self._named(kind)
            first = next(i for i, s in enumerate(done) if found in set(nodes_of([s])))
            done = list(_with_name(done, found, name))
            done.insert(first, Declare(kind, name, value=found, words=("const",)))
        return done

    def _named(self, kind: str) -> str:
        self._count += 1
        name = f"__shared_{kind}_{self._count}"
        self._types.add(name, kind)
        return name

    def _repeated_index(self, statements: Sequence[Statement], declared: Collection[str]) -> Expr | None:
        """The largest index that several statements use, or that one of them uses itself and then once more."""
        places: dict[Expr, set[int]] = {}
        twice: set[Expr] = set()
        for place, statement in enumerate(statements):
            own = {node for expression in expressions_of(statement) for node in walk(expression)}
            for node in nodes_of([statement]):
                if self._is_index(node, declared):
                    known = places.setdefault(node, set())
                    if place in known and node in own:
                        twice.add(node)
                    known.add(place)
        shared = [node for node, at in places.items() if len(at) > 1 or node in twice]
        return max(shared, key=_operators, default=None)

    def _is_index(self, node: Expr, declared: Collection[str]) -> bool:
        if not isinstance(node, Binary) or self._types.of(node) != "int":
            return False
        names = {part.name for part in walk(node) if isinstance(part, Name)}
        if not all(isinstance(part, Name | Number | Binary) for part in walk(node)) or not names & self._positions:
            return False
        if names & set(declared) or node.sign not in ("/", "%", ">>", "&", "+"):
            return False
        if node.sign == "+":
            # Other sums are cheap: with names of their own they were seen to take up to 16 registers more.
            return item_of(node) is not None
        return _operators(node) >= _LEAST or "tile" in names

    def _is_value(self, node: Expr) -> bool:
        if isinstance(node, Name | Number | Index) or _operators(node) < _LEAST:
            return False
        if self._types.of(node) not in ("float", "float4", "int4", "int64_t"):
            return False
        return all(
            isinstance(part, Name | Number | Binary | Index | Cast)
            or (isinstance(part, Unary) and part.sign == "-")
            or (isinstance(part, Call) and part.function in PURE_CALLS)
            for part in walk(node)
        )


def _operators(node: Expr) -> int:
    return sum(isinstance(part, Binary | Call | Unary | Choice) for part in walk(node))


def _unconditional(expression: Expr) -> Iterator[Expr]:
    """What is certainly computed."""
    yield expression
    match expression:
        case Choice(condition):
            yield from _unconditional(condition)
        case Binary("&&" | "||", left, _):
            yield from _unconditional(left)
        case _:
            for part in expression:
                yield from _unconditional(part)


def _with_name(statements: Sequence[Statement], value: Expr, name: str) -> tuple[Statement, ...]:
    """Statements with a name in the place of a value."""

    def replaced(expression: Expr) -> Expr:
        return Name(name) if expression == value else expression.map(replaced)

    return everywhere(statements, replaced)

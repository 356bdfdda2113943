"""The part of C++ that TVM writes for GPUs, as a tree, and ways to walk through it.

A statement that is none of the shapes here is kept as the tokens it consists of, so nothing is ever lost. Parentheses
are no part of the tree: the writer puts them where precedence (or a reader) needs them, so that trees, and with them
the order of operations, stay what they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property

_PLAIN = "bool char int short float double half __half uint uchar ushort".split()  # noqa: SIM905
_SIZED = [f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)]
SCALARS = frozenset([*_PLAIN, *_SIZED])
VECTORS = frozenset(f"{scalar}{lanes}" for scalar in ("float", "int", "uint", "ushort", "half") for lanes in (2, 3, 4))
TYPES = SCALARS | VECTORS


@dataclass(frozen=True)
class Token:
    """A word, number or sign, and the white space and comments before it."""

    text: str
    before: str = ""


# Expressions


@dataclass(frozen=True)
class Node:
    """An expression."""

    def __iter__(self) -> Iterator[Expr]:
        """The expressions that it consists of."""
        return iter(self._parts)

    @cached_property
    def everything(self) -> tuple[Expr, ...]:
        """Itself and all that it consists of, from the left."""
        return (self, *(each for part in self._parts for each in part.everything))

    @cached_property
    def _parts(self) -> tuple[Expr, ...]:
        found: list[Expr] = []
        for name in _field_names(type(self)):
            value = getattr(self, name)
            if isinstance(value, Node):
                found.append(value)
            elif isinstance(value, tuple):
                found += value
        return tuple(found)

    def map(self, change: Callable[[Expr], Expr]) -> Expr:
        """The same with `change` of each part."""
        changed: dict[str, object] = {}
        for name in _field_names(type(self)):
            value = getattr(self, name)
            if isinstance(value, Node):
                changed[name] = change(value)
            elif isinstance(value, tuple):
                changed[name] = tuple(map(change, value))
        return replace(self, **changed) if changed else self


@cache
def _field_names(kind: type[Node]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


Expr = Node


@dataclass(frozen=True)
class Name(Node):
    """A variable."""

    name: str


@dataclass(frozen=True)
class Number(Node):
    """A constant, as it is written."""

    text: str


@dataclass(frozen=True)
class Unary(Node):
    """An operator before its operand."""

    sign: str
    operand: Expr


@dataclass(frozen=True)
class Binary(Node):
    """An operator between its operands."""

    sign: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Choice(Node):
    """condition ? yes : no."""

    condition: Expr
    yes: Expr
    no: Expr


@dataclass(frozen=True)
class Cast(Node):
    """(type)operand; `type` may end in " *"."""

    type: str
    operand: Expr


@dataclass(frozen=True)
class Call(Node):
    """A function of arguments."""

    function: str
    arguments: tuple[Expr, ...]


@dataclass(frozen=True)
class Index(Node):
    """array[at]."""

    array: Expr
    at: Expr


@dataclass(frozen=True)
class Member(Node):
    """whole.name."""

    whole: Expr
    name: str


def walk(expression: Expr) -> Iterator[Expr]:
    """An expression and all that it consists of, from the left."""
    return iter(expression.everything)


def rewritten(expression: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """`change` of every part, from the innermost on."""
    return change(expression.map(lambda part: rewritten(part, change)))


# Statements


@dataclass(frozen=True)
class Declare:
    """A variable or an array; `words` such as __shared__ come first, `alignment` is that of alignas (0 if none)."""

    type: str
    name: str
    size: Expr | None = None
    value: Expr | None = None
    words: tuple[str, ...] = ()
    alignment: int = 0


@dataclass(frozen=True)
class Assign:
    """target = value, or one of the operators like +=."""

    target: Expr
    value: Expr
    sign: str = "="


@dataclass(frozen=True)
class Evaluate:
    """An expression for its effect."""

    value: Expr


@dataclass(frozen=True)
class For:
    """for (int variable = begin; variable < end; ++variable), below its pragmas."""

    variable: str
    begin: Expr
    end: Expr
    body: tuple[Statement, ...]
    pragmas: tuple[str, ...] = ()


@dataclass(frozen=True)
class If:
    """A condition and one or two branches."""

    condition: Expr
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...] = ()


@dataclass(frozen=True)
class Raw:
    """What is not understood, as it is."""

    tokens: tuple[Token, ...]


Statement = Declare | Assign | Evaluate | For | If | Raw


@dataclass(frozen=True)
class Parameter:
    """A pointer or a value that a function takes."""

    words: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Function:
    """What stands before the name, parameters, and the body of a function."""

    head: str
    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]


# Walks


Change = Callable[[Expr], Expr]


def expressions_of(statement: Statement) -> Iterator[Expr]:
    """The expressions of a statement itself, not of what it contains."""
    match statement:
        case Declare(size=size, value=value):
            yield from (e for e in (size, value) if e is not None)
        case Assign(target, value):
            yield from (target, value)
        case Evaluate(value):
            yield value
        case For(begin=begin, end=end):
            yield from (begin, end)
        case If(condition):
            yield condition


def bodies_of(statement: Statement) -> tuple[tuple[Statement, ...], ...]:
    """The blocks within a statement."""
    match statement:
        case For(body=body):
            return (body,)
        case If(then=then, otherwise=otherwise):
            return (then, otherwise)
    return ()


def with_bodies(statement: Statement, bodies: Sequence[Sequence[Statement]]) -> Statement:
    """A statement with other blocks in it."""
    match statement:
        case For():
            return replace(statement, body=tuple(bodies[0]))
        case If():
            return replace(statement, then=tuple(bodies[0]), otherwise=tuple(bodies[1]))
    return statement


def mapped(statement: Statement, change: Change) -> Statement:
    """A statement with `change` of each of its own expressions."""
    match statement:
        case Declare(size=size, value=value):
            return replace(statement, size=size and change(size), value=value and change(value))
        case Assign(target, value):
            return replace(statement, target=change(target), value=change(value))
        case Evaluate(value):
            return Evaluate(change(value))
        case For(begin=begin, end=end):
            return replace(statement, begin=change(begin), end=change(end))
        case If(condition):
            return replace(statement, condition=change(condition))
    return statement


def everywhere(statements: Sequence[Statement], change: Change) -> tuple[Statement, ...]:
    """All expressions, of nested statements too."""
    return tuple(
        with_bodies(mapped(s, change), [everywhere(body, change) for body in bodies_of(s)]) for s in statements
    )


def all_of(statements: Sequence[Statement]) -> Iterator[Statement]:
    """Statements and all that they contain, in their order."""
    for statement in statements:
        yield statement
        for body in bodies_of(statement):
            yield from all_of(body)


def names_of(statements: Sequence[Statement]) -> Counter[str]:
    """How often every name is used, in whatever way."""
    found: Counter[str] = Counter()
    for statement in all_of(statements):
        if isinstance(statement, Raw):
            found.update(token.text for token in statement.tokens)
        for expression in expressions_of(statement):
            found.update(node.name for node in walk(expression) if isinstance(node, Name))
    return found


def nodes_of(statements: Sequence[Statement]) -> Iterator[Expr]:
    """All expressions of statements, and of what they consist."""
    for statement in all_of(statements):
        for expression in expressions_of(statement):
            yield from walk(expression)


# Precedence


_LEVELS = ("||", "&&", "|", "^", "&", "== !=", "< > <= >=", "<< >>", "+ -", "* / %")  # from loosest to tightest
LEVEL = {sign: level for level, signs in enumerate(_LEVELS, 2) for sign in signs.split()}
CHOICE, UNARY, POSTFIX = 1, 20, 21

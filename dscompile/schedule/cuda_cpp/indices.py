"""Indices as people write them: items that threads share out in rounds, taken apart by / and %.

TVM simplifies (round * 96 + thread) / 8 to round * 12 + (thread >> 3), and so on. All that is simplified here is not
negative and far from overflow, so that these are the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dscompile.schedule.cuda_cpp.tree import (
    Assign,
    Binary,
    Declare,
    Evaluate,
    Expr,
    For,
    If,
    Name,
    Number,
    Statement,
    rewritten,
)

_START = Number("0")


def item_of(expression: Expr) -> str | None:
    """The loop of round * threads + thread."""
    match expression:
        case Binary("+", Binary("*", Name(loop), Number()), Name("thread")):
            return loop
    return None


def with_plain_indices(statements: Sequence[Statement], threads: int) -> tuple[Statement, ...]:
    """Statements whose indices are written with / and %, where it is clear that nothing is negative."""
    return _Indices(threads, frozenset(("thread", "tile", "slice"))).block(statements)


class _Indices:
    def __init__(self, threads: int, counters: frozenset[str]) -> None:
        self._threads = threads
        self._counters = counters

    def block(self, statements: Sequence[Statement]) -> tuple[Statement, ...]:
        """Statements, and what they contain."""
        return tuple(map(self._statement, statements))

    def _statement(self, statement: Statement) -> Statement:
        plain: Callable[[Expr], Expr] = lambda expression: rewritten(expression, self._plain)  # noqa: E731
        match statement:
            case Declare(value=value):
                return replace(statement, value=value and plain(value))
            case Assign(target, value):
                return replace(statement, target=plain(target), value=plain(value))
            case Evaluate(value):
                return Evaluate(plain(value))
            case If(condition, then, otherwise):
                return If(plain(condition), self.block(then), self.block(otherwise))
            case For(variable, begin):
                counts_up = begin == _START and variable not in self._counters
                inner = _Indices(self._threads, self._counters | {variable}) if counts_up else self
                return replace(statement, body=inner.block(statement.body))
        return statement

    def _plain(self, node: Expr) -> Expr:
        """One step, where the operands are plain already."""
        match node:
            case Binary("+", Binary("*", Name(loop), Number(rounds)), right) if self._is_loop(loop, rounds):
                thread, part = _quotient(right)
                if thread == Name("thread") and part > 1 and int(rounds) * part == self._threads:
                    item = Binary("+", Binary("*", Name(loop), Number(str(self._threads))), thread)
                    return _divided(item, part)
            case Binary("<", left, Number(end)) if end.isdecimal():
                whole, part = _quotient(left)
                if part > 1 and self._counts(whole):
                    return Binary("<", whole, Number(str(int(end) * part)))
            case Binary("/" | ">>", _, _):
                inner, part = _quotient(node)
                if part > 1 and self._counts(inner):
                    return _quotient_of(inner, part)
        return node

    def _is_loop(self, name: str, factor: str) -> bool:
        return name in self._counters and factor.isdecimal()

    def _counts(self, expression: Expr) -> bool:
        """Whether an expression consists of what is never negative."""
        match expression:
            case Name(name):
                return name in self._counters
            case Number(text):
                return text.isdecimal()
            case Binary("+" | "*" | "/" | "%" | ">>", left, right):
                return self._counts(left) and self._counts(right)
        return False


def _quotient_of(dividend: Expr, part: int) -> Expr:
    """dividend / part, without a division of what was divided before."""
    whole, before = _quotient(dividend)
    if before > 1:
        return _divided(whole, before * part)
    rest, modulus = _remainder(dividend)
    whole, before = _quotient(rest)
    if modulus > 1 and before > 1:
        return _divided(_modulo(whole, before * modulus), before * part)
    return _divided(dividend, part)


def _quotient(node: Expr) -> tuple[Expr, int]:
    """x and n of x / n, which may be a shift; node and 1 of what is no quotient."""
    match node:
        case Binary("/", left, Number(text)) if text.isdecimal():
            return left, int(text)
        case Binary(">>", left, Number(text)) if text.isdecimal():
            return left, 1 << int(text)
    return node, 1


def _remainder(node: Expr) -> tuple[Expr, int]:
    """x and n of x % n, which may be a mask; node and 1 of what is no remainder."""
    match node:
        case Binary("%", left, Number(text)) if text.isdecimal():
            return left, int(text)
        case Binary("&", left, Number(text)) if text.isdecimal() and _is_power(int(text) + 1):
            return left, int(text) + 1
    return node, 1


def _divided(node: Expr, part: int) -> Expr:
    """A shift if that will do: compilers do not always see that nothing is negative."""
    if _is_power(part):
        return Binary(">>", node, Number(str(part.bit_length() - 1)))
    return Binary("/", node, Number(str(part)))


def _modulo(node: Expr, modulus: int) -> Expr:
    if _is_power(modulus):
        return Binary("&", node, Number(str(modulus - 1)))
    return Binary("%", node, Number(str(modulus)))


def _is_power(number: int) -> bool:
    return number & (number - 1) == 0

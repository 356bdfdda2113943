"""From the tree to text that people read: C's precedence, 4 spaces, lines of 120 columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from dscompile.schedule.cuda_cpp.tree import (
    CHOICE,
    LEVEL,
    POSTFIX,
    UNARY,
    Assign,
    Binary,
    Call,
    Cast,
    Choice,
    Declare,
    Evaluate,
    Expr,
    For,
    If,
    Index,
    Member,
    Name,
    Number,
    Raw,
    Statement,
    Unary,
)

WIDTH = 120
INDENT = 4
MIN_PLAIN, MAX_PLAIN = 1e-4, 1e7  # constants outside are written with an exponent


def decimal(text: str) -> str:
    """A hexadecimal constant as the shortest decimal that is the same number; others stay as they are."""
    match = re.fullmatch(r"(0[xX][0-9a-fA-F.]+[pP][+-]?\d+)([fF]?)", text)
    if match is None:
        return text
    exact = float.fromhex(match[1])
    number = np.float32(exact) if match[2] else np.float64(exact)
    if not np.isfinite(number):
        return text
    if exact and not MIN_PLAIN <= abs(exact) < MAX_PLAIN:
        return np.format_float_scientific(number, unique=True, trim="-", exp_digits=1) + match[2]
    return np.format_float_positional(number, unique=True, trim="0") + match[2]


def flat_text(expression: Expr, level: int = 0) -> str:
    """An expression in one line, in parentheses where an operator of `level` is around it."""
    text, own = _written(expression)
    return f"({text})" if own < level else text


def _written(expression: Expr) -> tuple[str, int]:
    match expression:
        case Name(name):
            return name, POSTFIX
        case Number(text):
            return decimal(text), POSTFIX
        case Unary(sign, operand):
            inner = flat_text(operand, UNARY)
            return f"{sign}({inner})" if inner[0] == sign else sign + inner, UNARY
        case Cast(kind, operand):
            return f"({kind}){flat_text(operand, UNARY)}", UNARY
        case Call(function, arguments):
            return f"{function}({', '.join(map(flat_text, arguments))})", POSTFIX
        case Index(array, at):
            return f"{flat_text(array, POSTFIX)}[{flat_text(at)}]", POSTFIX
        case Member(whole, name):
            return f"{flat_text(whole, POSTFIX)}.{name}", POSTFIX
        case Choice(condition, yes, no):
            return f"{flat_text(condition, 2)} ? {flat_text(yes, 1)} : {flat_text(no, 1)}", CHOICE
        case Binary(sign, left, right):
            return f"{_operand(sign, left, 0)} {sign} {_operand(sign, right, 1)}", LEVEL[sign]
    raise TypeError(f"no expression: {expression}")


_SHIFTS = frozenset(("<<", ">>"))


def _operand_level(sign: str, operand: Expr, right: int) -> int:
    """Parentheses where C needs them, and where readers do: in shifts, and between && and ||."""
    level = LEVEL[sign]
    if isinstance(operand, Binary) and operand.sign != sign:
        if level < LEVEL["&&"] or LEVEL["&&"] < level < LEVEL["=="] or sign in _SHIFTS:
            return UNARY
        if operand.sign in _SHIFTS or (sign == "&&" and operand.sign == "||"):
            return UNARY
        if level == LEVEL["%"] and "%" in (sign, operand.sign):
            return UNARY
    return level + right


def _operand(sign: str, operand: Expr, right: int) -> str:
    return flat_text(operand, _operand_level(sign, operand, right))


def lines_of(expression: Expr, column: int, after: int = 0, level: int = 0) -> list[str]:
    """An expression from `column` on, broken where it is too wide; `after` columns follow it in the last line."""
    flat = flat_text(expression, level)
    if column + len(flat) + after <= WIDTH:
        return [flat]
    match expression:
        case Binary(sign) if LEVEL[sign] < level:
            return _enclosed("(", [(expression, 0, "")], ")", column, after)
        case Binary(sign):
            return _filled(_chain(expression), column, after)
        case Call(function, arguments):
            last = len(arguments) - 1
            terms = [(argument, 0, "," if place < last else "") for place, argument in enumerate(arguments)]
            return _enclosed(f"{function}(", terms, ")", column, after)
        case Index(array, at):
            return _enclosed(f"{flat_text(array, POSTFIX)}[", [(at, 0, "")], "]", column, after)
        case Choice(condition, yes, no):
            return _filled([(condition, 2, ""), (yes, 1, "? "), (no, 1, ": ")], column, after, leads=True)
        case Unary(sign, operand):
            return _prefixed(sign, lines_of(operand, column + len(sign), after, UNARY))
        case Cast(kind, operand):
            return _prefixed(f"({kind})", lines_of(operand, column + len(kind) + 2, after, UNARY))
        case _:
            return [flat]


Term = tuple[Expr, int, str]
"""An expression, the level around it, and what follows (or leads) it."""


def _chain(expression: Binary) -> list[Term]:
    """The operands of operators of one level, from the left, each with the operator that follows."""
    level, terms = LEVEL[expression.sign], []
    sign, following = expression.sign, ""
    node: Expr = expression
    while isinstance(node, Binary) and LEVEL[node.sign] == level:
        terms.append((node.right, _operand_level(node.sign, node.right, 1), following))
        sign, following = node.sign, f" {node.sign}"
        if _operand_level(node.sign, node.left, 0) > level:
            node = node.left
            break
        node = node.left
    terms.append((node, _operand_level(sign, node, 0), following))
    return terms[::-1]


def _filled(terms: Sequence[Term], column: int, after: int, *, leads: bool = False) -> list[str]:
    """Terms one after the other, each line as full as it gets."""
    lines, ends_broken = [""], False
    for index, (expression, level, mark) in enumerate(terms):
        room = len(mark) + (after if index == len(terms) - 1 else 0)
        flat = flat_text(expression, level)
        gap = " " if lines[-1] else ""
        new_line = bool(lines[-1]) and (leads or ends_broken or column + len(lines[-1]) + 1 + len(flat) + room > WIDTH)
        if new_line:
            lines.append("")
            gap = ""
        lead, trail = (mark, "") if leads else ("", mark)
        start = column + len(lines[-1]) + len(gap) + len(lead)
        first, *rest = lines_of(expression, start, len(trail) + room - len(mark), level)
        lines[-1] += gap + lead + first
        lines += [" " * (start - column) + line for line in rest]
        lines[-1] += trail
        ends_broken = bool(rest) and trail == ","
    return lines


def _enclosed(begin: str, terms: Sequence[Term], end: str, column: int, after: int) -> list[str]:
    inner = _filled(terms, column + len(begin), after + len(end))
    lines = _prefixed(begin, inner)
    lines[-1] += end
    return lines


def _prefixed(prefix: str, lines: list[str]) -> list[str]:
    return [prefix + lines[0], *(" " * len(prefix) + line for line in lines[1:])]


def written(statements: Sequence[Statement], depth: int = 1) -> list[str]:
    """Statements as lines of text, `depth` blocks deep."""
    lines: list[str] = []
    for statement in statements:
        lines += _statement_lines(statement, depth)
    return lines


def _statement_lines(statement: Statement, depth: int) -> list[str]:
    indent = INDENT * depth
    space = " " * indent
    match statement:
        case Declare(kind, name, size, value, words, alignment):
            qualifiers = "".join(f"{word} " for word in words) + (f"__align__({alignment}) " if alignment else "")
            text = f"{qualifiers}{kind} {name}" + ("" if size is None else f"[{flat_text(size)}]")
            if value is None:
                return [f"{space}{text};"]
            return _indented(indent, _prefixed(f"{text} = ", lines_of(value, indent + len(text) + 3, 1)), ";")
        case Assign(target, value, sign):
            left = lines_of(target, indent, len(sign) + 1)
            before = f"{left[-1]} {sign} "
            lines = lines_of(value, indent + len(before), 1)
            alone = lines_of(value, indent + INDENT, 1)
            if len(left) == 1 and (len(lines) == 1 or (len(lines) <= len(alone) and len(before) <= WIDTH // 3)):
                return _indented(indent, _prefixed(before, lines), ";")
            inner = [" " * INDENT + line for line in alone]
            return _indented(indent, [*left[:-1], before.rstrip(), *inner], ";")
        case Evaluate(value):
            return _indented(indent, lines_of(value, indent, 1), ";")
        case For(variable, first, end, body, pragmas):
            head = f"int {variable} = {flat_text(first)}; {variable} < {flat_text(end, LEVEL['<<'])}; ++{variable}"
            return [*pragmas, f"{space}for ({head}) {{", *written(body, depth + 1), space + "}"]
        case If(condition, then, otherwise):
            lines = _indented(indent, _prefixed("if (", lines_of(condition, indent + 4, 3)), ") {")
            lines += written(then, depth + 1)
            if not otherwise:
                return [*lines, space + "}"]
            if len(otherwise) == 1 and isinstance(otherwise[0], If):
                chained = _statement_lines(otherwise[0], depth)
                return [*lines, f"{space}}} else {chained[0].lstrip()}", *chained[1:]]
            return [*lines, space + "} else {", *written(otherwise, depth + 1), space + "}"]
        case Raw(tokens):
            first_line, *rest = (tokens[0].text + "".join(t.before + t.text for t in tokens[1:])).splitlines()
            common = min((len(line) - len(line.lstrip()) for line in rest if line.strip()), default=0)
            return [space + first_line, *(space + line[common:] for line in rest)]


def _indented(indent: int, lines: list[str], end: str) -> list[str]:
    return [*(" " * indent + line for line in lines[:-1]), " " * indent + lines[-1] + end]

"""The part of C++ that TVM writes for GPUs: tokens, a syntax tree of it, and the tree as readable text.

A statement that is none of the shapes here is kept as the tokens it consists of, so nothing is ever lost. Parentheses
are no part of the tree: the writer puts them where precedence (or a reader) needs them, so that trees, and with them
the order of operations, stay what they were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

SCALARS = frozenset(
    "bool char int short float double half __half int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t "
    "uint uchar ushort".split()
)
VECTORS = frozenset(f"{scalar}{lanes}" for scalar in ("float", "int", "uint", "half", "double") for lanes in (2, 3, 4))
TYPES = SCALARS | VECTORS
_WORDS = {"uint": "unsigned", "uchar": "unsigned char", "ushort": "unsigned short"}  # names of TVM's preamble

WIDTH = 120
INDENT = 4


class UnknownSyntaxError(ValueError):
    """A shape that is not read here."""


@dataclass(frozen=True)
class Token:
    """A word, number or sign, and the white space and comments before it."""

    text: str
    before: str = ""


_TOKEN = re.compile(
    r"""(?P<before>(?:\s+|//[^\n]*|/\*.*?\*/)*)
    (?P<text>\#[^\n]*
    |"(?:[^"\\]|\\.)*"
    |0[xX][0-9a-fA-F]*\.?[0-9a-fA-F]*(?:[pP][+-]?\d+)?[a-zA-Z]*
    |(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[a-zA-Z]*
    |[A-Za-z_]\w*
    |<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||\+\+|--|\+=|-=|\*=|/=|::|->
    |.)""",
    re.DOTALL | re.VERBOSE,
)


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text; preprocessor lines are one each."""
    return [Token(found["text"], found["before"]) for found in _TOKEN.finditer(text.rstrip())]


# Expressions


@dataclass(frozen=True)
class Node:
    """An expression."""

    def __iter__(self) -> Iterator[Expr]:
        """The expressions that it consists of."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Node):
                yield value
            elif isinstance(value, tuple):
                yield from value

    def map(self, change: Callable[[Expr], Expr]) -> Expr:
        """The same with `change` of each part."""
        changed: dict[str, object] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Node):
                changed[field.name] = change(value)
            elif isinstance(value, tuple):
                changed[field.name] = tuple(map(change, value))
        return replace(self, **changed) if changed else self


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
    yield expression
    for part in expression:
        yield from walk(part)


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


_LEVELS = (("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", ">", "<=", ">="), ("<<", ">>"), ("+", "-"), ("*", "/", "%"))
_LEVEL = {sign: level for level, signs in enumerate(_LEVELS, 2) for sign in signs}
_CHOICE, _UNARY, _POSTFIX = 1, 20, 21
_ASSIGNMENTS = frozenset(("=", "+=", "-=", "*=", "/="))


class Parser:
    """Reads tokens from the first to the last."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def function(self) -> Function:
        """A function with its body. Raises UnknownSyntaxError."""
        head = []
        while self._peek(1) != "(" or self._peek().startswith("__launch_bounds__"):
            head.append(self._take())
            if self._peek(0) == "(" and head[-1] == "__launch_bounds__":
                depth = 0
                while True:
                    head[-1] += self._peek()
                    depth += {"(": 1, ")": -1}.get(self._take(), 0)
                    if not depth:
                        break
        name = self._take()
        self._expect("(")
        parameters, words = [], []
        while True:
            word = self._take()
            if word in (",", ")"):
                if words:
                    parameters.append(Parameter(tuple(words[:-1]), words[-1]))
                words = []
                if word == ")":
                    break
            else:
                words.append(word)
        return Function(" ".join(head), name, tuple(parameters), self._block())

    def _peek(self, ahead: int = 0) -> str:
        index = self._at + ahead
        if index >= len(self._tokens):
            raise UnknownSyntaxError("the text ends")
        return self._tokens[index].text

    def _take(self) -> str:
        text = self._peek()
        self._at += 1
        return text

    def _expect(self, *texts: str) -> None:
        for text in texts:
            if self._take() != text:
                raise UnknownSyntaxError(f"no '{text}' here")

    def _block(self) -> tuple[Statement, ...]:
        self._expect("{")
        statements: list[Statement] = []
        while self._peek() != "}":
            statements.append(self._statement())
        self._expect("}")
        return tuple(statements)

    def _statement(self) -> Statement:
        begin = self._at
        try:
            return self._known_statement()
        except UnknownSyntaxError:
            self._at = begin
            return self._unknown_statement()

    def _unknown_statement(self) -> Raw:
        """All tokens until a semicolon, or the block that comes first."""
        begin, depth = self._at, 0
        while True:
            text = self._take()
            depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(text, 0)
            if depth == 0 and (text == "}" or text == ";" or text.startswith("#")):
                return Raw(tuple(self._tokens[begin : self._at]))
            if depth < 0:
                raise UnknownSyntaxError("a bracket too many")

    def _known_statement(self) -> Statement:
        pragmas = []
        while self._peek().startswith("#pragma"):
            pragmas.append(self._take().strip())
        word = self._peek()
        if word == "for":
            return self._loop(tuple(pragmas))
        if pragmas:
            raise UnknownSyntaxError("a pragma before no loop")
        if word == "if":
            return self._branches()
        if word in ("__shared__", "alignas") or (word in TYPES and self._peek(1) not in ("(", "*")):
            return self._declaration()
        target = self.expression()
        if self._peek() in _ASSIGNMENTS:
            sign = self._take()
            value = self.expression()
            self._expect(";")
            return Assign(target, value, sign)
        self._expect(";")
        return Evaluate(target)

    def _loop(self, pragmas: tuple[str, ...]) -> For:
        self._expect("for", "(", "int")
        variable = self._name()
        self._expect("=")
        begin = self.expression()
        self._expect(";", variable, "<")
        end = self._operation(_LEVEL["<<"])
        self._expect(";", "++", variable, ")")
        return For(variable, begin, end, self._block(), pragmas)

    def _branches(self) -> If:
        self._expect("if", "(")
        condition = self.expression()
        self._expect(")")
        then = self._block()
        otherwise: tuple[Statement, ...] = ()
        if self._peek() == "else":
            self._take()
            otherwise = (self._branches(),) if self._peek() == "if" else self._block()
        return If(condition, then, otherwise)

    def _declaration(self) -> Declare:
        words, alignment = [], 0
        while self._peek() in ("__shared__", "alignas"):
            if self._take() == "__shared__":
                words.append("__shared__")
            else:
                self._expect("(")
                alignment = int(self._take())
                self._expect(")")
        kind = self._take()
        if kind not in TYPES:
            raise UnknownSyntaxError(f"an unknown type {kind}")
        name = self._name()
        size = value = None
        if self._peek() == "[":
            self._take()
            size = self.expression()
            self._expect("]")
        if self._peek() == "=":
            self._take()
            value = self.expression()
        self._expect(";")
        return Declare(_WORDS.get(kind, kind), name, size, value, tuple(words), alignment)

    def expression(self) -> Expr:
        """An expression without assignments and commas."""
        condition = self._operation(_CHOICE + 1)
        if self._peek() != "?":
            return condition
        self._take()
        yes = self.expression()
        self._expect(":")
        return Choice(condition, yes, self.expression())

    def _operation(self, level: int) -> Expr:
        left = self._unary()
        while _LEVEL.get(self._peek(), 0) >= level:
            sign = self._take()
            left = Binary(sign, left, self._operation(_LEVEL[sign] + 1))
        return left

    def _unary(self) -> Expr:
        text = self._peek()
        if text in ("-", "!", "~", "*", "&"):
            self._take()
            return Unary(text, self._unary())
        if text == "(" and self._peek(1) in TYPES | {"signed", "unsigned"}:
            self._take()
            kind = self._type()
            self._expect(")")
            return Cast(kind, self._unary())
        return self._postfix()

    def _type(self) -> str:
        word = self._take()
        if word in ("signed", "unsigned"):
            word = f"{word} {self._take()}" if self._peek() in ("char", "int", "short") else word
        word = _WORDS.get(word, word)
        while self._peek() == "*":
            self._take()
            word += " *" if not word.endswith("*") else "*"
        return word

    def _postfix(self) -> Expr:
        text = self._take()
        value: Expr
        if text == "(":
            value = self.expression()
            self._expect(")")
        elif text[0].isdigit() or (text[0] == "." and len(text) > 1):
            value = Number(text)
        elif text[0].isalpha() or text[0] == "_":
            if self._peek() == "(":
                value = Call(text, self._arguments())
            elif text in TYPES:
                raise UnknownSyntaxError(f"the type {text} inside of an expression")
            else:
                value = Name(text)
        else:
            raise UnknownSyntaxError(f"'{text}' begins no expression")
        while self._peek() in ("[", "."):
            if self._take() == "[":
                value = Index(value, self.expression())
                self._expect("]")
            else:
                value = Member(value, self._name())
        return value

    def _arguments(self) -> tuple[Expr, ...]:
        self._expect("(")
        arguments = []
        while self._peek() != ")":
            arguments.append(self.expression())
            if self._peek() != ")":
                self._expect(",")
        self._expect(")")
        return tuple(arguments)

    def _name(self) -> str:
        name = self._take()
        if not (name[0].isalpha() or name[0] == "_"):
            raise UnknownSyntaxError(f"'{name}' is no name")
        return name


# Text


def decimal(text: str) -> str:
    """A hexadecimal constant as the shortest decimal that is the same number; others stay as they are."""
    match = re.fullmatch(r"(0[xX][0-9a-fA-F.]+[pP][+-]?\d+)([fF]?)", text)
    if match is None:
        return text
    value = float.fromhex(match[1])
    number = np.float32(value) if match[2] else np.float64(value)
    if not np.isfinite(number):
        return text
    exponent = abs(int(np.floor(np.log10(abs(number))))) if number else 0
    plain = np.format_float_positional(number, unique=True, trim="0")
    digits = np.format_float_scientific(number, unique=True, trim="-", exp_digits=1) if exponent > 6 else plain
    return digits + match[2]


def flat_text(expression: Expr, level: int = 0) -> str:
    """An expression in one line, in parentheses where an operator of `level` is around it."""
    text, own = _written(expression)
    return f"({text})" if own < level else text


def _written(expression: Expr) -> tuple[str, int]:
    match expression:
        case Name(name):
            return name, _POSTFIX
        case Number(text):
            return decimal(text), _POSTFIX
        case Unary(sign, operand):
            inner = flat_text(operand, _UNARY)
            return f"{sign}({inner})" if inner[0] == sign else sign + inner, _UNARY
        case Cast(kind, operand):
            return f"({kind}){flat_text(operand, _UNARY)}", _UNARY
        case Call(function, arguments):
            return f"{function}({', '.join(map(flat_text, arguments))})", _POSTFIX
        case Index(array, at):
            return f"{flat_text(array, _POSTFIX)}[{flat_text(at)}]", _POSTFIX
        case Member(whole, name):
            return f"{flat_text(whole, _POSTFIX)}.{name}", _POSTFIX
        case Choice(condition, yes, no):
            return f"{flat_text(condition, 2)} ? {flat_text(yes, 1)} : {flat_text(no, 1)}", _CHOICE
        case Binary(sign, left, right):
            return f"{_operand(sign, left, 0)} {sign} {_operand(sign, right, 1)}", _LEVEL[sign]
    raise UnknownSyntaxError(str(expression))


_SHIFTS = frozenset(("<<", ">>"))


def _operand_level(sign: str, operand: Expr, right: int) -> int:
    """Parentheses where C needs them, and where readers do: in shifts, and between && and ||."""
    level = _LEVEL[sign]
    if isinstance(operand, Binary) and operand.sign != sign:
        if level < _LEVEL["&&"] or _LEVEL["&&"] < level < _LEVEL["=="] or sign in _SHIFTS:
            return _UNARY
        if operand.sign in _SHIFTS or (sign == "&&" and operand.sign == "||"):
            return _UNARY
        if level == _LEVEL["%"] and "%" in (sign, operand.sign):
            return _UNARY
    return level + right


def _operand(sign: str, operand: Expr, right: int) -> str:
    return flat_text(operand, _operand_level(sign, operand, right))


def lines_of(expression: Expr, column: int, after: int = 0, level: int = 0) -> list[str]:
    """An expression from `column` on, broken where it is too wide; `after` columns follow it in the last line."""
    flat = flat_text(expression, level)
    if column + len(flat) + after <= WIDTH:
        return [flat]
    match expression:
        case Binary(sign) if _LEVEL[sign] < level:
            return _enclosed("(", [(expression, 0, "")], ")", column, after)
        case Binary(sign):
            return _filled(_chain(expression), column, after)
        case Call(function, arguments):
            ends = [","] * (len(arguments) - 1) + [""]
            return _enclosed(f"{function}(", [(a, 0, e) for a, e in zip(arguments, ends, strict=True)], ")", column, after)
        case Index(array, at):
            return _enclosed(f"{flat_text(array, _POSTFIX)}[", [(at, 0, "")], "]", column, after)
        case Choice(condition, yes, no):
            return _filled([(condition, 2, ""), (yes, 1, "? "), (no, 1, ": ")], column, after, leads=True)
        case Unary(sign, operand):
            return _prefixed(sign, lines_of(operand, column + len(sign), after, _UNARY))
        case Cast(kind, operand):
            return _prefixed(f"({kind})", lines_of(operand, column + len(kind) + 2, after, _UNARY))
        case _:
            return [flat]


Term = tuple[Expr, int, str]
"""An expression, the level around it, and what follows (or leads) it."""


def _chain(expression: Binary) -> list[Term]:
    """The operands of operators of one level, from the left, each with the operator that follows."""
    level, terms = _LEVEL[expression.sign], []
    sign, following = expression.sign, ""
    node: Expr = expression
    while isinstance(node, Binary) and _LEVEL[node.sign] == level:
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
    lines = [""]
    for index, (expression, level, mark) in enumerate(terms):
        room = len(mark) + (after if index == len(terms) - 1 else 0)
        flat = flat_text(expression, level)
        gap = " " if lines[-1] else ""
        new_line = bool(lines[-1]) and (leads or column + len(lines[-1]) + 1 + len(flat) + room > WIDTH)
        if new_line:
            lines.append("")
            gap = ""
        lead, trail = (mark, "") if leads else ("", mark)
        start = column + len(lines[-1]) + len(gap) + len(lead)
        first, *rest = lines_of(expression, start, len(trail) + room - len(mark), level)
        lines[-1] += gap + lead + first
        lines += [" " * (start - column) + line for line in rest]
        lines[-1] += trail
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
            before = "".join(f"{word} " for word in words) + (f"__align__({alignment}) " if alignment else "")
            text = f"{before}{kind} {name}" + ("" if size is None else f"[{flat_text(size)}]")
            if value is None:
                return [f"{space}{text};"]
            return _indented(indent, _prefixed(f"{text} = ", lines_of(value, indent + len(text) + 3, 1)), ";")
        case Assign(target, value, sign):
            first = flat_text(target)
            start = indent + len(first) + len(sign) + 2
            lines = lines_of(value, start, 1)
            if len(lines) == 1 and start + len(lines[0]) < WIDTH:
                return [f"{space}{first} {sign} {lines[0]};"]
            if indent + len(first) > WIDTH - 2 - len(sign):
                left = lines_of(target, indent, len(sign) + 1)
            else:
                left = [first]
            alone = lines_of(value, indent + INDENT, 1)
            if len(alone) < len(lines) or len(left) > 1 or len(first) > WIDTH // 3:
                inner = [" " * INDENT + line for line in alone]
                return _indented(indent, [*left[:-1], f"{left[-1]} {sign}", *inner], ";")
            return _indented(indent, _prefixed(f"{first} {sign} ", lines), ";")
        case Evaluate(value):
            return _indented(indent, lines_of(value, indent, 1), ";")
        case For(variable, begin, end, body, pragmas):
            head = f"for (int {variable} = {flat_text(begin)}; {variable} < {flat_text(end, _LEVEL['<<'])}; ++{variable}) {{"
            return [*(space + p for p in pragmas), space + head, *written(body, depth + 1), space + "}"]
        case If(condition, then, otherwise):
            lines = _indented(indent, _prefixed("if (", lines_of(condition, indent + 4, 3)), ") {")
            lines += written(then, depth + 1)
            if not otherwise:
                return [*lines, space + "}"]
            if len(otherwise) == 1 and isinstance(otherwise[0], If):
                first, *rest = _statement_lines(otherwise[0], depth)
                return [*lines, f"{space}}} else {first.lstrip()}", *rest]
            return [*lines, space + "} else {", *written(otherwise, depth + 1), space + "}"]
        case Raw(tokens):
            text = (tokens[0].text + "".join(t.before + t.text for t in tokens[1:])).splitlines()
            common = min((len(line) - len(line.lstrip()) for line in text[1:] if line.strip()), default=0)
            return [space + text[0], *(space + line[common:] for line in text[1:])]


def _indented(indent: int, lines: list[str], end: str) -> list[str]:
    return [*(" " * indent + line for line in lines[:-1]), " " * indent + lines[-1] + end]

"""From text to the tree."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dscompile.schedule.cuda_cpp.tree import (
    CHOICE,
    LEVEL,
    TYPES,
    Assign,
    Binary,
    Call,
    Cast,
    Choice,
    Declare,
    Evaluate,
    Expr,
    For,
    Function,
    If,
    Index,
    Member,
    Name,
    Number,
    Parameter,
    Raw,
    Statement,
    Token,
    Unary,
)

_WORDS = {"uint": "unsigned", "uchar": "unsigned char", "ushort": "unsigned short"}  # names of TVM's preamble


class UnknownSyntaxError(ValueError):
    """A shape that is not read here."""


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
        parameters: list[Parameter] = []
        words: list[str] = []
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
        end = self._operation(LEVEL["<<"])
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
        condition = self._operation(CHOICE + 1)
        if self._peek() != "?":
            return condition
        self._take()
        yes = self.expression()
        self._expect(":")
        return Choice(condition, yes, self.expression())

    def _operation(self, level: int) -> Expr:
        left = self._unary()
        while LEVEL.get(self._peek(), 0) >= level:
            sign = self._take()
            left = Binary(sign, left, self._operation(LEVEL[sign] + 1))
        return left

    def _unary(self) -> Expr:
        text = self._peek()
        if text in ("-", "!", "~", "*", "&"):
            self._take()
            return Unary(text, self._unary())
        if text == "(" and self._peek(1) in TYPES | {"signed", "unsigned"} and self._peek(2) != "(":
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

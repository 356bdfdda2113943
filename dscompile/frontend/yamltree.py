"""YAML text as a small tree in which every node knows its place.

Only what a net.yaml needs: YAML 1.2, plain data. Tags, anchors and aliases are refused, so nothing is executed and
nothing can unfold to more than the file holds; duplicate keys are errors. Built on ruamel.yaml's event parser: its
round-trip loader takes several times as long and hides positions of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from dscompile.errors import BadInputError, Diagnostic, Position

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 16
MAX_SHOWN_LINE = 400  # longer source lines are named by line and column only

Value = str | int | float | bool | None


@dataclass(frozen=True)
class ScalarNode:
    """One value. `text` is what the file says, `value` what it means under YAML 1.2's core schema."""

    value: Value
    text: str
    position: Position


@dataclass(frozen=True)
class SequenceNode:
    """A list."""

    items: tuple[Node, ...]
    position: Position


@dataclass(frozen=True)
class MappingNode:
    """Keys and values in the order of the file; no key appears twice."""

    entries: tuple[tuple[ScalarNode, Node], ...]
    position: Position


Node = ScalarNode | SequenceNode | MappingNode


def describe(node: Node) -> str:
    """What a node is, for error messages: `the text 'same'`, `the number 3`, `a list`."""
    match node:
        case SequenceNode():
            return "a list"
        case MappingNode():
            return "a mapping"
        case ScalarNode(value=None):
            return "nothing"
        case ScalarNode(value=bool()):
            return f"'{node.text}'"
        case ScalarNode(value=int() | float()):
            return f"the number {shorten(node.text)}"
        case ScalarNode():
            return f"the text '{shorten(node.text)}'"


def shorten(text: str) -> str:
    """`text`, or its beginning if it is too long for a message."""
    return text if len(text) <= 60 else text[:57] + "..."


def read_text(path: Path, what: str = "a net.yaml") -> str:
    """The text of a UTF-8 file of at most 1 MiB.

    Raises BadInputError if it is missing, a directory, unreadable, too large, binary or in another encoding.
    """
    try:
        if not path.is_file():
            state = "is a directory" if path.is_dir() else "does not exist" if not path.exists() else "is not a file"
            raise BadInputError(f"'{path}' {state}", help=f"give the path of {what} file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadInputError(f"'{path}' cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise BadInputError(f"'{path}' is larger than 1 MiB, which no network description is")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"'{path}' is not UTF-8 text (byte {error.start})", help=f"is it really {what} file? it looks binary"
        ) from None
    control = re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]", text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        column = control.start() - (text.rfind("\n", 0, control.start()) + 1) + 1
        raise BadInputError(
            f"control character U+{ord(control.group()):04X} in text", position=Position(str(path), line, column)
        )
    return text


def parse_yaml(text: str, file: str) -> Node:
    """The tree of one YAML document; `file` is the name used in messages.

    Raises BadInputError with every duplicate key, tag, anchor and alias found, and the first error of syntax.
    """
    composer = _Composer(text, file)
    try:
        root = composer.document()
    except MarkedYAMLError as error:
        composer.problems.append(_syntax_error(error, composer))
    except YAMLError as error:  # without a mark: characters that YAML does not allow
        composer.problems.append(Diagnostic(f"not valid YAML: {str(error).splitlines()[0]}", Position(file)))
    if composer.problems:
        raise BadInputError(composer.problems)
    return root


def _syntax_error(error: MarkedYAMLError, composer: _Composer) -> Diagnostic:
    mark = error.problem_mark or error.context_mark
    position = composer.place(mark, mark) if mark is not None else Position(composer.file)
    problem = str(error.problem or error.context or "syntax error").splitlines()[0]
    where = f" ({error.context})" if error.problem and error.context else ""
    return Diagnostic(f"not valid YAML: {problem}{where}", position)


class _Mark(Protocol):
    line: int  # from 0
    column: int


class _Event(Protocol):
    """What the events of ruamel.yaml, which have no types, are used for here."""

    start_mark: _Mark
    end_mark: _Mark
    anchor: str | None
    tag: object


class _Composer:
    """Turns ruamel.yaml's events into nodes."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.lines = re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text)
        self.events: Iterator[_Event] = YAML(typ="safe", pure=True).parse(text)
        self.problems: list[Diagnostic] = []

    def document(self) -> Node:
        """The only document of the text."""
        root: Node = ScalarNode(None, "", Position(self.file))
        documents = 0
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    help = "remove the '---' and what follows it"
                    self._refuse(event, "a second document in one file is not allowed", help)
                    break
                if event.version not in (None, (1, 2)):
                    self._refuse(event, "a net.yaml is YAML 1.2, no other version", "remove the %YAML directive")
                root = self._node(next(self.events), 1)
        return root

    def place(self, start: _Mark, end: _Mark) -> Position:
        """From mark to mark, or to the end of the first line."""
        line = self.lines[start.line] if start.line < len(self.lines) else ""
        last = end.column if end.line == start.line else len(line.rstrip())
        text = line.replace("\t", " ").rstrip() if len(line) <= MAX_SHOWN_LINE else ""
        return Position(self.file, start.line + 1, start.column + 1, max(1, last - start.column), text)

    def _node(self, event: _Event, depth: int) -> Node:
        if isinstance(event, AliasEvent):
            help = "write the value again: a net.yaml has no aliases"
            self._refuse(event, f"alias '*{event.anchor}' is not allowed", help)
            return ScalarNode(None, "", self.place(event.start_mark, event.end_mark))
        if event.anchor is not None:
            self._refuse(event, f"anchor '&{event.anchor}' is not allowed", "remove it: a net.yaml has no aliases")
        if event.tag is not None:
            self._refuse(event, f"tag '{event.tag}' is not allowed", "remove it: a net.yaml is plain data")
        if isinstance(event, ScalarEvent):
            plain = event.style in (None, "")
            return ScalarNode(
                _plain_value(event.value) if plain else event.value,
                event.value,
                self.place(event.start_mark, event.end_mark),
            )
        if depth > MAX_DEPTH:
            self._refuse(event, f"lists and mappings are nested deeper than {MAX_DEPTH}")
            raise BadInputError(self.problems)
        if isinstance(event, SequenceStartEvent):
            items = []
            while not isinstance(child := next(self.events), SequenceEndEvent):
                items.append(self._node(child, depth + 1))
            return SequenceNode(tuple(items), self.place(event.start_mark, child.end_mark))
        return self._mapping(event, depth)

    def _mapping(self, event: _Event, depth: int) -> MappingNode:
        entries: dict[str, tuple[ScalarNode, Node]] = {}
        while not isinstance(child := next(self.events), MappingEndEvent):
            key = self._node(child, depth + 1)
            value = self._node(next(self.events), depth + 1)
            if not isinstance(key, ScalarNode):
                self.problems.append(Diagnostic(f"a key must be a word, not {describe(key)}", key.position))
            elif key.text in entries:
                first = entries[key.text][0].position.line
                self.problems.append(
                    Diagnostic(f"duplicate key '{shorten(key.text)}'; it is in line {first} already", key.position)
                )
            else:
                entries[key.text] = (key, value)
        return MappingNode(tuple(entries.values()), self.place(event.start_mark, child.end_mark))

    def _refuse(self, event: _Event, message: str, help: str | None = None) -> None:
        self.problems.append(Diagnostic(message, self.place(event.start_mark, event.end_mark), help=help))


_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_BASED = re.compile(r"0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


def _plain_value(text: str) -> Value:
    """An unquoted scalar under YAML 1.2's core schema (section 10.3): `yes`, `on` and `1_000` are texts."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if len(text) <= 40 and _FLOAT.fullmatch(text):
        return float(text)
    return text

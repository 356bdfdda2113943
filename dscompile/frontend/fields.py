"""Typed access to the keys of a YAML mapping, collecting every problem instead of stopping at the first.

A getter that meets a wrong or missing value records a diagnostic and returns a stand-in, so reading goes on; whoever
built something from stand-ins throws it away (`Problems.count` tells whether anything was recorded meanwhile).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from dscompile.errors import BadInputError, Diagnostic, Position, did_you_mean
from dscompile.frontend.yamltree import MappingNode, Node, ScalarNode, SequenceNode, describe, shorten
from dscompile.ir.ops import MAX_SIZE, Pair


def is_line(text: str) -> bool:
    """Whether `text` can be a name or label: something, on one line, printable."""
    return bool(text.strip()) and text.isprintable()


class Problems:
    """Everything found wrong in one run."""

    def __init__(self) -> None:
        self._found: list[Diagnostic] = []

    @property
    def count(self) -> int:
        """How many problems there are so far."""
        return len(self._found)

    def add(
        self, message: str, position: Position | None, *, layer: str | None = None, help: str | None = None
    ) -> None:
        """Records something that is wrong."""
        self._found.append(Diagnostic(message, position, layer, help))

    def raise_if_any(self) -> None:
        """Raises what was recorded, in the order of the file."""
        if self._found:
            ordered = sorted(self._found, key=lambda d: (d.position.line, d.position.column) if d.position else (0, 0))
            raise BadInputError(ordered)


class Fields:
    """The keys of one mapping. Ask for every key that may be there, then call `finish`."""

    def __init__(self, what: str, node: MappingNode, problems: Problems) -> None:
        self.what = what
        self.position = node.position
        self.problems = problems
        self._entries = {key.text: (key, value) for key, value in node.entries}
        self._asked: list[str] = []

    def finish(self) -> None:
        """Records every key nobody asked for."""
        for text, (key, _) in self._entries.items():
            if text not in self._asked:
                help = did_you_mean(text, self._asked) or (
                    f"its keys are {', '.join(self._asked)}" if self._asked else "it takes no keys"
                )
                self.problems.add(f"unknown key '{shorten(text)}' of {self.what}", key.position, help=help)

    def has(self, key: str) -> bool:
        """Whether the key is there at all."""
        return key in self._entries

    def take(self, key: str) -> Node | None:
        """The value of an optional key; an empty value counts as absent."""
        self._asked.append(key)
        entry = self._entries.get(key)
        if entry is None or (isinstance(entry[1], ScalarNode) and entry[1].value is None):
            return None
        return entry[1]

    def require(self, key: str, example: str) -> Node | None:
        """The value of a key that must be there; None after recording that it is not."""
        node = self.take(key)
        if node is None:
            self.problems.add(f"{self.what} needs '{key}'", self.position, help=f"for example `{key}: {example}`")
        return node

    def wrong(self, key: str, node: Node, wanted: str, help: str | None = None) -> None:
        """Records that the value of `key` is not what it must be."""
        self.problems.add(f"'{key}' must be {wanted}, not {describe(node)}", node.position, help=help)

    def mapping(self, key: str) -> MappingNode | None:
        """An optional mapping; its position becomes that of its key."""
        node = self.take(key)
        if node is None:
            return None
        if isinstance(node, MappingNode):
            return MappingNode(node.entries, self._entries[key][0].position)
        self.wrong(key, node, "a mapping")
        return None

    def text(self, key: str, default: str = "") -> str:
        """An optional line of text."""
        node = self.take(key)
        return default if node is None else self.text_of(key, node)

    def text_of(self, key: str, node: Node) -> str:
        """The text of `node`: not empty, one line, printable."""
        if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
            quoted = f'quote it: "{node.text}"' if isinstance(node, ScalarNode) and node.text else None
            self.wrong(key, node, "a text", quoted)
            return ""
        if not is_line(node.value):
            self.problems.add(f"'{key}' must be one line of printable text", node.position)
            return ""
        return node.value

    def texts(self, key: str, node: Node) -> tuple[tuple[str, Position], ...]:
        """The texts of a list, or the one text that stands for a list of one; with their places."""
        nodes = node.items if isinstance(node, SequenceNode) else (node,)
        return tuple((self.text_of(key, item), item.position) for item in nodes)

    def flag(self, key: str, default: bool | None) -> bool | None:
        """An optional true or false."""
        node = self.take(key)
        if node is None:
            return default
        if not isinstance(node, ScalarNode) or not isinstance(node.value, bool):
            self.wrong(key, node, "true or false")
            return default
        return node.value

    def choice(self, key: str, known: Sequence[str], default: str) -> str:
        """An optional word out of `known`."""
        node = self.take(key)
        return default if node is None else self.choice_of(key, node, known)

    def choice_of(self, key: str, node: Node, known: Sequence[str]) -> str:
        """The word of `node`, which must be one of `known`."""
        if isinstance(node, ScalarNode) and node.text in known:
            return node.text
        help = did_you_mean(node.text, known) if isinstance(node, ScalarNode) else None
        self.wrong(key, node, f"one of {', '.join(known)}" if len(known) > 1 else f"'{known[0]}'", help)
        return known[0]

    def integer(
        self, key: str, default: int | None, minimum: int = 1, maximum: int = MAX_SIZE, example: str = "8"
    ) -> int:
        """A whole number; required if there is no default."""
        node = self.take(key) if default is not None else self.require(key, example)
        if node is None:
            return default if default is not None else minimum
        return self.integer_of(key, node, minimum, maximum)

    def integer_of(self, key: str, node: Node, minimum: int, maximum: int = MAX_SIZE) -> int:
        """The whole number of `node`, within its limits."""
        value = node.value if isinstance(node, ScalarNode) else None
        if not isinstance(value, int) or isinstance(value, bool):
            self.wrong(key, node, "a whole number")
            return minimum
        if not minimum <= value <= maximum:
            self.wrong(key, node, f"at least {minimum}" if value < minimum else f"at most {maximum}")
            return minimum
        return value

    def number(self, key: str, default: float, *, infinite: bool = False) -> float:
        """An optional real number, finite unless `infinite` allows `.inf`; never NaN."""
        node = self.take(key)
        return default if node is None else self.number_of(key, node, default, infinite=infinite)

    def number_of(self, key: str, node: Node, default: float = 0.0, *, infinite: bool = False) -> float:
        """The real number of `node`; `default` after recording that it is none."""
        value = node.value if isinstance(node, ScalarNode) else None
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.wrong(key, node, "a number")
            return default
        if math.isnan(value) or (math.isinf(value) and not infinite):
            self.wrong(key, node, "a number" if infinite else "a finite number")
            return default
        return float(value)

    def positive(self, key: str, default: float, maximum: float = math.inf) -> float:
        """An optional number above 0 and at most `maximum`."""
        before = self.problems.count
        value = self.number(key, default)
        if self.problems.count == before and not 0 < value <= maximum:
            node = self._entries[key][1]
            self.wrong(key, node, "above 0" if value <= 0 else f"at most {maximum:g}")
            return default
        return value

    def real_pair(self, key: str, default: tuple[float, float]) -> tuple[float, float]:
        """[rows, columns] of optional numbers above 0, or one number for both."""
        node = self.take(key)
        if node is None:
            return default
        items = node.items if isinstance(node, SequenceNode) else (node, node)
        values = [item.value if isinstance(item, ScalarNode) else None for item in items]
        numbers = [
            float(value)
            for value in values
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
        ]
        if len(values) != 2 or len(numbers) != 2:
            self.wrong(key, node, "a number above 0, or [rows, columns]")
            return default
        return (numbers[0], numbers[1])

    def integers(
        self, key: str, node: Node, counts: Iterable[int] = (), minimum: int = 1, wanted: str = "whole numbers"
    ) -> tuple[int, ...]:
        """The whole numbers of a list, whose length must be one of `counts` if there are any."""
        allowed = tuple(counts)
        if not isinstance(node, SequenceNode) or not node.items or (allowed and len(node.items) not in allowed):
            self.wrong(key, node, wanted)
            return (minimum,) * (allowed[0] if allowed else 1)
        return tuple(self.integer_of(key, item, minimum) for item in node.items)

    def pair(self, key: str, default: Pair | None, minimum: int = 1) -> Pair:
        """[rows, columns], or one whole number for both; required if there is no default."""
        node = self.take(key) if default is not None else self.require(key, "3")
        if node is None:
            return default or (minimum, minimum)
        if isinstance(node, ScalarNode):
            size = self.integer_of(key, node, minimum)
            return (size, size)
        rows, columns = self.integers(key, node, (2,), minimum, wanted="a whole number or [rows, columns]")
        return (rows, columns)

"""Reading JSON objects so that everything that is wrong with them is said at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar, cast

from dscompile.errors import did_you_mean

T = TypeVar("T")
Json = dict[str, object]


class Fields:
    """The keys of one JSON object. What is missing or of the wrong type goes to `problems`, once per key."""

    def __init__(self, content: object, where: str, problems: list[str]) -> None:
        self.where = where
        self.problems = problems
        self.content: Json = content if isinstance(content, dict) else {}
        if not isinstance(content, dict):
            problems.append(f"'{where.rstrip('.')}' must be an object, not {shown(content)}")

    def text(self, key: str) -> str:
        """A string."""
        return self._typed(key, (str,), "a string", "")

    def whole(self, key: str, *, least: int = 0) -> int:
        """A whole number, not below `least`."""
        value = self._typed(key, (int,), "a whole number", least)
        if value < least:
            self.problems.append(f"'{self.where}{key}' must be a whole number of at least {least}, not {shown(value)}")
            return least
        return value

    def number(self, key: str) -> float:
        """A number."""
        return self._real(self._present(key, 1.0), f"{self.where}{key}")

    def flag(self, key: str) -> bool:
        """true or false."""
        value = self._present(key, False)
        if not isinstance(value, bool):
            self.problems.append(f"'{self.where}{key}' must be true or false, not {shown(value)}")
        return value is True

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(self._each(key, lambda item, where: self._checked(item, where, (str,), "a string", "")))

    def wholes(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        return tuple(self._each(key, lambda item, where: self._checked(item, where, (int,), "a whole number", 1)))

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers."""
        return tuple(self._each(key, self._real))

    def word(self, key: str, words: tuple[str, ...]) -> str:
        """One of `words`; the first in place of another."""
        value = self.text(key)
        if value not in words:
            self.problems.append(f"'{self.where}{key}' must be one of {', '.join(words)}, not {shown(value)}")
            return words[0]
        return value

    def matching(self, key: str, pattern: re.Pattern[str], what: str) -> str:
        """A string that matches `pattern` as a whole."""
        value = self.text(key)
        if not pattern.fullmatch(value):
            self.problems.append(f"'{self.where}{key}' must be {what}, not {shown(value)}")
        return value

    def child(self, key: str) -> Fields:
        """A nested object."""
        return Fields(self._present(key, {}), f"{self.where}{key}.", self.problems)

    def children(self, key: str, read: Callable[[Fields], T]) -> tuple[T, ...]:
        """A list of objects, each read by `read`."""
        return tuple(self._each(key, lambda item, where: read(Fields(item, f"{where}.", self.problems))))

    def only(self, known: Iterable[str]) -> None:
        """No other keys than these; the first of others is a problem."""
        names = tuple(known)
        key = next((key for key in self.content if key not in names), None)
        if key is not None:
            place = f" in '{self.where.rstrip('.')}'" if self.where else ""
            advice = did_you_mean(key, names) or f"known: {', '.join(names)}"
            self.problems.append(f"unknown key {shown(key)}{place}; {advice}")

    def has_value(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self.content.get(key) is not None

    def _present(self, key: str, default: object) -> object:
        if key not in self.content:
            self.problems.append(f"'{self.where}{key}' is missing")
            return default
        return self.content[key]

    def _typed(self, key: str, kinds: tuple[type, ...], what: str, default: T) -> T:
        return self._checked(self._present(key, default), f"{self.where}{key}", kinds, what, default)

    def _real(self, value: object, where: str) -> float:
        try:
            return float(self._checked(value, where, (int, float), "a number", 1.0))
        except OverflowError:  # a whole number of hundreds of digits
            self.problems.append(f"'{where}' must be a number, not {shown(value)}")
            return 1.0

    def _checked(self, value: object, where: str, kinds: tuple[type, ...], what: str, default: T) -> T:
        if isinstance(value, kinds) and not isinstance(value, bool):
            return cast(T, value)
        self.problems.append(f"'{where}' must be {what}, not {shown(value)}")
        return default

    def _each(self, key: str, read: Callable[[object, str], T]) -> list[T]:
        value = self._present(key, [])
        where = f"{self.where}{key}"
        if not isinstance(value, list):
            self.problems.append(f"'{where}' must be a list, not {shown(value)}")
            return []
        return [read(item, f"{where}[{index}]") for index, item in enumerate(value)]


def shown(value: object) -> str:
    """A value as it stands in a message, shortened."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."

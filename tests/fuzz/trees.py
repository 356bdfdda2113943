"""Changes of documents: JSON and YAML as trees of values."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from ruamel.yaml import YAML

from tests.fuzz.damage import INTEGERS
from tests.fuzz.samples import Sample

VALUES: tuple[Any, ...] = (
    *INTEGERS,
    *(10**30, 10**400, 0.5, -0.5, 1e-300, 1e30, -1e30, 1e308, float("inf"), float("nan"), True, False, None),
    *(
        "",
        " ",
        "x",
        "\x00",
        "é",
        "a b",
        "e" * 1000,
        "../x",
        "/etc/passwd",
        "1",
        "1e9",
        "none",
        "-1",
        "\\",
        "*/",
        '"',
        "\n",
    ),
    *([], [1], [1, 1], [1, 2, 3, 4], [1, 2**40], [[]], [0], [-1], ["a"], {}, {"a": {}}, {"": 1}, [None], [1.5]),
)
Change = Callable[[Random, Sample], Sample]


def words_of(documents: Iterable[Any]) -> tuple[Any, ...]:
    """Every key and every short value in documents: what belongs somewhere does harm elsewhere."""
    found: dict[str, Any] = {}
    for document in documents:
        for holder, key in places(document):
            for value in (key, holder[key]) if isinstance(holder, dict) else (holder[key],):
                if len(text := json.dumps(value, default=str)) < 60:
                    found.setdefault(text, value)
    return tuple(found.values())


def places(content: Any) -> list[tuple[Any, Any]]:
    """Every object or list of a document with each of its keys."""
    found = []
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else []
    for key in keys:
        found += [(content, key), *places(content[key])]
    return found


def change_tree(rng: Random, content: Any, words: tuple[Any, ...]) -> None:
    """One change of structure: another value, a key less, more or of another name, a value from elsewhere."""
    found = places(content)
    if not found:
        return
    holder, key = rng.choice(found)
    value = rng.choice(words) if words and rng.random() < 0.5 else rng.choice(VALUES)
    match rng.randrange(9):
        case 0 | 1:
            holder[key] = _copy(value)
        case 2:
            del holder[key]
        case 3 if isinstance(holder, dict):
            holder[_key(rng, words)] = _copy(value)
        case 4 if isinstance(holder, dict):
            holder[_key(rng, words)] = holder.pop(key)
        case 5 if isinstance(holder, list):
            holder.insert(key, _copy(rng.choice((value, holder[key]))))
        case 6 if isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            number = holder[key]
            holder[key] = rng.choice(
                (
                    number + 1,
                    number - 1,
                    -number,
                    number * 2,
                    number * 1000,
                    number // 2,
                    number * 1.0 if abs(number) < 2**60 else 1e300,
                )
            )
        case 7 if isinstance(holder, list):
            rng.shuffle(holder)
        case _:
            other, place = rng.choice(found)
            try:
                holder[key] = _copy(other[place])
            except (KeyError, IndexError):
                holder[key] = _copy(value)


def json_changes(words: tuple[Any, ...], lines: bool = False) -> Change:
    """Changes of a JSON document, or of one line of a file of `lines`."""

    def change(rng: Random, sample: Sample) -> Sample:
        parts = sample.data.split(b"\n") if lines else [sample.data]
        filled = [index for index, part in enumerate(parts) if part.strip()]
        if not filled:
            return sample
        index = rng.choice(filled)
        try:
            content = [json.loads(parts[index])]
        except (ValueError, RecursionError):
            return sample
        for _ in range(rng.choice((1, 1, 2, 4))):
            change_tree(rng, content, words)
        parts[index] = json.dumps(content[0] if content else None, indent=None if lines else 1).encode()
        return sample.with_data(b"\n".join(parts))

    return change


def yaml_changes(words: tuple[Any, ...], good: Iterable[bytes]) -> Change:
    """Changes of one of these `good` YAML documents, or of what was changed this way before.

    The result is written as JSON, in the manner of YAML's flow style.
    """
    known = {data: as_json(data) for data in good}

    def change(rng: Random, sample: Sample) -> Sample:
        try:
            content = [json.loads(known.get(sample.data, sample.data))]
        except (ValueError, RecursionError):  # damaged before
            return sample
        for _ in range(rng.choice((1, 1, 2, 4))):
            change_tree(rng, content, words)
        text = json.dumps(content[0] if content else None, ensure_ascii=False, default=str)
        text = text.replace("Infinity", ".inf").replace("NaN", ".nan")
        return sample.with_data(text.encode(errors="surrogatepass"))

    return change


@functools.lru_cache(256)
def as_json(data: bytes) -> str:
    """A good YAML document as JSON."""
    return json.dumps(YAML(typ="safe", pure=True).load(data), default=str)


def _key(rng: Random, words: tuple[Any, ...]) -> Any:
    key = rng.choice(words) if words else "x"
    return key if isinstance(key, str) else rng.choice(("x", "name", "kind", ""))


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str)) if isinstance(value, list | dict) else value

"""The YAML below a net.yaml: values, places, and everything that is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dscompile.errors import BadInputError, Position
from dscompile.frontend.yamltree import MappingNode, ScalarNode, SequenceNode, parse_yaml, read_text


def value(text: str) -> object:
    root = parse_yaml(f"k: {text}\n", "f")
    assert isinstance(root, MappingNode)
    node = root.entries[0][1]
    assert isinstance(node, ScalarNode)
    return node.value


def message(text: str) -> str:
    with pytest.raises(BadInputError) as caught:
        parse_yaml(text, "f")
    return "\n".join(
        f"{d.position.line}:{d.position.column} {d.message}" if d.position else d.message
        for d in caught.value.diagnostics
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7),
        ("-7", -7),
        ("0x1f", 31),
        ("0o17", 15),
        ("017", 17),
        ("1e-5", 1e-5),
        (".5", 0.5),
        ("3.", 3.0),
        ("-.inf", float("-inf")),
        ("true", True),
        ("False", False),
        ("~", None),
        ("yes", "yes"),
        ("on", "on"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("'7'", "7"),
        ('"a\\u00e9"', "aé"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


def test_nodes_know_their_places() -> None:
    root = parse_yaml("a: 1\nb:\n  - word: [x, 22]\n", "f")
    assert isinstance(root, MappingNode)
    items = root.entries[1][1]
    assert isinstance(items, SequenceNode)
    inner = items.items[0]
    assert isinstance(inner, MappingNode)
    key, numbers = inner.entries[0]
    assert key.position == Position("f", 3, 5, 4, "  - word: [x, 22]")
    assert isinstance(numbers, SequenceNode)
    assert numbers.items[1].position == Position("f", 3, 15, 2, "  - word: [x, 22]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\n", "2:1 duplicate key 'a'; it is in line 1 already"),
        ("a: {b: 1, b: 2, b: 3}\n", "1:11 duplicate key 'b'; it is in line 1 already\n1:17 duplicate"),
        ("a: &x 1\nb: *x\n", "1:4 anchor '&x' is not allowed\n2:4 alias '*x' is not allowed"),
        ("a: !!python/object/apply:os.system [ls]\n", "1:4 tag"),
        ("a: !!str 1\n", "1:4 tag"),
        ("a: 1\n---\nb: 2\n", "2:1 a second document in one file is not allowed"),
        ("%YAML 1.1\n---\na: 1\n", "2:1 a net.yaml is YAML 1.2, no other version"),
        ("? [a]\n: 1\n", "1:3 a key must be a word, not a list"),
        ("a: [1, 2\n", "not valid YAML: "),
        ("a: 'x\n", "not valid YAML: "),
        ("a:\n\t- 1\n", "2:1 not valid YAML: "),
        ("a: b: c\n", "1:5 not valid YAML: "),
        ("a: " + "[" * 17 + "]" * 17, "1:19 lists and mappings are nested deeper than 16"),
        ("[" * 100_000, "nested deeper than 16"),
    ],
)  # fmt: skip
def test_refused(text: str, expected: str) -> None:
    assert expected in message(text)


def test_an_alias_bomb_is_refused_before_it_unfolds() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    assert "alias '*a38' is not allowed" in message("\n".join(lines))


def test_long_lines_are_named_but_not_shown() -> None:
    with pytest.raises(BadInputError) as caught:
        parse_yaml("a: [" + "1, " * 500 + "!!x 1]\n", "f")
    assert caught.value.diagnostics[0].position == Position("f", 1, 1505, 5, "")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x08\x09\xff\xfe", "is not UTF-8 text (byte 2)"),
        (b"a: 1\nb: \x00\n", "control character U+0000 in text"),
        ("a: é".encode("latin-1"), "is not UTF-8 text (byte 3)"),
        (b"a: 1\n" * 300_000, "is larger than 1 MiB"),
    ],
)
def test_files_that_are_no_text(data: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_bytes(data)
    with pytest.raises(BadInputError) as caught:
        read_text(path)
    assert expected in caught.value.diagnostics[0].message


def test_a_byte_order_mark_is_no_text() -> None:
    assert parse_yaml(b"\xef\xbb\xbfa: 1\n".decode("utf-8-sig"), "f") == parse_yaml("a: 1\n", "f")


def test_missing_files_and_directories(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="none' does not exist"):
        read_text(tmp_path / "none")
    with pytest.raises(BadInputError, match="is a directory"):
        read_text(tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(BadInputError, match="is not a file"):
        read_text(tmp_path / "pipe.yaml")

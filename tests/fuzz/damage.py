"""Changes of bytes and of text that know nothing of what they change."""

from __future__ import annotations

import re
from random import Random

from tests.fuzz.samples import Sample

INTEGERS = (0, 1, 2, 3, 4, 7, 8, 16, 127, 128, 255, 256, 1000, 1024, 32767, 65535, 65536, 2**24, 2**28, 2**30)
INTEGERS += (2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
INTEGERS += (-1, -2, -128, -(2**31), -(2**63))
PIECES = (
    *("-1", "0", "99999999999999999999", "1.5", "1e400", ".nan", ".inf", "null", "[]", "{}", "[1, 2]", "{a: 1}"),
    *(
        "true",
        "''",
        "same",
        "relu",
        "from",
        "name",
        "\n",
        "  ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "#",
        "|",
        "%",
        "?",
    ),
    *("&a", "*a", "!t", "!!python/object/apply:os.system [id]", "!!binary aGk=", "!!set {a}", "<<: *a", "&a [*a, *a]"),
    *(
        "\t",
        "é",
        "\u2028",
        "\x85",
        "\ufeff",
        "\x00",
        "16777216",
        "16777217",
        "repeat: 3, ",
        "../../etc/passwd",
        "/etc/passwd",
    ),
    *("1:30", "0x1F", "0o17", "1_000", "2026-11-29", "20 KiB", "1e18 KiB", "NaN", "Infinity", "[" * 3000, '"\\ud800"'),
)


def damaged_bytes(rng: Random, sample: Sample) -> Sample:
    """One to a few changes of bytes, mostly near both ends, where headers and directories are."""
    data = bytearray(sample.data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        _change(rng, data)
    return sample.with_data(bytes(data))


def truncated(rng: Random, sample: Sample) -> Sample:
    """Cut off anywhere."""
    return sample.with_data(sample.data[: rng.randrange(len(sample.data) + 1)])


def damaged_text(rng: Random, sample: Sample) -> Sample:
    """Words and signs exchanged for others."""
    text = sample.data.decode(errors="surrogateescape")
    for _ in range(rng.choice((1, 1, 2, 4))):
        words = list(re.finditer(r"[A-Za-z_0-9.]+|[\[\]{}:,\"-]|\n", text))
        if not words:
            break
        word = rng.choice(words)
        piece = rng.choice(PIECES) if rng.random() < 0.6 else rng.choice(words).group()
        text = text[: word.start()] + piece + text[rng.choice((word.start(), word.end())) :]
    return sample.with_data(text.encode(errors="surrogateescape"))


def _change(rng: Random, data: bytearray) -> None:
    place, width = _place(rng, data), rng.choice((1, 2, 4, 8))
    length = rng.choice((1, 2, 4, 16, 100))
    match rng.randrange(7):
        case 0 if data:
            data[place] ^= 1 << rng.randrange(8)
        case 1 if data:
            data[place] = rng.randrange(256)
        case 2 | 3:
            number = rng.choice(INTEGERS) % (1 << 8 * width)
            data[place : place + width] = number.to_bytes(width, rng.choice(("little", "big")))
        case 4:
            del data[place : place + length]
        case 5:
            data[place:place] = bytes(rng.randrange(256) for _ in range(length))
        case _:
            start = _place(rng, data)
            data[place:place] = data[start : start + length]


def _place(rng: Random, data: bytearray) -> int:
    size = max(1, len(data))
    return rng.choice((rng.randrange(min(size, 300)), size - 1 - rng.randrange(min(size, 500)), rng.randrange(size)))

"""Names, strings, numbers and comments as C wants them, from whatever a user called things."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

from dscompile.ir.tensor import ElementType

C_TYPES: dict[ElementType, str] = {
    "float32": "float",
    "float16": "half",  # CUDA C++ alone
    "uint16": "uint16_t",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int32": "int32_t",
}

# A network of this name would put a header or a library beside the user's code that hides one of the system's.
_TAKEN_STEMS = frozenset(
    re.findall(
        r"\w+",
        "assert complex ctype errno fenv float inttypes iso646 limits locale math memory pthread setjmp "
        "signal stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings "
        "tgmath threads time uchar unistd wchar wctype malloc poll sched search sys c m dl rt gcc gcc_s stdc "
        "util anl crypt resolv asan ubsan tsan selftest manifest",
    )
)


def c_identifier(name: str, fallback: str) -> str:
    """A lower-case C identifier that resembles `name`; begins with `fallback` if nothing, or a digit, would."""
    plain = unicodedata.normalize("NFKD", name)  # accents apart from their letters
    without_accents = "".join(char for char in plain if not unicodedata.combining(char))
    cleaned = re.sub(r"[^a-z0-9]+", "_", without_accents.lower()).strip("_")
    if not cleaned:
        return fallback
    return f"{fallback}_{cleaned}" if cleaned[0].isdigit() else cleaned


def network_prefix(name: str) -> str:
    """The prefix of a network's symbols and the stem of its files: `MobileNet-V1 1.0` becomes mobilenet_v1_1_0.

    C keywords are harmless, since the prefix never stands alone; names of system headers and libraries get `_net`.
    """
    prefix = c_identifier(name, "net")
    return f"{prefix}_net" if prefix in _TAKEN_STEMS else prefix


def unique_identifiers(wanted: Mapping[str, str], fallback: str, taken: Iterable[str] = ()) -> dict[str, str]:
    """Key -> C identifier that resembles the wanted name; all different and none in `taken` (`_2` and so on)."""
    used = set(taken)
    result: dict[str, str] = {}
    for key, name in wanted.items():
        base = c_identifier(name, fallback)
        candidate, number = base, 1
        while candidate in used:
            number += 1
            candidate = f"{base}_{number}"
        used.add(candidate)
        result[key] = candidate
    return result


def c_string(text: str) -> str:
    """A C string literal with the UTF-8 bytes of `text`; safe from trigraphs and greedy escapes."""
    plain = {"\\": "\\\\", '"': '\\"', "?": "\\?", "\n": "\\n", "\t": "\\t"}
    pieces = []
    for char in text:
        if char in plain:
            pieces.append(plain[char])
        elif " " <= char <= "~":
            pieces.append(char)
        else:
            pieces.extend(f"\\{byte:03o}" for byte in char.encode("utf-8", "replace"))
    return f'"{"".join(pieces)}"'


def llvm_quoted(text: str) -> str:
    """A string of LLVM's intermediate language with the UTF-8 bytes of `text`."""
    plain = set(range(0x20, 0x7F)) - {ord('"'), ord("\\")}
    content = text.encode("utf-8", "replace")
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:02X}" for byte in content) + '"'


def llvm_bytes(text: str) -> str:
    """The type and the value of a zero-terminated array with the UTF-8 bytes of `text`."""
    return f"[{len(text.encode('utf-8', 'replace')) + 1} x i8] c{llvm_quoted(text + chr(0))}"


def c_comment(text: str) -> str:
    """`text` for the inside of a C comment: on one line, and unable to end the comment."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    spaced = re.sub(r"\*(?=/)|/(?=\*)|\?(?=\?)", lambda match: f"{match[0]} ", printable)
    return spaced.replace("\\", "/")


def c_float(value: float) -> str:
    """A float literal of nine significant digits, which give back every float32 exactly. `value` is finite."""
    text = f"{value:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def spaced(number: int) -> str:
    """A whole number in groups of three: 2 656 768."""
    return f"{number:,}".replace(",", " ")

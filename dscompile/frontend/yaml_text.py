"""Values as YAML 1.2 text in flow style, on one line."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

# A mapping is a tuple of pairs: order matters, and nothing is looked up.
Flow = str | int | float | bool | Sequence["Flow"] | tuple[tuple[str, "Flow"], ...]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*|/[A-Za-z0-9_./-]+")
# Words that YAML 1.1 or 1.2 takes for something else than text.
_RESERVED = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))


def quoted(text: str) -> str:
    """`text` as a YAML scalar that every YAML version reads as this text."""
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def flow(value: Flow) -> str:
    """A value in flow style: text, numbers, lists; mappings are tuples of pairs."""
    match value:
        case str():
            return quoted(value)
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value) if math.isfinite(value) else ".inf" if value > 0 else "-.inf"
        case tuple():
            return flow_mapping(value)
        case _:
            return f"[{', '.join(flow(item) for item in value)}]"


def flow_mapping(pairs: Sequence[tuple[str, Flow]]) -> str:
    """`{key: value, ...}`."""
    return "{" + ", ".join(f"{key}: {flow(value)}" for key, value in pairs) + "}"

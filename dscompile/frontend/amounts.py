"""Numbers with units in a net.yaml: `20 KiB`, `5 ms`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dscompile.frontend.fields import Fields
from dscompile.frontend.yamltree import Node, ScalarNode

_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def amount(text: str, units: Mapping[str, float]) -> float | None:
    """The number in `text` times its unit; None if it is no number with one of `units`."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([A-Za-zµ]+)", text)
    return float(match[1]) * units[match[2]] if match and match[2] in units else None


def size_of(fields: Fields, key: str, node: Node) -> int | None:
    """Bytes in `20 KiB`, `1.5 MB`, or a whole number; None after recording that the value of `key` is no size."""
    if isinstance(node, ScalarNode):
        if isinstance(node.value, int) and not isinstance(node.value, bool) and node.value > 0:
            return node.value
        found = amount(node.text, _BYTES)
        if found is not None and found >= 1:
            return int(found)
    fields.wrong(key, node, "a size above 0", "write a number of bytes, or `20 KiB`, `64 kB`, `1.5 MiB`")
    return None

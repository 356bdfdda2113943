"""Names of imported layers: short, readable, unique, made of [A-Za-z0-9_.] without a digit in front."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Wrappers that frameworks put around every name of a model; they tell nothing.
_WRAPPER = re.compile(r"(StatefulPartitionedCall|PartitionedCall|(functional|model|sequential)(_\d+)?|tf2onnx)$")
_MEANINGLESS = re.compile(r"(Identity|StatefulPartitionedCall|PartitionedCall|output|\d+)(_\d+)?(:\d+)?$")


def sanitized(name: str, fallback: str) -> str:
    """`name` with every character outside [A-Za-z0-9_.] replaced; `fallback` stands in front of a leading digit."""
    clean = re.sub(r"[^A-Za-z0-9_.]+", "_", re.sub(r":0$", "", name), flags=re.ASCII).strip("_.")
    if not clean:
        return fallback
    return f"{fallback}_{clean}" if clean[0].isdigit() else clean


def network_name(stem: str) -> str:
    """The name of a network from that of its file: also a C identifier, since the header is named after it."""
    return sanitized(stem, "net").replace(".", "_")


@dataclass(frozen=True)
class SourceName:
    """Name of a node in its file, split by the reader of that format.

    `path` are its components from the outside in; `leaf` is the last one where it only repeats what the node does
    ("Conv", "BiasAdd"), else empty. `kind` is the operator in lower case, used where the path tells nothing.
    """

    path: tuple[str, ...]
    leaf: str
    kind: str


def source_name(name: str, kind: str, *, leaf_names_operator: bool) -> SourceName:
    """Splits `a/b/Conv`; with `leaf_names_operator` the last component always is the leaf, as TensorFlow has it."""
    parts = [part for part in name.split("/") if part]
    while len(parts) > 1 and _WRAPPER.match(parts[0]):
        parts.pop(0)
    if not parts or (len(parts) == 1 and (_MEANINGLESS.match(parts[0]) or not sanitized(parts[0], ""))):
        return SourceName((), "", kind)
    leaf = ""
    if len(parts) > 1 and (leaf_names_operator or parts[-1].lower().startswith(kind)):
        leaf = parts.pop().lower()
    # Exporters repeat the parents: blocks / blocks.0 / blocks.0.1 says no more than blocks.0.1.
    kept = [
        part for part, following in zip(parts, [*parts[1:], ""], strict=True) if not following.startswith(part + ".")
    ]
    return SourceName(tuple(kept), leaf, kind)


def short_names(sources: Sequence[SourceName], reserved: Iterable[str] = ()) -> list[str]:
    """One name per node, in order: the path alone where that is unique and no other path lies inside it."""
    stems = [".".join(source.path) for source in sources]
    count = Counter(stems)
    parents = {".".join(parts[:end]) for stem in stems for parts in [stem.split(".")] for end in range(1, len(parts))}
    taken = UniqueNames(reserved)
    names = []
    for source, stem in zip(sources, stems, strict=True):
        if not stem:
            name = source.kind
        elif count[stem] > 1 or stem in parents:
            name = f"{stem}.{source.leaf or source.kind}"
        else:
            name = stem
        names.append(taken.fresh(sanitized(name, source.kind)))
    return names


class UniqueNames:
    """Hands out names that were not handed out before."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = set(reserved)
        self._next: dict[str, int] = {}

    def fresh(self, name: str) -> str:
        """`name`, or `name_1`, `name_2`, ... if it is taken."""
        candidate, number = name, self._next.get(name, 0)
        while candidate in self._taken:
            number += 1
            candidate = f"{name}_{number}"
        self._next[name] = number
        self._taken.add(candidate)
        return candidate

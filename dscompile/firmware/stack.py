"""How much stack a function can need at most, from the compiler's own call graph (gcc's -fcallgraph-info=su)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from dscompile.errors import UsageError

_NODE = re.compile(r'node: \{ title: "([^"]*)" label: "([^"]*)"')
_EDGE = re.compile(r'edge: \{ sourcename: "([^"]*)" targetname: "([^"]*)"')
_FRAME = re.compile(r"(\d+) bytes \(([a-z,]+)\)")
_TWINS = re.compile(r"Semantic equality hit:(\S+?)/\d+->(\S+?)/\d+")
_INDIRECT = "__indirect_call"


@dataclass(frozen=True)
class StackBound:
    """What a function needs below the stack pointer it is called with.

    `bytes` is the sum of the frames along `path`, the deepest chain of calls. `gaps` says what the figure leaves out:
    calls through pointers, recursion, frames of variable size, functions that the call graph has no figure for. With
    no gaps it is a proven bound.
    """

    bytes: int
    path: tuple[str, ...]
    gaps: tuple[str, ...]


def stack_bound(
    call_graphs: Sequence[Path],
    function: str,
    merged: Sequence[Path] = (),
    frames: Mapping[str, int] = MappingProxyType({}),
) -> StackBound:
    """The bound of `function` from .ci files (`Firmware.call_graphs`). Raises UsageError if none of them has it.

    `merged` are files of gcc's -fopt-info-ipa-optimized: which functions of equal code became one. The call graph has
    calls of the others, but no figure for them; they count as the one that stayed, and are gaps nevertheless. `frames`
    has the bytes of functions by their plain names where the compiler knows them not, as it does not read assembly.
    """
    graph = _Graph(frames)
    for path in merged:
        graph.merge(path.read_text(encoding="utf-8", errors="replace"))
    for path in call_graphs:
        graph.read(path.read_text(encoding="utf-8", errors="replace"))
    if function not in graph.frames:
        raise UsageError(f"the call graphs have no function '{function}'", help="compile with gcc; others write none")
    depth, path_down = graph.deepest(function, ())
    return StackBound(depth, path_down, tuple(sorted(graph.gaps)))


class _Graph:
    """Frames and calls of all sources; static functions have the name of their file before their own."""

    def __init__(self, known: Mapping[str, int]) -> None:
        self._known = known
        self.frames: dict[str, int] = {}
        self.calls: dict[str, set[str]] = {}
        self.gaps: set[str] = set()
        self._kinds: dict[str, str] = {}
        self._twins: dict[str, set[str]] = {}
        self._deepest: dict[str, tuple[int, tuple[str, ...]]] = {}

    def read(self, text: str) -> None:
        for title, label in _NODE.findall(text):
            frame = _FRAME.search(label)
            if frame:
                self.frames[title] = self._known.get(_plain(title), int(frame[1]))
                self._kinds[title] = frame[2]
        for caller, callee in _EDGE.findall(text):
            self.calls.setdefault(caller, set()).add(callee)

    def merge(self, text: str) -> None:
        """Functions that were merged with others, from lines that say `hit:kept/1->merged/2`."""
        for kept, merged in _TWINS.findall(text):
            self._twins.setdefault(_plain(merged), set()).add(_plain(kept))

    def deepest(self, function: str, above: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
        """Bytes from the entry of `function` down, and the chain of functions that needs them."""
        if function in above:
            self.gaps.add(f"{_plain(function)} calls itself")
            return 0, ()
        if function in self._deepest:
            return self._deepest[function]
        if function not in self.frames:
            caller = _plain(above[-1])
            what = "calls through a pointer" if function == _INDIRECT else f"calls {function}, which has no figure"
            self.gaps.add(f"{caller} {what}")
            twins = [self.deepest(twin, (*above, function)) for twin in self._kept(function)]
            return max(twins, key=lambda found: found[0], default=(0, ()))
        if self._kinds[function] == "dynamic":
            self.gaps.add(f"{_plain(function)} has a frame of variable size")
        below = [self.deepest(callee, (*above, function)) for callee in sorted(self.calls.get(function, ()))]
        depth, path = max(below, key=lambda found: found[0], default=(0, ()))
        self._deepest[function] = self.frames[function] + depth, (_plain(function), *path)
        return self._deepest[function]

    def _kept(self, function: str) -> list[str]:
        """What a merged function may have become: those that stayed, and their clones."""
        names, found = [_plain(function)], set[str]()
        while names:
            stayed = self._twins.get(names.pop(), set()) - found
            found |= stayed
            names += stayed
        return [known for known in self.frames if _plain(known) in found]


def _plain(title: str) -> str:
    """`net.c:kernel.isra.0` -> kernel."""
    return title.rpartition(":")[2].split(".")[0]

"""docs/reference/layers.md: the keys of every section and kind, recorded while they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dscompile.errors import Position
from dscompile.frontend.fields import MAX_SIZE, Fields, Problems
from dscompile.frontend.kinds import KINDS, KINDS_WITH_SEVERAL_INPUTS, REPEATING_KINDS
from dscompile.frontend.schema import Defaults
from dscompile.frontend.yamltree import MappingNode, Node
from dscompile.ir.ops import Pair
from tools.reference.markdown import MADE, code, table

_ACTIVATION = "the name of an activation, or `{kind: leaky_relu, alpha: 0.1}`"
_KNOWN = {  # what keys take that are not read by one of the getters below
    "activation": _ACTIVATION,
    "between": _ACTIVATION,
    "gate": _ACTIVATION,
    "padding": "`same`, `valid`, a number, [rows, columns], or [top, bottom, left, right]",
    "squeeze_excite": "a ratio, or a mapping with the keys of the layer of that name and `of: hidden` or `input`",
}
_NOWHERE = Position("net.yaml")


@dataclass(frozen=True)
class Key:
    """What a key takes, and what it is where it is left out; `required` if it may not be."""

    takes: str
    default: str = ""
    required: bool = False


class Recorder(Fields):
    """An empty mapping that remembers what it was asked for."""

    def __init__(self, what: str) -> None:
        super().__init__(what, MappingNode((), _NOWHERE), Problems())
        self.keys: dict[str, Key] = {}

    def take(self, key: str) -> Node | None:
        """Remembers the key; a more particular getter may have done so."""
        self.keys.setdefault(key, Key(_KNOWN.get(key, "")))
        return super().take(key)

    def require(self, key: str, example: str) -> Node | None:
        """Remembers a key that must be there, with its example."""
        known = self.keys.get(key, Key(_KNOWN.get(key, "")))
        self.keys[key] = Key(known.takes or f"for example `{example}`", required=True)
        return super().require(key, example)

    def flag(self, key: str, default: bool | None) -> bool | None:
        """As the reader's."""
        self.keys[key] = Key("true or false", "" if default is None else str(default).lower())
        return super().flag(key, default)

    def choice(self, key: str, known: Sequence[str], default: str) -> str:
        """As the reader's."""
        self.keys[key] = Key(", ".join(map(code, known)), default)
        return super().choice(key, known, default)

    def integer(
        self, key: str, default: int | None, minimum: int = 1, maximum: int = MAX_SIZE, example: str = "8"
    ) -> int:
        """As the reader's."""
        limit = f" to {maximum}" if maximum < MAX_SIZE else ""
        takes = f"a whole number, {minimum}{limit}" if limit else f"a whole number from {minimum}"
        self.keys[key] = Key(takes, "" if default is None else str(default), required=default is None)
        return super().integer(key, default, minimum, maximum, example)

    def number(self, key: str, default: float, *, infinite: bool = False) -> float:
        """As the reader's."""
        self.keys.setdefault(key, Key("a number", f"{default:g}"))
        return super().number(key, default, infinite=infinite)

    def positive(self, key: str, default: float, maximum: float = float("inf")) -> float:
        """As the reader's."""
        limit = "" if maximum == float("inf") else f", at most {maximum:g}"
        self.keys[key] = Key(f"a number above 0{limit}", f"{default:g}")
        return super().positive(key, default, maximum)

    def real_pair(self, key: str, default: tuple[float, float]) -> tuple[float, float]:
        """As the reader's."""
        self.keys[key] = Key("a number above 0, or [rows, columns]")
        return super().real_pair(key, default)

    def pair(self, key: str, default: Pair | None, minimum: int = 1) -> Pair:
        """As the reader's."""
        usual = "" if default is None else str(default[0] if default[0] == default[1] else list(default))
        self.keys[key] = Key(f"a whole number from {minimum}, or [rows, columns]", usual, required=default is None)
        return super().pair(key, default, minimum)


def keys_of(read: Callable[[Recorder], object], what: str) -> dict[str, Key]:
    """The keys that a reader asks an empty mapping for."""
    recorder = Recorder(what)
    read(recorder)
    return recorder.keys


def _rows(keys: dict[str, Key]) -> Iterable[tuple[str, str, str]]:
    for name, key in keys.items():
        yield code(name), key.takes, "required" if key.required else code(key.default)


def layers_page() -> str:
    """The page's text."""
    parts = [
        f"{MADE}\n# Keys of layers\n",
        "The kinds of layers in a net.yaml and their keys; what they mean, with examples, is\n"
        "in [net.yaml](../net-yaml.md). The last column\n"
        "is what a key is where it is left out; empty where that depends on others.\n",
        "Every layer may also have `name` and `from` (a name; a list of names for "
        f"{', '.join(map(code, sorted(KINDS_WITH_SEVERAL_INPUTS)))}).\n"
        f"{', '.join(map(code, sorted(REPEATING_KINDS)))} take `repeat`.\n",
    ]
    for kind, read in KINDS.items():
        keys = keys_of(lambda recorder, read=read: read(recorder, Defaults()), kind)  # type: ignore[misc]
        parts.append(f"## {kind}\n\n" + (table(("key", "takes", "default"), _rows(keys)) if keys else "No keys.\n"))
    return "\n".join(parts)

"""Instructions by what they cost a short pipeline, counted without a compiler: the currency of plan/mcu/costs.py.

A loop is written down as its instructions are, by their kinds: `code("l 2w 2p 8p")` is a load, two registers at once,
and ten that never touch memory. Counts of such pieces add up to those of layers.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

_WORD = re.compile(r"(\d*)([plswcjd])")


@dataclass(frozen=True)
class Mix:
    """Executed instructions of every kind; averages need not be whole.

    `plain` ones never touch memory, `loads` and `stores` move one register. Of the loads, `pipelined` ones come right
    after another load or store. `several` move more registers at once, `words` in all. `jumps` are those of the
    instructions, whatever their kind, after which the next one is elsewhere. `divisions` are in hardware. Of the words
    that are loaded, `constants` are weights and the like.
    """

    plain: float = 0.0
    loads: float = 0.0
    pipelined: float = 0.0
    stores: float = 0.0
    several: float = 0.0
    words: float = 0.0
    jumps: float = 0.0
    divisions: float = 0.0
    constants: float = 0.0

    def __add__(self, other: Mix) -> Mix:
        return Mix(*(one + more for one, more in zip(vars(self).values(), vars(other).values(), strict=True)))

    def __mul__(self, times: float) -> Mix:
        return Mix(*(one * times for one in vars(self).values()))

    @property
    def instructions(self) -> float:
        """How many are executed."""
        return self.plain + self.loads + self.stores + self.several + self.divisions


NOTHING = Mix()


def total(mixes: Iterable[Mix]) -> Mix:
    """The sum of several."""
    return sum(mixes, NOTHING)


@functools.cache
def code(text: str) -> Mix:
    """The mix of a straight run of instructions, written as words: a letter, with a number of them in front of it.

    p: plain, l: a load, s: a store, d: a division. `5w` is one instruction that moves 5 registers. `j` says that the
    instruction before it is followed by a jump, `2c` that it read two words of constants.
    """
    mix, before = NOTHING, ""
    for word in text.split():
        match = _WORD.fullmatch(word)
        if match is None:
            raise ValueError(f"'{word}' is no kind of instruction: a letter of plswcjd, with a number in front of it")
        count, kind = int(match[1] or 1), match[2]
        match kind:
            case "p":
                mix += Mix(plain=count)
            case "l":
                mix += Mix(loads=count, pipelined=count if before in ("l", "s") else count - 1)
            case "s":
                mix += Mix(stores=count)
            case "d":
                mix += Mix(divisions=count)
            case "w":
                mix += Mix(several=1, words=count)
            case "c":
                mix += Mix(constants=count)
            case _:
                mix += Mix(jumps=count)
        before = before if kind == "c" else kind
    return mix

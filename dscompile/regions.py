"""Named memories that firmware lends a network: arenas for activations, homes and copies of weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LARGEST_COST = 1000.0
GROWTH = 2.0  # what an access costs in a region that says nothing, against the one named before it


@dataclass(frozen=True)
class Region:
    """Up to `size_bytes` of a memory; `cost` of an access to one of its bytes is relative to other regions."""

    name: str
    size_bytes: int
    cost: float = 1.0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"region '{self.name}' must be called by letters, digits and _, as C needs it")
        if not 0 < self.size_bytes < 1 << 32:
            raise ValueError(f"region '{self.name}' must have at least one byte and fewer than 4 GiB")
        if not 0 < self.cost <= _LARGEST_COST:
            raise ValueError(f"the cost of region '{self.name}' must be above 0 and at most {_LARGEST_COST:g}")

    @property
    def milli(self) -> int:
        """The cost in thousandths: sums of them are exact."""
        return max(1, round(self.cost * 1000))


@dataclass(frozen=True)
class WeightRegion(Region):
    """A region for constants. Those of `layers` go there first.

    With `copy` it is RAM, into which `<net>_load_weights` copies the constants that are read most; otherwise the linker
    places them there.
    """

    copy: bool = False
    layers: tuple[str, ...] = ()


def check_regions(regions: Sequence[Region]) -> None:
    """Raises ValueError if C could not tell two of the regions apart."""
    seen: dict[str, str] = {}
    for region in regions:
        other = seen.setdefault(region.name.lower(), region.name)
        if other is not region.name:
            raise ValueError(f"two regions are called '{other}' and '{region.name}'; C needs names that differ")

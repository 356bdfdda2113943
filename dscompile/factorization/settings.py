"""What a factorization may cost and lose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dscompile.ir.network import Layer, Network

Price = Callable[[Network, Layer], float]
"""What a layer of a network costs on some machine, for example in cycles."""

DEFAULT_MAX_ERROR = 0.1


@dataclass(frozen=True)
class Budget:
    """How ranks are chosen: one `rank` for all layers, or the best ones within limits.

    `max_error` limits the relative change of the outputs, `max_macs` and `max_cycles` what the network costs. With
    `even_if_dearer` a `rank` is given to layers that do not get cheaper by it, too.
    """

    rank: int | None = None
    max_error: float | None = None
    max_macs: int | None = None
    max_cycles: float | None = None
    even_if_dearer: bool = False

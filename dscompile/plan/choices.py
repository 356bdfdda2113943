"""Choices: what is free in how a layer is cut into tiles. What a rule, a tuning record or a tuner decides.

Which of them a layer can have is in plan/spaces.py, what tiles come of one in plan/tiles.py and plan/int8_tiles.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dscompile.plan.knobs import DepthwiseKnobs


@dataclass(frozen=True)
class ConvChoice:
    """Tiles of `pixels` x `panel` blocks of channels; what is left at the edges gets smaller ones.

    The others are those of `TileKnobs`.
    """

    pixels: int
    panel: int
    unroll_channels: int = 1
    panel_outer: bool = True
    prefetch: bool = False

    def __post_init__(self) -> None:
        if min(self.pixels, self.panel, self.unroll_channels) < 1:
            raise ValueError(f"tile sizes must be positive: {self}")
        if self.prefetch and not self.panel_outer:
            raise ValueError(f"only a panel that all pixels pass over has a next one to fetch: {self}")


@dataclass(frozen=True)
class DenseChoice:
    """Panels of at most `vectors` vectors; wide or not, up to `accumulators` sums hide the latency of an addition.

    Sums are those of several panels where the schedule takes them (`DenseKnobs.streams`), else parts of one.
    """

    vectors: int
    accumulators: int

    def __post_init__(self) -> None:
        if min(self.vectors, self.accumulators) < 1:
            raise ValueError(f"tile sizes must be positive: {self}")


@dataclass(frozen=True)
class Int8ConvChoice:
    """Tiles of `pixels` x `panel` blocks of channels, by the instruction that sums `word` input channels at once.

    `reread_weights` is as in `PixelKnobs`.
    """

    pixels: int
    panel: int
    word: int
    reread_weights: bool = False

    def __post_init__(self) -> None:
        if min(self.pixels, self.panel, self.word) < 1:
            raise ValueError(f"tile sizes must be positive: {self}")


DepthwiseChoice = DepthwiseKnobs
Choice = ConvChoice | DepthwiseChoice | DenseChoice | Int8ConvChoice
CHOICES: dict[str, type[Choice]] = {
    "conv": ConvChoice,
    "depthwise": DepthwiseChoice,
    "dense": DenseChoice,
    "int8_conv": Int8ConvChoice,
    "int8_depthwise": DepthwiseChoice,
}
Source = Literal["record", "neighbor", "rule"]

"""Numbers of channels that a factor gives."""

from __future__ import annotations

import math


def rounded(channels: float) -> int:
    """The nearest whole number of channels, halves upwards, at least 1."""
    return max(1, math.floor(channels + 0.5))


def divisible(channels: float, multiple: int) -> int:
    """The nearest multiple, halves upwards, at least one; the next one if rounding would lose more than a tenth.

    The rule of the MobileNets since V2, as their authors' code has it.
    """
    nearest = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return nearest + multiple if nearest < 0.9 * channels else nearest

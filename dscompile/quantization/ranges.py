"""Which reals a tensor of int8 shall express, and the scale and zero point that follow.

Affine quantization as Jacob et al. 2018 (section 2.1) and the TFLite quantization specification define it: zero is
expressed exactly, because padding, ReLU and sparse activations are made of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dscompile.ir.tensor import Quantization
from dscompile.quantization.histogram import Histogram, Reals
from dscompile.quantization.settings import Method

LEVELS = 255  # steps between -128 and 127
_SHARES = np.linspace(0.05, 1.0, 96)  # clips that the search for the least squared error tries: steps of 1 %
_ROUNDS = 3


@dataclass(frozen=True)
class Range:
    """Reals from `low` <= 0 to `high` >= 0."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (self.low <= 0 <= self.high and math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"a range must be finite and contain 0, not {self.low} .. {self.high}")

    def including(self, value: float) -> Range:
        """The smallest range that also holds `value`."""
        return Range(min(self.low, value), max(self.high, value))


def parameters(chosen: Range) -> Quantization:
    """The scale (high - low) / 255 as a float32, and the nearest zero point in -128 .. 127.

    The zero point is nudged to an integer, which moves the range by at most half a step (Jacob et al. 2018, equation
    13). A tensor that is always 0 gets the scale 1 / 255.
    """
    scale = float(np.float32((chosen.high - chosen.low) / LEVELS))
    if scale < float(np.finfo(np.float32).tiny):
        return Quantization((float(np.float32(1 / LEVELS)),), -128)
    zero_point = math.floor(-128 - chosen.low / scale + 0.5)
    return Quantization((scale,), min(max(zero_point, -128), 127))


def expressed(quantization: Quantization) -> Range:
    """The reals that -128 and 127 stand for."""
    scale, zero_point = quantization.scale, quantization.zero_point
    return Range(scale * (-128 - zero_point), scale * (127 - zero_point))


def choose_range(histogram: Histogram, method: Method, keep: float) -> Range:
    """The range of a tensor from its values; `keep` is the share of them that `percentile` covers."""
    whole = Range(min(histogram.low, 0.0), max(histogram.high, 0.0))
    match method:
        case "min-max":
            return whole
        case "percentile":
            return _percentile(histogram, keep)
        case "mse":
            return _least_error(histogram, whole)


def _percentile(histogram: Histogram, keep: float) -> Range:
    """Leaves 1 - keep of the values outside: half of them on each side, or all on the only side that there is."""
    outside = 1.0 - keep
    if histogram.low >= 0:
        shares = (0.0, outside)
    elif histogram.high <= 0:
        shares = (outside, 0.0)
    else:
        shares = (outside / 2, outside / 2)
    total = int(histogram.counts.sum())
    below = np.concatenate([[0], np.cumsum(histogram.counts)]).astype(np.float64)
    low = float(np.interp(shares[0] * total, *_rising(below, histogram.edges, last=True)))
    high = float(np.interp((1.0 - shares[1]) * total, *_rising(below, histogram.edges, last=False)))
    return Range(min(max(low, histogram.low), 0.0), max(min(high, histogram.high), 0.0))


def _rising(counts: Reals, edges: Reals, *, last: bool) -> tuple[Reals, Reals]:
    """The points of a cumulative count without repeats: of equal counts the last edge, or the first."""
    new = np.diff(counts) > 0
    kept = np.concatenate([new, [True]]) if last else np.concatenate([[True], new])
    return counts[kept], edges[kept]


def _least_error(histogram: Histogram, whole: Range) -> Range:
    """The range with the least sum of squared errors: both ends shrunk alike, then each by itself, in turns."""
    used = np.flatnonzero(histogram.counts)
    values, counts = histogram.centers[used], histogram.counts[used].astype(np.float64)

    def error(low_share: float, high_share: float) -> float:
        quantization = parameters(Range(whole.low * low_share, whole.high * high_share))
        scale, zero_point = quantization.scale, quantization.zero_point
        integers = np.clip(np.rint(values / scale) + zero_point, -128, 127)
        return float(counts @ (values - scale * (integers - zero_point)) ** 2)

    low = high = float(min(_SHARES[::-1], key=lambda share: error(share, share)))
    for _ in range(_ROUNDS):
        before = (low, high)
        if whole.low < 0:
            low = float(min(_SHARES[::-1], key=lambda share: error(share, high)))
        if whole.high > 0:
            high = float(min(_SHARES[::-1], key=lambda share: error(low, share)))
        if (low, high) == before:
            break
    return Range(whole.low * low, whole.high * high)

"""Histograms that grow: one pass over the data, whatever its range."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

# Bins on each side of zero. Limits are powers of two, so at least half of a side is in use: 2048 bins, of which an
# int8 step takes eight or more.
HALF_BINS = 4096


@dataclass(frozen=True)
class Histogram:
    """How often values occur in the bins of [-limit, limit); `low` and `high` are the extremes, exactly.

    counts [2 * HALF_BINS]; bin i holds [(i - HALF_BINS) * width, (i + 1 - HALF_BINS) * width).
    """

    counts: NDArray[np.int64]
    limit: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """Width of a bin."""
        return self.limit / HALF_BINS

    @property
    def edges(self) -> Reals:
        """The borders of the bins, [2 * HALF_BINS + 1]."""
        return np.asarray(np.arange(-HALF_BINS, HALF_BINS + 1) * self.width)

    @property
    def centers(self) -> Reals:
        """The middles of the bins, [2 * HALF_BINS]."""
        return np.asarray((np.arange(-HALF_BINS, HALF_BINS) + 0.5) * self.width)

    def merged(self, other: Histogram) -> Histogram:
        """The histogram of the values of both."""
        limit = max(self.limit, other.limit)
        return Histogram(
            self.widened(limit).counts + other.widened(limit).counts,
            limit,
            min(self.low, other.low),
            max(self.high, other.high),
        )

    def widened(self, limit: float) -> Histogram:
        """The same values in bins of [-limit, limit); `limit` is the own one times a power of two."""
        counts, at = self.counts, self.limit
        while at < limit:
            pairs = counts.reshape(-1, 2).sum(axis=1)
            counts = np.concatenate([np.zeros(HALF_BINS // 2, np.int64), pairs, np.zeros(HALF_BINS // 2, np.int64)])
            at *= 2
        return Histogram(counts, at, self.low, self.high)


def histogram_of(values: Reals) -> Histogram:
    """The histogram of finite values, at least one; its limit is the smallest power of two above their magnitude."""
    low, high = float(values.min()), float(values.max())
    peak = max(-low, high, 2.0**-100)
    limit = 2.0 ** (math.floor(math.log2(peak)) + 1)
    bins = np.floor(values.reshape(-1) / (limit / HALF_BINS)).astype(np.int64) + HALF_BINS
    counts = np.bincount(np.clip(bins, 0, 2 * HALF_BINS - 1), minlength=2 * HALF_BINS).astype(np.int64)
    return Histogram(counts, limit, low, high)

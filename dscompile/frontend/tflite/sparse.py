"""Sparse constants of TFLite files, laid out densely.

A tensor's axes, and the axes of its blocks behind them, are visited in a traversal order. Each level of it is dense
(its size) or compressed: `segments` say which of `indices` belong to each position of the level above. Values are
stored in the order of that walk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.frontend.import_graph import Array
from dscompile.ir.tensor import Shape

Indices = NDArray[np.int64]

_MOST_ELEMENTS = 1 << 28  # far above any kernel; a damaged shape must not ask for all memory


@dataclass(frozen=True)
class Level:
    """One level of the walk: dense, of `size` positions, or compressed."""

    size: int
    segments: Indices | None = None
    indices: Indices | None = None


@dataclass(frozen=True)
class Sparsity:
    """How a sparse tensor is stored; block axis i (number rank + i in `order`) lies inside of axis blocked[i]."""

    order: tuple[int, ...]
    blocked: tuple[int, ...]
    levels: tuple[Level, ...]


def densify(values: Array, shape: Shape, sparsity: Sparsity) -> Array:
    """The dense tensor of this shape, zero where nothing is stored. ValueError says what contradicts itself."""
    rank, order, levels = len(shape), sparsity.order, sparsity.levels
    if sorted(order) != list(range(rank + len(sparsity.blocked))) or len(levels) != len(order):
        raise ValueError(f"its order {list(order)} does not fit {rank} axes and {len(sparsity.blocked)} blocks")
    if math.prod(shape) > _MOST_ELEMENTS:
        raise ValueError(f"{list(shape)} is too large")
    sizes = _level_sizes(shape, sparsity)
    positions: Indices = np.zeros(1, np.int64)
    coordinates: list[Indices] = []
    for axis, level, size in zip(order, levels, sizes, strict=True):
        chosen, positions, inside = _descend(level, positions, size)
        coordinates = [each[chosen] for each in coordinates]
        coordinates.append(inside)
        if positions.size > math.prod(shape):
            raise ValueError(f"axis {axis} has more entries than the tensor elements")
    if positions.size != values.size:
        raise ValueError(f"{positions.size} places for {values.size} values")
    dense = np.zeros(shape, values.dtype)
    dense[_places(shape, sparsity, sizes, coordinates)] = values
    return dense


def _level_sizes(shape: Shape, sparsity: Sparsity) -> list[int]:
    """Positions of each level; those of a blocked axis are blocks."""
    rank = len(shape)
    if any(not 0 <= axis < rank for axis in sparsity.blocked):
        raise ValueError(f"its blocks lie in axes {list(sparsity.blocked)} of {rank}")
    whole = list(shape)
    found = {}
    for axis, level in zip(sparsity.order, sparsity.levels, strict=True):
        if axis >= rank:
            inside = sparsity.blocked[axis - rank]
            if level.segments is not None or level.size < 1 or whole[inside] % level.size:
                raise ValueError(f"blocks of {level.size} do not divide axis {inside} of {list(shape)}")
            whole[inside] //= level.size
            found[axis] = level.size
    return [found[axis] if axis >= rank else whole[axis] for axis in sparsity.order]


def _descend(level: Level, positions: Indices, size: int) -> tuple[Indices, Indices, Indices]:
    """For each position of the next level: the number of the one above it, itself, and its coordinate."""
    if level.segments is None or level.indices is None:
        if level.size != size:
            raise ValueError(f"a dense level has {level.size} positions instead of {size}")
        chosen = np.repeat(np.arange(positions.size), size)
        inside = np.tile(np.arange(size), positions.size)
        return chosen, positions[chosen] * size + inside, inside
    segments, indices = level.segments, level.indices
    if positions.size and positions.max() + 1 >= segments.size:
        raise ValueError("its segments end too early")
    counts = segments[positions + 1] - segments[positions]
    if (counts < 0).any() or (segments < 0).any() or (positions.size and segments[positions + 1].max() > indices.size):
        raise ValueError("its segments do not fit its indices")
    if indices.size and not 0 <= indices.min() <= indices.max() < size:
        raise ValueError(f"an index of it lies outside of {size}")
    chosen = np.repeat(np.arange(positions.size), counts)
    starts = np.repeat(segments[positions] - (np.cumsum(counts) - counts), counts)
    below = starts + np.arange(chosen.size)
    return chosen, below, indices[below]


def _places(
    shape: Shape, sparsity: Sparsity, sizes: Sequence[int], coordinates: Sequence[Indices]
) -> tuple[Indices, ...]:
    """Index along each axis of every value."""
    rank = len(shape)
    by_axis = dict(zip(sparsity.order, zip(sizes, coordinates, strict=True), strict=True))
    places = [by_axis[axis][1] for axis in range(rank)]
    for axis in sorted(axis for axis in sparsity.order if axis >= rank):
        size, inside = by_axis[axis]
        whole = sparsity.blocked[axis - rank]
        places[whole] = places[whole] * size + inside
    return tuple(places)

"""Choices of a space as points: which lie far from each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from dscompile.plan.choices import Choice
from dscompile.plan.spaces import Space

Matrix = np.ndarray[Any, Any]


def spread(allowed: Space, first: Choice) -> list[Choice]:
    """All choices of a space from `first` on, each the farthest from all before it."""
    choices, at = list(allowed), positions(allowed)
    order = [choices.index(first)]
    nearest = np.full(len(choices), np.inf)
    while len(order) < len(choices):
        nearest = np.minimum(nearest, np.abs(at - at[order[-1]]).sum(axis=1))
        nearest[order[-1]] = -1.0
        order.append(int(nearest.argmax()))
    return [choices[index] for index in order]


def positions(allowed: Space) -> Matrix:
    """Where the choices of a space lie, [choices, fields] from 0 to 1, in its order."""
    fields = [field for axis in allowed.axes for field in axis.fields]
    places = ranks(np.array([[getattr(choice, field) for field in fields] for choice in allowed], int))
    scaled: Matrix = places / np.maximum(1, places.max(axis=0))
    return scaled


def ranks(values: Matrix) -> Matrix:
    """Of each number its rank among the different ones of its column."""
    return np.stack([np.unique(column, return_inverse=True)[1] for column in values.T], axis=1)

"""What the function of an operator is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Operands:
    """The inputs of one layer in order and its weights by role, all in float64."""

    inputs: tuple[Reals, ...]
    weights: Mapping[str, Reals]

    @property
    def x(self) -> Reals:
        """The only input."""
        (x,) = self.inputs
        return x

"""What the function of an int8 operator is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.network import Array
from dscompile.ir.ops import NONE, Activation
from dscompile.ir.tensor import Quantization, Rounding, Tensor
from dscompile.oracle.int8_arithmetic import Integers, clamped

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Int8Operands:
    """The inputs of one layer with their tensors, its weights by role, its result's tensor, and the rounding."""

    inputs: tuple[Array, ...]
    tensors: tuple[Tensor, ...]
    weights: Mapping[str, Array]
    output: Tensor
    rounding: Rounding

    def integers(self, index: int = 0) -> Integers:
        """An input as int64, with its zero point."""
        return self.inputs[index].astype(np.int64)

    def centered(self, index: int = 0) -> Integers:
        """An input as int64, without its zero point."""
        return self.integers(index) - self.given(index).zero_point

    def given(self, index: int = 0) -> Quantization:
        """Scale and zero point of an input."""
        quantization = self.tensors[index].quantization
        assert quantization is not None
        return quantization

    @property
    def made(self) -> Quantization:
        """Scale and zero point of the result."""
        assert self.output.quantization is not None
        return self.output.quantization

    def finished(self, scaled: Integers, activation: Activation = NONE) -> Integers:
        """Adds the result's zero point and clamps."""
        return clamped(scaled + self.made.zero_point, activation, self.made, self.output.dtype)

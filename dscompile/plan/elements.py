"""Elements: what the numbers of a tensor are in memory, and how many channels of it lie together in a blocked image."""

from __future__ import annotations

from dataclasses import dataclass

from dscompile.ir.fixed_point import quantized_value
from dscompile.ir.tensor import DTYPE_BYTES, DType, Quantization, Tensor
from dscompile.target import Target


@dataclass(frozen=True)
class Element:
    """Type, channels per block, and for integers the reals that they stand for."""

    dtype: DType
    lanes: int
    quantization: Quantization | None = None

    def stored(self, real: float) -> float:
        """What stands for a real number, such as the zeros around an image."""
        return real if self.quantization is None else quantized_value(real, self.quantization)

    @property
    def zero(self) -> float:
        """What stands for 0."""
        return self.stored(0.0)


def element_of(tensor: Tensor, target: Target) -> Element:
    """The elements of a tensor on a target."""
    lanes = target.int8_lanes if DTYPE_BYTES[tensor.dtype] == 1 else target.lanes
    return Element(tensor.dtype, lanes, tensor.quantization)

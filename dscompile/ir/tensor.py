"""Tensors: a name, a shape, a type, and how integers stand for reals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

DType = Literal["float32", "int8", "uint8", "int32"]
ElementType = DType | Literal["float16", "uint16"]  # of constants and what kernels take; uint16 has bits of bfloat16
BorderLayout = Literal["nhwc", "nchw"]
Rounding = Literal["tflite", "float32", "half-up", "single"]
ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
Precision = Literal["float32", "float16", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""What float32 networks multiply with; sums and everything else are float32 in any case."""
TOLERANCES: dict[Precision, float] = {"float32": 1e-4, "float16": 3e-2, "bfloat16": 2e-1}
"""Largest error of an element that passes, relative to its output's largest magnitude (docs/bfloat16.md,
docs/cuda-tensor-cores.md)."""

Shape = tuple[int, ...]

DTYPE_BYTES: dict[str, int] = {"float32": 4, "float16": 2, "uint16": 2, "int8": 1, "uint8": 1, "int32": 4}
INTEGER_RANGES: dict[str, tuple[int, int]] = {"int8": (-128, 127), "uint8": (0, 255)}


@dataclass(frozen=True)
class Quantization:
    """value = scale * (q - zero_point); one scale for a tensor, as all activations have, or one per channel."""

    scales: tuple[float, ...]
    zero_point: int = 0

    def __post_init__(self) -> None:
        if not self.scales or any(not (s > 0 and math.isfinite(s)) for s in self.scales):
            raise ValueError(f"quantization scales must be positive and finite, not {self.scales}")

    @property
    def scale(self) -> float:
        """The only scale."""
        (scale,) = self.scales
        return scale


@dataclass(frozen=True)
class Tensor:
    """An activation tensor.

    `shape` always reads batch first and channels last ([1, H, W, C] for images), whatever the layout outside.
    `border` matters only for inputs and outputs of the network: in which order the user's buffer holds the elements.
    """

    name: str
    shape: Shape
    dtype: DType = "float32"
    quantization: Quantization | None = None
    border: BorderLayout = "nhwc"

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor without any padding."""
        return self.elements * DTYPE_BYTES[self.dtype]

    @property
    def border_shape(self) -> Shape:
        """The shape in the order the user's buffer has: [1, C, H, W] for `nchw` images, else `shape`."""
        if self.border == "nchw" and len(self.shape) >= 3:
            batch, *spatial, channels = self.shape
            return (batch, channels, *spatial)
        return self.shape

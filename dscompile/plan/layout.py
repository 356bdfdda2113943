"""How a tensor lies in memory, and the strided views that kernels see.

Every CPU kernel is a function over strided views: a pointer to the first element it touches, and strides that are
constants of its code. Halos, tails and slices of the work are therefore nothing but other pointers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from dscompile.ir.ops import Pads
from dscompile.ir.tensor import Shape


@dataclass(frozen=True)
class Strides:
    """Elements from one block of channels, row and pixel to the next, in a blocked image."""

    block: int
    row: int
    pixel: int


@dataclass(frozen=True)
class TileStrides:
    """Elements from one block of channels, row, tile and pixel to the next, where rows are cut into tiles of `pixels`.

    Of all channels, the pixels of a tile lie together (plan/row_tiles.py).
    """

    block: int
    row: int
    tile: int
    pixel: int
    pixels: int


@dataclass(frozen=True)
class Blocked:
    """[ceil(C / lanes)][halo + H + halo][halo + W + halo][lanes]: the layout of images inside CPU kernels.

    Lanes beyond the last channel are kept zero-weighted: kernels may write anything finite there and must not let it
    reach a real channel. The halo is zero (or the integer that stands for it) whenever a kernel reads it.
    """

    height: int
    width: int
    channels: int
    lanes: int
    halo: Pads = field(default_factory=Pads)

    @property
    def blocks(self) -> int:
        """Blocks of `lanes` channels."""
        return -(-self.channels // self.lanes)

    @property
    def strides(self) -> Strides:
        """Strides in elements."""
        row = (self.halo.left + self.width + self.halo.right) * self.lanes
        return Strides((self.halo.top + self.height + self.halo.bottom) * row, row, self.lanes)

    @property
    def elements(self) -> int:
        """Elements of the buffer, halo and unused lanes included."""
        return self.blocks * self.strides.block

    def offset(self, row: int = 0, column: int = 0, block: int = 0) -> int:
        """Elements from the start of the buffer to a pixel; negative coordinates reach into the halo."""
        strides = self.strides
        return block * strides.block + (self.halo.top + row) * strides.row + (self.halo.left + column) * strides.pixel


@dataclass(frozen=True)
class Flat:
    """Row-major elements in exactly the order of `shape` (which may be a border shape such as [1, C, H, W])."""

    shape: Shape

    @property
    def elements(self) -> int:
        """Elements of the buffer."""
        return math.prod(self.shape)


Layout = Blocked | Flat

"""How the weights of an int8 layer are stored where a byte for each would be too much flash.

The integers themselves do not change: a network is the same function however it is stored. `int4` takes half a byte for
each weight; `2:4` leaves out two of each four, which must be 0 (Mishra et al. 2021, Accelerating Sparse Deep Neural
Networks, section 3.1), and says in four bits where the others belong; `int4-2:4` does both.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.ops import Conv2D, Dense, Op
from dscompile.ir.tensor import Shape

Storage = Literal["plain", "int4", "2:4", "int4-2:4"]
STORAGES: tuple[Storage, ...] = get_args(Storage)
# What quantization is asked for: how many bits a weight has, whether two of four are 0, or both in a word.
WeightBits = Literal["int8", "int4"]
WEIGHT_BITS: tuple[WeightBits, ...] = get_args(WeightBits)
Sparsity = Literal["2:4"]
WeightType = Literal["int8", "int4", "2:4", "int4-2:4"]
WEIGHT_TYPES: tuple[WeightType, ...] = get_args(WeightType)

INT4_RANGE = (-8, 7)
FOUR = 4
"""Products of a sum, in their order (rows, columns, input channels), of which two may count."""
KEPT = 2
_FEWEST_FIRST: tuple[Storage, ...] = ("int4-2:4", "int4", "2:4", "plain")
_POSITION_BITS = 4


def mixes_channels(op: Op, given: Shape) -> bool:
    """Whether sums of an operator that reads an input of this shape are over channels, so that weights can be packed.

    Those of dense layers are, and of convolutions that are not depthwise.
    """
    return isinstance(op, Dense) or (isinstance(op, Conv2D) and not op.is_depthwise(given[3]))


def is_narrow(storage: Storage) -> bool:
    """Whether weights have four bits."""
    return storage in ("int4", "int4-2:4")


def is_sparse(storage: Storage) -> bool:
    """Whether two of four weights are left out."""
    return storage in ("2:4", "int4-2:4")


def stored_bits(storage: Storage, depth: int) -> int:
    """Bits of the `depth` weights of a sum."""
    bits = 4 if is_narrow(storage) else 8
    return -(-depth // FOUR) * (KEPT * bits + _POSITION_BITS) if is_sparse(storage) else depth * bits


def in_fours(matrix: NDArray[np.generic]) -> NDArray[np.generic]:
    """[depth, C_out] -> [depth / 4, rounded up][4][C_out]; zeros fill up."""
    depth, channels = matrix.shape
    padded = np.zeros((-(-depth // FOUR) * FOUR, channels), matrix.dtype)
    padded[:depth] = matrix
    return padded.reshape(-1, FOUR, channels)


def storage_problem(storage: Storage, kernel: NDArray[np.generic]) -> str | None:
    """Why a kernel int8 [..., C_out] cannot be stored so; None if it can, as any kernel can be stored plainly."""
    if storage == "plain":
        return None
    matrix = kernel.reshape(-1, kernel.shape[-1]).astype(np.int16)
    if is_narrow(storage) and matrix.size and not INT4_RANGE[0] <= matrix.min() <= matrix.max() <= INT4_RANGE[1]:
        return f"weights from {matrix.min()} to {matrix.max()}; four bits hold {INT4_RANGE[0]} to {INT4_RANGE[1]}"
    if is_sparse(storage):
        crowded = int(((in_fours(matrix) != 0).sum(axis=1) > KEPT).sum())
        if crowded:
            return f"more than {KEPT} weights other than 0 in {crowded} of its groups of four"
    return None


def fitting_storage(wanted: Storage, kernel: NDArray[np.generic]) -> Storage:
    """The smallest storage that a kernel int8 [..., C_out] fits, of those that leave out no more than `wanted` does."""
    allowed = [s for s in _FEWEST_FIRST if is_narrow(s) <= is_narrow(wanted) and is_sparse(s) <= is_sparse(wanted)]
    return next(storage for storage in allowed if storage_problem(storage, kernel) is None)


def smallest_storage(kernel: NDArray[np.generic]) -> Storage:
    """The storage that takes the fewest bits, of those that a kernel int8 [..., C_out] fits."""
    depth = kernel.size // kernel.shape[-1]
    fitting = (storage for storage in STORAGES if storage_problem(storage, kernel) is None)
    return min(fitting, key=lambda storage: stored_bits(storage, depth))

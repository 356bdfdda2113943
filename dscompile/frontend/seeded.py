"""Random weights that depend on the seed, the layer's name, its role and shape, and on nothing else.

Adding, removing or reordering layers leaves the others' weights alone. The numbers are made from the raw bits of PCG64
by exact arithmetic, because NumPy keeps those stable and not its distributions.
"""

from __future__ import annotations

import hashlib
import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.ops import Activation, Conv2D, ConvTranspose, Dense, Op
from dscompile.ir.tensor import Shape


class _Wanted(Protocol):
    @property
    def layer(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def shape(self) -> Shape: ...
    @property
    def op(self) -> Op: ...


def seeded_weight(seed: int, weight: _Wanted) -> NDArray[np.float32]:
    """A float32 array of `weight.shape`, uniform over the range that its role makes sensible.

    Kernels have the variance gain / fan_in of He et al. 2015 (equation 10), the gain 2 before a rectifier; before
    none it is 1/2, so that sums over residual blocks stay of one magnitude. Batch-norm statistics stay near the
    identity: gamma and variance around 1, beta and mean around 0.
    """
    low, high = _range(weight.role, weight.shape, weight.op)
    unit = _uniform(f"{seed}/{weight.layer}.{weight.role}", math.prod(weight.shape))
    return (np.float32(low) + unit * np.float32(high - low)).reshape(weight.shape)


def _range(role: str, shape: Shape, op: Op) -> tuple[float, float]:
    match role:
        case "kernel":
            fan_in: float = math.prod(shape[:-1])  # [rows, columns, C_in / groups, C_out] or [C_in, C_out]
            if isinstance(op, ConvTranspose):  # of the taps, an output sees one in stride * stride
                fan_in = max(1.0, fan_in / math.prod(op.stride))
            activation = op.activation if isinstance(op, Conv2D | ConvTranspose | Dense) else Activation()
            limit = math.sqrt(3.0 * _gain(activation) / fan_in)  # a uniform variable over +-limit: limit^2 / 3
            return -limit, limit
        case "gamma" | "variance":
            return 0.75, 1.25
        case "slope":
            return 0.05, 0.45
        case _:  # bias, beta, mean, value
            return -0.1, 0.1


def _gain(activation: Activation) -> float:
    match activation.kind:
        case "none":
            return 0.5
        case "sigmoid" | "hard_sigmoid" | "tanh":
            return 1.0
        case _:
            return 2.0


def _uniform(key: str, count: int) -> NDArray[np.float32]:
    """`count` multiples of 2^-24 in [0, 1)."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    generator = np.random.PCG64(int.from_bytes(digest[:16], "little"))
    words = generator.random_raw((count + 1) // 2).astype("<u8", copy=False).view("<u4")[:count]
    return (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)

"""How much operators can enlarge a change of their input, in the Euclidean norm over all elements."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Activation, BatchNorm, Conv2D, Pair, Pool

# Kernels with more weights per frequency are bounded by their matrix of taps instead.
_MOST_WEIGHTS = 1 << 14
_FREQUENCIES_PER_TAP = 8

# The largest slopes; that of x * sigmoid(x) is at x = 2.3994.
_SLOPES = {
    "none": 1.0,
    "clip": 1.0,
    "hard_swish": 1.5,
    "swish": 1.0999,
    "sigmoid": 0.25,
    "tanh": 1.0,
    "gelu": 1.1290,
    "gelu_tanh": 1.1291,
    "erf": 1.1284,
}


def activation_slope(activation: Activation, slope: Array | None = None) -> float | None:
    """The largest slope of an activation (`slope`: the weight of a prelu), or None if it is not known."""
    match activation.kind:
        case "hard_sigmoid":
            return abs(activation.alpha)
        case "leaky_relu" | "elu":
            return max(1.0, abs(activation.alpha))
        case "prelu" if slope is not None:
            return max(1.0, float(np.abs(slope).max()))
        case kind:
            return _SLOPES.get(kind)


def convolution_norm(op: Conv2D, kernel: NDArray[np.generic]) -> float:
    """An upper bound of |conv(x)| / |x|; `kernel` is [kh, kw, C_in / groups, C_out].

    The smaller one of two. First, the largest singular value of the matrix [kh * kw * C_in, C_out], times the root of
    how many windows a pixel can be part of. Second, the largest singular value of the kernel's Fourier transform over
    all frequencies, which is the norm of the convolution on an infinite image (Sedghi et al. 2018); stride and border
    only leave something out, dilation only moves the frequencies. It is computed at N of them in each direction: the
    square of |u^H K(w) v| is a trigonometric polynomial of degree k - 1, so nowhere larger than its largest sample
    divided by cos(pi (k - 1) / N) (Ehlich and Zeller 1964).
    """
    rows, columns, per_group, outputs = kernel.shape
    grouped = kernel.astype(np.float64).reshape(rows, columns, per_group, op.groups, outputs // op.groups)
    matrices = grouped.transpose(3, 0, 1, 2, 4).reshape(op.groups, rows * columns * per_group, -1)
    overlap = _overlap(op.kernel, op.stride, op.dilation)
    by_taps = float(np.linalg.norm(matrices, 2, axis=(1, 2)).max()) * math.sqrt(overlap)
    return by_taps if kernel.size > _MOST_WEIGHTS * rows * columns else min(by_taps, _spectral_norm(grouped))


def _spectral_norm(grouped: NDArray[np.float64]) -> float:
    """The second bound of `convolution_norm`, of a kernel [kh, kw, C_in / groups, groups, C_out / groups]."""
    rows, columns = grouped.shape[:2]
    sizes = tuple(_FREQUENCIES_PER_TAP * taps if taps > 1 else 1 for taps in (rows, columns))
    transformed = np.fft.rfft2(grouped, sizes, axes=(0, 1)).transpose(0, 1, 3, 2, 4)
    largest = float(np.linalg.norm(transformed, 2, axis=(3, 4)).max())
    between = [math.cos(math.pi * (taps - 1) / size) for taps, size in zip((rows, columns), sizes, strict=True)]
    return largest / math.sqrt(math.prod(between))


def pool_norm(op: Pool, height: int, width: int) -> float:
    """An upper bound of the same for a pool over an image."""
    window = op.window(height, width)
    overlap = 1 if op.kernel == (0, 0) else _overlap(window, op.stride, (1, 1))
    if op.kind == "max":
        return math.sqrt(overlap)
    fewest = 1 if op.pads and not op.count_pads else window[0] * window[1]
    return math.sqrt(overlap / fewest)


def batch_norm_norm(network: Network, layer: Layer, op: BatchNorm) -> float:
    """The largest factor of a batch norm."""
    variance = network.weight(layer, "variance").astype(np.float64)
    return float(np.abs(network.weight(layer, "gamma") / np.sqrt(variance + op.epsilon)).max())


def _overlap(kernel: Pair, stride: Pair, dilation: Pair) -> int:
    """How many windows a pixel is part of at most."""
    return math.prod(
        math.ceil(taps / (step // math.gcd(step, gap)))
        for taps, step, gap in zip(kernel, stride, dilation, strict=True)
    )

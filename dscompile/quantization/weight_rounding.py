"""Integer least squares: which integers, times a scale, keep a layer's sums.

Rounding every weight to the nearest integer minimizes the error of the weights. What matters is the error of the sums,
(w - s q)^T H (w - s q) with H the second moments of what the weights meet; there the errors of weights can cancel. The
minimum is a closest-vector problem. It is approached twice: by the nearest plane (Babai 1986), which is what GPTQ
computes (Frantar et al. 2022, shown by Chen et al. 2025), then by coordinate descent until no single weight can change
for the better.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

_MOST_SWEEPS = 20


def round_together(moments: Reals, weights: Reals, scales: Reals, limit: Reals | int) -> Reals:
    """Integers [G, K, N] from -limit to limit, for which scale * integer keeps the sums of `weights`.

    moments [G, K, K], symmetric and positive definite; weights [G, K, N]; scales [G, N]: G groups of K inputs and N
    outputs each. A `limit` of its own for each weight, [G, K, N], makes those 0 that have a limit of 0: then the others
    make up for them, as in SparseGPT (Frantar and Alistarh 2023). The error of no output is larger than that of the
    nearest integers.
    """
    plane = nearest_plane(moments, weights, scales, limit)
    nearest = nearest_integers(weights, scales, limit)
    better = errors(moments, weights, scales, plane) <= errors(moments, weights, scales, nearest)
    return descend(moments, weights, scales, np.where(better[:, None, :], plane, nearest), limit)


def errors(moments: Reals, weights: Reals, scales: Reals, integers: Reals) -> Reals:
    """(w - s q)^T H (w - s q) for every output, [G, N]."""
    left = weights - scales[:, None, :] * integers
    return np.asarray((left * (moments @ left)).sum(axis=1))


def nearest_integers(weights: Reals, scales: Reals, limit: Reals | int) -> Reals:
    """Every weight / scale by itself, rounded."""
    return np.asarray(np.clip(np.rint(weights / scales[:, None, :]), -limit, limit))


def nearest_plane(moments: Reals, weights: Reals, scales: Reals, limit: Reals | int) -> Reals:
    """Rounds the last weight first, and lets each weight before it make up for those that are rounded.

    With H = R^T R, R upper triangular, the error is the sum over rows i of (sum over j >= i of R_ij (w_j - s q_j))^2:
    row i decides q_i once all q_j with j > i are known.
    """
    limits = np.broadcast_to(limit, weights.shape)
    upper = np.linalg.cholesky(moments).transpose(0, 2, 1)
    integers = np.zeros_like(weights)
    left = np.zeros_like(weights)  # w_j - s q_j, of those that are rounded
    for i in reversed(range(weights.shape[1])):
        owed = np.einsum("gj,gjn->gn", upper[:, i, i + 1 :], left[:, i + 1 :]) / upper[:, i, i, None]
        integers[:, i] = np.clip(np.rint((weights[:, i] + owed) / scales), -limits[:, i], limits[:, i])
        left[:, i] = weights[:, i] - scales * integers[:, i]
    return integers


def descend(moments: Reals, weights: Reals, scales: Reals, integers: Reals, limit: Reals | int) -> Reals:
    """Moves one weight after the other to the integer with the least error, until none moves (at most 20 rounds)."""
    limits = np.broadcast_to(limit, weights.shape)
    found = integers.copy()
    curvature = np.einsum("gkk->gk", moments)
    slopes = moments @ (weights - scales[:, None, :] * found)
    for _ in range(_MOST_SWEEPS):
        moved = False
        for i in range(weights.shape[1]):
            wanted = found[:, i] + np.rint(slopes[:, i] / (curvature[:, i, None] * scales))
            steps = np.clip(wanted, -limits[:, i], limits[:, i]) - found[:, i]
            if steps.any():
                moved = True
                found[:, i] += steps
                slopes -= moments[:, :, i, None] * (steps * scales)[:, None, :]
        if not moved:
            break
    return found

"""The singular values of kernels, input channel by input channel.

A kernel K [kh, kw, C_in / groups, C_out] has for each input channel c the matrix K_c [kh * kw, C_out / groups] of the
filters that read it. Its singular value decomposition is K_c = sum over r of s_r u_r v_r^T; every term is a filter u_r
of the channel alone (a depthwise filter) whose result goes to the outputs with the weights s_r v_r (a pointwise
convolution). By Eckart and Young (1936), the first R terms are the nearest matrix of rank R, and the squared distance
is the energy that is discarded, the sum of the other s_r^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """Filters u [C_in, kh * kw, m], singular values s [C_in, m], falling, and weights v [C_in, m, C_out / groups].

    m is min(kh * kw, C_out / groups), the rank from which on nothing is lost.
    """

    filters: Reals
    values: Reals
    weights: Reals
    kernel: tuple[int, int]
    groups: int

    @property
    def full_rank(self) -> int:
        """The rank that reproduces the kernel."""
        return int(self.values.shape[1])

    @property
    def energy(self) -> float:
        """The sum of all squared singular values, which is that of all squared weights."""
        return float((self.values**2).sum())

    def discarded(self, rank: int) -> float:
        """The energy that rank `rank` leaves out."""
        return float((self.values[:, rank:] ** 2).sum())

    def depthwise_kernel(self, rank: int) -> Reals:
        """[kh, kw, 1, C_in * rank]; output channel c * rank + r is the r-th filter of input channel c."""
        filters = self.filters[:, :, :rank].transpose(1, 0, 2)
        return filters.reshape(*self.kernel, 1, -1)

    def pointwise_kernel(self, rank: int) -> Reals:
        """[1, 1, C_in / groups * rank, C_out], with the singular values: the filters have length 1."""
        scaled = self.values[:, :rank, None] * self.weights[:, :rank]
        channels, _, outputs = scaled.shape
        grouped = scaled.reshape(self.groups, channels // self.groups, rank, outputs)
        return grouped.transpose(1, 2, 0, 3).reshape(1, 1, channels // self.groups * rank, self.groups * outputs)


def spectrum(kernel: NDArray[np.generic], groups: int) -> Spectrum:
    """The decomposition of a kernel [kh, kw, C_in / groups, C_out], computed in float64.

    Of the two signs that each pair u, v can have, the largest tap of u is positive.
    """
    rows, columns, per_group, outputs = kernel.shape
    by_group = kernel.astype(np.float64).reshape(rows * columns, per_group, groups, outputs // groups)
    matrices = by_group.transpose(2, 1, 0, 3).reshape(groups * per_group, rows * columns, outputs // groups)
    filters, values, weights = np.linalg.svd(matrices, full_matrices=False)
    largest = np.take_along_axis(filters, np.abs(filters).argmax(axis=1)[:, None, :], axis=1)
    signs = np.where(largest < 0, -1.0, 1.0)
    return Spectrum(filters * signs, values, weights * signs.transpose(0, 2, 1), (rows, columns), groups)


def composed(depthwise: NDArray[np.generic], pointwise: NDArray[np.generic], channels: int, groups: int) -> Reals:
    """The kernel [kh, kw, C_in / groups, C_out] that a depthwise and a pointwise convolution have together."""
    rows, columns, _, middle = depthwise.shape
    per_group, outputs = channels // groups, pointwise.shape[3]
    filters = depthwise.astype(np.float64).reshape(rows, columns, groups, per_group, middle // channels)
    weights = pointwise.astype(np.float64).reshape(per_group, middle // channels, groups, outputs // groups)
    kernel: Reals = np.einsum("ijgcr,crgo->ijcgo", filters, weights)
    return kernel.reshape(rows, columns, per_group, outputs)

"""Kernels whose rounding keeps a layer's sums, on the inputs that the int8 network really gives that layer.

For every convolution and dense layer, first to last: X are the inputs of its windows in float32, Q the same in the int8
network so far. The kernel W' with the least mean square of Q W' - X W replaces W (asymmetric reconstruction: it takes
back what the layers before it lost, as far as that is linear), then its integers are chosen together
(`weight_rounding`). Means are left to the bias. Both steps hold on to the weights that they start from, by adding a
multiple of the mean square to the diagonal: inputs that were not seen excite what the calibration data do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscompile.ir.network import Array, Network
from dscompile.ir.ops import Conv2D, Dense
from dscompile.oracle.windows import pad_image, taps
from dscompile.quantization.bias_correction import corrected_bias
from dscompile.quantization.kernels import Int8Kernel, bias_bound
from dscompile.quantization.layerwise import LayerPair, improve_layers
from dscompile.quantization.settings import Sample
from dscompile.quantization.stored import kept_places, weight_limit
from dscompile.quantization.weight_rounding import errors, nearest_integers, round_together

Reals = NDArray[np.float64]

# Layers with more inputs to a sum keep their nearest integers: matrices of their squares would take gigabytes.
MOST_TAPS = 4608
_MOST_ROWS = 1 << 14  # windows of a layer that are looked at, evenly spread
_SHARES = np.linspace(0.5, 1.0, 26)  # of the largest weight / limit: scales that are tried


@dataclass(frozen=True)
class _Holds:
    """Multiples of the mean square, against changing weights and against rounding far away."""

    weights: float
    rounding: float


_BYTES = _Holds(2.0, 1.0)
_FEWER = _Holds(0.2, 0.1)  # what four bits or two of four lose outweighs what inputs that were not seen excite


def reconstruct(real: Network, integer: Network, samples: Sequence[Sample], *, biases: bool) -> Network:
    """`integer` with kernels, kernel scales and, with `biases`, biases that keep the sums of `real` on the samples.

    Both networks have the same layers; the samples are float32 inputs. Layers of more than 4608 inputs to a sum are
    left as they are, but for their biases.
    """
    return improve_layers(real, integer, samples, lambda pair: _reconstructed(pair, biases=biases))


@dataclass(frozen=True)
class Moments:
    """Means over `rows` windows of a layer, group by group: `own` of q q^T, `cross` of q x^T, both [G, K, K]."""

    rows: int
    own: Reals
    cross: Reals

    def held(self, weight: float) -> Reals:
        """`own` with a multiple of its mean on the diagonal: `weight`, and more where windows are few for K inputs.

        The identity where all inputs are constant.
        """
        count = self.own.shape[1]
        mean = np.einsum("gkk->g", self.own) / count
        added = np.where(mean > 0, weight * (1 + count / self.rows) * mean, 1.0)
        return self.own + added[:, None, None] * np.eye(count)


def _reconstructed(pair: LayerPair, *, biases: bool) -> Mapping[str, Array]:
    made = pair.kernel
    if made.taps <= MOST_TAPS:
        made = _rounded(pair, made, moments_of(pair, centered=biases))
    found = corrected_bias(pair, made) if biases else made.bias
    return {"kernel": made.kernel, "kernel_scale": made.kernel_scale, "bias": found}


def _rounded(pair: LayerPair, old: Int8Kernel, moments: Moments) -> Int8Kernel:
    """New integers and scales, and the old bias in units of the new scales."""
    groups = moments.own.shape[0]
    real = pair.real.weight(pair.theirs, "kernel")
    weights = as_groups(real.astype(np.float64), groups)
    storage = pair.ours.storage
    limits = as_groups(np.where(kept_places(real, storage), float(weight_limit(storage)), 0.0), groups)
    holds = _BYTES if storage == "plain" else _FEWER
    wanted = _adapted(moments, weights, holds)
    held = moments.held(holds.rounding)
    bound = bias_bound(pair.ours.name, old.taps)
    scales = _scales(old, wanted, held, bound, limits)
    integers = round_together(held, wanted, scales, limits)
    kernel = from_groups(integers, old.kernel.shape).astype(np.int8)
    bias = np.rint(old.bias * (old.kernel_scale / scales.reshape(-1)))
    return Int8Kernel(kernel, scales.reshape(-1).astype(np.float32), np.clip(bias, -bound, bound).astype(np.int32))


def _adapted(moments: Moments, weights: Reals, holds: _Holds) -> Reals:
    """W' = W + (E[q q^T] + h)^-1 (E[q x^T] - E[q q^T]) W: least squares that hold on to W (ridge regression)."""
    step = (moments.cross - moments.own) @ weights
    return np.asarray(weights + np.linalg.solve(moments.held(holds.weights), step))


def _scales(old: Int8Kernel, wanted: Reals, held: Reals, bound: int, limits: Reals) -> Reals:
    """[G, N], float32 values: the shares of the largest weight / limit with which nearest integers lose least.

    Never so small that a bias would need more than `bound`; channels without weights keep their scale.
    """
    offsets = np.abs(old.bias * old.kernel_scale.astype(np.float64)) / bound
    largest = np.where(limits > 0, np.abs(wanted), 0).max(axis=1)
    limit = limits.max()
    kept = old.kernel_scale.astype(np.float64).reshape(largest.shape)
    best, least = kept, np.full(largest.shape, np.inf)
    for share in _SHARES[::-1]:
        tried = np.maximum(largest * share / limit, offsets.reshape(largest.shape))
        tried = np.where(tried < float(np.finfo(np.float32).tiny), kept, tried).astype(np.float32).astype(np.float64)
        lost = errors(held, wanted, tried, nearest_integers(wanted, tried, limits))
        best, least = np.where(lost < least, tried, best), np.minimum(lost, least)
    return np.where(largest > 0, best, kept)


def moments_of(pair: LayerPair, *, centered: bool) -> Moments:
    """Second moments of what the windows of a layer hold, over at most 16384 of them; `centered` of the deviations."""
    sums: list[Reals] | None = None
    rows = 0
    step = _row_step(pair)
    for real, integer in pair.inputs():
        x, q = columns(pair.op, real, step), columns(pair.op, integer, step)
        turned = q.transpose(0, 2, 1)
        found = [x.sum(axis=1), q.sum(axis=1), turned @ q, turned @ x]
        sums = found if sums is None else [total + new for total, new in zip(sums, found, strict=True)]
        rows += x.shape[1]
    assert sums is not None
    real_mean, integer_mean, own, cross = (total / rows for total in sums)
    if centered:
        own = own - integer_mean[:, :, None] * integer_mean[:, None, :]
        cross = cross - integer_mean[:, :, None] * real_mean[:, None, :]
    return Moments(rows, own, cross)


def _row_step(pair: LayerPair) -> int:
    """How many windows to go forward, so that at most 16384 are met, in all columns of the image."""
    _, height, width, _ = (1, 1, *pair.real.shape(pair.theirs.output))[-4:]
    samples = sum(len(array) for array in pair.real_inputs)
    step = -(-samples * height * width // _MOST_ROWS)
    while math.gcd(step, width) > 1:
        step += 1
    return step


def columns(op: Conv2D | Dense, x: Reals, step: int = 1) -> Reals:
    """Every `step`-th window of x [n, H, W, C] (of a dense layer x [n, C]) as rows: [G, rows, K]."""
    if isinstance(op, Dense):
        return x[None, ::step]
    parts = list(_windows(op, x, step))
    stacked = np.stack(parts, axis=1)  # [rows, taps, C]
    rows, count, channels = stacked.shape
    grouped = stacked.reshape(rows, count, op.groups, channels // op.groups).transpose(2, 0, 1, 3)
    return np.ascontiguousarray(grouped).reshape(op.groups, rows, -1)


def _windows(op: Conv2D, x: Reals, step: int) -> Iterator[Reals]:
    for _, _, pixels in taps(pad_image(x, op.pads, 0.0), op.kernel, op.stride, op.dilation):
        yield pixels.reshape(-1, pixels.shape[-1])[::step]


def as_groups(kernel: Reals, groups: int) -> Reals:
    """Kernel [kh, kw, C_in / G, C_out] or [C_in, C_out] -> [G, K, N], in the order of `columns`."""
    outputs = kernel.shape[-1]
    return np.ascontiguousarray(kernel.reshape(-1, groups, outputs // groups).transpose(1, 0, 2))


def from_groups(grouped: Reals, shape: tuple[int, ...]) -> Reals:
    """The inverse of `as_groups`."""
    return np.ascontiguousarray(grouped.transpose(1, 0, 2)).reshape(shape)

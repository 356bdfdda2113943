"""Weights in the order in which kernels stream them. Pure NumPy, done once at compile time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dscompile.ir.network import Array


def pack_conv(kernel: Array, panel: int, start: int, count: int) -> Array:
    """[kh, kw, C, N] -> [count / panel][kh][kw][C][panel]: output channels start .. start + count, zeros beyond N."""
    part = _columns(kernel, start, count)
    kh, kw, channels, _ = part.shape
    return np.ascontiguousarray(part.reshape(kh, kw, channels, count // panel, panel).transpose(3, 0, 1, 2, 4))


def pack_depthwise(kernel: Array, lanes: int) -> Array:
    """[kh, kw, 1, C] -> [ceil(C / lanes)][kh][kw][lanes], zeros beyond C."""
    kh, kw, _, channels = kernel.shape
    padded = _columns(kernel[:, :, 0, :], 0, -(-channels // lanes) * lanes)
    return np.ascontiguousarray(padded.reshape(kh, kw, -1, lanes).transpose(2, 0, 1, 3))


def pack_dense(kernel: Array, panel: int, start: int, count: int) -> Array:
    """[K, N] -> [count / panel][K][panel]: units start .. start + count, zeros beyond N."""
    part = _columns(kernel, start, count)
    return np.ascontiguousarray(part.reshape(part.shape[0], count // panel, panel).transpose(1, 0, 2))


def pack_vector(vector: Array | None, start: int, count: int) -> Array:
    """Elements start .. start + count of a bias or slope, zeros beyond its end or if there is none."""
    if vector is None:
        return np.zeros(count, np.float32)
    return np.ascontiguousarray(_columns(vector, start, count))


def grouped_as_dense(kernel: Array, groups: int) -> Array:
    """[kh, kw, C / groups, N] -> [kh, kw, C, N] with zeros where a filter does not see a channel."""
    kh, kw, per_group, filters = kernel.shape
    dense = np.zeros((kh, kw, per_group * groups, filters), kernel.dtype)
    step = filters // groups
    for group in range(groups):
        rows = slice(group * per_group, (group + 1) * per_group)
        columns = slice(group * step, (group + 1) * step)
        dense[:, :, rows, columns] = kernel[:, :, :, columns]
    return dense


@dataclass(frozen=True)
class FilterRun:
    """Filters that see the same blocks of channels: `count` of them from `start` on, channels from `channel` on.

    `kernel` [kh, kw, channels, N] has zeros where one of them does not see a channel; of its filters only those of the
    run are meant.
    """

    kernel: Array
    channel: int
    start: int
    count: int


def filter_runs(kernel: Array, groups: int, lanes: int) -> list[FilterRun]:
    """A kernel [kh, kw, C / groups, N] in runs of whole blocks of filters, each over the channels that its groups see.

    Runs start at whole blocks, of filters and of channels. Where groups do as well, a run is a group and nothing is
    padded; else the first and the last block of a group are shared with its neighbors, or hold several groups.
    """
    _, _, per_group, filters = kernel.shape
    step = filters // groups
    dense = grouped_as_dense(kernel, groups)
    runs: list[FilterRun] = []
    for start in range(0, filters, lanes):
        end = min(start + lanes, filters)
        first = start // step * per_group // lanes * lanes
        seen = dense[:, :, first : ((end - 1) // step + 1) * per_group]
        if runs and runs[-1].channel == first and runs[-1].kernel.shape == seen.shape:
            runs[-1] = replace(runs[-1], count=end - runs[-1].start)
        else:
            runs.append(FilterRun(seen, first, start, end - start))
    return runs


def is_padded(channels: int, filters: int, groups: int, lanes: int) -> bool:
    """Whether groups of a convolution are no whole blocks, so that filters get zeros for what they do not see."""
    return groups > 1 and bool(channels // groups % lanes or filters // groups % lanes)


def pack_image(image: Array, lanes: int) -> Array:
    """[H, W, C] -> [ceil(C / lanes)][H][W][lanes], zeros beyond C."""
    height, width, channels = image.shape
    padded = _columns(image, 0, -(-channels // lanes) * lanes)
    return np.ascontiguousarray(padded.reshape(height, width, -1, lanes).transpose(2, 0, 1, 3))


def _columns(array: Array, start: int, count: int) -> Array:
    """The last axis from `start`, `count` long, zero-filled beyond the end; float32."""
    part = np.asarray(array[..., start : start + count], np.float32)
    missing = count - part.shape[-1]
    return np.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, missing)]) if missing else part

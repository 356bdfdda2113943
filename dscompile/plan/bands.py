"""Segments: runs of convolutions that are computed together in bands of rows.

Early layers of a network make images that are larger than the second-level cache. Done one after the other, each would
be written to and read from the cache behind it. Done band by band, every row is read again while it is still near;
nothing is computed twice and no other buffers are needed, because kernels are functions over views.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dscompile.ir.network import Network
from dscompile.ir.ops import Conv2D
from dscompile.ir.shapes import dilated_extent
from dscompile.ir.tensor import DTYPE_BYTES
from dscompile.plan.fusion import Work, network_work
from dscompile.plan.winograd import takes_winograd
from dscompile.target import Target

# A tensor below this share of the second-level cache stays there by itself until it is read.
LARGE_TENSOR_SHARE = 0.5
# What the rows of one band and the weights of all layers may take of the second-level cache.
BAND_SHARE = 0.6
MIN_BAND_ROWS = 2
MAX_SEGMENT_LAYERS = 6


@dataclass(frozen=True)
class Segment:
    """Work that makes one step. `rows` of its last result are made at a time; 0: everything at once.

    `remark` says what else is to be known of the step.
    """

    work: tuple[Work, ...]
    rows: int = 0
    remark: str = ""

    @property
    def note(self) -> str:
        """What a reader of the program is told about the step."""
        return f"in bands of {self.rows} rows" if self.rows else self.remark

    @property
    def name(self) -> str:
        """The name of its step: the layer's, or those of the first and the last."""
        first, last = self.work[0].layer.name, self.work[-1].layer.name
        return first if len(self.work) == 1 else f"{first} .. {last}"


def find_segments(network: Network, target: Target, *, scales: bool = True) -> tuple[Segment, ...]:
    """All work of the network in order, cut into segments; `scales` are fused as `network_work` does."""
    segments: list[Segment] = []
    run: list[Work] = []
    for work in network_work(network, scales=scales):
        if run and not (_continues(network, target, run[-1], work) and _band_rows(network, target, [*run, work])):
            segments.append(_segment(network, target, run))
            run = []
        run.append(work)
    if run:
        segments.append(_segment(network, target, run))
    return tuple(segments)


def rows_needed(op: Conv2D, rows: int, in_height: int) -> int:
    """Rows of the input, from its first, that the first `rows` rows of the output need."""
    extent = dilated_extent(op.kernel[0], op.dilation[0])
    return max(0, min(in_height, (rows - 1) * op.stride[0] + extent - op.pads.top))


def _segment(network: Network, target: Target, run: list[Work]) -> Segment:
    return Segment(tuple(run), _band_rows(network, target, run) if len(run) > 1 else 0)


def _continues(network: Network, target: Target, last: Work, work: Work) -> bool:
    """Whether `work` reads the large image that `last` has just made, and both can go by rows."""
    size = network.tensor(last.result).size_bytes
    return (
        _goes_by_rows(network, target, last)
        and _goes_by_rows(network, target, work)
        and last.result in work.layer.inputs
        and size > LARGE_TENSOR_SHARE * target.caches.l2_bytes > 0
    )


def _goes_by_rows(network: Network, target: Target, work: Work) -> bool:
    op = work.layer.op
    if not isinstance(op, Conv2D) or network.shape(work.result)[1] < 2 * MIN_BAND_ROWS:
        return False
    if takes_winograd(network, target, work.layer):  # its sums depend on where tiles begin
        return False
    channels = network.shape(work.layer.inputs[0])[3]
    return op.groups == 1 or (op.is_depthwise(channels) and op.out_channels == channels)


def _band_rows(network: Network, target: Target, run: list[Work]) -> int:
    """The most rows per band that fit, a divisor of the height if one is near; 0 if even the fewest do not fit."""
    if len(run) > MAX_SEGMENT_LAYERS:
        return 0
    height = network.shape(run[-1].result)[1]
    budget = BAND_SHARE * target.caches.l2_bytes - sum(weight_bytes(network, work) for work in run)
    fitting = [rows for rows in range(MIN_BAND_ROWS, height // 2 + 1) if _band_bytes(network, run, rows) <= budget]
    if not fitting:
        return 0
    return rows_that_divide(height, fitting[-1])


def rows_that_divide(height: int, most: int) -> int:
    """A divisor of a height that is at most `most` and not far below, if there is one; else `most`."""
    return next((rows for rows in range(most, max(MIN_BAND_ROWS, most // 2) - 1, -1) if height % rows == 0), most)


def _band_bytes(network: Network, run: list[Work], rows: int) -> float:
    """Bytes of the rows that one band of `rows` last rows passes through all layers of the run."""
    total = 0.0
    for work in reversed(run):
        op = work.layer.op
        _, height, width, channels = network.shape(work.result)
        total += min(rows, height) * width * channels * _bytes(network, work.result)
        if isinstance(op, Conv2D):
            rows = (rows - 1) * op.stride[0] + dilated_extent(op.kernel[0], op.dilation[0])
    _, height, width, channels = network.shape(run[0].layer.inputs[0])
    return total + min(rows, height) * width * channels * _bytes(network, run[0].layer.inputs[0])


def _bytes(network: Network, name: str) -> int:
    """Bytes of an element."""
    return DTYPE_BYTES[network.tensor(name).dtype]


def weight_bytes(network: Network, work: Work) -> int:
    """Of a convolution."""
    return _bytes(network, work.layer.inputs[0]) * math.prod(network.weight(work.layer, "kernel").shape)

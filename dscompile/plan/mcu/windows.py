"""Sliding windows over images: where their taps lie, and which outputs have the same taps inside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from dscompile.ir.ops import Pair


@dataclass(frozen=True)
class Axis:
    """One axis of a sliding window over `size` inputs; output o has taps at o * stride - before + tap * dilation."""

    size: int
    outputs: int
    kernel: int
    stride: int
    before: int
    dilation: int = 1

    def taps(self, output: int) -> Pair:
        """The taps [first, end) of an output that lie inside the image; (0, 0) if none does."""
        start = output * self.stride - self.before
        first = max(0, -(start // self.dilation))
        end = min(self.kernel, (self.size - 1 - start) // self.dilation + 1)
        return (first, end) if first < end else (0, 0)

    def position(self, output: int, tap: int) -> int:
        """Where a tap of an output lies."""
        return output * self.stride - self.before + tap * self.dilation

    def first_input(self, output: int) -> int:
        """The first input that an output reads (its border position, moved inside, if it reads none)."""
        first, end = self.taps(output)
        return self.position(output, first) if end else min(max(self.position(output, 0), 0), self.size - 1)

    def last_input(self, output: int) -> int:
        """The last input that an output reads."""
        _, end = self.taps(output)
        return self.position(output, end - 1) if end else self.first_input(output)

    @property
    def all_inside(self) -> bool:
        """Whether every output has all its taps inside the image."""
        return all(self.taps(output) == (0, self.kernel) for output in range(self.outputs))

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """The outputs in runs that have the same taps inside the image: borders one by one, the inside in one."""
        spans: list[Span] = []
        for output in range(self.outputs):
            taps = self.taps(output)
            if spans and spans[-1].taps == taps and taps == (0, self.kernel):
                spans[-1] = Span(spans[-1].begin, output + 1, taps)
            else:
                spans.append(Span(output, output + 1, taps))
        return tuple(spans)


@dataclass(frozen=True)
class Span:
    """Outputs [begin, end), which all have the taps [taps[0], taps[1]) inside the image."""

    begin: int
    end: int
    taps: Pair


@dataclass(frozen=True)
class Window:
    """A sliding window over an image of `channels` channels."""

    rows: Axis
    columns: Axis
    channels: int

    @property
    def pixels(self) -> int:
        """Outputs per channel."""
        return self.rows.outputs * self.columns.outputs

    @property
    def kernel(self) -> Pair:
        """Height and width."""
        return (self.rows.kernel, self.columns.kernel)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of the image, of int8."""
        return self.columns.size * self.channels

    @property
    def taps(self) -> int:
        """Height times width."""
        return self.rows.kernel * self.columns.kernel

    @property
    def is_pointwise(self) -> bool:
        """Whether output pixel i reads exactly input pixel i."""
        return self.kernel == (1, 1) and all(a.stride == 1 and a.size == a.outputs for a in (self.rows, self.columns))

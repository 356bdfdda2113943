"""Charts of the inspection page as numbers: where every rectangle, dot and line lies. Templates only lay them out.

Lengths are units of the charts' view boxes, which browsers scale; y counts downwards, as in SVG.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dscompile.report import text
from dscompile.report.inspection import ArenaBuffer, ArenaMap, LayerRow
from dscompile.report.roofline import Roofs

WIDTH = 960.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 76.0, 16.0, 14.0, 40.0
_GLYPH = 6.3  # width of a character of a label of 11 units
_LARGEST_DOT, _SMALLEST_DOT = 26.0, 3.5  # radii: of a layer that takes all of the time, and of one that takes none

_Scale = Callable[[float], float]


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where, and what it says."""

    at: float
    label: str


@dataclass(frozen=True)
class Frame:
    """The plot inside its view box."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The x of the right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """The y of the lower edge."""
        return self.top + self.height


@dataclass(frozen=True)
class Block:
    """A buffer as a rectangle. `role` is border, image or scratch (alive in one step only)."""

    x: float
    y: float
    width: float
    height: float
    role: str
    label: str
    title: str


@dataclass(frozen=True)
class ArenaChart:
    """Buffers over steps, and beneath them the bytes alive in each step as the outline of an area."""

    height: float
    frame: Frame
    blocks: tuple[Block, ...]
    offsets: tuple[Tick, ...]
    steps: tuple[Tick, ...]
    alive: Frame
    outline: str
    peak: Tick
    columns: tuple[Block, ...]


@dataclass(frozen=True)
class Dot:
    """A layer in the roofline. `category` is its color."""

    x: float
    y: float
    radius: float
    category: str
    title: str


@dataclass(frozen=True)
class Roof:
    """One roof as an outline, and where its name stands."""

    points: str
    label: str
    x: float
    y: float
    angle: float


@dataclass(frozen=True)
class RooflineChart:
    """Arithmetic intensity against operations per cycle, both logarithmic."""

    height: float
    frame: Frame
    roofs: tuple[Roof, ...]
    dots: tuple[Dot, ...]
    intensities: tuple[Tick, ...]
    rates: tuple[Tick, ...]


def category(kind: str) -> str:
    """The color of a kind of layer: that of the kinds that cost most, else `pool` or `other`."""
    if kind in ("depthwise", "pointwise", "dense"):
        return kind
    if "conv" in kind:
        return "conv"
    return "pool" if kind.endswith("pool") or kind == "mean" else "other"


def arena_chart(arena: ArenaMap) -> ArenaChart:
    """The arena of a program with at least one step."""
    first = min((buffer.first for buffer in arena.buffers), default=0)
    last = max((buffer.last for buffer in arena.buffers), default=len(arena.steps) - 1)
    frame = Frame(_LEFT, _TOP, WIDTH - _LEFT - _RIGHT, 330.0)
    column = frame.width / (last - first + 1)
    alive = Frame(_LEFT, frame.bottom + 34, frame.width, 70.0)
    scale = frame.height / max(arena.size_bytes, 1)

    def x(step: float) -> float:
        return frame.left + (step - first) * column

    def height(live_bytes: int) -> float:
        return alive.height * live_bytes / max(arena.size_bytes, 1)

    outline = [f"{x(0):.1f},{alive.bottom:.1f}"]
    for index, step in enumerate(arena.steps):
        top = alive.bottom - height(step.live_bytes)
        outline += [f"{x(index):.1f},{top:.1f}", f"{x(index + 1):.1f},{top:.1f}"]
    outline.append(f"{x(len(arena.steps)):.1f},{alive.bottom:.1f}")
    peak = max(range(len(arena.steps)), key=lambda index: arena.steps[index].live_bytes)
    columns = tuple(
        Block(
            x(index),
            alive.top,
            column,
            alive.height,
            "step",
            "",
            f"step {index}, {step.name}: {text.size(step.live_bytes)}",
        )
        for index, step in enumerate(arena.steps)
    )
    stride = next(n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000) if n * column >= 30)
    return ArenaChart(
        alive.bottom + _BOTTOM,
        frame,
        tuple(_block(buffer, len(arena.steps), x, frame, scale) for buffer in arena.buffers),
        tuple(Tick(frame.bottom - value * scale, _round_size(value)) for value in _byte_ticks(arena.size_bytes)),
        tuple(Tick(x(index + 0.5), str(index)) for index in range(0, len(arena.steps), stride)),
        alive,
        " ".join(outline),
        Tick(x(peak + 0.5), f"most in step {peak}: {text.size(arena.steps[peak].live_bytes)}"),
        columns,
    )


def _block(buffer: ArenaBuffer, steps: int, x: _Scale, frame: Frame, scale: float) -> Block:
    width = x(buffer.last + 1) - x(buffer.first)
    height = max(buffer.size_bytes * scale, 0.8)
    if buffer.first < 0 or buffer.last >= steps:
        role = "border"
    else:
        role = "scratch" if buffer.first == buffer.last else "image"
    when = f"step {buffer.first}" if buffer.first == buffer.last else f"steps {buffer.first} to {buffer.last}"
    title = f"{buffer.name}: {text.size(buffer.size_bytes)} at {text.number(buffer.offset_bytes)}, {when}"
    fits = height >= 15 and width >= _GLYPH * len(buffer.name) + 8
    y = frame.bottom - buffer.offset_bytes * scale - height
    return Block(x(buffer.first), y, width, height, role, buffer.name if fits else "", title)


def roofline_chart(layers: Sequence[LayerRow], roofs: Roofs) -> RooflineChart | None:
    """The layers that compute something, under the roofs; None if none does."""
    shown = [row for row in layers if row.flops and row.size_bytes and row.cycles]
    if not shown:
        return None
    rates = [row.flops / row.cycles for row in shown if row.cycles]
    ridge = roofs.flops_per_cycle / min(level.bytes_per_cycle for level in roofs.levels)
    low = min(row.flops_per_byte for row in shown) / 1.6
    high = max(*(row.flops_per_byte for row in shown), ridge) * 1.6
    across = _Log(low, high, _LEFT, WIDTH - _RIGHT)
    frame = Frame(_LEFT, _TOP + 8, WIDTH - _LEFT - _RIGHT, 360.0)
    up = _Log(min(*rates, roofs.flops_per_cycle / 4) / 1.6, roofs.flops_per_cycle * 1.5, frame.bottom, frame.top)
    dots = [
        Dot(
            across.at(row.flops_per_byte),
            up.at(rate),
            max(_SMALLEST_DOT, _LARGEST_DOT * math.sqrt(row.share or 0.0)),
            category(row.kind),
            f"{row.name} ({row.kind}): {row.flops_per_byte:.1f} FLOP/B, bound by {row.limit}, "
            f"{text.percent(row.share or 0.0)} of the least time",
        )
        for row, rate in zip(shown, rates, strict=True)
    ]
    dots.sort(key=lambda dot: -dot.radius)  # small ones on top
    return RooflineChart(
        frame.bottom + _BOTTOM + 6,
        frame,
        tuple(_roof(roofs, name, rate, across, up) for name, rate in _slopes(roofs)),
        tuple(dots),
        tuple(Tick(across.at(value), f"{value:g}") for value in across.ticks()),
        tuple(Tick(up.at(value), f"{value:g}") for value in up.ticks()),
    )


def _slopes(roofs: Roofs) -> Iterator[tuple[str, float]]:
    """Name and rate of every slope; memories of one rate share theirs."""
    for rate in dict.fromkeys(level.bytes_per_cycle for level in roofs.levels):
        names = ", ".join(level.name for level in roofs.levels if level.bytes_per_cycle == rate)
        yield f"{names}: {rate:.4g} B per cycle", rate


def _roof(roofs: Roofs, label: str, bytes_per_cycle: float, across: _Log, up: _Log) -> Roof:
    """A slope up to the flat part that all roofs share; where it begins is where it enters the frame."""
    start = max(across.low, up.low / bytes_per_cycle)
    ridge = roofs.flops_per_cycle / bytes_per_cycle
    points = [(start, start * bytes_per_cycle)] if start < ridge else []
    points += [(max(ridge, across.low), roofs.flops_per_cycle), (across.high, roofs.flops_per_cycle)]
    drawn = [(across.at(x), up.at(y)) for x, y in points]
    (x0, y0), (x1, y1) = drawn[0], drawn[1]
    angle = math.degrees(math.atan2(y1 - y0, x1 - x0)) if len(drawn) == 3 else 0.0
    return Roof(" ".join(f"{x:.1f},{y:.1f}" for x, y in drawn), label, x0, y0, angle)


class _Log:
    """A logarithmic axis from `low` at `begin` to `high` at `end`."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self.low, self.high, self._begin, self._end = low, high, begin, end

    def at(self, value: float) -> float:
        """Where a value lies."""
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self._begin + part * (self._end - self._begin)

    def ticks(self) -> list[float]:
        """Powers of ten, or of two where there would be fewer than three."""
        for base in (10, 4, 2):
            powers = range(math.ceil(math.log(self.low, base)), math.floor(math.log(self.high, base)) + 1)
            if len(powers) >= 3:
                break
        return [float(base) ** power for power in powers]


def _round_size(value_bytes: int) -> str:
    """1310720 -> "1.25 MiB": ticks are exact."""
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value_bytes >= factor:
            return f"{value_bytes / factor:g} {unit}"
    return f"{value_bytes} B" if value_bytes else "0"


def _byte_ticks(size_bytes: int) -> Iterator[int]:
    """0 and multiples of a round number of bytes, four to eight of them."""
    units = [2**power for power in range(3, 40)]
    step = next(unit for unit in units if size_bytes / unit <= 8)
    yield from range(0, size_bytes + 1, step)

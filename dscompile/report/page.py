"""An inspection as one page: HTML with its style, its charts as inline SVG, and a script that sorts the table.

Nothing is loaded from anywhere, and the page's own policy forbids it. Every text that comes from a network is escaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import jinja2

from dscompile.data import data_directory
from dscompile.report import text
from dscompile.report.page_charts import WIDTH, arena_chart, category, roofline_chart
from dscompile.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dscompile.ir.cost import SeparablePair
    from dscompile.ir.tensor import Tensor
    from dscompile.report.inspection import Inspection, LayerRow

_CATEGORIES = ("conv", "depthwise", "pointwise", "dense", "pool", "other")


@dataclass(frozen=True)
class Card:
    """One figure of the summary."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Cell:
    """A number of the table: as text, as what sorting compares, and as a part of the largest (0: no bar)."""

    shown: str
    value: float
    part: float = 0.0


@dataclass(frozen=True)
class Row:
    """One layer of the table."""

    name: str
    kind: str
    category: str
    shapes: str
    cells: tuple[Cell, ...]
    limit: str | None


@dataclass(frozen=True)
class PairBar:
    """A separable convolution beside its standard one: parts of 100 that its two halves cost."""

    name: str
    what: str
    depthwise: float
    pointwise: float
    ratio: str
    formula: str
    title: str


def page_text(inspection: Inspection) -> str:
    """The page, ready to be written."""
    target, arena, roofs = inspection.target, inspection.arena, inspection.roofs
    kinds = {category(layer.kind) for layer in inspection.layers}
    return (
        _environment()
        .get_template("report/inspection.html")
        .render(
            name=inspection.network.name,
            target=target,
            version=__version__,
            tensors=_tensors(inspection),
            cards=_cards(inspection),
            columns=_columns(timed=target is not None),
            rows=_rows(inspection.layers),
            categories=[each for each in _CATEGORIES if each in kinds],
            arena=arena,
            arena_chart=arena_chart(arena) if arena is not None and arena.steps else None,
            roofline=roofline_chart(inspection.layers, roofs) if roofs is not None else None,
            pairs=_pairs(inspection),
            loops=inspection.loops or (),
            modules=inspection.modules.modules if inspection.modules is not None else (),
            width=WIDTH,
        )
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_directory("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
    )
    environment.filters.update(number=text.number, size=text.size, percent=text.percent, fixed=_fixed)
    return environment


def _fixed(value: float) -> str:
    """Coordinates with one decimal place."""
    return f"{value:.1f}"


def _tensors(inspection: Inspection) -> list[tuple[str, str]]:
    network = inspection.network
    return [
        *(("input", _tensor(network.tensor(name))) for name in network.inputs),
        *(("output", _tensor(network.tensor(name))) for name in network.outputs),
    ]


def _tensor(tensor: Tensor) -> str:
    return f"{tensor.name}: {tensor.dtype} {' × '.join(map(str, tensor.border_shape))}"


def _cards(inspection: Inspection) -> list[Card]:
    layers = inspection.layers
    weights = sum(array.nbytes for array in inspection.network.weights.values())
    cards = [
        Card(
            "multiply-adds",
            _short(inspection.macs),
            f"{text.number(inspection.macs)} in {text.plural(len(layers), 'layer')}",
        ),
        Card(
            "parameters",
            _short(inspection.parameters),
            f"{text.number(inspection.parameters)}, {text.short_size(weights)}",
        ),
    ]
    if inspection.pairs and inspection.macs:
        cards.append(
            Card(
                "of the standard cost",
                text.percent(inspection.macs / inspection.standard_macs),
                f"standard convolutions: {_short(inspection.standard_macs)} multiply-adds",
            )
        )
    moved, flops = sum(layer.size_bytes for layer in layers), sum(layer.flops for layer in layers)
    if moved:
        note = f"operations per byte; layers move {text.short_size(moved)}"
        cards.append(Card("arithmetic intensity", f"{flops / moved:.1f}", note))
    if inspection.arena is not None:
        bound = inspection.arena.lower_bound_bytes
        note = f"no plan takes less than {text.number(bound)} B"
        if bound == inspection.arena.size_bytes:
            note = f"{text.number(bound)} B, the least possible"
        if inspection.arena.split is not None:
            uses = inspection.arena.split.uses
            note = ", ".join(f"{use.region.name} {text.number(use.size_bytes)} B" for use in uses)
        cards.append(Card("arena", text.short_size(inspection.arena.size_bytes), note))
    if inspection.target is not None:
        cycles = sum(layer.cycles or 0.0 for layer in layers)
        compute = sum(layer.cycles or 0.0 for layer in layers if layer.limit == "fma")
        note = f"{text.percent(compute / cycles if cycles else 0.0)} bound by arithmetic, the rest by memory"
        cards.append(Card("cycles at least", _short(round(cycles)), note))
    return cards


def _short(value: int) -> str:
    """7489664 -> "7.49 M"."""
    for factor, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}" if value < 1000 * factor else f"{value / factor:.0f} {unit}"
    return str(value)


def _columns(*, timed: bool) -> list[str]:
    columns = ["multiply-adds", "parameters", "bytes moved", "operations per byte"]
    return [*columns, "share of least time"] if timed else columns


def _rows(layers: Sequence[LayerRow]) -> list[Row]:
    macs, moved = (max((getattr(row, key) for row in layers), default=0) or 1 for key in ("macs", "size_bytes"))
    shares = max((row.share or 0.0 for row in layers), default=0.0) or 1.0
    return [
        Row(
            row.name,
            row.kind,
            category(row.kind),
            f"{text.shape(row.input[1:]) or '1'} → {text.shape(row.output[1:]) or '1'}",
            (
                Cell(text.number(row.macs), row.macs, row.macs / macs),
                Cell(text.number(row.parameters), row.parameters),
                Cell(text.number(row.size_bytes), row.size_bytes, row.size_bytes / moved),
                Cell(f"{row.flops_per_byte:.1f}", row.flops_per_byte),
                *([] if row.share is None else [Cell(text.percent(row.share), row.share, row.share / shares)]),
            ),
            row.limit,
        )
        for row in layers
    ]


def _pairs(inspection: Inspection) -> list[PairBar]:
    macs = {layer.name: layer.macs for layer in inspection.layers}
    return [_pair(pair, macs[pair.depthwise]) for pair in inspection.pairs]


def _pair(pair: SeparablePair, depthwise_macs: int) -> PairBar:
    rows, columns = pair.kernel
    return PairBar(
        pair.depthwise,
        f"{rows} × {columns}, {pair.in_channels} → {pair.out_channels}",
        100 * depthwise_macs / pair.standard_macs,
        100 * (pair.macs - depthwise_macs) / pair.standard_macs,
        text.percent(pair.ratio),
        f"1/{pair.out_channels} + 1/{rows * columns}",
        f"{pair.depthwise} and {pair.pointwise}: {text.number(pair.macs)} multiply-adds, "
        f"the standard convolution {text.number(pair.standard_macs)}",
    )

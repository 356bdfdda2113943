"""What the benchmark reports: one row for each contender, one table for each network."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

TOLERANCE = 1e-4  # of the largest output, in float32
OWN = "dscompile"
Precision = Literal["float32", "int8"]
_COLUMNS = (
    "",
    "median ms",
    "min ms",
    "CPU ms",
    "ratio",
    "CPU ratio",
    "of peak",
    "max error",
    "build s",
    "load ms",
    "peak RSS MB",
    "model MB",
    "runtime MB",
)


@dataclass
class Row:
    """One contender on one network.

    `ratio` is its latency over dscompile's, the median over all rounds of the medians in a round; `cpu_ratio` is the
    same of CPU time, which other load on the machine disturbs less. `max_error` is relative to the largest output of
    the reference, the worst of several inputs. `build_s` is what compiling took, `load_s` what it takes from the file
    to a runtime that is ready. `arena_bytes` is dscompile's only, `runtime_bytes` the installed package that must come
    along.
    """

    contender: str
    unavailable: str | None = None
    version: str = ""
    median_us: float | None = None
    p95_us: float | None = None
    min_us: float | None = None
    repeats: int = 0
    cpu_us: float | None = None
    ratio: float | None = None
    cpu_ratio: float | None = None
    peak_fraction: float | None = None
    max_error: float | None = None
    import_s: float | None = None
    load_s: float | None = None
    build_s: float | None = None
    peak_rss_bytes: int | None = None
    model_rss_bytes: int | None = None
    model_bytes: int | None = None
    arena_bytes: int | None = None
    runtime_bytes: int | None = None
    rounds_us: list[float] = field(default_factory=list)
    rounds_cpu_us: list[float] = field(default_factory=list)


@dataclass
class Table:
    """All contenders on one network; `reference` is whose outputs the others' were compared with."""

    network: str
    precision: Precision
    macs: int
    threads: int
    reference: str
    peak_gflops: dict[str, float]
    rows: list[Row]

    @property
    def all_agree(self) -> bool:
        """Whether the outputs are the reference's: everyone's in float32, in int8 dscompile's, and those exactly.

        Of int8 the peers have arithmetics of their own.
        """
        if self.precision == "int8":
            return all(row.max_error == 0 for row in self.rows if row.contender == OWN and row.max_error is not None)
        return all(row.max_error <= TOLERANCE for row in self.rows if row.max_error is not None)

    @property
    def own(self) -> Row | None:
        """dscompile's row, if it ran."""
        return next((row for row in self.rows if row.contender == OWN and row.rounds_us), None)

    @property
    def best_peer(self) -> Row | None:
        """The fastest peer: of one thread by CPU time, of several by the clock, as threads that wait may spin."""
        peers = [row for row in self.rows if row.contender != OWN and self._time_ratio(row) is not None]
        return min(peers, key=lambda row: self._time_ratio(row) or 0.0, default=None)

    @property
    def best_ratio(self) -> float | None:
        """That of the best peer."""
        return None if self.best_peer is None else self._time_ratio(self.best_peer)

    def _time_ratio(self, row: Row) -> float | None:
        return row.cpu_ratio if self.threads == 1 else row.ratio


def markdown(table: Table) -> str:
    peaks = ", ".join(f"{name} {gflops:.1f}" for name, gflops in table.peak_gflops.items())
    threads = "1 thread" if table.threads == 1 else f"{table.threads} threads"
    what = f"{table.macs / 1e6:.0f} MMAC, {table.precision}, {threads}"
    lines = [
        f"## {table.network}: {what}; FMA peak of a core, GFLOP/s: {peaks}",
        "",
        "| " + " | ".join(_COLUMNS) + " |",
        "|---" + "|---:" * (len(_COLUMNS) - 1) + "|",
    ]
    for row in table.rows:
        if row.unavailable is not None:
            lines.append(f"| {row.contender} | not measured: {row.unavailable} |" + " |" * (len(_COLUMNS) - 2))
            continue
        cells = (
            f"{row.contender} {row.version}",
            _shown(row.median_us, 1e-3, ".2f"),
            _shown(row.min_us, 1e-3, ".2f"),
            _shown(row.cpu_us, 1e-3, ".2f"),
            _shown(row.ratio, 1, ".3f"),
            _shown(row.cpu_ratio, 1, ".3f"),
            _shown(row.peak_fraction, 100, ".1f") + " %",
            _shown(row.max_error, 1, ".1e"),
            _shown(row.build_s, 1, ".0f"),
            _shown(row.load_s, 1e3, ".0f"),
            _shown(row.peak_rss_bytes, 1e-6, ".0f"),
            _shown(row.model_bytes, 1e-6, ".1f"),
            _shown(row.runtime_bytes, 1e-6, ".1f"),
        )
        lines.append("| " + " | ".join(cells) + " |")
    if not table.all_agree:
        most = "at all" if table.precision == "int8" else f"by more than {TOLERANCE:g} of the largest one"
        lines.append(f"\n**Outputs differ** from {table.reference}'s {most}.")
    return "\n".join(lines) + "\n"


def summary(tables: Sequence[Table]) -> str:
    """One line for each network: dscompile's time, the best peer, and their ratios; at last the geometric means."""
    lines = ["| network | dscompile ms | best peer | its ms | ratio | CPU ratio |", "|---|---:|---|---:|---:|---:|"]
    ratios: list[tuple[float, float]] = []
    for table in tables:
        own, best = table.own, table.best_peer
        if own is None or best is None or best.ratio is None or best.cpu_ratio is None:
            continue
        cells = (
            table.network,
            _shown(own.median_us, 1e-3, ".2f"),
            best.contender,
            _shown(best.median_us, 1e-3, ".2f"),
            _shown(best.ratio, 1, ".2f"),
            _shown(best.cpu_ratio, 1, ".2f"),
        )
        lines.append("| " + " | ".join(cells) + " |")
        ratios.append((best.ratio, best.cpu_ratio))
    if ratios:
        means = " | ".join(f"{statistics.geometric_mean(column):.2f}" for column in zip(*ratios, strict=True))
        lines.append(f"| geometric mean | | | | {means} |")
    return "\n".join(lines) + "\n"


def _shown(value: float | None, scale: float, form: str) -> str:
    return "-" if value is None else format(value * scale, form)

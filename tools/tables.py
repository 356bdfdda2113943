"""Tables of results in the docs: a run makes the rows that it is asked for, and the page keeps the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A line of a table: its cells behind the name, and why the network cannot be built at all.

    Cells of what went wrong have something in bold, or begin with "refused".
    """

    name: str
    cells: tuple[str, ...]
    reasons: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the network was built and every output is as it should be."""
        return not any("**" in cell or cell.startswith("refused") for cell in self.cells)

    @property
    def line(self) -> str:
        """The row as Markdown."""
        return " ".join(f"| {cell}" if cell else "|" for cell in (self.name, *self.cells)) + " |"


def table(columns: Sequence[str], rows: Iterable[Row]) -> list[str]:
    """A table as lines of Markdown; the first of `columns` is that of names."""
    return [_head(columns), f"|{'---|' * len(columns)}", *(row.line for row in rows)]


def rows_of(text: str, columns: Sequence[str]) -> dict[str, Row] | None:
    """The rows of a page's table with these columns by name; None if it has no such table."""
    _, head, rest = text.partition(_head(columns) + "\n")
    if not head:
        return None
    lines = [line for line in rest.split("\n\n")[0].splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: Row(name, tuple(others)) for name, *others in cells}


def with_table(text: str, columns: Sequence[str], rows: Mapping[str, Row], order: Sequence[str]) -> str:
    """A page that has a table of these columns, with other rows in it: those of `rows` that `order` names, as there."""
    before, _, rest = text.partition(_head(columns) + "\n")
    _, gap, after = rest.partition("\n\n")
    lines = table(columns, (rows[name] for name in order if name in rows))
    return before + "\n".join(lines) + gap + after


def _head(columns: Sequence[str]) -> str:
    return f"| {' | '.join(columns)} |"

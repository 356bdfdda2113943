"""Numbers, sizes and tables as text, the same on a terminal and in a file."""

from __future__ import annotations

from collections.abc import Sequence

from dscompile.ir.tensor import TOLERANCES, Precision


def number(value: int) -> str:
    """16000 -> "16 000"."""
    return f"{value:,}".replace(",", " ")


def size(value_bytes: int) -> str:
    """16000 -> "16 000 B (15.6 KiB)"; below 1 KiB only the bytes."""
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value_bytes >= factor:
            return f"{number(value_bytes)} B ({value_bytes / factor:.1f} {unit})"
    return f"{number(value_bytes)} B"


def short_size(value_bytes: int) -> str:
    """16000 -> "15.6 KiB", for columns of tables."""
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value_bytes >= factor:
            return f"{value_bytes / factor:.1f} {unit}"
    return f"{value_bytes} B"


def shape(sizes: Sequence[int]) -> str:
    """(1, 49, 10, 1) -> "1x49x10x1", the form of table columns."""
    return "x".join(str(value) for value in sizes)


def percent(fraction: float) -> str:
    """0.1234 -> "12.3 %"."""
    return f"{100 * fraction:.1f} %"


def plural(count: int, noun: str) -> str:
    """(1, "layer") -> "1 layer", (2, "layer") -> "2 layers"."""
    return f"{number(count)} {noun}" if count == 1 else f"{number(count)} {noun}s"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Columns as wide as their widest cell, two spaces apart; columns named in `right` are aligned to the right."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(line, widths, header, strict=True)
        ).rstrip()
        for line in lines
    )


def precision(name: Precision) -> str:
    """What a network multiplies instead of float32, and what errors that excuses."""
    return f"{name} factors, float32 sums; errors of up to {TOLERANCES[name]:g} of an output's largest magnitude pass"


def fields(pairs: Sequence[tuple[str, str]], indent: str = "  ") -> str:
    """Lines "  name   value" with the values under each other."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{indent}{name.ljust(width)}  {value}".rstrip() for name, value in pairs)

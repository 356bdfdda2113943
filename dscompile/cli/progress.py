"""Shows progress on stderr: a bar on a terminal, one line per stage elsewhere, nothing with -q."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dscompile.cli.settings import current_settings
from dscompile.report.progress import Event, Progress, silent


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Gives the callback that shows events until the block ends."""
    if current_settings().quiet:
        yield silent
    elif sys.stderr.isatty():
        with _bar() as progress:
            yield progress
    else:
        yield _Lines()


class _Lines:
    """Prints each stage once."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, event: Event) -> None:
        if event.stage != self._last:
            self._last = event.stage
            print(event.stage, file=sys.stderr, flush=True)


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)

        def show(event: Event) -> None:
            bars.update(task, description=event.stage, completed=event.done, total=event.total or None)

        yield show

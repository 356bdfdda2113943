"""Shows a tuning session on stderr while it runs: a table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dscompile.cli.settings import current_settings

if TYPE_CHECKING:
    from rich.table import Table

    from dscompile.tuner.session import Snapshot
    from dscompile.tuner.state import TaskState

_LINE_S = 10.0
_ROWS = 20

Observe = Callable[["Snapshot"], None]


@contextmanager
def shown_tuning() -> Iterator[Observe]:
    """Gives the callback that shows how far a session is."""
    if current_settings().quiet:
        yield lambda snapshot: None
    elif sys.stderr.isatty():
        with _table() as observe:
            yield observe
    else:
        yield _Lines()


def summary(snapshot: Snapshot) -> str:
    """`120 of 640 candidates, 2.9 a second, device busy 84 %, gain so far 1.06x, about 3 min left`."""
    gains = [_gain(state) for state in snapshot.states]
    words = [f"{snapshot.done} of {snapshot.total} candidates"]
    if snapshot.elapsed_s > 1:
        words.append(f"{snapshot.fresh / snapshot.elapsed_s:.1f} a second")
    words.append(f"device busy {snapshot.busy:.0%}")
    if any(gains):
        words.append(f"gain so far {_whole_gain(snapshot):.2f}x")
    if snapshot.remaining_s is not None:
        words.append(f"about {_duration(snapshot.remaining_s)} left")
    return ", ".join(words)


class _Lines:
    def __init__(self) -> None:
        self._next = time.monotonic() + _LINE_S

    def __call__(self, snapshot: Snapshot) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_S
            print(summary(snapshot), file=sys.stderr, flush=True)


@contextmanager
def _table() -> Iterator[Observe]:
    from rich.console import Console, Group
    from rich.live import Live

    with Live(console=Console(stderr=True), transient=True, refresh_per_second=4) as live:
        yield lambda snapshot: live.update(Group(summary(snapshot), session_table(snapshot)))


def session_table(snapshot: Snapshot) -> Table:
    """The layers that take most time, each with its best so far."""
    from rich.table import Table

    table = Table(box=None)
    table.add_column("layer")
    for name in ("best", "gain", "trials", "failed"):
        table.add_column(name, justify="right")
    states = sorted(snapshot.states, key=_cost, reverse=True)
    for state in states[:_ROWS]:
        best = state.best
        table.add_row(
            state.task.label,
            "" if best is None else snapshot.shown(best[1]),
            "" if (gain := _gain(state)) is None else f"{gain:.2f}x",
            f"{state.trials}",
            f"{state.failures}" if state.failures else "",
        )
    if len(states) > _ROWS:
        table.add_row(f"and {len(states) - _ROWS} more", "", "", "", "")
    return table


def _cost(state: TaskState) -> float:
    return (state.rule_cost or 0.0) * state.task.times


def _gain(state: TaskState) -> float | None:
    best, rule = state.best, state.rule_cost
    return None if best is None or rule is None else rule / best[1]


def _whole_gain(snapshot: Snapshot) -> float:
    pairs = [
        (state.rule_cost * state.task.times, state.best[1] * state.task.times)
        for state in snapshot.states
        if state.rule_cost is not None and state.best is not None
    ]
    return sum(rule for rule, _ in pairs) / max(sum(best for _, best in pairs), 1e-30)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"

"""What every command accepts: --json, -q, -v, --seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

DEFAULT_SEED = 0
CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@dataclass
class Settings:
    """The common options of this run; they may stand before or after the command's name."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    seed: int = DEFAULT_SEED


def current_settings() -> Settings:
    """The settings of the command that is running."""
    settings = click.get_current_context().find_root().obj
    assert isinstance(settings, Settings)
    return settings


def _remember(name: str) -> Callable[[click.Context, click.Parameter, bool | int | None], None]:
    def store(context: click.Context, _parameter: click.Parameter, value: bool | int | None) -> None:
        if value is not None and value is not False:  # 0 is a seed
            setattr(context.find_root().obj, name, value)

    return store


def common_options() -> list[click.Parameter]:
    """The options that every command has. Their values are in `current_settings()`, not in arguments."""
    return [
        click.Option(
            ["--json"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_remember("json"),
            help="One JSON object on stdout instead of text, also for errors.",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_remember("quiet"),
            help="No progress and no notes on stderr; errors still show.",
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=_remember("verbose"),
            help="With a bug in dscompile, say where it happened.",
        ),
        click.Option(
            ["--seed"],
            type=click.IntRange(min=0, max=2**31 - 1),
            metavar="N",
            expose_value=False,
            callback=_remember("seed"),
            help=f"Seed of whatever the command draws at random.  [default: {DEFAULT_SEED}]",
        ),
    ]


def command(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A click command with the common options."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        made = click.command(name, context_settings=CONTEXT)(function)
        made.params += common_options()
        return made

    return decorate


def group(name: str) -> Callable[[Callable[..., Any]], click.Group]:
    """A group of commands with the common options."""

    def decorate(function: Callable[..., Any]) -> click.Group:
        made = click.group(name, context_settings=CONTEXT)(function)
        made.params += common_options()
        return made

    return decorate

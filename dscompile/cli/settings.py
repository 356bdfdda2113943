"""What every command accepts: --json, -q, -v, --seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

CommandFunction = TypeVar("CommandFunction", bound=Callable[..., Any])

DEFAULT_SEED = 0


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


def common_options(function: CommandFunction) -> CommandFunction:
    """Adds the options that every command has. Their values are in `current_settings()`, not in arguments."""
    for option in (
        click.option(
            "--seed",
            type=click.IntRange(min=0, max=2**31 - 1),
            expose_value=False,
            callback=_remember("seed"),
            help=f"Seed of whatever the command draws at random.  [default: {DEFAULT_SEED}]",
        ),
        click.option(
            "-v",
            "--verbose",
            is_flag=True,
            expose_value=False,
            callback=_remember("verbose"),
            help="Say more on stderr; with a bug in dscompile, where it happened.",
        ),
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            callback=_remember("quiet"),
            help="No progress and no notes on stderr; errors still show.",
        ),
        click.option(
            "--json",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_remember("json"),
            help="One JSON object on stdout instead of text, also for errors.",
        ),
    ):
        function = option(function)
    return function


def command(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A click command with the common options."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        return click.command(name, context_settings=CONTEXT)(common_options(function))

    return decorate


CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

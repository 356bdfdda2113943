"""docs/reference/commands.md: every command with every option, from the command line itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from dscompile.cli.main import cli
from tools.reference.markdown import MADE, code, table


def commands_page() -> str:
    """The page's text."""
    sections = [_section(path, command) for path, command in _commands(cli, ("dscompile",))]
    intro = "What each is for, with examples and JSON, is in [Commands](../commands.md).\n"
    return "\n".join([f"{MADE}\n# Options of all commands\n", intro, *sections])


def _commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


def _section(path: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(path))
    usage = command.get_usage(context).removeprefix("Usage:").split()
    text = re.sub(r"\s*\n\s*\n\s*", "\n\n", command.help or "").strip()
    text = "\n".join(line.strip() for line in text.replace("\b\n", "").splitlines())
    options = [record for parameter in command.params if (record := parameter.get_help_record(context)) is not None]
    rows = [(code(names), " ".join(help.split())) for names, help in options]
    return f"## {' '.join(path)}\n\n    {' '.join(usage)}\n\n{text}\n\n{table(('option', ''), rows)}"

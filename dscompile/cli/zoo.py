"""dscompile zoo list | show | write."""

from __future__ import annotations

import click

from dscompile import api
from dscompile.cli import output
from dscompile.cli.completion import complete_zoo
from dscompile.cli.settings import CONTEXT, common_options
from dscompile.cli.settings import command as subcommand
from dscompile.report import text


@click.group("zoo", context_settings=CONTEXT)
@common_options
def command() -> None:
    """The networks that come with dscompile."""


@command.add_command
@subcommand("list")
def list_command() -> None:
    """List all networks of the zoo."""
    entries = api.zoo_list()
    rows = [(entry.name, entry.title, entry.paper) for entry in entries]
    output.result(
        text.table(("name", "what", "paper"), rows),
        {"networks": [{"name": entry.name, "title": entry.title, "paper": entry.paper} for entry in entries]},
    )


@command.add_command
@subcommand("show")
@click.argument("name", shell_complete=complete_zoo)
def show_command(name: str) -> None:
    """Print the net.yaml of the zoo network NAME."""
    content = api.zoo_show(name)
    output.result(content.rstrip("\n"), {"name": name, "yaml": content})


@command.add_command
@subcommand("write")
@click.argument("name", shell_complete=complete_zoo)
@click.argument("directory", default=".", type=click.Path(), metavar="[DIR]")
def write_command(name: str, directory: str) -> None:
    """Copy the zoo network NAME into DIR, or here."""
    files = [str(path) for path in api.zoo_write(name, directory)]
    output.result("\n".join(f"wrote {file}" for file in files), {"files": files})

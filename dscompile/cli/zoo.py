"""dscompile zoo list | show | write."""

from __future__ import annotations

import click

from dscompile import api
from dscompile.cli import output
from dscompile.cli.completion import complete_zoo
from dscompile.cli.settings import command as subcommand
from dscompile.cli.settings import group as command_group
from dscompile.report import records, text


@command_group("zoo")
def command() -> None:
    """The networks that come with dscompile."""


@command.add_command
@subcommand("list")
def list_command() -> None:
    """List all networks of the zoo."""
    entries = api.zoo_list()
    rows = [
        (entry.name, text.shape(entry.input.shape), text.number(entry.macs), text.number(entry.parameters), entry.title)
        for entry in entries
    ]
    output.result(
        text.table(("name", "input", "MAC", "parameters", "what"), rows, right=("input", "MAC", "parameters")),
        records.zoo_record(entries),
    )


_width = click.option("--width", type=float, metavar="FACTOR", help="Multiply the channels, as the paper does.")
_resolution = click.option("--resolution", metavar="SIZE", help="Rows and columns of the image: 128, or 512x1024.")


@command.add_command
@subcommand("show")
@click.argument("name", shell_complete=complete_zoo)
@_width
@_resolution
def show_command(name: str, width: float | None, resolution: str | None) -> None:
    """Print the net.yaml of the zoo network NAME."""
    content = api.zoo_show(name, width=width, resolution=resolution)
    output.result(content.rstrip("\n"), {"name": name, "width": width, "resolution": resolution, "yaml": content})


@command.add_command
@subcommand("write")
@click.argument("name", shell_complete=complete_zoo)
@click.argument("directory", default=".", type=click.Path(), metavar="[DIR]")
@_width
@_resolution
def write_command(name: str, directory: str, width: float | None, resolution: str | None) -> None:
    """Write the zoo network NAME into DIR, or here."""
    path = str(api.zoo_write(name, directory, width=width, resolution=resolution))
    output.result(f"wrote {path}", {"path": path})

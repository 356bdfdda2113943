"""dscompile init [DIR]."""

from __future__ import annotations

import click

from dscompile import api
from dscompile.cli import output
from dscompile.cli.settings import command as subcommand
from dscompile.cli.settings import current_settings


@subcommand("init")
@click.argument("directory", default=".", type=click.Path(), metavar="[DIR]")
def command(directory: str) -> None:
    """Write a starter net.yaml with weights that builds at once, into DIR or here.

    Files that are there already are not overwritten.
    """
    files = [str(path) for path in api.init(directory, seed=current_settings().seed)]
    following = f"next: dscompile build --target x86 {files[-1]}"
    output.result("\n".join([*(f"wrote {name}" for name in files), following]), {"files": files})

"""What the shell offers after Tab: networks, targets, zoo names, packagings."""

from __future__ import annotations

import click

from dscompile import api


def complete_target(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of targets."""
    return [target.name for target in api.targets_list() if target.name.startswith(incomplete)]


def complete_zoo(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of the zoo."""
    return [name for name in api.zoo_names() if name.startswith(incomplete)]


def complete_package(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of packagings."""
    return [name for name in api.packages_list() if name.startswith(incomplete)]

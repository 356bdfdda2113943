"""Targets."""

from __future__ import annotations

from dscompile.errors import ToolError
from dscompile.target import Target, find_target, list_targets, resolve_target


def targets_list() -> tuple[Target, ...]:
    """Every target that ships, by name."""
    return tuple(sorted(list_targets(), key=lambda target: target.name))


def targets_show(name: str) -> Target:
    """The target of this name, or in the file of this path, as written. Raises UsageError or BadInputError."""
    return find_target(name)


def targets_best(name: str) -> Target | None:
    """What `name` stands for on this machine; None if the machine runs none of its variants."""
    try:
        return resolve_target(name)
    except ToolError:
        return None

"""Every page of docs/reference, and what makes its text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tools.reference.commands import commands_page
from tools.reference.header import header_page
from tools.reference.layers import layers_page
from tools.reference.python import python_page
from tools.reference.targets import targets_page

PAGES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "commands.md": commands_page,
        "layers.md": layers_page,
        "target-files.md": targets_page,
        "c-header.md": header_page,
        "python.md": python_page,
    }
)

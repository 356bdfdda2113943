"""Templates: Jinja over the text files of `templates/`. Arithmetic happens in Python; a template only lays out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import jinja2

from dscompile.data import data_directory
from dscompile.emit.names import c_comment, c_float, c_string, llvm_bytes, llvm_quoted, spaced

_COLUMNS = 120


def render(template: str, **values: object) -> str:
    """The text of `templates/<template>`. An undefined name in a template is an error."""
    return environment().get_template(template).render(**values)


def wrap(head: str, items: Sequence[str], tail: str, indent: int = 0) -> str:
    """`head`item, item, ...`tail` on one line, or one item per line, aligned, where that would be too wide.

    `indent` counts the columns before `head`.
    """
    line = f"{head}{', '.join(items)}{tail}"
    if indent + len(line) <= _COLUMNS:
        return line
    return f"{head}{(',' + chr(10) + ' ' * (indent + len(head))).join(items)}{tail}"


@cache
def environment() -> jinja2.Environment:
    """The Jinja environment that all templates share."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_directory("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters.update(string=c_string, comment=c_comment, float=c_float, spaced=spaced, wrap=wrap)
    environment.filters.update(llvm_bytes=llvm_bytes, llvm_quoted=llvm_quoted)
    return environment

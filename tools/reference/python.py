"""docs/reference/python.md: what `import dscompile` gives, with signatures and docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import dscompile
from tools.reference.markdown import MADE

WIDTH = 100


def python_page() -> str:
    """The page's text."""
    names = [name for name in dir(dscompile) if name[0] != "_" and _is_public(getattr(dscompile, name))]
    intro = "How they go together, with examples, is in [Python API](../python-api.md).\n"
    return "\n".join([f"{MADE}\n# Python, function by function\n", intro, *map(_section, names)])


def _is_public(thing: object) -> bool:
    return (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__.startswith("dscompile.")


def _section(name: str) -> str:
    thing = getattr(dscompile, name)
    parts = [f"## {name}\n", _entry(name, thing)]
    if inspect.isclass(thing):
        for method, value in vars(thing).items():
            if not method.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                parts.append(f"### {name}.{method}\n")
                parts.append(_entry(method, value))
    return "\n".join(parts)


def _entry(name: str, thing: object) -> str:
    """The signature as code, if there is one, and the docstring."""
    text = inspect.cleandoc(getattr(thing, "__doc__", "") or "")
    if isinstance(thing, property) or not callable(thing):
        return f"{text}\n"
    return f"```text\n{_signature(name, thing)}\n```\n\n{text}\n"


class _Plain:
    """An annotation that is a text, shown without its quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _signature(name: str, thing: Callable[..., object]) -> str:
    """On one line, or with a parameter to a line if it is long."""
    signature = inspect.signature(thing)
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    plain = [each.replace(annotation=_plain(each.annotation), default=_default(each.default)) for each in parameters]
    result = _plain(signature.return_annotation)
    line = f"{name}{signature.replace(parameters=plain, return_annotation=result)}"
    if len(line) <= WIDTH:
        return line
    starred = next((i for i, each in enumerate(plain) if each.kind is each.KEYWORD_ONLY), len(plain))
    lines = [*map(str, plain[:starred]), *(["*"] if starred < len(plain) else []), *map(str, plain[starred:])]
    return f"{name}(\n" + "".join(f"    {each},\n" for each in lines) + f") -> {result}"


def _default(value: object) -> object:
    return _Plain("...") if inspect.isfunction(value) else value


def _plain(annotation: object) -> object:
    return _Plain(annotation) if isinstance(annotation, str) else annotation

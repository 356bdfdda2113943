"""docs/reference/target-files.md: the keys of target files, each with a file that uses it."""

from __future__ import annotations

from collections.abc import Iterator

from ruamel.yaml import YAML

from dscompile.data import data_directory
from dscompile.target import TARGET_KEYS
from tools.reference.markdown import MADE, code, table


def targets_page() -> str:
    """The page's text."""
    files = {path.stem: YAML(typ="safe").load(path) for path in sorted(data_directory("targets").glob("*.yaml"))}
    parts = [
        f"{MADE}\n# Keys of target files\n",
        "What they mean is in [Targets](../targets.md). Each with a value, and the first shipped\nfile that has it.\n",
    ]
    for section, keys in TARGET_KEYS.items():
        title = f"`{section.removesuffix('.')}`" if section else "The file"
        named = " (under a name of your own)" if section.endswith(".") else ""
        rows = [_row(files, section, key) for key in keys]
        parts.append(f"## {title}{named}\n\n{table(('key', 'for example', 'in'), rows)}")
    return "\n".join(parts)


def _row(files: dict[str, object], section: str, key: str) -> tuple[str, str, str]:
    for name, content in files.items():
        for mapping in _mappings(content, section):
            if isinstance(mapping, dict) and key in mapping:
                value = mapping[key]
                return code(key), "a section" if isinstance(value, dict) else code(_text(value)), code(name)
    return code(key), "", ""


def _text(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _mappings(content: object, section: str) -> Iterator[object]:
    """The mappings that a section names: `memories.` means each below `memories`."""
    found = [content]
    for word in section.split(".") if section else ():
        mappings = [each for each in found if isinstance(each, dict)]
        found = [value for each in mappings for value in ([each.get(word)] if word else each.values())]
    yield from found

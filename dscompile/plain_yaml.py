"""YAML files of plain data: hardware, which a user may describe too.

Tags, anchors and aliases are refused, and so is what is nested deeper than any such file: nothing is executed, nothing
unfolds to more than the file holds, and no file takes longer to read than its size says.
"""

from __future__ import annotations

from pathlib import Path

from dscompile.errors import BadInputError, Position

MAX_FILE_BYTES = 1 << 20
_MAX_DEPTH = 16


def load_plain_yaml(path: Path, what: str) -> object:
    """The content of a file of at most 1 MiB: mappings, lists and values. Raises BadInputError for anything else."""
    from ruamel.yaml import YAML
    from ruamel.yaml.composer import Composer, ComposerError
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.events import AliasEvent

    class PlainComposer(Composer):
        """Refuses where nodes are made, before anything is built of them."""

        def compose_node(self, parent: object, index: object) -> object:
            event = self.parser.peek_event()
            problem = None
            if isinstance(event, AliasEvent) or event.anchor is not None:
                problem = "anchors and aliases are not allowed"
            elif getattr(event, "tag", None) is not None:
                problem = "tags are not allowed"
            elif self.depth >= _MAX_DEPTH:
                problem = f"it is nested more than {_MAX_DEPTH} deep"
            elif any("\ud800" <= letter <= "\udfff" for letter in getattr(event, "value", "")):
                problem = "halves of surrogate pairs are no text"
            if problem:
                raise ComposerError(None, None, problem, event.start_mark)
            return super().compose_node(parent, index)

    where = Position(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise BadInputError(f"the {what} is larger than 1 MiB", position=where)
        yaml = YAML(typ="safe", pure=True)
        yaml.Composer = PlainComposer
        content: object = yaml.load(data)
    except (YAMLError, OSError, ValueError, OverflowError) as error:
        raise BadInputError(f"cannot read the {what}: {error}", position=where) from error
    return content

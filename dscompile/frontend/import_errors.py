"""Problems found while importing a model: collected, then raised together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dscompile.errors import BadInputError, Diagnostic, Position, UnsupportedError
from dscompile.ir.shapes import ShapeError

OPERATORS_HELP = "docs/importing.md lists what can be imported"


class Problems:
    """Everything that is wrong with one file."""

    def __init__(self, path: Path) -> None:
        self._position = Position(str(path))
        self._diagnostics: list[Diagnostic] = []
        self._invalid = False

    def __bool__(self) -> bool:
        return bool(self._diagnostics)

    def unsupported(self, message: str, node: str | None = None, help: str | None = None) -> None:
        """Notes something valid that cannot be imported."""
        self._diagnostics.append(Diagnostic(message, self._position, node, help=help))

    @contextmanager
    def noting(self, what: str, node: str | None = None) -> Iterator[None]:
        """Notes what is raised inside, instead of letting it through; `what` (an operator) stands in front of it."""
        try:
            yield
        except BadInputError as error:
            self._invalid |= not isinstance(error, UnsupportedError)
            for found in error.diagnostics:
                self._diagnostics.append(
                    replace(found, message=f"{what}: {found.message}", position=self._position, layer=node)
                )
        except ShapeError as error:
            self._invalid = True
            self._diagnostics.append(Diagnostic(f"{what}: {error}", self._position, node))

    def raise_if_any(self) -> None:
        """Raises UnsupportedError, or BadInputError if anything is plainly wrong, with one diagnostic per problem."""
        if not self._diagnostics:
            return
        *others, last = self._diagnostics
        found = [*others, last if last.help else replace(last, help=OPERATORS_HELP)]
        raise BadInputError(found) if self._invalid else UnsupportedError(found)


def invalid_file(path: Path, kind: str, why: str) -> BadInputError:
    """The error for a file that is not what its name says. `kind` is TFLite or ONNX."""
    return BadInputError(
        f"not a valid {kind} file: {why}",
        position=Position(str(path)),
        help="was it written or downloaded completely?",
    )


def read_bytes(path: Path, kind: str) -> bytes:
    """Contents of a model file. Raises BadInputError if it cannot be read or is empty."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror or error}", position=Position(str(path))) from error
    if not data:
        raise invalid_file(path, kind, "it is empty")
    return data

"""Artifact directories: finding, reading and checking them.

A manifest that was changed or cut short is the user's input as much as a network is: reading it collects everything
that is wrong and raises one BadInputError.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dscompile.artifact.fields import Fields
from dscompile.artifact.integrity import MANIFEST, added_files, changed_files, sealed_text
from dscompile.artifact.json_form import manifest_from_json, manifest_to_json
from dscompile.artifact.manifest import Manifest
from dscompile.errors import BadInputError, CheckFailedError, Diagnostic, Position, UsageError

MANIFEST_KEY = "dscompile_artifact"
MANIFEST_VERSION = 1
_BUILD_ONE = "make one with: dscompile build NET -t TARGET"


@dataclass(frozen=True)
class Artifact:
    """A finished directory."""

    directory: Path
    manifest: Manifest

    @property
    def header(self) -> Path:
        """`<net>.h`."""
        return self.directory / f"{self.manifest.c_name}.h"

    @property
    def parallel(self) -> Path:
        """`<net>_parallel.c`, which libraries for CPUs have."""
        return self.directory / f"{self.manifest.c_name}_parallel.c"

    @property
    def driver(self) -> Path:
        """`<net>.c`, or `<net>.cu` for a GPU."""
        return self.directory / f"{self.manifest.c_name}{self._suffix}"

    @property
    def _suffix(self) -> str:
        """Of its source files."""
        return ".c" if self.manifest.target.gpu is None else ".cu"

    @property
    def has_libraries(self) -> bool:
        """Whether kernels are in libraries; otherwise there are sources."""
        return self._has(self.static_library)

    @property
    def has_shared_library(self) -> bool:
        """Whether there is a shared library; of those for a GPU, some are sources alone."""
        return self._has(self.shared_library)

    def _has(self, file: Path) -> bool:
        return any(checksum.file == file.name for checksum in self.manifest.checksums)

    @property
    def sources(self) -> tuple[Path, ...]:
        """What a user compiles or links: the static library, or the driver and the weights as C or assembly."""
        if self.has_libraries:
            return (self.static_library,)
        if self.manifest.target.gpu is not None:
            weights = (self.directory / f"{self.manifest.c_name}_weights.S",) if self.manifest.sizes.weights else ()
            return (self.driver, *weights)
        return (self.driver, self.directory / f"{self.manifest.c_name}_weights.c")

    @property
    def static_library(self) -> Path:
        """`lib<net>.a`."""
        return self.directory / f"lib{self.manifest.c_name}.a"

    @property
    def shared_library(self) -> Path:
        """`lib<net>.so`."""
        return self.directory / f"lib{self.manifest.c_name}.so"

    @property
    def selftest(self) -> Path:
        """`selftest.c`, or `selftest.cu` for a GPU."""
        return self.directory / f"selftest{self._suffix}"

    def verify_files(self, *, added: bool = True) -> None:
        """Raises CheckFailedError naming every file that is not what the build wrote, is missing or was `added`.

        `lib<net>.so` is never added where the build had no linker: it said how to make it.
        """
        problems = list(changed_files(self.directory, self.manifest.checksums))
        if added:
            known = [checksum.file for checksum in self.manifest.checksums]
            if self.has_libraries:
                known.append(self.shared_library.name)
            problems += added_files(self.directory, known)
        if problems:
            raise CheckFailedError(problems)


def is_artifact(directory: Path) -> bool:
    """Whether `directory` was written by us: it has a manifest.json with our key."""
    try:
        content = json.loads((directory / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and MANIFEST_KEY in content


def write_manifest(manifest: Manifest, directory: Path) -> None:
    """Writes manifest.json: same manifest, same bytes."""
    content = {MANIFEST_KEY: MANIFEST_VERSION, **manifest_to_json(manifest)}
    (directory / MANIFEST).write_text(sealed_text(content), encoding="utf-8")


def load_artifact(path: Path) -> Artifact:
    """The artifact in a directory, its manifest read and its files found to be there.

    Raises UsageError if there is no artifact, BadInputError if its manifest is wrong or files are missing.
    """
    artifact = open_artifact(path)
    missing = [c.file for c in artifact.manifest.checksums if not os.path.isfile(path / c.file)]
    if missing:
        raise BadInputError(
            f"the artifact is incomplete: {', '.join(missing)} missing",
            position=Position(str(path)),
            help="build it again",
        )
    return artifact


def open_artifact(path: Path) -> Artifact:
    """The artifact in a directory, its manifest read and nothing else looked at, for those who check its files.

    Raises UsageError if there is no artifact, BadInputError if its manifest is wrong.
    """
    if not path.is_dir():
        raise UsageError(f"there is no artifact '{path}'", help=_BUILD_ONE)
    file = path / MANIFEST
    if not file.is_file():
        raise UsageError(f"'{path}' is not an artifact: it has no {MANIFEST}", help=_BUILD_ONE)
    return Artifact(path, read_manifest(file))


def require_unchanged(directories: Iterable[Path]) -> None:
    """Raises CheckFailedError naming every file of these artifacts that was changed or is missing.

    Raises what `open_artifact` raises for what is no artifact.
    """
    problems: list[Diagnostic] = []
    for directory in dict.fromkeys(directories):
        try:
            open_artifact(directory).verify_files(added=False)
        except CheckFailedError as error:
            problems += error.diagnostics
    if problems:
        raise CheckFailedError(problems)


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file. Raises BadInputError with everything that is wrong in it."""
    where = Position(str(path))
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise BadInputError(f"cannot read the manifest: {error.strerror}", position=where) from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"the manifest is not JSON: {error}", position=where, help="build it again") from error
    if not isinstance(content, dict) or MANIFEST_KEY not in content:
        raise BadInputError(f"this is no manifest of dscompile: the key '{MANIFEST_KEY}' is missing", position=where)
    if content[MANIFEST_KEY] != MANIFEST_VERSION:
        raise BadInputError(
            f"the manifest has version {content[MANIFEST_KEY]!r}; this dscompile reads {MANIFEST_VERSION}",
            position=where,
            help="build the artifact again, or use the dscompile that made it",
        )
    return _parse(content, where)


def _parse(content: dict[str, object], where: Position) -> Manifest:
    problems: list[str] = []
    manifest = manifest_from_json(Fields(content, "", problems))
    if problems:
        raise BadInputError([Diagnostic(f"manifest: {problem}", where, help="build it again") for problem in problems])
    return manifest

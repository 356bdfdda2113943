"""Artifact directories: finding, reading and checking them.

A manifest that was changed or cut short is the user's input as much as a network is: reading it collects everything
that is wrong and raises one BadInputError.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dscompile.artifact.fields import Fields
from dscompile.artifact.json_form import manifest_from_json, manifest_to_json
from dscompile.artifact.manifest import Checksum, Manifest
from dscompile.errors import BadInputError, Diagnostic, Position, UsageError

MANIFEST = "manifest.json"
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

    def verify_checksums(self) -> None:
        """Raises BadInputError naming every file that is not what the emitter wrote."""
        changed = [c.file for c in self.manifest.checksums if sha256(self.directory / c.file) != c.sha256]
        if changed:
            raise BadInputError(
                [
                    Diagnostic(
                        f"'{name}' was changed after the build: its checksum differs from {MANIFEST}",
                        Position(str(self.directory / name)),
                        help="build the artifact again",
                    )
                    for name in changed
                ]
            )


def sha256(path: Path) -> str:
    """Hex digest of a file. Raises BadInputError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInputError(f"cannot read the file: {error.strerror}", position=Position(str(path))) from error


def checksums(directory: Path, files: Iterable[str]) -> tuple[Checksum, ...]:
    """Checksums of `files`, in the order of their names."""
    return tuple(Checksum(name, sha256(directory / name)) for name in sorted(files))


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
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (directory / MANIFEST).write_text(text, encoding="utf-8")


def load_artifact(path: Path) -> Artifact:
    """The artifact in a directory, its manifest read and its files found to be there.

    Raises UsageError if there is no artifact, BadInputError if its manifest is wrong or files are missing.
    """
    if not path.is_dir():
        raise UsageError(f"there is no artifact '{path}'", help=_BUILD_ONE)
    file = path / MANIFEST
    if not file.is_file():
        raise UsageError(f"'{path}' is not an artifact: it has no {MANIFEST}", help=_BUILD_ONE)
    manifest = read_manifest(file)
    missing = [c.file for c in manifest.checksums if not (path / c.file).is_file()]
    if missing:
        raise BadInputError(
            f"the artifact is incomplete: {', '.join(missing)} missing",
            position=Position(str(path)),
            help="build it again",
        )
    return Artifact(path, manifest)


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

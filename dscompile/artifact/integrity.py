"""Whether an artifact still is what its build wrote: nothing changed, nothing missing, nothing added."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from dscompile.artifact.fields import Json
from dscompile.artifact.manifest import Checksum
from dscompile.errors import BadInputError, Diagnostic, Position

MANIFEST = "manifest.json"
_OWN = "manifest_sha256"
_BUILD_AGAIN = "build the artifact again"
_NOT_OURS = "move it elsewhere, or build the artifact again, which removes it"


def sha256(path: Path) -> str:
    """Hex digest of a file. Raises BadInputError if it cannot be read."""
    try:
        return _digest(path)
    except OSError as error:
        raise BadInputError(f"cannot read the file: {error.strerror}", position=Position(str(path))) from error


def checksums(directory: Path, files: Iterable[str]) -> tuple[Checksum, ...]:
    """Checksums of `files`, in the order of their names."""
    return tuple(Checksum(name, sha256(directory / name)) for name in sorted(files))


def sealed_text(content: Json) -> str:
    """The text of a manifest with this content; its last key is the checksum of the text without it."""
    digest = hashlib.sha256(_encoded(_text(content))).hexdigest()
    return _text({**content, _OWN: digest})


def changed_files(directory: Path, written: Iterable[Checksum]) -> Iterator[Diagnostic]:
    """A problem for each of the files that a build has `written`, and for the manifest, if it is not as it was."""
    for checksum in written:
        name, file = checksum.file, directory / checksum.file
        if not os.path.isfile(file):
            yield _problem(file, f"'{name}' is missing: {MANIFEST} lists it")
            continue
        try:
            if _digest(file) != checksum.sha256:
                yield _problem(file, f"'{name}' was changed after the build: its checksum differs from {MANIFEST}")
        except OSError as error:
            yield _problem(file, f"'{name}' cannot be read: {error.strerror}", "make it readable, or build again")
    if not _is_sealed(directory / MANIFEST):
        yield _problem(directory / MANIFEST, f"'{MANIFEST}' was changed after the build: it differs from its checksum")


def added_files(directory: Path, known: Iterable[str]) -> Iterator[Diagnostic]:
    """A problem for everything in a directory but the manifest and the `known` files; whole folders are named once."""
    files = {MANIFEST, *known}
    folders = {parent.as_posix() for name in files for parent in PurePosixPath(name).parents}
    waiting = [directory]
    while waiting:
        folder = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield _problem(folder, f"cannot look into the folder: {error.strerror}", "make it readable, or build again")
            continue
        for entry in entries:
            path = folder / entry.name
            name, is_folder = path.relative_to(directory).as_posix(), entry.is_dir(follow_symlinks=False)
            if is_folder and name in folders:
                waiting.append(path)
            elif name not in files:
                what = "folder" if is_folder else "file"
                yield _problem(path, f"'{name}' is a {what} that the build did not write", _NOT_OURS)


def _problem(file: Path, message: str, advice: str = _BUILD_AGAIN) -> Diagnostic:
    return Diagnostic(message, Position(str(file)), help=advice)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_sealed(manifest: Path) -> bool:
    """Whether a manifest that was read before is, byte for byte, what was written; those without a checksum pass."""
    raw = manifest.read_bytes()
    content: Json = json.loads(raw)
    if _OWN not in content:
        return True
    return raw == _encoded(sealed_text({key: value for key, value in content.items() if key != _OWN}))


def _text(content: Json) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")

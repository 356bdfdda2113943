"""Artifacts that a test changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dscompile.artifact import checksums, read_manifest, write_manifest


def reseal(directory: Path) -> None:
    """Writes the manifest anew for the files as they are now: as if the build had written them so."""
    manifest = read_manifest(directory / "manifest.json")
    names = [checksum.file for checksum in manifest.checksums]
    write_manifest(replace(manifest, checksums=checksums(directory, names)), directory)

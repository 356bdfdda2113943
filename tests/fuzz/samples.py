"""One input: the file that is damaged, and the good ones that lie beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """The file `name` with its `data`; `beside` are other files of its directory, by their paths in it."""

    name: str
    data: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)

    def with_data(self, data: bytes) -> Sample:
        """The same with other contents of the file."""
        return replace(self, data=data)

    def write(self, folder: Path) -> Path:
        """Writes all files and returns the path of the one that is damaged."""
        for name, data in {**self.beside, self.name: self.data}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder / self.name


def sample_of(folder: Path, name: str) -> Sample:
    """The file `name` of a directory, everything else in it beside."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    data = files.pop(name)
    return Sample(name, data, files)

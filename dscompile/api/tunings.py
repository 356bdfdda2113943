"""Which tuning records a build takes: files of the user's, and those that ship under targets/tuning/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from dscompile.data import data_directory
from dscompile.errors import UsageError
from dscompile.target import Target

if TYPE_CHECKING:
    from dscompile.plan.tuning import Tuning

TuningFiles = str | Path | Sequence[str | Path] | None
"""Files of tuning records, besides those that ship; None: not even these."""


@dataclass(frozen=True)
class Tunings:
    """The tuning of every target of a build, and the files that it is from."""

    by_target: Mapping[Target, Tuning]
    files: Mapping[Target, tuple[Path, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_target", MappingProxyType(dict(self.by_target)))
        object.__setattr__(self, "files", MappingProxyType(dict(self.files)))

    def of(self, target: Target) -> Tuning:
        """The records of a target, those of the user in front; none for targets that are not tuned."""
        from dscompile.plan.tuning import UNTUNED

        return self.by_target.get(target, UNTUNED)

    def files_of(self, target: Target) -> tuple[Path, ...]:
        """The files of these records, in the order in which they are asked."""
        return self.files.get(target, ())


def read_tunings(records: TuningFiles, targets: Iterable[Target]) -> Tunings:
    """The records that a build for these concrete targets takes. Of files for one target, the first is asked first.

    Raises UsageError for a file that is there for none of them, BadInputError for one that is wrong.
    """
    if records is None:
        return Tunings({})
    from dscompile.plan.tuning import UNTUNED

    asked = tuple(dict.fromkeys(targets))
    tuned = [target for target in asked if _is_tuned(target)]
    paths = [Path(file) for file in ([records] if isinstance(records, str | Path) else records)]
    if paths and not tuned:
        raise UsageError(
            f"'{paths[0]}': {', '.join(target.name for target in asked)} takes no tuning records",
            help="they are for the kernels of x86 and arm64; plans for other targets come of counts and estimates",
        )
    tunings: dict[Target, Tuning] = {}
    files: dict[Target, tuple[Path, ...]] = {}
    for target in tuned:
        shipped = _shipped(target)
        tunings[target], files[target] = (UNTUNED, ()) if shipped is None else (shipped[1], (shipped[0],))
    for path in reversed(paths):
        for target, tuning in _read(path, tuned).items():
            tunings[target] = tunings[target].merged(tuning)
            files[target] = (path, *files[target])
    return Tunings(tunings, files)


def _is_tuned(target: Target) -> bool:
    """Whether its kernels are made by schedules with tiles to choose."""
    return not target.kernels and target.gpu is None


def _read(path: Path, tuned: Sequence[Target]) -> Mapping[Target, Tuning]:
    """The records in a file of the user's, for those targets that they are of."""
    from dscompile.artifact.fields import shown
    from dscompile.plan.tuning_file import read_tuning, require_fits

    file = read_tuning(path)
    own = [target for target in tuned if target.name == file.target]
    if not own:
        raise UsageError(
            f"'{path}' has tuning records of {shown(file.target)}, and this is for "
            f"{', '.join(target.name for target in tuned)}",
            help="leave it out, or build for its target",
        )
    for target in own:
        require_fits(file, target, path)
    return dict.fromkeys(own, file.tuning())


def _shipped(target: Target) -> tuple[Path, Tuning] | None:
    """The file of records that ships for a target; None for a user's own target that only shares its name."""
    from dscompile.plan.tuning_file import read_tuning

    path = next((path for path in shipped_files() if path.stem == target.name), None)
    if path is None:
        return None
    file = read_tuning(path)  # a test holds what ships to require_fits
    return None if file.isa.difference(target) else (path, file.tuning())


def shipped_files() -> tuple[Path, ...]:
    """The files of tuning records that ship, one for each target that has any."""
    return tuple(sorted((data_directory("targets") / "tuning").glob("*.json")))

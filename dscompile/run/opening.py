"""Choosing how an artifact runs: its own library, its sources on this machine, an emulated device, a GPU or the CPU in
its place, another machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dscompile.artifact import Artifact
from dscompile.errors import UsageError
from dscompile.ir.network import Array
from dscompile.target import runs_here

if TYPE_CHECKING:
    from dscompile.run.remote import RemoteModel


class RunnableModel(Protocol):
    """An artifact that can be run."""

    @property
    def runner(self) -> str:
        """Where it runs."""

    @property
    def instructions(self) -> int | None:
        """Executed instructions of the latest run, where they are counted."""

    @property
    def stack_bytes(self) -> int | None:
        """How deep the stack of the latest run was, where that is measured."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One inference: name -> array of the border shape and type."""


@runtime_checkable
class StatefulModel(Protocol):
    """An artifact that can be run with what an earlier inference kept.

    Nothing but `step`: Python looks whether an object has all that a protocol names, and counting `instructions` takes
    emulated inferences.
    """

    def step(self, inputs: Mapping[str, Array], state: NDArray[np.uint8]) -> dict[str, Array]:
        """The next inference of a stream whose `state` (run/arrays.py: fresh_state) it changes."""


def open_model(artifact: Artifact, threads: int = 1) -> RunnableModel:
    """Makes an artifact ready to run. Raises ToolError if that takes a tool, or a machine, that is not here.

    With several `threads`, UsageError unless they can share an inference: of a library that this process itself loads.
    """
    target = artifact.manifest.target
    is_library = target.board is None and target.family != "portable" and target.gpu is None
    if threads > 1 and (not is_library or is_emulated(artifact)):
        raise UsageError(
            f"'{artifact.directory}' is for {target.name}; threads share an inference of libraries for this machine",
            help="leave out the number of threads",
        )
    if target.board is not None:
        from dscompile.run.firmware import FirmwareModel

        return FirmwareModel(artifact)
    if target.family == "portable":
        from dscompile.run.sources import SourceModel

        return SourceModel(artifact)
    if target.gpu is not None:
        from dscompile.run.cuda_models import open_cuda

        return open_cuda(artifact)
    if target.emulator is not None and is_emulated(artifact):
        from dscompile.run.emulated import EmulatedModel

        return EmulatedModel(artifact, target.emulator)
    from dscompile.run.native import NativeModel

    return NativeModel(artifact, threads=threads)


def is_emulated(artifact: Artifact) -> bool:
    """Whether an artifact runs in an emulator, and not on this machine itself."""
    target = artifact.manifest.target
    if target.gpu is not None:
        from dscompile.run.cuda_models import device_name

        return device_name() is None
    return target.board is not None or (target.emulator is not None and not runs_here(target))


def open_remote(artifact: Artifact, runner: str) -> RemoteModel:
    """Makes an artifact ready to run on the machine `ssh://[user@]host[:port]`; close its `board` afterwards.

    Raises UsageError for another `runner` or an artifact that is no library, ToolError if the machine cannot be
    reached or does not run it.
    """
    from dscompile.run.remote import Board, RemoteModel, parse_address

    address = parse_address(runner)
    if not artifact.has_libraries:
        raise UsageError(
            f"'{artifact.directory}' holds C sources, which --runner does not copy",
            help="leave it out: what this machine does not run itself runs in an emulator",
        )
    board = Board(address, artifact.manifest.target)
    try:
        return RemoteModel(artifact, board)
    except BaseException:
        board.close()
        raise


def other_variants(artifact: Artifact, chosen: str | None) -> Iterator[tuple[str, RunnableModel]]:
    """The variants of a library beside the one `chosen` here, as far as they run here or have an emulator: name, model.

    The driver is compiled for each alone; an emulator plays a core that has just its features.
    """
    for index, variant in enumerate(artifact.manifest.variants):
        if variant.name == chosen:
            continue
        if runs_here(variant.target):
            from dscompile.run.native import NativeModel

            yield variant.name, NativeModel(artifact, only_variant=index)
        elif variant.target.emulator is not None and is_emulated(artifact):
            from dscompile.run.emulated import EmulatedModel

            yield variant.name, EmulatedModel(artifact, variant.target.emulator, index)

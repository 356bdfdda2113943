"""Choosing how an artifact runs here: its own library, its sources on this machine, or an emulated device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from dscompile.artifact import Artifact
from dscompile.ir.network import Array


class RunnableModel(Protocol):
    """An artifact that can be run. `runner` says where; `instructions` and `stack_bytes`
    of the latest run, where they are counted.
    """

    runner: str
    instructions: int | None
    stack_bytes: int | None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One inference: name -> array of the border shape and type."""


def open_model(artifact: Artifact) -> RunnableModel:
    """Makes an artifact ready to run. Raises ToolError if that takes a tool, or a machine, that is not here."""
    target = artifact.manifest.target
    if target.board is not None:
        from dscompile.run.firmware import FirmwareModel

        return FirmwareModel(artifact)
    if target.family == "portable":
        from dscompile.run.sources import SourceModel

        return SourceModel(artifact)
    from dscompile.run.native import NativeModel

    return NativeModel(artifact)

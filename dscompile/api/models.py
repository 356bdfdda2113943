"""Artifacts as functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dscompile.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dscompile.artifact import Artifact
    from dscompile.run.native import NativeModel

    Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Model:
    """An artifact that can be called: `y = model(x)` runs one inference on this machine.

    `notes` tell what the network file asked for and its build did not do.
    """

    artifact: Artifact
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The artifact's directory."""
        return self.artifact.directory

    @cached_property
    def native(self) -> NativeModel:
        """The loaded library. Raises ToolError if this machine cannot run it."""
        from dscompile.run.native import NativeModel

        return NativeModel(self.artifact)

    def __call__(self, inputs: Floats | Mapping[str, Floats]) -> Floats | dict[str, Floats]:
        """One inference: float32 in the shape and layout of the network's border.

        Takes an array for a network with one input, else a mapping by name; gives an array for a network with one
        output, else a dict by name. Raises UsageError for wrong names, shapes or types.
        """
        outputs = self.run(inputs)
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def run(self, inputs: Floats | Mapping[str, Floats]) -> dict[str, Floats]:
        """As calling the model, with all outputs by name."""
        return self.native.run(self._by_name(inputs))

    def _by_name(self, inputs: Floats | Mapping[str, Floats]) -> Mapping[str, Floats]:
        if isinstance(inputs, Mapping):
            return inputs
        names = [tensor.name for tensor in self.artifact.manifest.inputs]
        if len(names) != 1:
            raise UsageError(f"the network has {len(names)} inputs ({', '.join(names)}); give a mapping by name")
        return {names[0]: inputs}


def load(directory: str | Path) -> Model:
    """The artifact in `directory`, ready to be called. Raises UsageError or BadInputError if it is not one."""
    from dscompile.artifact import load_artifact

    return Model(load_artifact(Path(directory)))


def run(directory: str | Path, inputs: Floats | Mapping[str, Floats]) -> dict[str, Floats]:
    """One inference of the artifact in `directory`; see Model.run."""
    return load(directory).run(inputs)

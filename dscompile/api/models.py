"""Artifacts as functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dscompile.errors import UsageError

if TYPE_CHECKING:
    from dscompile.artifact import Artifact, Manifest
    from dscompile.ir.network import Array
    from dscompile.run.native import NativeModel
    from dscompile.run.opening import RunnableModel
    from dscompile.run.program import ProgramModel
    from dscompile.run.sources import SourceModel


@dataclass(frozen=True)
class Model:
    """An artifact that can be called: `y = model(x)` runs one inference on this machine.

    `notes` tell what the network file asked for and its build did not do. `remote` is another machine to run it on,
    `ssh://[user@]host[:port]`; `close` removes what was copied there. So many `threads` of this process share each
    inference.
    """

    artifact: Artifact
    notes: tuple[str, ...] = ()
    remote: str | None = None
    threads: int = 1

    @property
    def path(self) -> Path:
        """The artifact's directory."""
        return self.artifact.directory

    @cached_property
    def runner(self) -> RunnableModel:
        """The artifact made ready to run: its library, its sources, or an emulated device. Raises ToolError."""
        from dscompile.run.opening import open_model, open_remote

        if self.remote is None:
            return open_model(self.artifact, self.threads)
        if self.threads > 1:
            raise UsageError(f"threads share an inference on this machine only, not on {self.remote}")
        return open_remote(self.artifact, self.remote)

    @property
    def is_emulated(self) -> bool:
        """Whether it runs in an emulator, and not on this machine or another one."""
        from dscompile.run.opening import is_emulated

        return self.remote is None and is_emulated(self.artifact)

    @cached_property
    def timed(self) -> NativeModel | SourceModel | ProgramModel:
        """The artifact on a machine that can time it. Raises ToolError if it cannot run there."""
        from dscompile.run.native import NativeModel
        from dscompile.run.program import ProgramModel
        from dscompile.run.sources import SourceModel

        runner = self.runner
        if self.is_emulated or not isinstance(runner, NativeModel | SourceModel | ProgramModel):
            raise UsageError(f"'{self.path}' runs in an emulator and cannot be timed")
        return runner

    def stream(self) -> Stream:
        """A stream of inferences, each of which goes on from what the one before kept.

        Of a network without state they have nothing to do with each other.
        """
        return Stream(self.artifact.manifest, self.runner)

    def close(self) -> None:
        """Removes what was copied to another machine; the model cannot be called there afterwards."""
        from dscompile.run.remote import RemoteModel

        if self.remote is not None and isinstance(runner := self.__dict__.get("runner"), RemoteModel):
            runner.board.close()

    def __call__(self, inputs: Array | Mapping[str, Array]) -> Array | dict[str, Array]:
        """One inference: arrays of the types, shapes and layout of the network's border.

        Takes an array for a network with one input, else a mapping by name; gives an array for a network with one
        output, else a dict by name. A network with state begins anew each time; `stream` is what goes on. Raises
        UsageError for wrong names, shapes or types.
        """
        return _unpacked(self.run(inputs))

    def run(self, inputs: Array | Mapping[str, Array]) -> dict[str, Array]:
        """As calling the model, with all outputs by name."""
        return self.runner.run(_by_name(self.artifact.manifest, inputs))


class Stream:
    """Consecutive inferences: `stream = model.stream(); y = stream(x)`.

    The state is the caller's, as in C: streams of one model do not know of each other.
    """

    def __init__(self, manifest: Manifest, runner: RunnableModel) -> None:
        self._manifest = manifest
        self._runner = runner
        self.reset()

    def reset(self) -> None:
        """Forgets everything: the next inference is the first."""
        from dscompile.run.arrays import fresh_state

        self._state = fresh_state(self._manifest.slots)

    def __call__(self, inputs: Array | Mapping[str, Array]) -> Array | dict[str, Array]:
        """The next inference; takes and gives what `Model` does."""
        return _unpacked(self.run(inputs))

    def run(self, inputs: Array | Mapping[str, Array]) -> dict[str, Array]:
        """As calling the stream, with all outputs by name."""
        from dscompile.run.opening import StatefulModel

        named = _by_name(self._manifest, inputs)
        if not self._manifest.slots:
            return self._runner.run(named)
        assert isinstance(self._runner, StatefulModel)
        return self._runner.step(named, self._state)

    def restore(self, state: Mapping[str, Array]) -> None:
        """Goes on from what `state` of another stream of the network was, on this target or another one.

        Raises UsageError unless it has all states, with their shapes and types.
        """
        wanted = {slot.tensor.name: slot for slot in self._manifest.slots}
        if set(state) != set(wanted):
            raise UsageError(f"the states of the network are {', '.join(wanted) or 'none'}, not {', '.join(state)}")
        for name, slot in wanted.items():
            array, tensor = state[name], slot.tensor
            if array.shape != tensor.shape or array.dtype != tensor.dtype:
                have = f"{array.dtype} {list(array.shape)}"
                raise UsageError(f"state '{name}' is {have}, it must be {tensor.dtype} {list(tensor.shape)}")
        for name, slot in wanted.items():
            place = self._state[slot.offset_bytes : slot.offset_bytes + slot.tensor.size_bytes]
            place.view(slot.tensor.dtype)[:] = state[name].reshape(-1)

    @property
    def state(self) -> dict[str, Array]:
        """What the network keeps now, by name: copies, channels last."""
        import numpy as np

        return {
            slot.tensor.name: np.frombuffer(
                self._state.tobytes(), slot.tensor.dtype, slot.tensor.elements, slot.offset_bytes
            ).reshape(slot.tensor.shape)
            for slot in self._manifest.slots
        }


def _by_name(manifest: Manifest, inputs: Array | Mapping[str, Array]) -> Mapping[str, Array]:
    if isinstance(inputs, Mapping):
        return inputs
    names = [tensor.name for tensor in manifest.inputs]
    if len(names) != 1:
        raise UsageError(f"the network has {len(names)} inputs ({', '.join(names)}); give a mapping by name")
    return {names[0]: inputs}


def _unpacked(outputs: dict[str, Array]) -> Array | dict[str, Array]:
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def load(directory: str | Path, runner: str | None = None, threads: int = 1) -> Model:
    """The artifact in `directory`, ready to be called: here, or on the machine `runner`, ssh://[user@]host[:port].

    Here, `threads` share each inference, which gives the same outputs sooner; they end with the model. Raises
    UsageError or BadInputError if it is not one.
    """
    if threads < 1:
        raise UsageError(f"{threads} threads compute nothing")
    from dscompile.artifact import load_artifact

    return Model(load_artifact(Path(directory)), remote=runner, threads=threads)


def run(directory: str | Path, inputs: Array | Mapping[str, Array], threads: int = 1) -> dict[str, Array]:
    """One inference of the artifact in `directory`; see `load` and Model.run."""
    return load(directory, threads=threads).run(inputs)

"""Running library artifacts for other machines in QEMU's user emulation, with executed instructions by layer."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dscompile.artifact import Artifact
from dscompile.board import QemuUser
from dscompile.errors import ToolError
from dscompile.ir.network import Array
from dscompile.run.emulators.qemu_user import UserRun, run_counted
from dscompile.run.program import Executed, ProgramModel

_TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class LayerCount:
    """Executed instructions of one layer of the artifact's layer table."""

    name: str
    kind: str
    macs: int
    instructions: int


@dataclass(frozen=True)
class Count:
    """Executed instructions of one inference: of each layer, and of all.

    What no layer has is the driver, and functions of the C library that kernels call.
    """

    layers: tuple[LayerCount, ...]
    instructions: int


class QemuLauncher:
    """Runs static Linux programs in qemu-<architecture>."""

    def __init__(self, emulator: QemuUser) -> None:
        self.emulator = emulator
        self.name = f"{emulator.program} -cpu {emulator.cpu}"

    def execute(self, program: Path, arguments: Sequence[str] = (), stdin: bytes = b"") -> Executed:
        """Runs a program to its end. Raises ToolError if QEMU is missing, or the program does not end."""
        require_emulator(self.emulator)
        command = [self.emulator.program, "-cpu", self.emulator.cpu, str(program), *arguments]
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"{program.name} did not end in {_TIMEOUT_S:g} s on {self.name}") from error
        return Executed(done.returncode, done.stdout, done.stderr)


class EmulatedModel(ProgramModel):
    """An artifact in an emulator. `instructions` are those of the latest inputs that were run."""

    def __init__(self, artifact: Artifact, emulator: QemuUser, only_variant: int | None = None) -> None:
        require_emulator(emulator)
        self._scratch = tempfile.TemporaryDirectory(prefix="dscompile-")  # removed with this object
        self._emulator = emulator
        self._latest: Mapping[str, Array] | None = None
        super().__init__(artifact, QemuLauncher(emulator), Path(self._scratch.name), only_variant)

    def step(self, inputs: Mapping[str, Array], state: NDArray[np.uint8]) -> dict[str, Array]:
        """The next inference of a stream: name -> array of the border shape and type; see ProgramModel."""
        self._latest = inputs
        return super().step(inputs, state)

    @property
    def instructions(self) -> int | None:
        """Of one inference on the latest inputs; they are counted when this is asked."""
        return None if self._latest is None else self.count(self._latest).instructions

    def count(self, inputs: Mapping[str, Array]) -> Count:
        """Executed instructions of one inference: the difference between a program that runs two and one that runs one.

        Layers that call the same kernel have equal shares of its instructions: it does the same each time.
        """
        once, twice = (self._counted(inputs, calls) for calls in (1, 2))
        names = {*once.counts, *twice.counts}
        executed = {name: _total(twice, name) - _total(once, name) for name in names}
        layers = self.manifest.layers_of(self.variant)
        calls: dict[str, int] = {}
        for layer in layers:
            for kernel in layer.kernels:
                calls[kernel] = calls.get(kernel, 0) + 1
        counts = tuple(
            LayerCount(
                layer.name,
                layer.kind,
                layer.macs,
                sum(executed.get(kernel, 0) // calls[kernel] for kernel in layer.kernels),
            )
            for layer in layers
        )
        return Count(counts, sum(executed.values()))

    def _counted(self, inputs: Mapping[str, Array], calls: int) -> UserRun:
        stdin = self.input_bytes(inputs)
        done = run_counted(self.program, ["run", str(calls)], cpu=self._emulator.cpu, stdin=stdin)
        if done.status != 0:
            raise ToolError(f"{self.manifest.c_name} ended with {Executed(done.status, b'', b'').ending} when counted")
        return done


def require_emulator(emulator: QemuUser) -> None:
    """Raises ToolError (exit 5) saying what to install if the emulator is missing."""
    if shutil.which(emulator.program) is None:
        raise ToolError(f"{emulator.program} is not installed", help="on Debian and Ubuntu: apt install qemu-user")


def _total(run: UserRun, function: str) -> int:
    counts = run.counts.get(function)
    return 0 if counts is None else counts.total

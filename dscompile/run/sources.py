"""Running a standalone C artifact on this machine: its sources compiled into a library in a temporary directory."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dscompile.artifact import Artifact
from dscompile.errors import CheckFailedError
from dscompile.ir.network import Array
from dscompile.run.arrays import check_inputs, empty_outputs, fresh_state
from dscompile.run.latency import latencies_us, profile_us
from dscompile.run.lending import LentMemory
from dscompile.toolchain import find_toolchain

_FLAGS = ("-std=c99", "-O2", "-fPIC", "-shared")


class SourceModel:
    """The artifact's C files, compiled by its target's compiler for this machine. Its arena starts as 0xff bytes."""

    runner = "host"
    instructions: int | None = None
    stack_bytes: int | None = None

    def __init__(self, artifact: Artifact) -> None:
        self.manifest = artifact.manifest
        name = self.manifest.c_name
        directory = artifact.directory.resolve()
        toolchain = find_toolchain(self.manifest.target)
        with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
            library = Path(scratch) / "network.so"
            sources = [str(directory / f"{name}{part}.c") for part in ("", "_weights")]
            arguments = [*_FLAGS, *sources, "-lm", "-o", str(library)]
            toolchain.compile(arguments, Path(scratch), f"compiling {name}.c for this machine")
            loaded = ctypes.CDLL(str(library))
            self._run, self._run_profiled = (getattr(loaded, f"{name}_{end}") for end in ("run", "run_profiled"))
        self._lent = LentMemory(self.manifest, loaded)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One inference: name -> array of the border shape and type, for inputs and outputs alike.

        Of a network with state, the first of a stream. Raises UsageError naming everything that is wrong with `inputs`.
        """
        return self.step(inputs, fresh_state(self.manifest.slots))

    def step(self, inputs: Mapping[str, Array], state: NDArray[np.uint8]) -> dict[str, Array]:
        """The next inference of a stream whose `state` (of `fresh_state`) it changes; otherwise as `run`."""
        outputs = empty_outputs(self.manifest.outputs)
        status = self._run(*self._arguments(inputs, outputs, state))
        if status != 0:
            raise CheckFailedError(f"{self.manifest.c_name}_run returned {status}")
        return outputs

    def latencies_us(self, inputs: Mapping[str, Array], repeats: int, warmup: int = 3) -> NDArray[np.float64]:
        """Time of each of `repeats` inferences in microseconds (see run/latency.py)."""
        outputs = empty_outputs(self.manifest.outputs)  # kept until the end: the arguments are only addresses
        state = fresh_state(self.manifest.slots)  # likewise
        return latencies_us(self._run, self._arguments(inputs, outputs, state), repeats, warmup)

    def profile(self, inputs: Mapping[str, Array], repeats: int = 20) -> tuple[float, ...]:
        """Median time of every step of the manifest in microseconds (see run/latency.py: profile_us)."""
        outputs = empty_outputs(self.manifest.outputs)  # kept until the end: the arguments are only addresses
        state = fresh_state(self.manifest.slots)  # likewise
        arguments = self._arguments(inputs, outputs, state)
        return profile_us(self._run, self._run_profiled, arguments, range(len(self.manifest.layers)), repeats)

    def _arguments(
        self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], state: NDArray[np.uint8]
    ) -> list[ctypes.c_void_p]:
        check_inputs(self.manifest.inputs, inputs)
        lent = [self._lent.argument, state] if self.manifest.slots else [self._lent.argument]
        given = [inputs[tensor.name] for tensor in self.manifest.inputs]
        return [array.ctypes.data_as(ctypes.c_void_p) for array in (*lent, *given, *outputs.values())]

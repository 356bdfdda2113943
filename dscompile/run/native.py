"""Running an artifact for hosted CPUs in this process, through `lib<net>.so` and ctypes."""

from __future__ import annotations

import ctypes
import re
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dscompile.artifact import Artifact
from dscompile.errors import BadInputError, Diagnostic, Position, ToolError
from dscompile.ir.network import Array
from dscompile.run.arrays import aligned_bytes, check_inputs
from dscompile.run.latency import latencies_us, profile_us
from dscompile.target import runs_here


class NativeModel:
    """A loaded artifact with an arena of its own. Calls from several threads wait for each other.

    `instructions` is None: nobody counts them here.

    Raises ToolError if the artifact's target does not run on this machine, BadInputError if its files do not belong
    together.
    """

    runner = "host"
    instructions: int | None = None
    stack_bytes: int | None = None

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.manifest = artifact.manifest
        require_host(artifact)
        check_header(artifact)
        library = _load(artifact.shared_library)
        try:
            self._run = self._function(library, "run")
            self._run_profiled = self._function(library, "run_profiled")
            fingerprint = ctypes.c_uint32.in_dll(library, f"{self.manifest.c_name}_fingerprint").value
        except (AttributeError, ValueError) as error:
            raise BadInputError(
                f"the library lacks a symbol of its own interface: {error}",
                position=Position(str(artifact.shared_library)),
                help="build the artifact again",
            ) from error
        if fingerprint != self.manifest.fingerprint:
            raise BadInputError(
                f"library and manifest come from different builds (fingerprints 0x{fingerprint:08x} and "
                f"0x{self.manifest.fingerprint:08x})",
                position=Position(str(artifact.shared_library)),
                help="build the artifact again",
            )
        self._arena = aligned_bytes(self.manifest.arena.size_bytes, self.manifest.arena.alignment)
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One inference: name -> float32 array of the border shape, for inputs and outputs alike.

        Raises UsageError naming everything that is wrong with `inputs`.
        """
        outputs = self._outputs()
        arguments = self._arguments(inputs, outputs)
        with self._lock:
            self._check(self._run(*arguments))
        return outputs

    def latencies_us(self, inputs: Mapping[str, Array], repeats: int, warmup: int = 3) -> NDArray[np.float64]:
        """Time of each of `repeats` inferences in microseconds, after `warmup` that are not counted.

        What Python needs to call a C function (about a microsecond) is taken off: the median time of the same call
        with NULL pointers, which the library answers at once.
        """
        outputs = self._outputs()  # kept until the end: the arguments are only addresses
        arguments = self._arguments(inputs, outputs)
        with self._lock:
            return latencies_us(self._run, arguments, repeats, warmup)

    def profile(self, inputs: Mapping[str, Array], repeats: int = 20) -> tuple[float, ...]:
        """Median time of every step of the manifest in microseconds (see run/latency.py: profile_us)."""
        outputs = self._outputs()  # kept until the end: the arguments are only addresses
        arguments = self._arguments(inputs, outputs)
        with self._lock:
            return profile_us(self._run, self._run_profiled, arguments, len(self.manifest.layers), repeats)

    def _outputs(self) -> dict[str, Array]:
        """Arrays of NaN: fresh memory may still hold an earlier result, and would hide an element never written."""
        return {tensor.name: np.full(tensor.border_shape, np.nan, np.float32) for tensor in self.manifest.outputs}

    def _arguments(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> tuple[ctypes.c_void_p, ...]:
        check_inputs(self.manifest.inputs, inputs)
        arrays = [self._arena, *(inputs[t.name] for t in self.manifest.inputs)]
        arrays += [outputs[t.name] for t in self.manifest.outputs]
        return tuple(array.ctypes.data_as(ctypes.c_void_p) for array in arrays)  # these keep the arrays alive

    def _function(self, library: ctypes.CDLL, name: str) -> ctypes._NamedFuncPointer:
        function: ctypes._NamedFuncPointer = getattr(library, f"{self.manifest.c_name}_{name}")
        function.restype = ctypes.c_int
        return function

    def _check(self, status: int) -> None:
        if status:
            raise RuntimeError(f"{self.manifest.c_name}_run returned {status}")


def require_host(artifact: Artifact) -> None:
    """Raises ToolError unless artifacts for this target run on this machine."""
    target = artifact.manifest.target
    if not runs_here(target):
        raise ToolError(
            f"'{artifact.directory}' is built for {target.name}, which does not run on this machine",
            help=f"it needs {target.family} with {', '.join(sorted(target.features)) or 'no extensions'}; "
            "build with --target host to run it here",
        )


def check_header(artifact: Artifact) -> None:
    """Compares the sizes in the header with the manifest, before memory is laid out by them.

    Raises BadInputError naming every macro that differs.
    """
    manifest = artifact.manifest
    try:
        text = artifact.header.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"cannot read the header: {error}", position=Position(str(artifact.header))) from error
    prefix = manifest.c_name.upper()
    macros = {
        name: int(value, 0)
        for name, value in re.findall(rf"^#define {prefix}_(\w+) (0x[0-9a-f]+|[0-9]+)u\b", text, re.MULTILINE)
    }
    wanted = {
        "FINGERPRINT": [manifest.fingerprint],
        "ARENA_SIZE": [manifest.arena.size_bytes],
        "ARENA_ALIGN": [manifest.arena.alignment],
        "LAYER_COUNT": [len(manifest.layers)],
        "INPUT*_SIZE": [tensor.elements for tensor in manifest.inputs],
        "OUTPUT*_SIZE": [tensor.elements for tensor in manifest.outputs],
    }
    problems = []
    for name, values in wanted.items():
        pattern = re.compile(name.replace("*", r"(_\w+)?"))
        found = [value for macro, value in macros.items() if pattern.fullmatch(macro)]
        if found != values:
            problems.append(f"{prefix}_{name}: the header says {_shown(found)}, the manifest {_shown(values)}")
    if problems:
        where = Position(str(artifact.header))
        raise BadInputError([Diagnostic(problem, where, help="build the artifact again") for problem in problems])


def _load(path: Path) -> ctypes.CDLL:
    """The library, under a name never used before: dlopen gives back what it once loaded under an old name, even if
    the artifact was built again since.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
            link = Path(scratch) / path.name
            link.symlink_to(path.resolve())
            return ctypes.CDLL(str(link))
    except OSError as error:
        raise BadInputError(
            f"cannot load the library: {error}", position=Position(str(path)), help="build the artifact again"
        ) from error


def _shown(values: list[int]) -> str:
    return ", ".join(map(str, values)) or "nothing"

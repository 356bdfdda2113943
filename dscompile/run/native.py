"""Running an artifact for hosted CPUs in this process, through `lib<net>.so` and ctypes."""

from __future__ import annotations

import ctypes
import os
import re
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dscompile.artifact import Artifact
from dscompile.errors import BadInputError, Diagnostic, Position, ToolError
from dscompile.ir.network import Array
from dscompile.ir.state import STATE_ALIGNMENT, state_bytes
from dscompile.run.arrays import aligned_bytes, check_inputs, empty_outputs, fresh_state
from dscompile.run.latency import latencies_us, profile_us, step_samples_us
from dscompile.target import runs_here
from dscompile.toolchain import find_toolchain, shared_from_static


class NativeModel:
    """A loaded artifact with an arena of its own. Calls from several threads wait for each other.

    `instructions` is None: nobody counts them here. `variant` is the one that runs, if the library has several; with
    `only_variant`, an index, the driver is compiled anew for that one alone. An inference is done by `threads` threads,
    the caller's among them; the others live as long as the model.

    Raises ToolError if the artifact's target does not run on this machine, or its shared library was never linked and
    nothing here can do it, or the system refuses threads; BadInputError if its files do not belong together.
    """

    runner = "host"
    instructions: int | None = None
    stack_bytes: int | None = None

    def __init__(self, artifact: Artifact, only_variant: int | None = None, threads: int = 1) -> None:
        self.artifact = artifact
        self.manifest = artifact.manifest
        require_host(artifact)
        check_header(artifact)
        library = _load_library(artifact) if only_variant is None else _load_variant(artifact, only_variant)
        try:
            self._run = self._function(library, "run")
            self._run_profiled = self._function(library, "run_profiled")
            self._run_shared = None if threads == 1 else self._function(library, "run_parallel")
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
        self.variant: str | None = None
        if self.manifest.variants:
            name = getattr(library, f"{self.manifest.c_name}_variant")
            name.restype = ctypes.c_char_p
            said: bytes | None = name()
            self.variant = "none" if said is None else said.decode()
            self.runner = f"host as {self.variant}"
        self._arena = aligned_bytes(self.manifest.arena.size_bytes, self.manifest.arena.alignment)
        self._lock = threading.Lock()
        self._pool: Array | None = None
        if threads > 1:
            self._pool = self._started_pool(library, threads)

    def _started_pool(self, library: ctypes.CDLL, threads: int) -> Array:
        """The memory of a pool of threads, which end with this model."""
        sizes = header_macros(self.artifact)
        pool = aligned_bytes(sizes["POOL_SIZE"], sizes["POOL_ALIGN"])
        place = pool.ctypes.data_as(ctypes.c_void_p)
        status = self._function(library, "pool_start")(place, ctypes.c_uint32(threads))
        if status:
            raise ToolError(
                f"'{self.artifact.directory}' cannot be run by {threads} threads (status {status})",
                help=f"a pool has at most {sizes['MAX_THREADS']}, and the system may allow fewer",
            )
        stop = self._function(library, "pool_stop")
        weakref.finalize(self, _stop_pool, stop, pool, os.getpid())
        return pool

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One inference: name -> array of the border shape and type, for inputs and outputs alike.

        Of a network with state, the first of a stream. Raises UsageError naming everything that is wrong with `inputs`.
        """
        return self.step(inputs, fresh_state(self.manifest.slots))

    def step(self, inputs: Mapping[str, Array], state: NDArray[np.uint8]) -> dict[str, Array]:
        """The next inference of a stream whose `state` (of `fresh_state`) it changes; otherwise as `run`."""
        outputs = empty_outputs(self.manifest.outputs)
        arguments = self._arguments(inputs, outputs, state)
        with self._lock:
            self._check(self._one(*arguments))
        return outputs

    def latencies_us(self, inputs: Mapping[str, Array], repeats: int, warmup: int = 3) -> NDArray[np.float64]:
        """Time of each of `repeats` inferences in microseconds, after `warmup` that are not counted.

        What Python needs to call a C function (about a microsecond) is taken off: the median time of the same call
        with NULL pointers, which the library answers at once.
        """
        outputs = empty_outputs(self.manifest.outputs)  # kept until the end: the arguments are only addresses
        state = fresh_state(self.manifest.slots)  # likewise
        arguments = self._arguments(inputs, outputs, state)
        with self._lock:
            return latencies_us(self._one, arguments, repeats, warmup)

    def profile(self, inputs: Mapping[str, Array], repeats: int = 20) -> tuple[float, ...]:
        """Median time of every step of what runs in microseconds (see run/latency.py: profile_us)."""
        outputs = empty_outputs(self.manifest.outputs)  # kept until the end: the arguments are only addresses
        state = fresh_state(self.manifest.slots)  # likewise
        arguments = self._arguments(inputs, outputs, state)
        with self._lock:
            return profile_us(self._run, self._run_profiled, arguments, self._rows, repeats)

    def step_samples_us(self, inputs: Mapping[str, Array], repeats: int) -> NDArray[np.float64]:
        """[repeats, steps]: time of every step in each inference (see run/latency.py: step_samples_us)."""
        outputs = empty_outputs(self.manifest.outputs)  # kept until the end: the arguments are only addresses
        state = fresh_state(self.manifest.slots)  # likewise
        arguments = self._arguments(inputs, outputs, state)
        with self._lock:
            return step_samples_us(self._run_profiled, arguments, self._rows, repeats)

    @property
    def _rows(self) -> range:
        """The steps of what runs, by their numbers in the hook."""
        return self.manifest.rows_of(self.variant)

    @property
    def _one(self) -> Callable[..., int]:
        """What does an inference; takes the arguments of `<net>_run`."""
        if self._pool is None or self._run_shared is None:
            return self._run
        run, pool = self._run_shared, self._pool.ctypes.data_as(ctypes.c_void_p)
        return lambda *arguments: run(*arguments, pool)

    def _arguments(
        self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], state: NDArray[np.uint8]
    ) -> tuple[ctypes.c_void_p, ...]:
        check_inputs(self.manifest.inputs, inputs)
        arrays: list[Array] = [
            self._arena,
            *([state] if self.manifest.slots else []),
            *(inputs[t.name] for t in self.manifest.inputs),
        ]
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
    manifest, macros = artifact.manifest, header_macros(artifact)
    prefix = manifest.c_name.upper()
    wanted = {
        "FINGERPRINT": [manifest.fingerprint],
        "ARENA_SIZE": [manifest.arena.size_bytes],
        "ARENA_ALIGN": [manifest.arena.alignment],
        "LAYER_COUNT": [len(manifest.layers)],
        "STATE_SIZE": [state_bytes(manifest.slots)] if manifest.slots else [],
        "STATE_ALIGN": [STATE_ALIGNMENT] if manifest.slots else [],
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


def header_macros(artifact: Artifact) -> dict[str, int]:
    """The sizes that the header defines, by their names without the network's. Raises BadInputError."""
    try:
        text = artifact.header.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"cannot read the header: {error}", position=Position(str(artifact.header))) from error
    prefix = artifact.manifest.c_name.upper()
    return {
        name: int(value, 0)
        for name, value in re.findall(rf"^#define {prefix}_(\w+) (0x[0-9a-f]+|[0-9]+)u\b", text, re.MULTILINE)
    }


def _stop_pool(stop: ctypes._NamedFuncPointer, pool: Array, owner: int) -> None:
    """Ends the threads of a pool; in a process that was forked they never were."""
    if os.getpid() == owner:
        stop(pool.ctypes.data_as(ctypes.c_void_p))


def _load_library(artifact: Artifact) -> ctypes.CDLL:
    """The shared library; linked now if there was no compiler for it when the artifact was built."""
    if artifact.has_shared_library:
        return _load(artifact.shared_library)
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        directory = Path(scratch)
        for part in (artifact.static_library, artifact.header, artifact.parallel):
            (directory / part.name).symlink_to(part.resolve())
        toolchain = find_toolchain(artifact.manifest.target)
        name = artifact.shared_library.name
        toolchain.compile(shared_from_static(artifact.manifest.c_name), directory, f"linking {name}")
        return _load(directory / name)


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


def _load_variant(artifact: Artifact, index: int) -> ctypes.CDLL:
    """The library with a driver that knows one variant alone (docs/c-api.md). Raises ToolError without a compiler."""
    directory, prefix = artifact.directory.resolve(), artifact.manifest.c_name
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        library = Path(scratch) / f"variant-{index}.so"
        only = f"-D{prefix.upper()}_ONLY_VARIANT={index}u"
        sources = [str(directory / artifact.driver.name), str(directory / artifact.static_library.name), "-lm"]
        shared = [f"-Wl,-u,{prefix}_run_parallel", "-lpthread"]
        arguments = ["-std=c99", "-O2", "-fPIC", "-shared", only, *sources, *shared, "-o", library.name]
        find_toolchain(artifact.manifest.target).compile(arguments, Path(scratch), "compiling one variant")
        return _load(library)


def _shown(values: list[int]) -> str:
    return ", ".join(map(str, values)) or "nothing"

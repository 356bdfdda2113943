"""A library artifact as a static program of its own, which an emulator or another machine runs."""

from __future__ import annotations

import signal
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dscompile.artifact import Artifact, Manifest
from dscompile.data import data_directory
from dscompile.errors import CheckFailedError, ToolError, UsageError
from dscompile.ir.network import Array
from dscompile.ir.state import state_bytes
from dscompile.ir.tensor import Tensor
from dscompile.run.arrays import check_inputs, fresh_state
from dscompile.toolchain import find_toolchain

_ALIGNMENT = 64
_FLAGS = ("-std=c11", "-O2")
_C_TYPES = {"float32": "float", "int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t"}


@dataclass(frozen=True)
class Executed:
    """A program that ran to its end: what it wrote, and its exit code or minus the signal that ended it."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        if self.status >= 0:
            return f"exit code {self.status}"
        try:
            return f"signal {signal.Signals(-self.status).name}"
        except ValueError:
            return f"signal {-self.status}"


class Launcher(Protocol):
    """Something that runs static programs of a target. `name` says where."""

    name: str

    def execute(self, program: Path, arguments: Sequence[str] = (), stdin: bytes = b"") -> Executed:
        """Runs a program to its end. Raises ToolError if it cannot be run there."""


class ProgramModel:
    """An artifact as a program that a launcher runs. `variant` is the one it chose, if its library has several."""

    stack_bytes: int | None = None

    def __init__(self, artifact: Artifact, launcher: Launcher, scratch: Path, only_variant: int | None = None) -> None:
        """Compiles the program into the directory `scratch`; with `only_variant`, an index, for that variant alone.

        Raises ToolError without a compiler for the target.
        """
        self.artifact = artifact
        self.manifest = artifact.manifest
        self.launcher = launcher
        self.runner = launcher.name
        self.program = self.build(scratch, only_variant)
        self.variant: str | None = None
        if self.manifest.variants:
            said = self.execute(["variant"], b"").stdout.decode("utf-8", "replace").strip()
            self.variant = said
            self.runner = f"{launcher.name} as {said}"

    def build(self, scratch: Path, only_variant: int | None) -> Path:
        """Makes the program in the directory `scratch`."""
        return build_program(self.artifact, scratch, only_variant)

    @property
    def instructions(self) -> int | None:
        """Executed instructions of the latest run, where they are counted."""
        return None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One inference: name -> array of the border shape and type.

        Of a network with state, the first of a stream. Raises UsageError naming everything that is wrong with `inputs`,
        CheckFailedError if the program fails.
        """
        return self.step(inputs, fresh_state(self.manifest.slots))

    def step(self, inputs: Mapping[str, Array], state: NDArray[np.uint8]) -> dict[str, Array]:
        """The next inference of a stream whose `state` (of `fresh_state`) it changes; otherwise as `run`."""
        content = self.execute(["run", "1"], self.input_bytes(inputs, state)).stdout
        outputs, at = self._outputs(content), len(content) - state.size
        state[:] = np.frombuffer(content[at:], np.uint8)
        return outputs

    def latencies_us(self, inputs: Mapping[str, Array], repeats: int, warmup: int = 3) -> NDArray[np.float64]:
        """Time of each of `repeats` inferences in microseconds by the clock of the machine that runs them."""
        if repeats < 1:
            raise UsageError(f"the number of repeats must be at least 1, not {repeats}")
        done = self.execute(["time", str(warmup), str(repeats)], self.input_bytes(inputs))
        if len(done.stdout) != 8 * repeats:
            raise ToolError(f"{self.runner} gave back {len(done.stdout)} bytes for {repeats} times")
        return np.array([ns / 1e3 for (ns,) in struct.iter_unpack("<q", done.stdout)])

    def profile(self, inputs: Mapping[str, Array], repeats: int = 20) -> tuple[float, ...]:
        """Median time of every step of what runs in microseconds, by the clock of the machine that runs it."""
        done = self.execute(["steps", str(repeats)], self.input_bytes(inputs))
        count = len(self.manifest.layers)
        if len(done.stdout) != 8 * count * repeats:
            raise ToolError(f"{self.runner} gave back {len(done.stdout)} bytes for {repeats} times of {count} steps")
        medians = np.median(np.frombuffer(done.stdout, "<i8").reshape(repeats, count), axis=0) / 1e3
        return tuple(float(medians[row]) for row in self.manifest.rows_of(self.variant))

    def execute(self, arguments: Sequence[str], stdin: bytes) -> Executed:
        """Runs the program. Raises CheckFailedError if it does not end with 0."""
        done = self.launcher.execute(self.program, arguments, stdin)
        if done.status != 0:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise CheckFailedError(
                f"{self.manifest.c_name} on {self.runner} ended with {done.ending}{': ' if said else ''}{said}"
            )
        return done

    def input_bytes(self, inputs: Mapping[str, Array], state: NDArray[np.uint8] | None = None) -> bytes:
        """The inputs, and the state (by default a fresh one), as the program reads them.

        Raises UsageError naming everything that is wrong with the inputs.
        """
        check_inputs(self.manifest.inputs, inputs)
        kept = fresh_state(self.manifest.slots) if state is None else state
        return b"".join(_padded(inputs[tensor.name].tobytes()) for tensor in self.manifest.inputs) + kept.tobytes()

    def _outputs(self, content: bytes) -> dict[str, Array]:
        offsets, size = _layout(self.manifest.outputs)
        size += state_bytes(self.manifest.slots)
        if len(content) != size:
            raise ToolError(f"{self.runner} gave back {len(content)} bytes of outputs instead of {size}")
        return {
            tensor.name: np.frombuffer(content, np.dtype(tensor.dtype), tensor.elements, offset).reshape(
                tensor.border_shape
            )
            for tensor, offset in zip(self.manifest.outputs, offsets, strict=True)
        }


def build_program(artifact: Artifact, directory: Path, only_variant: int | None = None) -> Path:
    """The artifact's library in a static program (templates/run/network_main.c), as `directory`/network.

    With `only_variant` its driver is compiled anew and takes the place of the library's.
    """
    (directory / "network.h").write_text(_glue(artifact.manifest), encoding="utf-8")
    sources = [str(data_directory("templates") / "run" / "network_main.c")]
    flags = [*_FLAGS, f"-I{directory.resolve()}"]
    if only_variant is not None:
        flags.append(f"-D{artifact.manifest.c_name.upper()}_ONLY_VARIANT={only_variant}u")
        sources.append(str(artifact.directory.resolve() / artifact.driver.name))
    link_static(artifact, [*flags, *sources], directory / "network")
    return directory / "network"


def build_selftest(artifact: Artifact, directory: Path) -> Path:
    """The artifact's selftest.c as a static program, as `directory`/selftest."""
    source = str(artifact.directory.resolve() / artifact.selftest.name)
    link_static(artifact, ["-std=c99", "-O2", source], directory / "selftest")
    return directory / "selftest"


def link_static(artifact: Artifact, sources: Sequence[str], program: Path) -> None:
    """Compiles sources and links them with the artifact's static library for its target. Raises ToolError."""
    directory = artifact.directory.resolve()
    arguments = [*sources, f"-I{directory}", str(directory / artifact.static_library.name), "-lm"]
    toolchain = find_toolchain(artifact.manifest.target)
    toolchain.link_static([*arguments, "-o", program.name], program.parent, f"linking {program.name}")


def _glue(manifest: Manifest) -> str:
    """network.h: the network as templates/run/network_main.c calls it."""
    name = manifest.c_name
    pointers, input_bytes, output_bytes = border_pointers(manifest)
    kept = state_bytes(manifest.slots)
    state = f"({name}_state *)(inputs + {input_bytes}), " if kept else ""
    hand_back = f"\n    memcpy(outputs + {output_bytes}, inputs + {input_bytes}, {kept});" if kept else ""
    variant = f"{name}_variant()" if manifest.variants else '""'
    return f"""#include "{name}.h"
#include <string.h>
typedef {name}_arena network_arena;
enum {{ INPUT_BYTES = {input_bytes + kept}, OUTPUT_BYTES = {output_bytes + kept} }};
static int network_run(network_arena *arena, unsigned char *inputs, unsigned char *outputs)
{{
    const int status = (int){name}_run(arena, {state}{pointers});{hand_back}
    return status;
}}
enum {{ STEPS = {name.upper()}_LAYER_COUNT }};
static int network_profile(network_arena *arena, unsigned char *inputs, unsigned char *outputs, {name}_hook hook)
{{
    return (int){name}_run_profiled(arena, {state}{pointers}, hook, 0);
}}
static const char *network_variant(void)
{{
    return {variant};
}}
"""


def border_pointers(manifest: Manifest) -> tuple[str, int, int]:
    """A network's tensors as C arguments, given bytes `inputs` and `outputs` with all of each; and how many these are.

    Returns the arguments, the bytes of all inputs, the bytes of all outputs.
    """
    inputs, input_bytes = _layout(manifest.inputs)
    outputs, output_bytes = _layout(manifest.outputs)
    pointers = [
        *(f"(const {_C_TYPES[t.dtype]} *)(inputs + {at})" for t, at in zip(manifest.inputs, inputs, strict=True)),
        *(f"({_C_TYPES[t.dtype]} *)(outputs + {at})" for t, at in zip(manifest.outputs, outputs, strict=True)),
    ]
    return ", ".join(pointers), input_bytes, output_bytes


def _layout(tensors: Sequence[Tensor]) -> tuple[list[int], int]:
    """Where each tensor begins, and the size of all."""
    sizes = [len(_padded(bytes(tensor.size_bytes))) for tensor in tensors]
    return [sum(sizes[:index]) for index in range(len(sizes))], sum(sizes)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _ALIGNMENT)

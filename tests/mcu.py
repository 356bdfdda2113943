"""From a network to standalone C, compiled for this machine and called through ctypes, beside the oracle."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Protocol
from unittest.mock import patch

import numpy as np

from dscompile.api.reference import oracle_outputs
from dscompile.artifact import Artifact
from dscompile.emit.mcu import write_artifact
from dscompile.emit.mcu_measure import Measured, target_compiler
from dscompile.emit.selftest import selftest_input
from dscompile.ir.memory import MemoryMode
from dscompile.ir.network import Array, Network
from dscompile.passes import canonicalize
from dscompile.plan.mcu.memory import plan_mcu_program
from dscompile.plan.program import Program
from dscompile.plan.states import plan_with_states
from dscompile.run.arrays import fresh_state
from dscompile.target import Target, find_target
from tests.comparing import expected_outputs, wrong_outputs
from tests.tools import require_tools

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
_UNMEASURED = {"measure": lambda *_: Measured(0, 0, 0), "target_compiler": cache(target_compiler)}
FLOAT_TOLERANCE = 1e-5  # of an output's largest magnitude


def planned(
    network: Network,
    target: Target | None = None,
    *,
    affine: bool = True,
    memory: MemoryMode = "fast",
    arena_bytes: int | None = None,
) -> Program:
    """The program of a network that need not be canonical."""
    made_for = target or find_target("c99")
    return plan_with_states(
        canonicalize(network),
        lambda each: plan_mcu_program(each, made_for, affine=affine, memory=memory, arena_bytes=arena_bytes),
    )


def write(
    network: Network,
    directory: Path,
    target: Target | None = None,
    *,
    affine: bool = True,
    memory: MemoryMode = "fast",
    arena_bytes: int | None = None,
    measured: bool = True,
) -> Artifact:
    """The artifact of a network.

    With `measured` False its sizes and its stack are 0: to know them, a compiler reads all sources once more.
    """
    inputs = selftest_input(network)
    program = planned(network, target, affine=affine, memory=memory, arena_bytes=arena_bytes)
    with nullcontext() if measured else patch.multiple("dscompile.emit.mcu", **_UNMEASURED):
        return write_artifact(program, inputs, oracle_outputs(network, inputs), directory, origin="test")


class HostCode(Protocol):
    """An artifact's C on this machine."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs from inputs that lie outside the arena."""

    def run_in_place(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The same with all borders in the arena, where input and output overlap."""


class HostModel:
    """The artifact's sources compiled for this machine; its arena holds 0xff until the first run."""

    def __init__(self, artifact: Artifact, compiler: str = "gcc", flags: Sequence[str] = ("-O1",)) -> None:
        require_tools(compiler)
        manifest = artifact.manifest
        name = manifest.c_name
        sources = [str(artifact.directory / f"{name}{end}.c") for end in ("", "_weights")]
        with tempfile.TemporaryDirectory() as scratch:
            library = Path(scratch) / "net.so"
            command = [compiler, *WARNINGS, *flags, "-shared", "-fPIC", *sources, "-o", str(library)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            self._library = ctypes.CDLL(str(library))
        self._run = getattr(self._library, f"{name}_run")
        self._manifest = manifest
        room = np.full(manifest.arena.size_bytes + manifest.arena.alignment, 0xFF, np.uint8)
        start = -room.ctypes.data % manifest.arena.alignment
        self._arena = room[start : start + manifest.arena.size_bytes]

    def fill_arena(self, values: Array) -> None:
        """Puts uint8 values into the arena: one, or one for each byte."""
        self._arena[:] = values

    @property
    def arena_bytes(self) -> int:
        return self._arena.size

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs from inputs that lie outside the arena; of a network with state, the first of a stream."""
        outputs: dict[str, Array] = {
            t.name: np.full(t.border_shape, 77, np.dtype(t.dtype)) for t in self._manifest.outputs
        }
        arrays = [
            self._arena,
            *([fresh_state(self._manifest.slots)] if self._manifest.slots else []),
            *(np.ascontiguousarray(inputs[t.name]) for t in self._manifest.inputs),
            *outputs.values(),
        ]
        status = self._run(*(array.ctypes.data_as(ctypes.c_void_p) for array in arrays))
        assert status == 0
        return outputs

    def push(self, image: Array) -> tuple[list[int], dict[str, Array]]:
        """The statuses of `push_row` for all rows of an image, and the outputs, which lie in the arena."""
        name, base = self._manifest.c_name, ctypes.c_void_p(self._arena.ctypes.data)
        assert getattr(self._library, f"{name}_begin")(base) == 0
        statuses = []
        for row in np.ascontiguousarray(image[0]):
            own = row.copy()
            statuses.append(getattr(self._library, f"{name}_push_row")(base, own.ctypes.data_as(ctypes.c_void_p)))
            own.fill(0x55)  # the sensor's buffer is free again
        buffers, results = {b.name: b for b in self._manifest.arena.buffers}, {}
        for t in self._manifest.outputs:
            buffer = buffers[f"output:{t.name}"]
            view = self._arena[buffer.offset_bytes : buffer.offset_bytes + buffer.size_bytes].view(np.dtype(t.dtype))
            results[t.name] = view.reshape(t.border_shape).copy()
        return statuses, results

    def run_in_place(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        buffers = {b.name: b for b in self._manifest.arena.buffers}
        base = self._arena.ctypes.data
        places, views = [], {}
        for kind, tensors in (("input", self._manifest.inputs), ("output", self._manifest.outputs)):
            for t in tensors:
                buffer = buffers[f"{kind}:{t.name}"]
                view = self._arena[buffer.offset_bytes : buffer.offset_bytes + buffer.size_bytes].view(
                    np.dtype(t.dtype)
                )
                places.append(ctypes.c_void_p(base + buffer.offset_bytes))
                views[t.name] = view.reshape(t.border_shape)
        for t in self._manifest.inputs:
            views[t.name][...] = inputs[t.name]
        assert self._run(ctypes.c_void_p(base), *places) == 0
        return {t.name: views[t.name].copy() for t in self._manifest.outputs}


def here(core: str) -> Target:
    """The kernels of a core for this machine: instructions and assembly run as their portable twins."""
    like = find_target(core)
    return replace(find_target("c99"), kernels=like.kernels, features=like.features)


def random_inputs(network: Network, seed: int) -> dict[str, Array]:
    """Inputs in border shapes: normal floats, uniform integers."""
    rng = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for name in network.inputs:
        t = network.tensor(name)
        if t.dtype == "float32":
            inputs[name] = rng.normal(0, 2, t.border_shape).astype(np.float32)
        else:
            info = np.iinfo(np.dtype(t.dtype))
            inputs[name] = rng.integers(info.min, info.max + 1, t.border_shape).astype(np.dtype(t.dtype))
    return inputs


def differences(model: HostCode, network: Network, seeds: Sequence[int], *, near: bool = False) -> list[str]:
    """Every output that is not the oracle's: integers bit for bit, floats to FLOAT_TOLERANCE.

    With `near`, an index may also be that of an element which is as large but for rounding.
    """
    found = []
    for seed in seeds:
        inputs = random_inputs(network, seed)
        expected, others = expected_outputs(network, inputs)
        for way, results in (("", model.run(inputs)), (" in place", model.run_in_place(inputs))):
            wrong = wrong_outputs(results, expected, others if near else {}, FLOAT_TOLERANCE)
            found += [f"seed {seed}{way}, {text}" for text in wrong]
    return found


def assert_equals_oracle(
    network: Network, seeds: Sequence[int] = (0, 1), target: Target | None = None, *, affine: bool = True
) -> None:
    """Builds the network as C and compares runs with the oracle."""
    with tempfile.TemporaryDirectory() as scratch:
        artifact = write(network, Path(scratch) / "artifact", target, affine=affine, measured=False)
        assert differences(HostModel(artifact), network, seeds) == []

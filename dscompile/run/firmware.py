"""Running a standalone C artifact for a microcontroller without a board: cross-compiled, in an emulator, counted."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dscompile.artifact import Artifact, Manifest
from dscompile.errors import CheckFailedError
from dscompile.firmware.build import build_firmware
from dscompile.ir.network import Array
from dscompile.run.arrays import check_inputs, fresh_state
from dscompile.run.emulators import EmulatedRun, Machine, available_emulators, open_machine
from dscompile.run.emulators.thumb import CORE, NOTHING, REFILL, Cycles, block_cycles
from dscompile.run.lending import declarations, has_copies, placing

_ENTRY = "firmware_network"
_PROFILED = "firmware_network_profiled"
_STEP_DONE = "firmware_step_done"
_LOAD = "firmware_load_weights"
_STATE = "firmware_state"
_OPTIMIZE = ("-O2",)


@dataclass(frozen=True)
class StepCount:
    """What a step executes: instructions, and the cycles that a Cortex-M4's manual gives for them (thumb.py).

    `cycles` are those of memory without wait states, and None where the core is another or QEMU runs the program.
    """

    instructions: int
    cycles: Cycles | None


class FirmwareModel:
    """The artifact's C files in a program of one arena and the border's buffers, run by an emulator.

    `instructions` are those of the latest run, from the call of `<net>_run` to its return; `stack_bytes` is how deep
    its stack was.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.manifest = artifact.manifest
        self.instructions: int | None = None
        self.stack_bytes: int | None = None
        target = self.manifest.target
        name = self.manifest.c_name
        self._scratch = tempfile.TemporaryDirectory(prefix="dscompile-")
        directory = Path(self._scratch.name)
        program = directory / "program.c"
        program.write_text(_program(self.manifest), encoding="utf-8")
        sources = [program, *(artifact.directory / f"{name}{part}.c" for part in ("", "_weights"))]
        loading = [_LOAD] if has_copies(self.manifest) else []
        symbols = [_ENTRY, _PROFILED, *_buffers(self.manifest), *([_STATE] if self.manifest.slots else []), *loading]
        self._elf = build_firmware(
            target,
            sources,
            directory / "build",
            symbols=symbols,
            include=[artifact.directory],
            flags=[*_OPTIMIZE, *placing(self.manifest, target.board)],
        ).elf
        emulators = available_emulators(target)
        self.runner = f"{emulators[0]} {target.name}" if emulators else target.name

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One inference on a freshly booted device: name -> array of the border shape and type.

        Of a network with state, the first of a stream. Raises UsageError naming everything that is wrong with `inputs`,
        ToolError without an emulator, and FirmwareFault (exit 1) if the program faults.
        """
        return self.step(inputs, fresh_state(self.manifest.slots))

    def step(self, inputs: Mapping[str, Array], state: NDArray[np.uint8]) -> dict[str, Array]:
        """The next inference of a stream whose `state` (of `fresh_state`) it changes; otherwise as `run`."""
        writes = self._writes(inputs)
        reads = {f"firmware_output{index}": tensor.size_bytes for index, tensor in enumerate(self.manifest.outputs)}
        if state.size:
            writes[_STATE], reads[_STATE] = state.tobytes(), state.size
        with open_machine(self._elf, self.manifest.target) as machine:
            self._load(machine)
            done = machine.run(_ENTRY, writes=writes, reads=reads)
        self._check(done)
        self.instructions, self.stack_bytes = done.instructions, done.stack_bytes
        if state.size:
            state[:] = np.frombuffer(done.outputs[_STATE], np.uint8)
        return {
            tensor.name: np.frombuffer(done.outputs[f"firmware_output{index}"], np.dtype(tensor.dtype)).reshape(
                tensor.border_shape
            )
            for index, tensor in enumerate(self.manifest.outputs)
        }

    def count_steps(self, inputs: Mapping[str, Array]) -> tuple[StepCount, ...]:
        """What every step of one inference executes, with its call of the hook, which takes some ten instructions.

        Raises as `run`.
        """
        writes = self._writes(inputs)
        state = fresh_state(self.manifest.slots)
        if state.size:
            writes[_STATE] = state.tobytes()
        steps, target = len(self.manifest.layers), self.manifest.target
        with open_machine(self._elf, target) as machine:
            self._load(machine)
            blocks = machine.watch_steps(steps) if target.mcpu == CORE else None
            done = machine.run(_PROFILED, writes=writes, mark=_STEP_DONE)
        self._check(done)
        counts = [mark - before for before, mark in itertools.pairwise((0, *done.marks))]
        cycles = [None if blocks is None else _cycles(blocks.of_step(step)) for step in range(steps)]
        return tuple(map(StepCount, counts, cycles))

    def _writes(self, inputs: Mapping[str, Array]) -> dict[str, bytes]:
        check_inputs(self.manifest.inputs, inputs)
        given = [inputs[tensor.name] for tensor in self.manifest.inputs]
        return {f"firmware_input{index}": array.tobytes() for index, array in enumerate(given)}

    def _load(self, machine: Machine) -> None:
        if has_copies(self.manifest) and machine.run(_LOAD).result != 0:
            raise CheckFailedError(f"{self.manifest.c_name}_load_weights returned an error")

    def _check(self, done: EmulatedRun) -> None:
        if done.result != 0:
            raise CheckFailedError(f"{self.manifest.c_name}_run returned {done.result - 2**32}")


def _cycles(blocks: Iterable[tuple[bytes, int, int]]) -> Cycles:
    """What blocks cost that are executed so often and so often left by a jump."""
    return sum((block_cycles(code) * times + REFILL * jumps for code, times, jumps in blocks), NOTHING)


def _buffers(manifest: Manifest) -> list[str]:
    return [
        *(f"firmware_input{index}" for index in range(len(manifest.inputs))),
        *(f"firmware_output{index}" for index in range(len(manifest.outputs))),
    ]


def _program(manifest: Manifest) -> str:
    """C that gives the network its arena and buffers, and one function without parameters to call."""
    c_types = {"float32": "float", "int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t"}
    name = manifest.c_name
    tensors = [*manifest.inputs, *manifest.outputs]
    buffers = _buffers(manifest)
    lines = [f'#include "{name}.h"', "", *declarations(manifest)]
    lines += [
        f"{c_types[tensor.dtype]} {buffer}[{tensor.elements}];" for buffer, tensor in zip(buffers, tensors, strict=True)
    ]
    lent = ["firmware_lent"]
    if manifest.slots:
        lines.append(f"{name}_state {_STATE};")
        lent.append(f"&{_STATE}")
    arguments = ", ".join([*lent, *buffers])
    lines += ["", f"int32_t {_ENTRY}(void);", f"int32_t {_ENTRY}(void)", "{"]
    lines += [f"    return {name}_run({arguments});", "}", ""]
    lines += [
        f"void {_STEP_DONE}(void *user, uint32_t step, const void *result);",
        f"__attribute__((noinline)) void {_STEP_DONE}(void *user, uint32_t step, const void *result)",
        "{",
        '    __asm__ volatile("" : : "r"(user), "r"(step), "r"(result));',
        "}",
        "",
        f"int32_t {_PROFILED}(void);",
        f"int32_t {_PROFILED}(void)",
        "{",
        f"    return {name}_run_profiled({arguments}, {_STEP_DONE}, 0);",
        "}",
        "",
    ]
    if has_copies(manifest):
        load = f"{name}_load_weights(firmware_lent)"
        lines += [f"int32_t {_LOAD}(void);", f"int32_t {_LOAD}(void)", "{", f"    return {load};", "}", ""]
    return "\n".join(lines)

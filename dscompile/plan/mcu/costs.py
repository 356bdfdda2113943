"""Instructions of standalone C, counted by its loops: without a compiler, an emulator, or the network's values.

The planner of memory compares plans by them, `inspect` and manifests show them. Kernels for 16-bit SIMD are counted as
their templates are written (plan/mcu/costs_dsp.py); of the others, loops are (plan/mcu/costs_loops.py), at rates that
were fitted to counts of real networks on emulated cores. docs/decisions/instruction-estimates.md has the errors.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dscompile.plan.mcu import costs_dsp as dsp
from dscompile.plan.mcu.costs_loops import CALL, Isa, products, windows
from dscompile.plan.mcu.costs_small import small_kernel
from dscompile.plan.mcu.cycles import Part
from dscompile.plan.mcu.flow import Link, simulate
from dscompile.plan.mcu.kernels import McuKernel
from dscompile.plan.mcu.mix import Mix, code, total
from dscompile.plan.mcu.products import ConvKernel, DepthwiseKernel, SeparableKernel
from dscompile.plan.mcu.windows import Axis

if TYPE_CHECKING:
    from dscompile.plan.program import Program, Step
    from dscompile.target import Target

_STEP = code("2l 2s 6p 2j")  # of the driver, for each step
_STREAMED_ROW = code("32l 12s 60p 12j")  # finding out what can be made, calling it
_MOVED = code("4l 4s 5p j")  # 16 bytes within a ring
_MOVED_BYTES = 16


@dataclass(frozen=True)
class StepCost:
    """Of one step of a program: one part for each call of a kernel, two for a separable one; what is around."""

    parts: tuple[Part, ...]
    around: Part

    @property
    def mix(self) -> Mix:
        """All of it."""
        return total(part.mix for part in (*self.parts, self.around))


def target_isa(target: Target) -> Isa:
    """Whose rates hold for a target; those of Thumb-2 for portable C."""
    match target.family:
        case "rv32":
            return "rv32"
        case "rv64":
            return "rv64"
        case _ if target.has("mve"):
            return "helium"
        case _:
            return "thumb1" if target.family == "cortex-m" and not target.has("thumb2") else "thumb2"


@functools.lru_cache(maxsize=4096)
def kernel_parts(kernel: McuKernel, isa: Isa) -> tuple[Part, ...]:
    """Of one call of a kernel; of a separable one, the depthwise part and the pointwise one."""
    match kernel:
        case ConvKernel():
            if kernel.variant == "dsp":
                return (Part(dsp.conv_mix(kernel), dsp.loop_bytes(kernel)),)
            if kernel.variant == "held":
                return (Part(dsp.held_mix(kernel), dsp.held_bytes(kernel)),)
            return (Part(CALL + products(kernel, isa)),)
        case DepthwiseKernel():
            return (
                Part(dsp.depthwise_mix(kernel) if kernel.variant in ("dsp", "planes") else CALL + windows(kernel, isa)),
            )
        case SeparableKernel() if kernel.variant == "dsp":
            depthwise, pointwise = dsp.separable_mix(kernel)
            return Part(depthwise, dsp.WINDOW_BYTES), Part(pointwise, dsp.loop_bytes(kernel))
        case SeparableKernel():
            depthwise = CALL + windows(kernel.depthwise, isa, by_row=kernel.by_row)
            return Part(depthwise), Part(products(kernel, isa))
        case _:
            return (Part(CALL + small_kernel(kernel, isa)),)


def kernel_instructions(kernel: McuKernel, isa: Isa) -> float:
    """Of one call of a kernel."""
    return sum(part.mix.instructions for part in kernel_parts(kernel, isa))


def stream_overhead(rows: int, moved_bytes: int) -> float:
    """Of a stream besides its kernels: rows that it makes, bytes that it moves within rings."""
    return _stream_mix(rows, moved_bytes).instructions


def _stream_mix(rows: int, moved_bytes: int) -> Mix:
    return _STREAMED_ROW * rows + _MOVED * (moved_bytes / _MOVED_BYTES)


def program_costs(program: Program) -> tuple[StepCost, ...]:
    """Of every step of a program, for one inference."""
    isa = target_isa(program.target)
    kernels = {function.symbol: function.kernel for function in program.functions}
    return tuple(
        _step_cost(step, [kernel_parts(kernels[call.symbol], isa) for call in step.calls]) for step in program.steps
    )


def _step_cost(step: Step, calls: list[tuple[Part, ...]]) -> StepCost:
    if step.stream is None:
        return StepCost(tuple(part for parts in calls for part in parts), Part(_STEP))
    stages = step.stream.stages
    made = tuple(part * stage.outputs for stage, parts in zip(stages, calls, strict=True) for part in parts)
    rows = sum(stage.outputs for stage in stages)
    links = [
        Link(
            Axis(stage.size, stage.outputs, stage.taps, stage.stride, stage.before, stage.dilation),
            stage.residual_stage,
        )
        for stage in stages
    ]
    moved = simulate(links, pushed=step.stream.pushed).moved
    copied = sum(count * stage.row_bytes for count, stage in zip(moved, stages, strict=True))
    if step.stream.pushed:
        copied += stages[0].size * stages[0].row_bytes
    return StepCost(made, Part(_STEP + _stream_mix(rows, copied)))

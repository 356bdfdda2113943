"""What steps and layers of standalone C are estimated to execute, in whole numbers, for inspections and manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dscompile.ir.cost import layer_macs
from dscompile.plan.mcu.costs import program_costs
from dscompile.plan.mcu.cycles import has_cycles, part_cycles
from dscompile.plan.program import Program, Step


@dataclass(frozen=True)
class Estimate:
    """Executed instructions, and cycles where the core's are published: those with the wait states of its memories."""

    instructions: int
    cycles: int | None = None

    def __add__(self, other: Estimate) -> Estimate:
        cycles = None if self.cycles is None or other.cycles is None else self.cycles + other.cycles
        return Estimate(self.instructions + other.instructions, cycles)


@dataclass(frozen=True)
class Estimates:
    """Of a program: each step in its order, and the layers of its network that steps compute, by name.

    Where one loop computes several layers, the last of them that multiplies has all of it; the others are not there.
    """

    steps: tuple[Estimate, ...]
    layers: Mapping[str, Estimate]

    @property
    def total(self) -> Estimate:
        """Of one inference."""
        return sum(self.steps[1:], self.steps[0]) if self.steps else Estimate(0)


def estimate(program: Program) -> Estimates | None:
    """Of one inference; None where nobody can say: portable C, and floats on a core without a float unit."""
    board = program.target.board
    if board is None or (board.float_unit == "none" and not program.network.is_quantized):
        return None
    is_timed = has_cycles(program.target)
    steps, layers = [], {}
    for step, cost in zip(program.steps, program_costs(program), strict=True):
        parts = [
            Estimate(round(part.mix.instructions), round(part_cycles(part, board)) if is_timed else None)
            for part in (*cost.parts, cost.around)
        ]
        whole = sum(parts[1:], parts[0])
        steps.append(whole)
        layers.update(_by_layer(program, step, parts, whole))
    return Estimates(tuple(steps), layers)


def _by_layer(program: Program, step: Step, parts: list[Estimate], whole: Estimate) -> dict[str, Estimate]:
    """A part for each layer that multiplies, the last one with what is around; else all for one layer."""
    by_name = {layer.name: layer for layer in program.network.layers}
    heavy = [name for name in step.layers if name in by_name and layer_macs(program.network, by_name[name])]
    if len(heavy) != len(parts) - 1 or len(heavy) < 2:
        return {(heavy or step.layers)[-1]: whole} if step.layers else {}
    *others, last, around = parts
    return dict(zip(heavy, [*others, last + around], strict=True))

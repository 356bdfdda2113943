"""Which separable kernels have late pixels (plan/mcu/late.py): those that get cheaper and need no more room."""

from __future__ import annotations

from dscompile.plan.mcu.costs import kernel_instructions, target_isa
from dscompile.plan.mcu.late import takes_late, with_late_pixels
from dscompile.plan.mcu.overlap import permitted_distances
from dscompile.plan.mcu.products import SeparableKernel
from dscompile.target import Target


def best_way(kernel: SeparableKernel, target: Target) -> SeparableKernel:
    """The kernel with late pixels if they cost no instruction more, and y may lie as near to x, whatever the way."""
    if not takes_late(kernel):
        return kernel
    late, isa = with_late_pixels(kernel), target_isa(target)
    if kernel_instructions(late, isa) > kernel_instructions(kernel, isa):
        return kernel
    (below, above), (late_below, late_above) = (_distances(each) for each in (kernel, late))
    return late if late_below <= below and late_above <= above else kernel


def _distances(kernel: SeparableKernel) -> tuple[int, int]:
    found = permitted_distances(kernel, ["x"])
    assert found is not None
    assert found.below_bytes is not None
    assert found.above_bytes is not None
    return found.below_bytes, found.above_bytes

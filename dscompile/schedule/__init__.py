"""Schedules: how kernels run on a family of targets. One readable function per kernel and family."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from dscompile.errors import UnsupportedError
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.gpu.kernels import GpuDenseKernel, ModuleKernel
from dscompile.plan.gpu.tensor_kernels import TensorKernel
from dscompile.plan.int8_elementwise import Int8ElementwiseKernel, LookupKernel
from dscompile.plan.int8_kernels import Int8ConvKernel, Int8DenseKernel, Int8DepthwiseKernel
from dscompile.plan.kernels import ConvKernel, DenseKernel, DepthwiseKernel, ElementwiseKernel, WinogradKernel
from dscompile.plan.knobs import DenseKnobs, DepthwiseKnobs, Knobs, TileKnobs, WinogradKnobs
from dscompile.target import Target

if TYPE_CHECKING:
    from dscompile.plan.program import NativeKernel


def scheduled(kernel: NativeKernel, knobs: Knobs | None, target: Target) -> Any:
    """The scheduled PrimFunc of `kernel`. Raises UnsupportedError for a family without schedules."""
    if target.gpu is not None or isinstance(kernel, ModuleKernel | GpuDenseKernel | TensorKernel):
        from dscompile.schedule import cuda_kernels

        return cuda_kernels.scheduled(kernel, knobs)
    if isinstance(kernel, Int8ConvKernel | Int8DepthwiseKernel | Int8DenseKernel):
        from dscompile.schedule import arm_int8, int8, x86_int8

        fast = None
        if target.has("asimd"):
            fast = arm_int8.scheduled(kernel, knobs, target)
        elif target.has("avx2"):
            fast = x86_int8.scheduled(kernel, knobs, target)
        return fast or int8.scheduled(kernel, knobs, target)
    if isinstance(kernel, Int8ElementwiseKernel):
        from dscompile.schedule import int8_elementwise, x86_int8_lookup

        fast = None
        if isinstance(kernel, LookupKernel) and target.has("avx2"):
            fast = x86_int8_lookup.lookup_by_vpshufb(kernel)
        return fast or int8_elementwise.scheduled(kernel, target)
    if isinstance(kernel, Bf16ConvKernel):
        from dscompile.schedule import bf16_kernels

        return bf16_kernels.scheduled(kernel, knobs, target)
    family = _family(target)
    from dscompile import compute
    from dscompile.compute.activation import rounding_by_adding
    from dscompile.schedule import arm, common, x86_winograd

    with rounding_by_adding(family.ROUNDS_BY_ADDING):
        function = compute.define(kernel)
    match kernel, knobs:
        case ConvKernel(), TileKnobs():
            schedule = family.conv(function, kernel, knobs)
        case WinogradKernel(), WinogradKnobs():
            schedule = x86_winograd.winograd(function, kernel, knobs)
        case DepthwiseKernel(), DepthwiseKnobs():
            schedule = family.depthwise(function, kernel, knobs)
        case DenseKernel(), DenseKnobs():
            schedule = family.dense(function, kernel, knobs)
        case ElementwiseKernel(), None if target.has("asimd"):
            schedule = arm.elementwise(function, kernel)
        case _:
            schedule = common.without_knobs(function, kernel, knobs)
    return schedule.mod["main"]


def _family(target: Target) -> ModuleType:
    """The module with the family's own schedules: conv, depthwise and dense."""
    match target.family:
        case "x86":
            from dscompile.schedule import x86

            return x86
        case "arm64":
            from dscompile.schedule import arm

            return arm
    raise UnsupportedError(f"there are no schedules for the family '{target.family}' of target '{target.name}'")

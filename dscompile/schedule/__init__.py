"""Schedules: how kernels run on a family of targets. One readable function per kernel and family."""

from __future__ import annotations

from typing import Any

from dscompile.errors import UnsupportedError
from dscompile.plan.int8_elementwise import Int8ElementwiseKernel
from dscompile.plan.int8_kernels import Int8ConvKernel, Int8DenseKernel, Int8DepthwiseKernel, Int8Kernel
from dscompile.plan.kernels import Kernel
from dscompile.plan.knobs import Knobs
from dscompile.target import Target


def scheduled(kernel: Kernel | Int8Kernel | Int8ElementwiseKernel, knobs: Knobs | None, target: Target) -> Any:
    """The scheduled PrimFunc of `kernel`. Raises UnsupportedError for a family without schedules."""
    if isinstance(kernel, Int8ConvKernel | Int8DepthwiseKernel | Int8DenseKernel):
        from dscompile.schedule import arm_int8, int8

        if target.has("asimd"):
            fast = arm_int8.scheduled(kernel, knobs, target)
            if fast is not None:
                return fast
        return int8.scheduled(kernel, knobs, target)
    if isinstance(kernel, Int8ElementwiseKernel):
        from dscompile.schedule import int8_elementwise

        return int8_elementwise.scheduled(kernel)
    match target.family:
        case "x86":
            from dscompile.schedule import x86

            return x86.scheduled(kernel, knobs)
        case "arm64":
            from dscompile.schedule import arm

            return arm.scheduled(kernel, knobs)
    raise UnsupportedError(f"there are no schedules for the family '{target.family}' of target '{target.name}'")

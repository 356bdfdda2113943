"""What the templates for vectors of RISC-V need besides their kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dscompile.plan.mcu.products import ConvKernel, DepthwiseKernel, SeparableKernel
from dscompile.plan.mcu.rvv import rvv_depthwise_body, rvv_depthwise_shape, rvv_matrix_body, rvv_matrix_shape

RVV_FILTERS: Mapping[str, Callable[..., Any]] = {
    "rvv_depthwise_shape": rvv_depthwise_shape,
    "rvv_matrix_shape": rvv_matrix_shape,
}


def rvv_values(kernel: ConvKernel | DepthwiseKernel | SeparableKernel, names: Mapping[Any, str]) -> dict[str, object]:
    """The values `vector_matrix` and `vector_pixel` (names of shared bodies) of what is rvv in a kernel."""
    values: dict[str, object] = {}
    if isinstance(kernel, ConvKernel | SeparableKernel) and kernel.variant == "rvv":
        values["vector_matrix"] = names[rvv_matrix_body(kernel)]
    depthwise = kernel.depthwise if isinstance(kernel, SeparableKernel) else kernel
    if isinstance(depthwise, DepthwiseKernel) and depthwise.variant == "rvv":
        values["vector_pixel"] = names[rvv_depthwise_body(depthwise)]
    return values

"""What the templates for Helium need besides their kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dscompile.plan.mcu.mve import (
    block_bytes,
    block_of,
    columns_bytes,
    mve_depthwise_body,
    mve_depthwise_shape,
    mve_matrix_body,
    mve_matrix_shape,
    shape_numbers,
)
from dscompile.plan.mcu.products import ConvKernel, DepthwiseKernel, SeparableKernel

MVE_FILTERS: Mapping[str, Callable[..., Any]] = {
    "mve_block_bytes": block_bytes,
    "mve_columns_bytes": columns_bytes,
    "mve_depthwise_shape": lambda kernel: shape_numbers(mve_depthwise_shape(kernel)),
    "mve_matrix_shape": lambda kernel: shape_numbers(mve_matrix_shape(kernel)),
}


def mve_values(kernel: ConvKernel | DepthwiseKernel | SeparableKernel, names: Mapping[Any, str]) -> dict[str, object]:
    """The values `matrix` and `pixels` (names of shared bodies) and `g` (a Block) of templates for mve."""
    values: dict[str, object] = {}
    if not isinstance(kernel, DepthwiseKernel):
        values["matrix"] = names[mve_matrix_body(kernel)]
    depthwise = kernel.depthwise if isinstance(kernel, SeparableKernel) else kernel
    if isinstance(depthwise, DepthwiseKernel):
        values.update(pixels=names[mve_depthwise_body(depthwise)], g=block_of(depthwise.window))
    return values

"""Kernels of the standalone C backend: what is computed on which shapes, for float32 and int8 alike.

Tensors are dense, channels last ([H][W][C]), without borders, or in rows (plan/mcu/rows.py). Every kernel becomes one C
function specialized to its fields; equal kernels share it.
`parameters` lists the function's pointers in order (see plan/kernels.py: Parameter).

Windowed kernels can go through the image upwards or downwards (`descending`). The planner of the arena decides: where
input and output share memory, only one direction never overwrites what is still to be read. `by_row` makes a function
that computes one row of the output (plan/mcu/row_forms.py): x is then the first image row inside the window, y the row.
"""

from __future__ import annotations

from dscompile.plan.mcu.products import ConvKernel, DenseKernel, DepthwiseKernel, SeparableKernel
from dscompile.plan.mcu.small_kernels import (
    ActivateKernel,
    ArgMaxKernel,
    BinaryKernel,
    CopyKernel,
    DequantizeKernel,
    FillKernel,
    LookupKernel,
    MeanKernel,
    MoveKernel,
    PoolKernel,
    QuantizeKernel,
    ResampleKernel,
    RowSumKernel,
    ScaleKernel,
    SoftmaxKernel,
)

WindowedKernel = ConvKernel | DepthwiseKernel | SeparableKernel | PoolKernel


def pixels_of(kernel: WindowedKernel) -> int:
    """The pixels that one call computes: all, or those of a row."""
    return kernel.window.columns.outputs if kernel.by_row else kernel.window.pixels


def row_bounds(kernel: McuKernel) -> tuple[str, ...]:
    """The integers that a call takes behind its pointers: of one row, the taps [first, end) inside the image, or `row`.

    None for whole images, and for windows of which every row lies inside. Kernels that keep something from row to row
    want to know which it is.
    """
    turns = isinstance(kernel, SeparableKernel) and kernel.by_row and kernel.depthwise.variant == "turned"
    if isinstance(kernel, RowSumKernel) or turns:
        return ("row",)
    if not isinstance(kernel, WindowedKernel) or not kernel.by_row or kernel.window.rows.all_inside:
        return ()
    return ("first", "end")


McuKernel = (
    WindowedKernel
    | DenseKernel
    | MeanKernel
    | RowSumKernel
    | BinaryKernel
    | ScaleKernel
    | ActivateKernel
    | LookupKernel
    | SoftmaxKernel
    | ArgMaxKernel
    | CopyKernel
    | MoveKernel
    | ResampleKernel
    | FillKernel
    | QuantizeKernel
    | DequantizeKernel
)

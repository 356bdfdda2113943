"""Kernels against plain NumPy, with every byte around their views watched.

Inputs lie in buffers whose other elements are NaN: a kernel that reads outside its view gives NaN. Results lie in
buffers of a bit pattern that must still be there afterwards, outside the view. Pointers are aligned as little as the
parameters allow.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dscompile.ir.network import Array
from dscompile.ir.ops import Activation
from dscompile.ir.tensor import Shape
from dscompile.oracle.activation import apply
from dscompile.plan.kernels import Epilogue, Kernel, Parameter
from dscompile.plan.knobs import Knobs
from dscompile.run.emulated_kernel import EmulatedKernel
from dscompile.run.kernel import At, CompiledKernel, aligned_buffer
from dscompile.target import Target, runs_here

MARGIN = 64  # elements before and behind every view
SENTINEL = np.uint32(0x7FC0BEEF).view(np.float32)  # a NaN that no computation makes


def run_kernel(kernel: Kernel, knobs: Knobs | None, target: Target, inputs: Mapping[str, Array], shape: Shape) -> Array:
    """The view of `shape` that the kernel writes, for inputs in the shapes of their views.

    Asserts that nothing else was written.
    """
    compiled = (CompiledKernel if runs_here(target) else EmulatedKernel)(kernel, knobs, target)
    places = {
        p.name: Place(p, shape if p.written else inputs[p.name].shape, SENTINEL if p.written else np.float32(np.nan))
        for p in kernel.parameters
    }
    for name, values in inputs.items():
        places[name].view[...] = values
    before = {name: place.buffer.copy() for name, place in places.items()}
    compiled(*(place.operand for place in places.values()))
    for parameter in kernel.parameters:
        place = places[parameter.name]
        if parameter.written:
            result = place.view.copy()
            place.view[...] = SENTINEL
        np.testing.assert_array_equal(
            place.buffer.view(np.uint32),
            before[parameter.name].view(np.uint32),
            f"'{parameter.name}' was written to outside its view",
        )
    return result


class Place:
    """A buffer with a view of `shape` in its middle, as the parameter strides it, every element `fill`."""

    def __init__(self, parameter: Parameter, shape: Shape, fill: np.float32) -> None:
        steps = parameter.strides or tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
        reach = 1 + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
        odd = parameter.alignment // 4 % 16  # 4 bytes: one element off; a whole vector: one vector off
        self.offset = MARGIN + odd
        self.buffer = aligned_buffer(self.offset + reach + MARGIN, float("nan"))
        self.buffer.view(np.uint32)[:] = np.float32(fill).view(np.uint32)
        self.view = np.lib.stride_tricks.as_strided(
            self.buffer[self.offset :], shape, [4 * step for step in steps], writeable=True
        )
        self.operand = At(self.buffer, self.offset)


def finished(acc: Array, bias: Array, epilogue: Epilogue, residual: Array | None) -> Array:
    """outer(inner(acc + bias) + residual) in float64."""
    y = apply(epilogue.activation, acc + bias)
    return y if residual is None else apply(epilogue.residual_activation, y + residual)


def activated(x: Array, activation: Activation, slope: Array | None = None) -> Array:
    """`activation` of `x` in float64."""
    return apply(activation, x.astype(np.float64), slope)


def assert_close(got: Array, expected: Array, tolerance: float = 2e-6) -> None:
    """Within `tolerance` of the largest magnitude, and nowhere NaN."""
    assert got.shape == expected.shape
    scale = max(float(np.abs(expected).max()), 1e-30)
    error = float(np.abs(got - expected).max()) / scale
    assert error <= tolerance, f"off by {error:.3g} of the maximum"


def to_blocks(image: Array, lanes: int) -> Array:
    """[H, W, C] -> [ceil(C / lanes), H, W, lanes]; lanes beyond C are NaN."""
    height, width, channels = image.shape
    blocks = np.full((-(-channels // lanes), height, width, lanes), np.nan, np.float32)
    for channel in range(channels):
        blocks[channel // lanes, :, :, channel % lanes] = image[:, :, channel]
    return blocks


def from_blocks(blocks: Array, channels: int) -> Array:
    """[blocks, H, W, lanes] -> [H, W, C]."""
    lanes = blocks.shape[3]
    return np.stack([blocks[c // lanes, :, :, c % lanes] for c in range(channels)], axis=2)

"""Modules of GPU kernels beside NumPy, run on the CPU with every access checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dscompile.gpu import Gpu
from dscompile.ir.network import Array
from dscompile.ir.ops import NONE, RELU6, Activation, Pair
from dscompile.oracle.activation import apply
from dscompile.plan.gpu.choice import ModulePlan, ModuleShape, front
from dscompile.plan.gpu.kernels import QUAD, ModuleKernel, Role, Stage
from dscompile.plan.gpu.packing import pack_module_conv
from dscompile.plan.kernels import ImageStrides
from dscompile.plan.packing import pack_depthwise, pack_vector
from dscompile.run.cuda_kernel import ShimKernel
from dscompile.run.cuda_report import KernelTraffic
from dscompile.run.operands import aligned_buffer, aligned_copy
from dscompile.target import find_target

TARGET = find_target("cuda-sm80")
assert TARGET.gpu is not None
GPU: Gpu = TARGET.gpu


def stage(
    role: Role,
    channels: tuple[int, int],
    size: Pair,
    kernel: int = 1,
    stride: int = 1,
    dilation: int = 1,
    padding: tuple[int, int, int, int] | None = None,
) -> Stage:
    """A stage on images of `size`; padding is top, bottom, left, right, default half of the kernel all around."""
    reach = (kernel - 1) * dilation
    top, bottom, left, right = padding or (reach // 2,) * 4
    result = (
        (size[0] + top + bottom - reach - 1) // stride + 1,
        (size[1] + left + right - reach - 1) // stride + 1,
    )
    pair = (kernel, kernel), (stride, stride), (dilation, dilation)
    return Stage(role, *channels, size, result, *pair, (top, left))


@dataclass(frozen=True)
class Outcome:
    """What a module computed beside what NumPy says, what it moved, and the plan it had."""

    got: Array
    expected: Array
    traffic: KernelTraffic
    plan: ModulePlan
    kernel: ModuleKernel


def run_module(
    stages: Sequence[Stage],
    rng: np.random.Generator,
    *,
    lightest: bool = False,
    flat: str = "",
    residual: bool = False,
    activation: Activation = NONE,
) -> Outcome:
    """A float32 module with random weights, planned as the fastest one or the `lightest` on memory.

    `flat`: the input is the user's, nhwc or nchw. `activation` is that of the last stage, the others have RELU6.
    """
    plan = front(ModuleShape(tuple(stages), bool(flat), residual=residual), GPU)[-1 if lightest else 0]
    finishes = [*(RELU6 for _ in stages[1:]), activation]
    made = tuple(replace(one, finish=f) for one, f in zip(plan.kernel.stages, finishes, strict=True))
    height, width = stages[0].in_size
    channels = stages[0].in_channels
    x = rng.standard_normal((height, width, channels)).astype(np.float32)
    kernel = replace(plan.kernel, stages=made)
    if flat:
        strides = (
            ImageStrides(1, width * channels, channels) if flat == "nhwc" else ImageStrides(height * width, width, 1)
        )
        kernel = replace(kernel, x=strides)
    operands = [aligned_copy(x if flat == "nhwc" else x.transpose(2, 0, 1) if flat else to_quads(x))]
    value = x.astype(np.float64)
    for one, own in zip(stages, made, strict=True):
        depth = 1 if one.is_depthwise else one.in_channels
        weights = rng.standard_normal((*one.kernel, depth, one.channels)) / np.sqrt(depth * np.prod(one.kernel))
        weights, bias = weights.astype(np.float32), rng.standard_normal(one.channels).astype(np.float32)
        packed = pack_depthwise(weights, QUAD) if one.is_depthwise else pack_module_conv(weights, own)
        operands += [aligned_copy(packed), aligned_copy(pack_vector(bias, 0, own.quads * QUAD))]
        assert isinstance(own.finish, Activation)
        value = apply(own.finish, convolved(value, weights.astype(np.float64), one) + bias)
    last = stages[-1]
    if residual:
        other = rng.standard_normal((*last.size, last.channels)).astype(np.float32)
        operands.append(aligned_copy(to_quads(other)))
        value = value + other
    y = aligned_buffer(last.quads * QUAD * last.size[0] * last.size[1])
    traffic = ShimKernel(kernel, plan.knobs, TARGET)(*operands, y)
    got = y.reshape(last.quads, *last.size, QUAD).transpose(1, 2, 0, 3).reshape(*last.size, -1)[:, :, : last.channels]
    return Outcome(got, value, traffic, plan, kernel)


def convolved(x: Array, weights: Array, one: Stage) -> Array:
    """[H, W, C] and [kh, kw, C or 1, N] -> [H', W', N], zeros around x; a sum of shifted images, in float64."""
    (kh, kw), (sh, sw), (dh, dw), (top, left) = one.kernel, one.stride, one.dilation, one.padding
    height, width = one.size
    rows, columns = (height - 1) * sh + (kh - 1) * dh + 1, (width - 1) * sw + (kw - 1) * dw + 1
    padded = np.zeros((max(rows, top + x.shape[0]), max(columns, left + x.shape[1]), x.shape[2]))
    padded[top : top + x.shape[0], left : left + x.shape[1]] = x
    total = np.zeros((height, width, weights.shape[3]))
    for r in range(kh):
        for q in range(kw):
            seen = padded[r * dh : r * dh + (height - 1) * sh + 1 : sh, q * dw : q * dw + (width - 1) * sw + 1 : sw]
            total += seen * weights[r, q, 0] if one.is_depthwise else seen @ weights[r, q]
    return total


def to_quads(image: Array) -> Array:
    """[H, W, C] -> [quads, H, W, 4]; channels beyond C are finite rubbish."""
    height, width, channels = image.shape
    quads = np.full((-(-channels // QUAD), height, width, QUAD), 1e3, np.float32)
    for channel in range(channels):
        quads[channel // QUAD, :, :, channel % QUAD] = image[:, :, channel]
    return quads

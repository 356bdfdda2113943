"""What a call costs, roughly, in cycles: enough to cut work into equal parts, not to choose between kernels.

Only calls that run at the same time are weighed against each other, most of them of one layer.
"""

from __future__ import annotations

import math

from dscompile.ir.tensor import DTYPE_BYTES
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.int8_kernels import Int8ConvKernel, Int8DenseKernel, Int8DepthwiseKernel
from dscompile.plan.kernels import (
    WINOGRAD_POSITIONS,
    ConvKernel,
    DenseKernel,
    DepthwiseKernel,
    FillKernel,
    PoolKernel,
    ResampleKernel,
    WinogradKernel,
)
from dscompile.plan.program import Call, Function, Program
from dscompile.plan.touches import written_shape
from dscompile.target import Target

BYTES_PER_CYCLE = 8  # of what is only read once, or written: near the second-level cache's rate
WEIGHT_BYTES_PER_CYCLE = 5  # of a matrix-vector product, from the last-level cache
SCALAR_CYCLES = 2  # an element of a kernel that goes by elements
DEPTHWISE_SHARE = 0.6  # of the multiply-adds that registers allow: loads hold it up
WINOGRAD_SHARE = 0.7  # of them in Winograd's tiles: transforms take the rest
POOL_CYCLES = 1.0  # a vector of a window
CALL_CYCLES = 40
INT8_PRODUCTS = 4  # products of bytes for each of float32
BF16_PRODUCTS = 2  # of bfloat16


def call_cycles(program: Program, call: Call, function: Function) -> float:
    """Cycles of a call on one core of the program's target."""
    return CALL_CYCLES + _cycles(program.target, program, call, function)


def _cycles(target: Target, program: Program, call: Call, function: Function) -> float:
    kernel, products = function.kernel, target.lanes * target.fma_per_cycle
    match kernel:
        case ConvKernel() | Int8ConvKernel():
            macs = kernel.height * kernel.width * kernel.in_channels * kernel.out_channels * math.prod(kernel.kernel)
            return macs / products / (1 if isinstance(kernel, ConvKernel) else INT8_PRODUCTS)
        case Bf16ConvKernel():
            return kernel.height * kernel.width * kernel.in_channels * kernel.out_channels / products / BF16_PRODUCTS
        case WinogradKernel():
            macs = math.prod(kernel.tiles) * WINOGRAD_POSITIONS**2 * kernel.in_channels * kernel.out_channels
            return macs / products / WINOGRAD_SHARE
        case DepthwiseKernel() | Int8DepthwiseKernel():
            macs = kernel.height * kernel.width * kernel.blocks * kernel.lanes * math.prod(kernel.kernel)
            return macs / products / DEPTHWISE_SHARE
        case DenseKernel() | Int8DenseKernel():
            constants = [program.constants[o.name] for o in call.operands if o.space == "constant"]
            return sum(constant.nbytes for constant in constants) / WEIGHT_BYTES_PER_CYCLE
    shape = written_shape(kernel)
    if shape is None:
        return 0.0
    elements = math.prod(shape)
    match kernel:
        case PoolKernel():
            return elements / kernel.lanes * math.prod(kernel.kernel) * POOL_CYCLES
        case FillKernel():
            return elements * DTYPE_BYTES[kernel.dtype] / BYTES_PER_CYCLE
        case _:
            by_vectors = len(shape) == 4 and not isinstance(kernel, ResampleKernel)
            return elements / (target.lanes if by_vectors else 1 / SCALAR_CYCLES)

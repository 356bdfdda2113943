"""Compute definitions: what each kernel computes, as TE, without a word about how.

`define(kernel)` gives the TensorIR PrimFunc of any kernel; the functions named after kernels do it for one kind each.
Parameters carry the names of `kernel.parameters` and dense shapes; strides are bound when a function is compiled.
"""

from __future__ import annotations

from typing import Any

from dscompile.compute.argmax import argmax
from dscompile.compute.bf16_convolution import bf16_conv
from dscompile.compute.convolution import conv, depthwise
from dscompile.compute.dense import dense
from dscompile.compute.elementwise import elementwise, fill, flat
from dscompile.compute.gpu_dense import gpu_dense
from dscompile.compute.gpu_module import module
from dscompile.compute.gpu_tensor import tensor
from dscompile.compute.image import gather, pack, unpack
from dscompile.compute.int8_convolution import int8_conv, int8_dense, int8_depthwise
from dscompile.compute.int8_elementwise import (
    int8_mean,
    int8_pool,
    int8_product,
    int8_softmax,
    int8_sum,
    lookup,
    quantize,
)
from dscompile.compute.pool import pool
from dscompile.compute.resample import resample
from dscompile.compute.softmax import softmax
from dscompile.compute.winograd import winograd
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.gpu.kernels import GpuDenseKernel, GpuKernel, ModuleKernel
from dscompile.plan.gpu.tensor_kernels import TensorKernel
from dscompile.plan.int8_elementwise import (
    Int8ElementwiseKernel,
    Int8MeanKernel,
    Int8PoolKernel,
    Int8ProductKernel,
    Int8SoftmaxKernel,
    Int8SumKernel,
    LookupKernel,
    QuantizeKernel,
)
from dscompile.plan.int8_kernels import Int8ConvKernel, Int8DenseKernel, Int8DepthwiseKernel, Int8Kernel
from dscompile.plan.kernels import (
    ArgMaxKernel,
    ConvKernel,
    DenseKernel,
    DepthwiseKernel,
    ElementwiseKernel,
    FillKernel,
    FlatKernel,
    GatherKernel,
    Kernel,
    PackKernel,
    PoolKernel,
    ResampleKernel,
    SoftmaxKernel,
    UnpackKernel,
    WinogradKernel,
)

__all__ = [
    "argmax",
    "bf16_conv",
    "conv",
    "define",
    "dense",
    "depthwise",
    "elementwise",
    "fill",
    "flat",
    "gather",
    "gpu_dense",
    "int8_conv",
    "int8_dense",
    "int8_depthwise",
    "int8_mean",
    "int8_pool",
    "int8_product",
    "int8_softmax",
    "int8_sum",
    "lookup",
    "module",
    "pack",
    "pool",
    "quantize",
    "resample",
    "softmax",
    "tensor",
    "unpack",
    "winograd",
]


def define(kernel: Kernel | Bf16ConvKernel | Int8Kernel | Int8ElementwiseKernel | GpuKernel | TensorKernel) -> Any:
    """The PrimFunc of `kernel`, unscheduled."""
    match kernel:
        case ModuleKernel():
            return module(kernel)
        case TensorKernel():
            return tensor(kernel)
        case GpuDenseKernel():
            return gpu_dense(kernel)
        case ConvKernel():
            return conv(kernel)
        case WinogradKernel():
            return winograd(kernel)
        case Bf16ConvKernel():
            return bf16_conv(kernel)
        case DepthwiseKernel():
            return depthwise(kernel)
        case DenseKernel():
            return dense(kernel)
        case PoolKernel():
            return pool(kernel)
        case ElementwiseKernel():
            return elementwise(kernel)
        case ResampleKernel():
            return resample(kernel)
        case GatherKernel():
            return gather(kernel)
        case PackKernel():
            return pack(kernel)
        case UnpackKernel():
            return unpack(kernel)
        case FillKernel():
            return fill(kernel)
        case FlatKernel():
            return flat(kernel)
        case SoftmaxKernel():
            return softmax(kernel)
        case ArgMaxKernel():
            return argmax(kernel)
        case Int8ConvKernel():
            return int8_conv(kernel)
        case Int8DepthwiseKernel():
            return int8_depthwise(kernel)
        case Int8DenseKernel():
            return int8_dense(kernel)
        case Int8PoolKernel():
            return int8_pool(kernel)
        case Int8MeanKernel():
            return int8_mean(kernel)
        case Int8SumKernel():
            return int8_sum(kernel)
        case Int8ProductKernel():
            return int8_product(kernel)
        case LookupKernel():
            return lookup(kernel)
        case QuantizeKernel():
            return quantize(kernel)
        case Int8SoftmaxKernel():
            return int8_softmax(kernel)

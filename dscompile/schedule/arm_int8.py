"""Int8 kernels for 64-bit Arm: which instruction computes what, by what the target has and how weights were packed."""

from __future__ import annotations

from typing import Any

from dscompile.plan.int8_kernels import Int8ConvKernel, Int8DenseKernel, Int8DepthwiseKernel, Int8Kernel
from dscompile.plan.knobs import DepthwiseKnobs, Knobs, PixelKnobs
from dscompile.schedule.arm_int8_convolution import LANES, conv_by_products, conv_by_sdot, conv_by_smmla
from dscompile.schedule.arm_int8_dense import UNITS, dense_by_products, dense_by_sdot
from dscompile.schedule.arm_int8_depthwise import depthwise_by_products, depthwise_by_sdot
from dscompile.target import Target

PrimFunc = Any

SDOT_WORD, SMMLA_WORD, PRODUCTS_WORD = 4, 8, 8  # neighbouring input channels that each instruction sums


def scheduled(kernel: Int8Kernel, knobs: Knobs | None, target: Target) -> PrimFunc | None:
    """The fast kernel, or None if there is none for what `kernel` asks for."""
    match kernel, knobs:
        case Int8ConvKernel(), PixelKnobs() if _is_in_blocks(kernel):
            return _conv(kernel, knobs, target)
        case Int8DepthwiseKernel(), DepthwiseKnobs() if _is_in_blocks(kernel):
            if kernel.word == 1:
                return depthwise_by_products(kernel, knobs)
            return depthwise_by_sdot(kernel, knobs) if target.has("asimddp") else None
        case Int8DenseKernel(), None if kernel.panel % UNITS == 0:
            return _dense(kernel, target)
    return None


def _is_in_blocks(kernel: Int8ConvKernel | Int8DepthwiseKernel) -> bool:
    """Whether neighbouring pixels lie side by side, a d register each."""
    return kernel.lanes == LANES and kernel.x.pixel == kernel.y.pixel == LANES


def _conv(kernel: Int8ConvKernel, knobs: PixelKnobs, target: Target) -> PrimFunc | None:
    if kernel.word == SDOT_WORD and target.has("asimddp"):
        return conv_by_sdot(kernel, knobs)
    if kernel.word == SMMLA_WORD and target.has("i8mm"):
        return conv_by_smmla(kernel, knobs)
    if kernel.word == PRODUCTS_WORD:
        return conv_by_products(kernel, knobs)
    return None


def _dense(kernel: Int8DenseKernel, target: Target) -> PrimFunc | None:
    """Inputs that are no whole number of words are left to the schedule that reads single bytes."""
    if kernel.word == SDOT_WORD and target.has("asimddp") and kernel.in_channels % SDOT_WORD == 0:
        return dense_by_sdot(kernel)
    if kernel.word == PRODUCTS_WORD and kernel.in_channels % PRODUCTS_WORD == 0:
        return dense_by_products(kernel)
    return None

"""Int8 kernels for x86: which instruction computes what, by what the target has and how weights were packed."""

from __future__ import annotations

from typing import Any

from dscompile.plan.int8_kernels import Int8ConvKernel, Int8DenseKernel, Int8DepthwiseKernel, Int8Kernel
from dscompile.plan.int8_tiles_x86 import fits_stack
from dscompile.plan.knobs import DepthwiseKnobs, Knobs, PixelKnobs
from dscompile.schedule.x86_int8_convolution import conv_by_vpdpbusd, conv_by_vpmaddwd
from dscompile.schedule.x86_int8_dense import dense_by_vpmaddwd
from dscompile.schedule.x86_int8_depthwise import depthwise_by_vpmaddwd
from dscompile.target import Target

PrimFunc = Any

VPMADDWD_WORD = 2  # neighboring input channels that it sums; of those that VPDPBUSD does, a kernel is `unsigned`


def scheduled(kernel: Int8Kernel, knobs: Knobs | None, target: Target) -> PrimFunc | None:
    """The fast kernel, or None if there is none for what `kernel` asks for."""
    match kernel, knobs:
        case Int8ConvKernel(), PixelKnobs() if _is_in_blocks(kernel, target) and fits_stack(kernel, knobs.pixels):
            return _conv(kernel, knobs, target)
        case Int8DepthwiseKernel(), DepthwiseKnobs() if _is_in_blocks(kernel, target) and kernel.word == 1:
            return depthwise_by_vpmaddwd(kernel, knobs, target)
        case Int8DenseKernel(), None if kernel.panel % target.lanes == 0 and kernel.word == VPMADDWD_WORD:
            return dense_by_vpmaddwd(kernel, target)
    return None


def _conv(kernel: Int8ConvKernel, knobs: PixelKnobs, target: Target) -> PrimFunc | None:
    if kernel.panel % target.lanes:
        return None
    if kernel.unsigned:
        return conv_by_vpdpbusd(kernel, knobs, target)
    return conv_by_vpmaddwd(kernel, knobs, target) if kernel.word == VPMADDWD_WORD else None


def _is_in_blocks(kernel: Int8ConvKernel | Int8DepthwiseKernel, target: Target) -> bool:
    """Whether neighboring pixels lie side by side, whole vectors of sums to a block."""
    return kernel.lanes % target.lanes == 0 and kernel.x.pixel == kernel.y.pixel == kernel.lanes

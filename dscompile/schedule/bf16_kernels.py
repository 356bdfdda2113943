"""Bfloat16 kernels: which instruction computes one, by how its weights were packed."""

from __future__ import annotations

from typing import Any

from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.knobs import Knobs, PixelKnobs
from dscompile.schedule.arm_bf16 import conv_by_bfmmla
from dscompile.schedule.bf16_instructions import BFMMLA_WORD, multiplies
from dscompile.schedule.x86_bf16 import conv_by_dpbf16
from dscompile.target import Target

PrimFunc = Any


def scheduled(kernel: Bf16ConvKernel, knobs: Knobs | None, target: Target) -> PrimFunc:
    """The scheduled PrimFunc of `kernel`. A target without its instruction gets the same in plain operations."""
    if not isinstance(knobs, PixelKnobs):
        raise ValueError(f"{kernel.kind} kernels do not take {type(knobs).__name__}")
    conv = conv_by_bfmmla if kernel.word == BFMMLA_WORD else conv_by_dpbf16
    return multiplies(conv(kernel, knobs), kernel.word, target)

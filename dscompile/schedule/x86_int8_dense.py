"""Int8 matrix-vector products for x86 by VPMADDWD: a panel of sums in registers, weights read once."""

from __future__ import annotations

from typing import Any

from tvm import tirx

from dscompile import compute
from dscompile.plan.int8_kernels import Int8DenseKernel
from dscompile.schedule import x86_vectors as x86
from dscompile.schedule.vector_code import Code, load
from dscompile.schedule.x86_requantization import narrowed, scaled
from dscompile.target import Target

Expr = Any
PrimFunc = Any

STEP = 16  # inputs that are widened, and pairs of them unrolled, at once


def dense_by_vpmaddwd(kernel: Int8DenseKernel, target: Target) -> PrimFunc:
    """Inputs become int16 first; a pair of them in all lanes meets the weights of a panel, vector by vector."""
    function = compute.define(kernel)
    x, weights, *constants, y = function.params
    lanes, form = target.lanes, kernel.requantization
    vectors, pairs = kernel.panel // lanes, -(-kernel.in_channels // 2)
    code = Code()
    words = code.buffer(-(-kernel.in_channels // STEP) * STEP // 2, "int32", "words")
    with code.loop(kernel.in_channels // STEP, "k") as k:
        wide = x86.widened(load(x, [k * STEP], STEP), "int16")
        code.store(words, [k * (STEP // 2)], tirx.reinterpret(f"int32x{STEP // 2}", wide))
    for first in range(kernel.in_channels // STEP * STEP, kernel.in_channels, 2):
        # The weights of what lies beyond the last input are 0.
        both = x86.shuffle([load(x, [first], 1), load(x, [min(first + 1, kernel.in_channels - 1)], 1)], (0, 1))
        code.store(words, [first // 2], tirx.reinterpret("int32", x86.widened(both, "int16")))

    with code.loop(kernel.out_channels // kernel.panel, "panel") as panel:
        sums = code.sums(vectors, lanes)

        def add(pair: Expr) -> None:
            pixel = tirx.reinterpret(
                f"int16x{2 * lanes}", code.value(tirx.Broadcast(tirx.BufferLoad(words, [pair]), lanes), "x")
            )
            for v in range(vectors):
                by = x86.widened(load(weights, [panel, pair, lanes * v, 0], 2 * lanes), "int16")
                sums[v] = sums[v] + x86.vpmaddwd(pixel, by, target)

        unrolled = STEP // 4
        with code.loop(pairs // unrolled, "pair") as step:
            for index in range(unrolled):
                add(step * unrolled + index)
        for pair in range(pairs // unrolled * unrolled, pairs):
            add(pair)
        together = x86.narrowed_together(lanes)
        for first in range(0, vectors, together):
            some = range(first, min(first + together, vectors))
            unit = panel * kernel.panel
            numbers = [
                scaled(sums[v], [load(c, [unit + lanes * v], lanes) for c in constants], form, target) for v in some
            ]
            code.store(y, [unit + lanes * first], narrowed(numbers, form, target))
    return code.body_of(function)

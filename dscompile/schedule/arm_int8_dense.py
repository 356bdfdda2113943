"""Int8 matrix-vector products for 64-bit Arm, by SDOT or by SMULL: a panel of sums in registers, weights read once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx

from dscompile import compute
from dscompile.plan.int8_kernels import Int8DenseKernel
from dscompile.schedule import neon
from dscompile.schedule.neon_requantization import clamped, narrowed, scaled
from dscompile.schedule.vector_code import Code, Sums, load

Expr = Any
PrimFunc = Any

UNITS = 8  # outputs that are stored at once


def dense_by_sdot(kernel: Int8DenseKernel) -> PrimFunc:
    """A register of x is four words, each of which SDOT takes against the weights of four outputs."""
    function = compute.define(kernel)
    x, weights, *_ = function.params
    vectors, words = kernel.panel // 4, kernel.in_channels // 4
    code = Code()

    def add_products(panel: Expr, sums: Sums, first: Expr, count: int) -> None:
        """Of `count` words of x."""
        seen = code.value(load(x, [first], count), "x")
        for word in range(count):
            by = neon.element(seen, word, 4) if count > 1 else tirx.Broadcast(seen, 4)
            for v in range(vectors):
                w = code.value(load(weights, [panel, first + word, 0, 4 * v], 4), "w")
                sums[v] = neon.sdot(sums[v], w, by)

    with code.loop(kernel.out_channels // kernel.panel, "panel") as panel:
        sums = code.sums(vectors)
        with code.loop(words // 4, "k") as k:
            add_products(panel, sums, k * 4, 4)
        for word in range(words - words % 4, words):
            add_products(panel, sums, word, 1)
        _store(code, kernel, function, panel, lambda v: sums[v])
    return code.body_of(function)


def dense_by_products(kernel: Int8DenseKernel) -> PrimFunc:
    """A register of sums for each output; eight products of bytes at once, of 16 inputs if no weight is -128."""
    function = compute.define(kernel)
    x, weights, *_ = function.params
    panel_units, blocks = kernel.panel, kernel.in_channels // 8
    together = 2 if kernel.smallest_weight > -128 else 1
    code = Code()

    def add_products(panel: Expr, sums: Sums, first: Expr, count: int) -> None:
        """Of `count` times eight inputs."""
        seen = [code.value(tirx.reinterpret("int8x8", load(x, [2 * (first + b)], 2)), "x") for b in range(count)]
        for n in range(panel_units):
            products = None
            for b in range(count):
                w = code.value(tirx.reinterpret("int8x8", load(weights, [panel, first + b, n, 0], 2)), "w")
                product = neon.smull_bytes(seen[b], w)
                products = product if products is None else products + product
            sums[n] = neon.sadalp(sums[n], products)

    with code.loop(kernel.out_channels // panel_units, "panel") as panel:
        sums = code.sums(panel_units)
        with code.loop(blocks // together, "k") as k:
            add_products(panel, sums, k * together, together)
        if blocks % together:
            add_products(panel, sums, blocks - 1, 1)

        def total(v: int) -> Expr:
            parts = [sums[4 * v + n] for n in range(4)]
            return neon.addp(neon.addp(parts[0], parts[1]), neon.addp(parts[2], parts[3]))

        _store(code, kernel, function, panel, total)
    return code.body_of(function)


def _store(code: Code, kernel: Int8DenseKernel, function: PrimFunc, panel: Expr, total: Callable[[int], Expr]) -> None:
    """Requantizes and stores the sums of a panel: total(v) are those of four units."""
    _, _, *constants, y = function.params
    form = kernel.requantization
    for first in range(0, kernel.panel, UNITS):
        unit = panel * kernel.panel + first
        low, high = (
            scaled(code, total(first // 4 + half), [load(c, [unit + 4 * half], 4) for c in constants], form)
            for half in (0, 1)
        )
        code.store(y, [unit], clamped(narrowed(low, high, form), form))

"""Pointwise convolutions by tensor cores: how the warps of a block load, multiply and store.

A block makes knobs.pixels x knobs.channels outputs. `step` input channels at a time go through shared memory as halves
(pixels x step, and step x channels), two buffers of each in turn: while one is multiplied, the next step is on its way
from global memory into registers. At the end every warp lays its sums, tile by tile, into a part of the same shared
memory that is its own, and finishes them as quads.

Rows in shared memory are 8 halves (or floats) longer than they must be, so that neither the rows of a tile nor the
stores of a warp meet in one bank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx

from dscompile import compute
from dscompile.compute.activation import activate
from dscompile.ir.ops import Activation
from dscompile.plan.gpu.kernels import QUAD
from dscompile.plan.gpu.tensor_kernels import HALVES, PAD, SIDE, SUMS_PITCH, TensorKernel
from dscompile.plan.knobs import TensorKnobs
from dscompile.schedule import wmma
from dscompile.schedule.thread_code import Buffer, Expr, ThreadCode

PrimFunc = Any


def pointwise(kernel: TensorKernel, knobs: TensorKnobs) -> PrimFunc:
    """The kernel's function. Raises ValueError for knobs that do not divide, or that are not those of its weights."""
    if kernel.panel != knobs.channels or kernel.depth % knobs.step:
        raise ValueError(f"weights of {kernel.depth} x {kernel.panel} are not packed for {knobs}")
    return _Pointwise(kernel, knobs).function()


@dataclass(frozen=True)
class _Thread:
    """Where a thread is: its number in the block, its warp down and across, and its number in the warp."""

    number: Expr
    down: Expr
    across: Expr
    lane: Expr
    warp: Expr


class _Pointwise:
    """The code of a kernel in the making."""

    def __init__(self, kernel: TensorKernel, knobs: TensorKnobs) -> None:
        self.kernel, self.knobs = kernel, knobs
        self.prim = compute.define(kernel)
        self.x, self.weights, self.bias, *residual, self.y = self.prim.params
        self.residual = residual[0] if residual else None
        self.code = ThreadCode()
        self.tile, self.panel = tirx.Var("tile", "int32"), tirx.Var("panel", "int32")
        self.steps = kernel.depth // knobs.step
        buffers = min(2, self.steps)
        self.pitch, self.weights_pitch = knobs.step + PAD, knobs.channels + PAD
        code = self.code
        self.first_weight = buffers * knobs.pixels * self.pitch
        halves = self.first_weight + buffers * knobs.step * self.weights_pitch
        sums = 2 * knobs.threads // 32 * SIDE * SUMS_PITCH  # in halves
        self.shared = code.shared((max(halves, sums),), "float16", "shared")
        self.quad = code.registers((QUAD,), "float32", "quad_of_sums")

    def pixel_at(self, buffer: Expr, pixel: Expr, channel: Expr) -> Expr:
        """Where an element of the image lies in shared memory."""
        return (buffer * self.knobs.pixels + pixel) * self.pitch + channel

    def weight_at(self, buffer: Expr, channel: Expr, unit: Expr) -> Expr:
        """Where a weight lies in shared memory: behind the elements of the image."""
        return self.first_weight + (buffer * self.knobs.step + channel) * self.weights_pitch + unit

    def function(self) -> PrimFunc:
        """Loads, products, results."""
        code, knobs = self.code, self.knobs
        number = tirx.Var("thread", "int32")
        warp = number // 32
        thread = _Thread(number, warp % knobs.warps[0], warp // knobs.warps[0], number % 32, warp)
        sums = self._products(thread)
        self._results(thread, sums)
        grid = (-(-self.kernel.pixels // knobs.pixels), self.kernel.panels)
        return code.body_of(self.prim, (self.tile, self.panel), grid, number, knobs.threads)

    # Sums

    def _products(self, thread: _Thread) -> Buffer:
        """The sums of every warp, in fragments."""
        code, (down, across) = self.code, self.knobs.tiles
        sums = wmma.fragments(code, down * across, wmma.SUMS, "sums")
        a, b = wmma.fragments(code, down, wmma.A, "a"), wmma.fragments(code, across, wmma.B, "b")
        with code.unrolled(down * across, "t") as t:
            wmma.clear(code, sums, t)
        pixels, weights = _Pixels(self, thread), _Weights(self, thread)
        pixels.load(0)
        weights.load(0)
        with code.loop(self.steps, "step") as step:
            buffer = step % min(2, self.steps)
            pixels.store(buffer)
            weights.store(buffer)
            code.barrier()
            if self.steps > 1:
                with code.when(step + 1 < self.steps):
                    pixels.load(step + 1)
                    weights.load(step + 1)
            with code.unrolled(self.knobs.step // SIDE, "k") as k:
                with code.unrolled(across, "j") as j:
                    column = (thread.across * across + j) * SIDE
                    wmma.load(code, b, j, self.shared, self.weight_at(buffer, k * SIDE, column), self.weights_pitch)
                with code.unrolled(down, "i") as i:
                    row = (thread.down * down + i) * SIDE
                    wmma.load(code, a, i, self.shared, self.pixel_at(buffer, row, k * SIDE), self.pitch)
                    with code.unrolled(across, "j") as j:
                        wmma.multiply(code, sums, i * across + j, a, i, b, j)
        return sums

    # Results

    def _results(self, thread: _Thread, sums: Buffer) -> None:
        """Bias, activation and residual, quad by quad; a warp stores 16 pixels of two quads at a time.

        Eight threads that read together have 4 pixels x 2 quads, 4 rows of 32 bytes that no bank has twice.
        """
        code, (down, across) = self.code, self.knobs.tiles
        code.barrier()  # from here on shared memory holds sums
        own = thread.warp * (SIDE * SUMS_PITCH)
        lane, quads = thread.lane, self.kernel.stage.quads
        pixel_of_lane = lane % 4 + lane // 8 * 4
        quad_of_lane = lane // 4 % 2
        with code.unrolled(down, "i") as i, code.unrolled(across, "j") as j:
            wmma.store(code, self.shared, own, SUMS_PITCH, sums, i * across + j)
            code.warp_barrier()
            pixel = self.tile * self.knobs.pixels + (thread.down * down + i) * SIDE + pixel_of_lane
            for pair in range(SIDE // QUAD // 2):
                in_tile = quad_of_lane + 2 * pair
                quad = (self.panel * self.knobs.channels + (thread.across * across + j) * SIDE) // QUAD + in_tile
                guards = [pixel < self.kernel.pixels] if self.kernel.pixels % self.knobs.pixels else []
                guards += [quad < quads] if quads * QUAD % self.knobs.channels else []
                with code.when(tirx.all(*guards) if guards else None):
                    wmma.load_quad(code, self.quad, self.shared, own + pixel_of_lane * SUMS_PITCH + in_tile * QUAD)
                    with code.vector(QUAD) as channel:
                        value = self._finished(self.quad[channel], quad, pixel, channel)
                        code.store(self.y, (quad, 0, pixel, channel), value)
            code.warp_barrier()

    def _finished(self, total: Expr, quad: Expr, pixel: Expr, channel: Expr) -> Expr:
        inner = self.kernel.stage.finish
        assert isinstance(inner, Activation)
        made = activate(total + self.bias[quad, channel], inner)
        if self.residual is None:
            return made
        return activate(made + self.residual[quad, 0, pixel, channel], self.kernel.residual_activation)


class _Pixels:
    """What a thread brings of the pixels of a step: quads, rounded to half between registers and shared memory.

    Sixteen threads that store together have 8 pixels x 2 quads: 8 rows of 16 bytes that no bank has twice.
    """

    def __init__(self, owner: _Pointwise, thread: _Thread) -> None:
        self.owner, self.thread = owner, thread
        self.quads = owner.knobs.step // QUAD
        self.total = owner.knobs.pixels * self.quads
        self.count = -(-self.total // owner.knobs.threads)
        self.registers = owner.code.registers((self.count, QUAD), "float32", "x_next")

    def _place(self, index: Expr) -> tuple[Expr, Expr]:
        """Pixel of the block and quad of the step."""
        eights = self.owner.knobs.pixels // 8
        inner, outer = index % 16, index // 16
        return outer % eights * 8 + inner % 8, outer // eights * 2 + inner // 8

    def _index(self, n: Expr) -> Expr:
        return n * self.owner.knobs.threads + self.thread.number

    def _inside(self, n: Expr) -> Expr | None:
        """Whether there is an n-th quad for this thread."""
        return self._index(n) < self.total if self.total % self.owner.knobs.threads else None

    def load(self, step: Expr) -> None:
        """Global memory to registers, zeros beyond the image and its channels."""
        owner, code, kernel = self.owner, self.owner.code, self.owner.kernel
        with code.unrolled(self.count, "n") as n:
            pixel, quad = self._place(self._index(n))
            pixel, quad = owner.tile * owner.knobs.pixels + pixel, step * self.quads + quad
            guards = [pixel < kernel.pixels] if kernel.pixels % owner.knobs.pixels else []
            guards += [quad < kernel.stage.in_quads] if kernel.stage.in_quads * QUAD % owner.knobs.step else []
            with code.when(self._inside(n)), code.vector(QUAD) as channel:
                value = owner.x[quad, 0, pixel, channel]
                if guards:
                    value = tirx.if_then_else(tirx.all(*guards), value, tirx.const(0.0, "float32"))
                code.store(self.registers, (n, channel), value)

    def store(self, buffer: Expr) -> None:
        """Registers to shared memory."""
        owner, code = self.owner, self.owner.code
        with code.unrolled(self.count, "n") as n:
            pixel, quad = self._place(self._index(n))
            with code.when(self._inside(n)):
                wmma.store_halves(
                    code, owner.shared, owner.pixel_at(buffer, pixel, quad * QUAD), self.registers, (n, 0)
                )


class _Weights:
    """What a thread brings of the weights of a step: eight halves of a row at a time."""

    def __init__(self, owner: _Pointwise, thread: _Thread) -> None:
        self.owner, self.thread = owner, thread
        self.row_vectors = owner.knobs.channels // HALVES
        self.total = owner.knobs.step * self.row_vectors
        self.count = -(-self.total // owner.knobs.threads)
        self.registers = owner.code.registers((self.count, HALVES), "float16", "weights_next")

    def _place(self, n: Expr) -> tuple[Expr, Expr, Expr | None]:
        """Row of the step, first half of the row, and whether there is an n-th vector for this thread."""
        index = n * self.owner.knobs.threads + self.thread.number
        inside = index < self.total if self.total % self.owner.knobs.threads else None
        return index // self.row_vectors, index % self.row_vectors * HALVES, inside

    def load(self, step: Expr) -> None:
        """Global memory to registers."""
        owner, code = self.owner, self.owner.code
        with code.unrolled(self.count, "n") as n:
            row, first, inside = self._place(n)
            with code.when(inside), code.vector(HALVES) as half:
                value = owner.weights[owner.panel, step * owner.knobs.step + row, first + half]
                code.store(self.registers, (n, half), value)

    def store(self, buffer: Expr) -> None:
        """Registers to shared memory."""
        code = self.owner.code
        with code.unrolled(self.count, "n") as n:
            row, first, inside = self._place(n)
            with code.when(inside), code.vector(HALVES) as half:
                code.store(
                    self.owner.shared, (self.owner.weight_at(buffer, row, first + half),), self.registers[n, half]
                )

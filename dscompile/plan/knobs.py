"""Knobs: the free choices of a schedule, each with its valid range. A schedule takes exactly these and nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TileKnobs:
    """Register tile of a matrix-like kernel (pointwise, conv): `pixels` x panel accumulators stay in registers.

    `unroll_channels` input channels are unrolled in the inner loop. `panel_outer`: every weight panel is streamed once
    over all pixels; otherwise every tile of pixels sees all panels before the next one. `prefetch` (pointwise kernels
    with `panel_outer`): the next panel is fetched into the second-level cache while one is at work.
    """

    pixels: int
    unroll_channels: int = 1
    panel_outer: bool = True
    prefetch: bool = False

    def __post_init__(self) -> None:
        if self.pixels < 1 or self.unroll_channels < 1:
            raise ValueError(f"tile sizes must be positive: {self}")


@dataclass(frozen=True)
class WinogradKnobs:
    """`rows` x `columns` tiles are transformed together; a panel of their products stays in registers."""

    rows: int
    columns: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise ValueError(f"tile sizes must be positive: {self}")


@dataclass(frozen=True)
class PixelKnobs:
    """`pixels` x panel sums of an int8 convolution stay in registers.

    `reread_weights`: weights are read for every tile, because LLVM unrolls the loop over input channels and then moves
    them all out of the loop over tiles.
    """

    pixels: int
    reread_weights: bool = False

    def __post_init__(self) -> None:
        if self.pixels < 1:
            raise ValueError(f"tile sizes must be positive: {self}")


@dataclass(frozen=True)
class DepthwiseKnobs:
    """`rows` x `columns` output pixels of one block of channels stay in registers for all taps.

    `reread_taps`: the taps are read for every tile, because not all of them fit into registers beside the tile.
    """

    columns: int
    rows: int = 1
    reread_taps: bool = False

    def __post_init__(self) -> None:
        if self.columns < 1 or self.rows < 1:
            raise ValueError(f"tile sizes must be positive: {self}")


@dataclass(frozen=True)
class DenseKnobs:
    """`partial_sums` accumulators per output vector hide the latency of the multiply-add.

    Or `streams` panels at a time do, whose weights come from as many places: x86 prefetches each of them.
    """

    partial_sums: int = 1
    streams: int = 1

    def __post_init__(self) -> None:
        if min(self.partial_sums, self.streams) < 1:
            raise ValueError(f"partial_sums and streams must be positive: {self}")
        if self.partial_sums > 1 < self.streams:
            raise ValueError(f"panels in streams have one sum each: {self}")


@dataclass(frozen=True)
class ModuleKnobs:
    """How the threads of a GPU block share the tile of a module (plan/gpu/kernels.py).

    A thread makes `quads` of four channels for `thread_rows` pixels below each other; a block makes `block_quads` at a
    time and goes through `passes` of them. `step` quads of the channels that the last stage sums over are brought into
    shared memory at a time. A thread of an expanding stage makes `expand_quads` for one pixel.
    """

    quads: int = 1
    thread_rows: int = 1
    block_quads: int = 1
    passes: int = 1
    step: int = 1
    expand_quads: int = 1

    def __post_init__(self) -> None:
        if min(self.quads, self.thread_rows, self.passes, self.step, self.expand_quads) < 1:
            raise ValueError(f"tile sizes must be positive: {self}")
        if self.block_quads < 1 or self.block_quads % self.quads:
            raise ValueError(f"the quads of a thread must divide those of its block: {self}")

    def threads(self, rows: int, columns: int) -> int:
        """Threads of a block that makes a tile of `rows` x `columns` pixels."""
        return self.block_quads // self.quads * (rows // self.thread_rows) * columns


@dataclass(frozen=True)
class TensorKnobs:
    """How the warps of a GPU block share the tile of a kernel for tensor cores (plan/gpu/tensor_kernels.py).

    `warps` side by side down the pixels and across the output channels, each with `tiles` of 16 pixels x 16 channels.
    `step` input channels are brought into shared memory at a time.
    """

    warps: tuple[int, int]
    tiles: tuple[int, int]
    step: int = 32

    def __post_init__(self) -> None:
        if min(*self.warps, *self.tiles) < 1 or self.step < 16 or self.step % 16:
            raise ValueError(f"tiles are of 16 x 16 x 16: {self}")

    @property
    def pixels(self) -> int:
        """Of a block."""
        return 16 * self.warps[0] * self.tiles[0]

    @property
    def channels(self) -> int:
        """Output channels of a block."""
        return 16 * self.warps[1] * self.tiles[1]

    @property
    def threads(self) -> int:
        """Of a block."""
        return 32 * self.warps[0] * self.warps[1]


Knobs = TileKnobs | WinogradKnobs | PixelKnobs | DepthwiseKnobs | DenseKnobs | ModuleKnobs | TensorKnobs

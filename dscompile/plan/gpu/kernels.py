"""Kernels of GPUs: convolutions that pad by themselves, alone or fused with what stays in shared memory.

Images are blocked as on CPUs, four channels (a *quad*) side by side: a float4, or four bytes in a word. They have no
halo: a kernel replaces what lies outside of an image by its zero.

A `ModuleKernel` is a chain of stages, of which only the first reads and the last writes global memory:

- conv (1x1 is the pointwise kernel), or depthwise;
- depthwise -> pointwise, conv -> depthwise;
- conv -> depthwise -> pointwise: the inverted residual, or the first layers of a network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dscompile.ir.ops import NONE, Activation, Pair
from dscompile.ir.tensor import DType
from dscompile.plan.int8_kernels import Requantization
from dscompile.plan.kernels import ImageStrides, Parameter, strided_parameter
from dscompile.plan.layout import Strides

QUAD = 4  # channels that lie side by side: a float4, or a word of bytes
DENSE_PANEL = 32  # units of a dense kernel's panel: as many as a warp has threads

Role = Literal["expand", "depthwise", "project"]


@dataclass(frozen=True)
class Stage:
    """One convolution of a module: [height_in, width_in] -> [height, width] pixels, its padding at the top and left.

    `finish` is the activation of float32 stages, the requantization of int8 ones. `zero` is what stands for 0 in the
    input of an int8 stage. `panel` quads of output channels lie together in the weights of a conv stage:
    float32 [quads / panel][kh][kw][channels][panel][4], int8 [..][words of channels][panel][4] words; those of a
    depthwise stage are [quads][kh][kw][4], one word with one byte of it for each int8 channel.
    """

    role: Role
    in_channels: int
    channels: int
    in_size: Pair
    size: Pair
    kernel: Pair
    stride: Pair
    dilation: Pair
    padding: Pair
    finish: Activation | Requantization = NONE
    zero: int = 0
    panel: int = 1

    def __post_init__(self) -> None:
        if self.role == "depthwise" and self.in_channels != self.channels:
            raise ValueError("a depthwise stage has as many output channels as input channels")
        if self.quads % self.panel:
            raise ValueError(f"panels of {self.panel} do not divide {self.quads} quads")

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel has a filter of its own."""
        return self.role == "depthwise"

    @property
    def is_pointwise(self) -> bool:
        """A 1x1 convolution of stride 1."""
        return not self.is_depthwise and self.kernel == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0)

    def in_rows_of(self, columns: int) -> Stage:
        """The same pointwise stage, its pixels in rows of `columns`."""
        size = (self.size[0] * self.size[1] // columns, columns)
        return replace(self, in_size=size, size=size)

    @property
    def quads(self) -> int:
        """Quads of output channels."""
        return -(-self.channels // QUAD)

    @property
    def in_quads(self) -> int:
        """Quads of input channels."""
        return -(-self.in_channels // QUAD)

    def input_extent(self, rows: int, columns: int) -> Pair:
        """Rows and columns of the input that a tile of outputs sees."""
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.stride, self.dilation
        return (rows - 1) * sh + (kh - 1) * dh + 1, (columns - 1) * sw + (kw - 1) * dw + 1

    def parameters(self) -> tuple[Parameter, ...]:
        """Weights, and a bias or the constants of the requantization."""
        alignment = 4 * QUAD
        if isinstance(self.finish, Requantization):
            names = tuple(
                Parameter(f"{self.role}_{p.name}", p.dtype, alignment=alignment) for p in self.finish.parameters
            )
            dtype: DType = "int32" if self.is_depthwise else "int8"
            return (Parameter(f"{self.role}_weights", dtype, alignment=alignment), *names)
        return (
            Parameter(f"{self.role}_weights", alignment=alignment),
            Parameter(f"{self.role}_bias", alignment=alignment),
        )


_CHAINS: tuple[tuple[Role, ...], ...] = (
    ("project",),
    ("depthwise",),
    ("depthwise", "project"),
    ("expand", "depthwise"),
    ("expand", "depthwise", "project"),
)


@dataclass(frozen=True)
class ModuleKernel:
    """A chain of stages over one image, float32 or int8: y = outer(last stage + residual).

    `x` is blocked, or flat with float32 elements (the network's input), which only a conv stage can read. `rows` x
    `columns` outputs are one tile: views of the result go from tile to tile. int8 modules have no residual.
    """

    stages: tuple[Stage, ...]
    rows: int
    columns: int
    x: Strides | ImageStrides
    y: Strides
    dtype: DType = "float32"
    residual: Strides | None = None
    residual_activation: Activation = NONE

    def __post_init__(self) -> None:
        if tuple(stage.role for stage in self.stages) not in _CHAINS:
            raise ValueError(f"no module has the stages {[stage.role for stage in self.stages]}")
        if isinstance(self.x, ImageStrides) and (self.stages[0].is_depthwise or self.dtype != "float32"):
            raise ValueError("only a float32 conv stage reads a flat image")
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            if before.size != after.in_size or before.channels != after.in_channels:
                raise ValueError(f"stage {after.role} does not read what stage {before.role} makes")

    def with_stages(self, stages: tuple[Stage, ...]) -> ModuleKernel:
        """The same with other stages, such as finished ones."""
        return replace(self, stages=stages)

    @property
    def kind(self) -> str:
        """The field's word for the chain."""
        prefix = "int8_" if self.dtype == "int8" else ""
        return prefix + "_".join(self._word(stage) for stage in self.stages)

    @staticmethod
    def _word(stage: Stage) -> str:
        if stage.is_depthwise:
            return "depthwise"
        return "pointwise" if stage.kernel == (1, 1) and stage.stride == (1, 1) else "conv"

    @property
    def size(self) -> Pair:
        """Rows and columns of the result."""
        return self.stages[-1].size

    @property
    def tiles(self) -> Pair:
        """Tiles down and across."""
        return -(-self.size[0] // self.rows), -(-self.size[1] // self.columns)

    @property
    def has_ragged_tiles(self) -> bool:
        """Whether some tile reaches beyond the result."""
        return bool(self.size[0] % self.rows or self.size[1] % self.columns)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights and constants of the stages, [residual], y."""
        if isinstance(self.x, ImageStrides):
            x = strided_parameter("x", (self.x.channel, self.x.row, self.x.pixel))
        else:
            x = self._image("x", (self.x.block, self.x.row, self.x.pixel, 1))
        stages = (parameter for stage in self.stages for parameter in stage.parameters())
        residual = () if self.residual is None else (self._image("residual", self._tiled(self.residual)),)
        return (x, *stages, *residual, self._image("y", self._tiled(self.y), written=True))

    def _tiled(self, view: Strides) -> tuple[int, ...]:
        """Strides of [tile row][tile column][quad][row][column][lane]."""
        return (self.rows * view.row, self.columns * view.pixel, view.block, view.row, view.pixel, 1)

    def _image(self, name: str, strides: tuple[int, ...], written: bool = False) -> Parameter:
        return Parameter(name, self.dtype, written, strides, QUAD * (1 if self.dtype == "int8" else 4))


@dataclass(frozen=True)
class GpuDenseKernel:
    """y[n] = finish(sum_k x[k] w[k, n]), a panel of units and some slices of the sum at a time.

    Weights float32 [ceil(N / 32)][K][32], int8 [ceil(N / 32)][ceil(K / 4)][32][4]; x and y flat. `in_words`: int8 x is
    a whole number of words, and lies as they want it.
    """

    in_channels: int
    out_channels: int
    finish: Activation | Requantization = NONE
    dtype: DType = "float32"
    in_words: bool = False

    @property
    def kind(self) -> str:
        """Dense, of floats or bytes."""
        return "int8_dense" if self.dtype == "int8" else "dense"

    @property
    def panels(self) -> int:
        """Panels of units."""
        return -(-self.out_channels // DENSE_PANEL)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights, bias or constants of the requantization, y."""
        size = 1 if self.dtype == "int8" else 4
        constants = self.finish.parameters if isinstance(self.finish, Requantization) else (Parameter("bias"),)
        return (
            Parameter("x", self.dtype, alignment=4 if self.in_words else size),
            Parameter("weights", self.dtype, alignment=16),
            *constants,
            Parameter("y", self.dtype, written=True, alignment=size),
        )


GpuKernel = ModuleKernel | GpuDenseKernel

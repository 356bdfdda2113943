"""Kernels of GPUs that multiply with tensor cores: halves in, float32 sums (plan/gpu/kernels.py has all others).

Images stay float32, as every other kernel has them; a kernel rounds what it multiplies to half on the way into shared
memory. Weights are constants in half.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dscompile.ir.ops import NONE, Activation, Pair
from dscompile.plan.gpu.kernels import QUAD, Stage
from dscompile.plan.kernels import Parameter
from dscompile.plan.layout import Strides

SIDE = 16  # of the tiles that a warp multiplies: 16 pixels x 16 channels of 16 input channels
PAD = 8  # elements between rows in shared memory, so that rows that are read together lie in different banks
SUMS_PITCH = SIDE + PAD  # elements from one row of a tile of sums in shared memory to the next
HALVES = 8  # of a load of weights: 16 bytes


@dataclass(frozen=True)
class TensorKernel:
    """A pointwise convolution over the pixels of one image: y = outer(inner(x w + bias) + residual).

    The stage has its pixels in one row. `x` and `y` are blocked, float32 [quads][1][pixels][4]. `panel` output channels
    lie together in the weights, half [ceil(N / panel)][depth][panel], zero beyond the stage's channels; `depth` is at
    least those of the input.
    """

    stage: Stage
    panel: int
    depth: int
    x: Strides
    y: Strides
    residual: Strides | None = None
    residual_activation: Activation = NONE

    def __post_init__(self) -> None:
        if not self.stage.is_pointwise or self.stage.size[0] != 1:
            raise ValueError("tensor cores take a pointwise stage with its pixels in one row")
        if self.panel % SIDE or self.depth % SIDE or self.depth < self.stage.in_quads * QUAD:
            raise ValueError(f"weights of {self.depth} x {self.panel} are no tiles of {SIDE} x {SIDE} for this stage")

    @property
    def kind(self) -> str:
        """The field's word, and what is multiplied."""
        return "half_pointwise"

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The one stage."""
        return (self.stage,)

    def with_stages(self, stages: tuple[Stage, ...]) -> TensorKernel:
        """The same with another stage, such as a finished one."""
        (stage,) = stages
        return replace(self, stage=stage)

    @property
    def size(self) -> Pair:
        """One row of pixels."""
        return self.stage.size

    @property
    def pixels(self) -> int:
        """Of the image."""
        return self.stage.size[1]

    @property
    def panels(self) -> int:
        """Panels of output channels."""
        return -(-self.stage.channels // self.panel)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights, bias, [residual], y."""
        weights, bias = self.stage.parameters()
        halves = replace(weights, dtype="float16")
        residual = () if self.residual is None else (_image("residual", self.residual),)
        return (_image("x", self.x), halves, bias, *residual, _image("y", self.y, written=True))


def _image(name: str, view: Strides, written: bool = False) -> Parameter:
    return Parameter(name, "float32", written, (view.block, view.row, view.pixel, 1), 4 * QUAD)

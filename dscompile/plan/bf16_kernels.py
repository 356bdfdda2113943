"""The bfloat16 kernel of CPUs: a pointwise convolution whose factors are bfloat16 and whose sums are float32.

Images are float32 in memory, as for all other float kernels; what is read of x is rounded in registers. Weights lie as
bfloat16, `word` neighboring input channels of an output together: as many as the instruction of the target sums at
once (plan/bf16_tiles.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dscompile.ir.ops import Pair
from dscompile.plan.kernels import Epilogue, Parameter, strided_parameter
from dscompile.plan.layout import Strides


@dataclass(frozen=True)
class Bf16ConvKernel:
    """Pointwise convolution of a blocked image, without padding; a dense layer is one over a single pixel.

    Weights bfloat16 [N / panel][ceil(C_in / word)][panel][word], bias [N]; N is a whole number of panels, a panel a
    whole number of blocks of `lanes`, C_in the true number of channels.
    """

    kind: ClassVar[str] = "bf16_pointwise"
    height: int
    width: int
    in_channels: int
    out_channels: int
    panel: int
    lanes: int
    word: int
    stride: Pair
    x: Strides
    y: Strides
    epilogue: Epilogue

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """x, weights, bias, [residual], y. Images may begin at any element: vectors of a dense layer do."""
        residual = self.epilogue.residual
        step = 2 * self.panel * self.word  # bytes of weights that are read at once
        return (
            _image("x", self.x),
            Parameter("weights", "uint16", alignment=min(step & -step, 64)),
            Parameter("bias"),
            *(() if residual is None else (_image("residual", residual),)),
            _image("y", self.y, written=True),
        )


def _image(name: str, view: Strides, written: bool = False) -> Parameter:
    """An image [blocks][rows][columns][lanes]."""
    return strided_parameter(name, (view.block, view.row, view.pixel, 1), written)

"""What a convolution's kernels do with their sums: bias, activation and a residual image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dscompile.ir.network import Array, Layer
from dscompile.ir.ops import NONE, Binary, Conv2D
from dscompile.plan.builder import ProgramBuilder
from dscompile.plan.fusion import Work
from dscompile.plan.kernels import Epilogue
from dscompile.plan.program import Operand
from dscompile.plan.storage import BlockedView

EmitRows = Callable[[int, int], None]
"""Appends the calls for some rows of a result: the first one, and how many."""


@dataclass(frozen=True)
class Finish:
    """The epilogue of a convolution's kernels, and the image that its residual comes from."""

    epilogue: Epilogue
    residual: BlockedView | None

    def operands(self, row: int, column: int, block: int = 0) -> list[Operand]:
        """The residual's pointer for outputs from a pixel on."""
        return [] if self.residual is None else [self.residual.at(row, column, block)]


def finish_of(builder: ProgramBuilder, work: Work, op: Conv2D) -> Finish:
    """Of a convolution and the sum that is fused with it, if any."""
    if work.residual is None:
        return Finish(Epilogue(op.activation), None)
    other = builder.blocked(work.residual.other)
    addition = work.residual.layer.op
    outer = addition.activation if isinstance(addition, Binary) else NONE
    return Finish(Epilogue(op.activation, other.layout.strides, outer), other)


def bias_of(builder: ProgramBuilder, layer: Layer) -> Array | None:
    """The bias of a layer, [C_out], or None."""
    network = builder.network
    return network.weight(layer, "bias") if network.has_weight(layer, "bias") else None

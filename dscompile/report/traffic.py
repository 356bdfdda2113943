"""What the kernels of a GPU move, as it was counted, beside what their plan says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dscompile.report import text

if TYPE_CHECKING:
    from dscompile.report.record import Record


@dataclass(frozen=True)
class KernelBytes:
    """One kernel over the launches of one inference, its global memory counted.

    `load_bytes` and `store_bytes` are of images: the network's inputs, outputs and the arena. `weight_bytes` count
    each 32 bytes once for a block. `planned_*` are what the planner foresaw, None where nobody did. `efficiency` is
    the share of what warps ask for in what their requests move, and `bank_conflicts` the wavefronts of shared memory
    beyond the least, both of the blocks that were sampled.
    """

    symbol: str
    kind: str
    layers: tuple[str, ...]
    launches: int
    load_bytes: int
    store_bytes: int
    weight_bytes: int
    planned_activation_bytes: int | None
    planned_weight_bytes: int | None
    efficiency: float
    bank_conflicts: int

    @property
    def activation_bytes(self) -> int:
        """Loads and stores of images."""
        return self.load_bytes + self.store_bytes


def activation_bytes(kernels: Sequence[KernelBytes]) -> int:
    """Of one inference."""
    return sum(kernel.activation_bytes for kernel in kernels)


def traffic_table(kernels: Sequence[KernelBytes]) -> str:
    """A row for every kernel, and one for all."""
    header = ("kernel", "launches", "loaded B", "stored B", "planned B", "weights B", "coalesced", "conflicts")
    rows = [
        (
            kernel.symbol,
            str(kernel.launches),
            text.number(kernel.load_bytes),
            text.number(kernel.store_bytes),
            "" if kernel.planned_activation_bytes is None else text.number(kernel.planned_activation_bytes),
            text.number(kernel.weight_bytes),
            text.percent(kernel.efficiency),
            text.number(kernel.bank_conflicts),
        )
        for kernel in kernels
    ]
    total = (
        "all",
        str(sum(kernel.launches for kernel in kernels)),
        text.number(sum(kernel.load_bytes for kernel in kernels)),
        text.number(sum(kernel.store_bytes for kernel in kernels)),
        "",
        text.number(sum(kernel.weight_bytes for kernel in kernels)),
        "",
        "",
    )
    return text.table(header, [*rows, total], right=header[1:])


def traffic_record(kernels: Sequence[KernelBytes]) -> Record | None:
    """The kernels as JSON; None if nothing was counted."""
    if not kernels:
        return None
    return {
        "activation_bytes": activation_bytes(kernels),
        "weight_bytes": sum(kernel.weight_bytes for kernel in kernels),
        "kernels": [
            {**vars(kernel), "layers": list(kernel.layers), "activation_bytes": kernel.activation_bytes}
            for kernel in kernels
        ],
    }

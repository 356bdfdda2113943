"""What a network is and costs, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dscompile.ir.cost import layer_bytes, layer_cost, layer_flops, layer_kind
from dscompile.ir.network import Layer, Network
from dscompile.ir.tensor import Shape
from dscompile.report.roofline import Bound, layer_bound
from dscompile.target import Target

if TYPE_CHECKING:
    from dscompile.artifact import TuningInfo
    from dscompile.plan.program import Chosen, Program  # not needed, and not paid for, without a target
    from dscompile.report.cycles import LoopCycles
    from dscompile.report.gpu_plan import GpuPlan


@dataclass(frozen=True)
class LayerRow:
    """One layer: shapes are channels last; `flops_per_byte` is its arithmetic intensity.

    `standard_*` is the cost of the standard convolution in its place (dscompile.ir.cost.LayerCost). `share` is the
    layer's part of the network's roofline time, and `limit` what bounds it; both only with a target.
    """

    name: str
    kind: str
    input: Shape
    output: Shape
    macs: int
    parameters: int
    standard_macs: int
    standard_parameters: int
    size_bytes: int
    flops_per_byte: float
    share: float | None = None
    limit: str | None = None


@dataclass(frozen=True)
class ArenaBuffer:
    """A buffer of the planned arena; alive from step `first` to step `last`."""

    name: str
    offset_bytes: int
    size_bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class ArenaMap:
    """The arena as planned for a target: its size, the proven lower bound, where it peaks, and its buffers."""

    size_bytes: int
    lower_bound_bytes: int
    peak_step: str
    buffers: tuple[ArenaBuffer, ...]


@dataclass(frozen=True)
class Inspection:
    """A network's table of layers and its sums. `target`, `arena` and `loops` are None unless asked for, `modules`
    unless the target is a GPU. `tiles` are those of layers that have any to choose, `tuning` sums up where they come
    from.
    """

    network: Network
    layers: tuple[LayerRow, ...]
    target: Target | None = None
    arena: ArenaMap | None = None
    loops: tuple[LoopCycles, ...] | None = None
    modules: GpuPlan | None = None
    tiles: tuple[Chosen, ...] = ()
    tuning: TuningInfo | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Stored numbers of all layers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def standard_macs(self) -> int:
        """Multiply-accumulates if every separable convolution were a standard one."""
        return sum(layer.standard_macs for layer in self.layers)

    @property
    def standard_parameters(self) -> int:
        """Parameters if every separable convolution were a standard one."""
        return sum(layer.standard_parameters for layer in self.layers)


def inspect_network(network: Network, target: Target | None = None, program: Program | None = None) -> Inspection:
    """The table of `network` as written; with a target the roofline, with its program the arena and the tiles."""
    bounds = [layer_bound(network, layer, target) for layer in network.layers] if target is not None else []
    cycles = sum(bound.cycles for bound in bounds)
    rows = tuple(
        _row(network, layer, bounds[index] if bounds else None, cycles) for index, layer in enumerate(network.layers)
    )
    if program is None:
        return Inspection(network, rows, target)
    from dscompile.plan.tuning_use import tuning_info

    return Inspection(network, rows, target, arena_map(program), tiles=program.chosen, tuning=tuning_info(program))


def arena_map(program: Program) -> ArenaMap:
    """The arena of a program."""
    buffers = tuple(
        ArenaBuffer(buffer.name, buffer.offset_bytes, buffer.size_bytes, buffer.first, buffer.last)
        for buffer in sorted(program.buffers, key=lambda buffer: (buffer.offset_bytes, buffer.first, buffer.name))
    )
    return ArenaMap(program.arena_bytes, program.arena_lower_bound_bytes, peak_step(program), buffers)


def peak_step(program: Program) -> str:
    """The step during which most bytes of the arena are alive (the first of several)."""
    alive = [
        sum(buffer.size_bytes for buffer in program.buffers if buffer.first <= index <= buffer.last)
        for index in range(len(program.steps))
    ]
    return program.steps[alive.index(max(alive))].name if alive else ""


def _row(network: Network, layer: Layer, bound: Bound | None, cycles: float) -> LayerRow:
    cost = layer_cost(network, layer)
    moved = layer_bytes(network, layer)
    return LayerRow(
        name=layer.name,
        kind=layer_kind(network, layer),
        input=network.shape(layer.inputs[0]) if layer.inputs else (),
        output=network.shape(layer.output),
        macs=cost.macs,
        parameters=cost.parameters,
        standard_macs=cost.standard_macs,
        standard_parameters=cost.standard_parameters,
        size_bytes=moved,
        flops_per_byte=layer_flops(network, layer) / moved if moved else 0.0,
        share=None if bound is None else (bound.cycles / cycles if cycles else 0.0),
        limit=None if bound is None else bound.limit,
    )

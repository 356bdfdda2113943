"""What a network is and costs, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dscompile.ir.cost import SeparablePair, layer_bytes, layer_cost, layer_flops, layer_kind, separable_pairs
from dscompile.ir.network import Layer, Network
from dscompile.ir.storage import Storage, stored_bits
from dscompile.ir.tensor import Precision, Shape
from dscompile.report.roofline import Bound, Roofs, is_int8, layer_bound, target_roofs
from dscompile.target import Target

if TYPE_CHECKING:
    from dscompile.artifact import StreamingInfo, TuningInfo
    from dscompile.plan.mcu.estimates import Estimate
    from dscompile.plan.program import (  # not needed, and not paid for, without a target
        Chosen,
        Program,
        Split,
        WeightUse,
    )
    from dscompile.report.cycles import LoopCycles
    from dscompile.report.gpu_plan import GpuPlan


@dataclass(frozen=True)
class LayerRow:
    """One layer: shapes are channels last; `flops_per_byte` is its arithmetic intensity.

    `standard_*` is the cost of the standard convolution in its place (dscompile.ir.cost.LayerCost). `share` is the
    layer's part of the network's roofline time, `cycles` that time, and `limit` what bounds it; all only with a target.
    `estimate` is there for layers of standalone C that multiply, or are steps of their own (plan/mcu/estimates.py).
    `saved_bytes` are those by which the `storage` of its weights is smaller than a byte each.
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
    flops: int
    cycles: float | None = None
    share: float | None = None
    limit: str | None = None
    estimate: Estimate | None = None
    storage: Storage = "plain"
    saved_bytes: int = 0


@dataclass(frozen=True)
class ArenaBuffer:
    """A buffer of the planned arena; alive from step `first` to step `last`.

    In an arena over several memories it lies in `region`, and its offset counts as if they lay one after the other.
    """

    name: str
    offset_bytes: int
    size_bytes: int
    first: int
    last: int
    region: str = ""


@dataclass(frozen=True)
class ArenaStep:
    """A step of the program, and the bytes of the arena that are alive during it."""

    name: str
    live_bytes: int


@dataclass(frozen=True)
class ArenaMap:
    """The arena as planned for a target: its size, the proven lower bound, its buffers, and what lives in each step.

    `split` and `weights` are there where memories are named.
    """

    size_bytes: int
    lower_bound_bytes: int
    buffers: tuple[ArenaBuffer, ...]
    steps: tuple[ArenaStep, ...]
    split: Split | None = None
    weights: tuple[WeightUse, ...] = ()

    @property
    def peak_step(self) -> str:
        """The step during which most bytes are alive (the first of several)."""
        return max(self.steps, key=lambda step: step.live_bytes).name if self.steps else ""


@dataclass(frozen=True)
class Inspection:
    """A network's table of layers and its sums. `target`, `arena` and `loops` are None unless asked for, `modules`
    unless the target is a GPU. `tiles` are those of layers that have any to choose, `tuning` sums up where they come
    from, `precision` is what its program multiplies, `streaming` says what standalone C streams, `estimate` what an
    inference of it executes.
    """

    network: Network
    layers: tuple[LayerRow, ...]
    pairs: tuple[SeparablePair, ...]
    target: Target | None = None
    arena: ArenaMap | None = None
    loops: tuple[LoopCycles, ...] | None = None
    modules: GpuPlan | None = None
    tiles: tuple[Chosen, ...] = ()
    tuning: TuningInfo | None = None
    precision: Precision = "float32"
    streaming: StreamingInfo | None = None
    estimate: Estimate | None = None

    @property
    def estimated_columns(self) -> tuple[str, ...]:
        """Which figures the layers' estimates have."""
        if self.estimate is None:
            return ()
        return ("instructions",) if self.estimate.cycles is None else ("instructions", "cycles")

    @property
    def time_us(self) -> float | None:
        """What an inference is estimated to take; None where the core's cycles or its clock are not known."""
        board = None if self.target is None else self.target.board
        if board is None or board.clock_hz is None or self.estimate is None or self.estimate.cycles is None:
            return None
        return 1e6 * self.estimate.cycles / board.clock_hz

    @property
    def roofs(self) -> Roofs | None:
        """The target's roofs, for integers if any layer computes on them; None without a target."""
        if self.target is None:
            return None
        return target_roofs(self.target, int8=any(is_int8(self.network, layer) for layer in self.network.layers))

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
    pairs = separable_pairs(network)
    if program is None:
        return Inspection(network, rows, pairs, target)
    from dscompile.plan.mcu.estimates import estimate
    from dscompile.plan.memory_use import streaming_info
    from dscompile.plan.tuning_use import tuning_info

    arena, tuning, estimates = arena_map(program), tuning_info(program), estimate(program)
    if estimates is not None:
        rows = tuple(replace(row, estimate=estimates.layers.get(row.name)) for row in rows)
    return Inspection(
        network,
        rows,
        pairs,
        target,
        arena,
        tiles=program.chosen,
        tuning=tuning,
        precision=program.precision,
        streaming=streaming_info(program),
        estimate=None if estimates is None else estimates.total,
    )


def arena_map(program: Program) -> ArenaMap:
    """The arena of a program."""
    bases, end = {"": 0}, 0
    for use in () if program.split is None else program.split.uses:
        bases[use.region.name] = end
        end += use.size_bytes
    buffers = tuple(
        sorted(
            (
                ArenaBuffer(b.name, bases[b.region] + b.offset_bytes, b.size_bytes, b.first, b.last, b.region)
                for b in program.buffers
            ),
            key=lambda buffer: (buffer.offset_bytes, buffer.first, buffer.name),
        )
    )
    steps = tuple(
        ArenaStep(step.name, _covered([buffer for buffer in buffers if buffer.first <= index <= buffer.last]))
        for index, step in enumerate(program.steps)
    )
    return ArenaMap(
        program.arena_bytes, program.arena_lower_bound_bytes, buffers, steps, program.split, program.weights
    )


def _covered(buffers: Sequence[ArenaBuffer]) -> int:
    """Bytes that buffers, in the order of their offsets, lie on: what two of them share counts once."""
    covered = end = 0
    for buffer in buffers:
        covered += max(0, buffer.offset_bytes + buffer.size_bytes - max(end, buffer.offset_bytes))
        end = max(end, buffer.offset_bytes + buffer.size_bytes)
    return covered


def _saved_bytes(network: Network, layer: Layer) -> int:
    """What the storage of a layer's weights saves in standalone C, but for what fills up the last of them."""
    if layer.storage == "plain":
        return 0
    kernel = network.weight(layer, "kernel")
    channels = kernel.shape[-1]
    return int(kernel.size - math.ceil(channels * stored_bits(layer.storage, kernel.size // channels) / 8))


def _row(network: Network, layer: Layer, bound: Bound | None, cycles: float) -> LayerRow:
    cost = layer_cost(network, layer)
    moved, flops = layer_bytes(network, layer), layer_flops(network, layer)
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
        flops_per_byte=flops / moved if moved else 0.0,
        flops=flops,
        cycles=None if bound is None else bound.cycles,
        share=None if bound is None else (bound.cycles / cycles if cycles else 0.0),
        limit=None if bound is None else bound.limit,
        storage=layer.storage,
        saved_bytes=_saved_bytes(network, layer),
    )

"""The ways to lower a network to standalone C, of which planning takes the best."""

from __future__ import annotations

from collections.abc import Mapping

from dscompile.ir.network import Network
from dscompile.passes.split_groups import split_groups
from dscompile.plan.mcu.draft import Draft
from dscompile.plan.mcu.layers import lower_network
from dscompile.plan.mcu.lowering import McuLowering
from dscompile.plan.mcu.planes import ROOMS
from dscompile.plan.mcu.pointwise import goes_by_group
from dscompile.plan.mcu.quantized import QuantizedWeights
from dscompile.plan.mcu.row_choice import row_tensors
from dscompile.plan.mcu.sets import has_pairs, without_vectors
from dscompile.plan.mcu.short import short_products_pay
from dscompile.plan.mcu.slices import Slice, concatenated_slices
from dscompile.target import Target


def lowered_drafts(network: Network, target: Target, *, affine: bool = True, vectors: bool = True) -> tuple[Draft, ...]:
    """A canonical network as standalone C for `target`, before it is placed in memory; several ways if there are.

    Without `vectors`, kernels of the target that are written for these are left out: they have no form by row.
    Concatenated tensors are written where they belong, or copied; tensors are dense, or some lie in rows
    (plan/mcu/rows.py) or are turned into them (plan/mcu/turned.py, plan/mcu/planes.py), which is faster; large images
    become planes where the whole network has room for these.
    """
    network = split_groups(network, lambda each, layer: affine and goes_by_group(each, layer, target))
    slices = concatenated_slices(network)
    prepared: dict[str, QuantizedWeights] = {}
    prepared_rows: dict[str, QuantizedWeights | None] = {}
    drafts = []

    def lowering_with(inside: Mapping[str, Slice]) -> McuLowering:
        lowering = McuLowering(network, target, affine=affine, slices=inside, prepared=prepared)
        if not vectors:
            lowering.sets = without_vectors(lowering.sets)
        lowering.prepared_rows = prepared_rows
        lowering.has_short = has_pairs(lowering.sets) and short_products_pay(network)
        return lowering

    for inside in _ways(slices):
        lowering = lowering_with(inside)
        lower_network(lowering)
        drafts.append(lowering.finish())
        if not has_pairs(lowering.sets):
            continue
        room: float | None = ROOMS[0]
        while room is not None:
            lowering = lowering_with(inside)
            lowering.in_rows, lowering.turns, lowering.planes_room = row_tensors(lowering), True, room
            lower_network(lowering)
            draft = lowering.finish()
            if draft.in_rows:
                drafts.append(draft)
            room = min(lowering.wanted_rooms, default=None)
    return tuple(drafts)


def _ways(slices: Mapping[str, Slice]) -> tuple[Mapping[str, Slice], ...]:
    """Parts of concatenations where they belong, and all of them copied, which may take less memory."""
    return (slices, {}) if slices else (slices,)

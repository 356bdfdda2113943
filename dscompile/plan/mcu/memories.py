"""Where buffers and constants of standalone C lie: in one arena, or in the memories that the target names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dscompile.errors import BadInputError, did_you_mean
from dscompile.ir.network import Array
from dscompile.plan.arena import Overlap, Request, plan_arena, share_bytes
from dscompile.plan.arena_regions import plan_regions
from dscompile.plan.program import RegionUse, Split, WeightUse
from dscompile.target import Target


@dataclass(frozen=True)
class Places:
    """The offset of every buffer in its region ("" where there is one arena), and the sizes of all of them together."""

    offsets: Mapping[str, int]
    regions: Mapping[str, str]
    size_bytes: int
    lower_bound_bytes: int
    split: Split | None = None

    def region(self, name: str) -> str:
        """The memory of a buffer."""
        return self.regions.get(name, "")

    def share(self, one: str, one_bytes: int, other: str, other_bytes: int) -> bool:
        """Whether two buffers of these sizes have a byte in common."""
        start, begin = self.offsets[one], self.offsets[other]
        return self.region(one) == self.region(other) and share_bytes(
            start, start + one_bytes, begin, begin + other_bytes
        )


def place_buffers(
    requests: Sequence[Request], overlaps: Sequence[Overlap], traffic: Mapping[str, int], target: Target
) -> Places:
    """Places for all buffers: the smallest arena, or over several memories the one whose accesses cost least."""
    alignment = target.arena_alignment
    if not target.regions:
        placement = plan_arena(requests, alignment=alignment, overlaps=overlaps)
        return Places(placement.offsets, {}, max(placement.size_bytes, alignment), placement.lower_bound_bytes)
    plan = plan_regions(requests, overlaps, traffic, target.regions, alignment=alignment)
    uses = tuple(
        RegionUse(
            region,
            max(placement.size_bytes, alignment),  # C has no empty arrays
            placement.lower_bound_bytes,
            sum(moved for name, moved in traffic.items() if plan.regions.get(name) == region.name),
        )
        for region, placement in zip(target.regions, plan.placements, strict=True)
    )
    offsets = {name: offset for placement in plan.placements for name, offset in placement.offsets.items()}
    return Places(
        offsets,
        plan.regions,
        sum(use.size_bytes for use in uses),
        sum(use.lower_bound_bytes for use in uses),
        Split(uses, plan.cost / 1000, plan.lower_bound_cost / 1000),
    )


def place_constants(
    constants: Mapping[str, Array], traffic: Mapping[str, int], target: Target
) -> tuple[WeightUse, ...]:
    """A memory for every constant: those that are read most per byte go into the first region with room for them.

    Layers that a region names come before others there. What has no room goes into the last region that is not a copy,
    which then lacks some bytes. Raises BadInputError for layers without constants.
    """
    regions = target.weight_regions
    if not regions:
        return ()
    layers = {name: name.rpartition(".")[0] for name in constants}
    for region in regions:
        for layer in region.layers:
            if layer not in layers.values():
                raise BadInputError(
                    f"region '{region.name}' of the weights names the layer '{layer}', which has none",
                    help=did_you_mean(layer, tuple(dict.fromkeys(layers.values()))),
                )
    order = sorted(constants, key=lambda name: -traffic.get(name, 0) / max(constants[name].nbytes, 1))
    home = max(index for index, region in enumerate(regions) if not region.copy)
    chosen: dict[str, int] = {}
    used = [0] * len(regions)
    room = {name: -(-constants[name].nbytes // target.arena_alignment) * target.arena_alignment for name in constants}

    def put(name: str, index: int) -> None:
        chosen[name] = index
        used[index] += room[name]

    for index, region in enumerate(regions):
        for name in order:
            if name not in chosen and layers[name] in region.layers and used[index] + room[name] <= region.size_bytes:
                put(name, index)
    for name in order:
        if name not in chosen:
            free = (i for i, region in enumerate(regions) if used[i] + room[name] <= region.size_bytes)
            put(name, next(free, home))
    used[home] += sum(room[name] for name, index in chosen.items() if regions[index].copy)
    return tuple(
        WeightUse(
            region,
            _offsets([name for name in constants if chosen[name] == index], room),
            used[index],
            sum(traffic.get(name, 0) for name in constants if chosen[name] == index),
        )
        for index, region in enumerate(regions)
    )


def _offsets(names: Sequence[str], room: Mapping[str, int]) -> dict[str, int]:
    offsets, end = {}, 0
    for name in names:
        offsets[name] = end
        end += room[name]
    return offsets

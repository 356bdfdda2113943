"""What a network takes of each memory that is named, as text and as records."""

from __future__ import annotations

from collections.abc import Sequence

from dscompile.artifact import Manifest, MemoryInfo
from dscompile.plan.program import Split, WeightUse
from dscompile.report.text import number, table

Record = dict[str, object]
_WHAT = {"arena": "arena", "copy": "weights, copied", "constants": "weights"}


def memory_lines(manifest: Manifest) -> list[str]:
    """A line for each memory of an artifact."""
    return [
        f"{_WHAT[memory.kind]} in {memory.region}: {number(memory.size_bytes)} B of {number(memory.capacity_bytes)} B"
        for memory in manifest.memories
        if memory.region
    ]


def memories_record(memories: Sequence[MemoryInfo]) -> list[Record]:
    """The memories of an artifact for scripts."""
    return [
        {
            "region": memory.region,
            "kind": memory.kind,
            "size_bytes": memory.size_bytes,
            "capacity_bytes": memory.capacity_bytes,
            "cost": memory.cost,
            "traffic_bytes": memory.traffic_bytes,
        }
        for memory in memories
    ]


def planned_memories(split: Split | None, weights: Sequence[WeightUse]) -> str:
    """A table of the planned memories, and how near their cost is to the least; "" where none is named."""
    rows = [
        ("arena", use.region.name, use.size_bytes, use.region.size_bytes, use.traffic_bytes, use.region.cost)
        for use in (() if split is None else split.uses)
    ] + [
        (
            "weights, copied" if use.region.copy else "weights",
            use.region.name,
            use.size_bytes,
            use.region.size_bytes,
            use.traffic_bytes,
            use.region.cost,
        )
        for use in weights
    ]
    if not rows:
        return ""
    header = ("memory of", "region", "bytes", "of", "loads and stores, B", "cost")
    lines = [(what, name, *map(number, sizes), f"{cost:g}") for what, name, *sizes, cost in rows]
    return "\n".join([*([] if split is None else [_cost(split)]), table(header, lines, right=header[2:])])


def split_record(split: Split | None, weights: Sequence[WeightUse]) -> Record | None:
    """The planned memories for scripts; None where none is named."""
    if split is None and not weights:
        return None
    return {
        "cost": None if split is None else split.cost,
        "lower_bound_cost": None if split is None else split.lower_bound_cost,
        "arena": [
            {
                "region": use.region.name,
                "size_bytes": use.size_bytes,
                "capacity_bytes": use.region.size_bytes,
                "cost": use.region.cost,
                "traffic_bytes": use.traffic_bytes,
            }
            for use in (() if split is None else split.uses)
        ],
        "weights": [
            {
                "region": use.region.name,
                "copy": use.region.copy,
                "size_bytes": use.size_bytes,
                "capacity_bytes": use.region.size_bytes,
                "cost": use.region.cost,
                "traffic_bytes": use.traffic_bytes,
            }
            for use in weights
        ],
    }


def _cost(split: Split) -> str:
    head = f"accesses to the arena cost {split.cost:,.0f} (bytes by cost)".replace(",", " ")
    if split.proven:
        return f"{head}; no plan costs less"
    return f"{head}; a plan of less than {split.lower_bound_cost:,.0f} is ruled out".replace(",", " ")

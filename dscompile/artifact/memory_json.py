"""The memories that an artifact is split over as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, get_args

from dscompile.artifact.fields import Fields, Json
from dscompile.regions import Region, WeightRegion

if TYPE_CHECKING:
    from dscompile.artifact.manifest import MemoryInfo


def region_to_json(region: Region) -> Json:
    """A region of the arena as an object."""
    return {"name": region.name, "bytes": region.size_bytes, "cost": region.cost}


def region_from_json(fields: Fields) -> Region:
    """The region of the arena in an object. Raises ValueError if it makes no sense."""
    return Region(fields.text("name"), fields.whole("bytes"), fields.number("cost"))


def weight_region_to_json(region: WeightRegion) -> Json:
    """A region of the weights as an object."""
    return {**region_to_json(region), "copy": region.copy, "layers": list(region.layers)}


def weight_region_from_json(fields: Fields) -> WeightRegion:
    """The region of the weights in an object. Raises ValueError if it makes no sense."""
    plain = region_from_json(fields)
    return WeightRegion(plain.name, plain.size_bytes, plain.cost, fields.flag("copy"), fields.texts("layers"))


def memory_to_json(memory: MemoryInfo) -> Json:
    """A memory as an object."""
    return {
        "name": memory.name,
        "region": memory.region,
        "kind": memory.kind,
        "bytes": memory.size_bytes,
        "capacity": memory.capacity_bytes,
        "cost": memory.cost,
        "traffic": memory.traffic_bytes,
    }


def memory_from_json(fields: Fields) -> MemoryInfo:
    """The memory in an object."""
    from dscompile.artifact.manifest import MemoryInfo, MemoryKind

    return MemoryInfo(
        fields.text("name"),
        fields.text("region"),
        cast(MemoryKind, fields.word("kind", get_args(MemoryKind))),
        fields.whole("bytes"),
        fields.whole("capacity"),
        fields.number("cost"),
        fields.whole("traffic"),
    )

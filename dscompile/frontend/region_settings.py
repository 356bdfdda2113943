"""Several memories in a net.yaml: `arena: {dtcm: 64 KiB, sram: 256 KiB}` and `weights:` of a target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dscompile.frontend.amounts import size_of
from dscompile.frontend.fields import Fields
from dscompile.frontend.yamltree import MappingNode, Node, ScalarNode, SequenceNode, shorten
from dscompile.regions import Region, WeightRegion, check_regions
from dscompile.target import Target, next_cost


def read_arena_regions(fields: Fields, node: MappingNode, target: Target | None) -> tuple[Region, ...]:
    """The memories that the arena is split over, the fastest first: `name: size`, or `name: {size, cost}`.

    What costs nothing of its own has the cost of the target's memory of that name, else twice the one before it.
    """
    regions: list[Region] = []
    for key, value in node.entries:
        inner = _inner(fields, key, value)
        size = _size(inner, key, value)
        cost = _cost(inner, key, target, regions)
        if isinstance(value, MappingNode):
            inner.finish()
        if size is not None:
            with _reported(fields, key):
                regions.append(Region(key.text, size, cost))
    _check(fields, node, regions, target)
    return tuple(regions)


def read_weight_regions(fields: Fields, node: MappingNode, target: Target | None) -> tuple[WeightRegion, ...]:
    """The memories of the weights, the fastest first: `name: size`, or `name: {size, cost, copy, layers}`."""
    regions: list[WeightRegion] = []
    for key, value in node.entries:
        inner = _inner(fields, key, value)
        size = _size(inner, key, value)
        cost = _cost(inner, key, target, regions)
        copy = False
        layers: tuple[str, ...] = ()
        if isinstance(value, MappingNode):
            copy = bool(inner.flag("copy", False))
            layers = _layers(inner)
            inner.finish()
        if size is not None:
            with _reported(fields, key):
                regions.append(WeightRegion(key.text, size, cost, copy, layers))
    if regions and all(region.copy for region in regions):
        fields.problems.add(
            "every region of 'weights' is a copy; the constants need a place that keeps them",
            node.position,
            help="name one more, such as `flash: 1 MiB`, behind the others",
        )
    _check(fields, node, regions, target)
    return tuple(regions)


@contextmanager
def _reported(fields: Fields, key: ScalarNode) -> Iterator[None]:
    """What is wrong with a region is wrong with the value of its key."""
    try:
        yield
    except ValueError as error:
        fields.problems.add(str(error), key.position)


def _inner(fields: Fields, key: ScalarNode, value: Node) -> Fields:
    """The keys of a region, or none where it is only a size."""
    entries = value.entries if isinstance(value, MappingNode) else ()
    return Fields(f"region '{shorten(key.text)}'", MappingNode(entries, key.position), fields.problems)


def _size(inner: Fields, key: ScalarNode, value: Node) -> int | None:
    if not isinstance(value, MappingNode):
        return size_of(inner, key.text, value)
    node = inner.require("size", "64 KiB")
    return None if node is None else size_of(inner, "size", node)


def _cost(inner: Fields, key: ScalarNode, target: Target | None, before: Sequence[Region]) -> float:
    memories = () if target is None or target.board is None else target.board.memories
    known = next((memory.cost for memory in memories if memory.name == key.text), None)
    return inner.positive("cost", next_cost(before) if known is None else known, maximum=1000.0)


def _layers(inner: Fields) -> tuple[str, ...]:
    node = inner.take("layers")
    if node is None:
        return ()
    if not isinstance(node, SequenceNode):
        inner.wrong("layers", node, "a list of layers' names")
        return ()
    return tuple(text for text, _ in inner.texts("layers", node))


def _check(fields: Fields, node: MappingNode, regions: Sequence[Region], target: Target | None) -> None:
    """The target must have such regions at all, and memories as large where it names them."""
    try:
        check_regions(regions)
    except ValueError as error:
        fields.problems.add(str(error), node.position)
    if target is None or not regions:
        return
    if not target.kernels:
        fields.problems.add(
            f"target '{target.name}' has one memory for everything",
            node.position,
            help="regions are for targets of standalone C, such as cortex-m7; write a single size, or leave it out",
        )
    sizes = {} if target.board is None else {memory.name: memory.size_bytes for memory in target.board.memories}
    for region in regions:
        if region.size_bytes > sizes.get(region.name, region.size_bytes):
            fields.problems.add(
                f"region '{region.name}' has {region.size_bytes} B, but that memory of target '{target.name}' has "
                f"{sizes[region.name]}",
                node.position,
            )

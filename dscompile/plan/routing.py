"""Channels on their way: concatenations, slices and shuffles of channels that are done by addressing alone.

In ShuffleNet, half of the channels pass a unit unchanged, and shuffles mix them with what the other half became. None
of that needs a copy if the images that convolutions make lie together in one buffer, a *pool*, and whoever reads a
mixture finds its channels by a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Concat, Conv2D, Pads, Pool, Resize, Shuffle, Slice
from dscompile.plan.layout import Blocked
from dscompile.plan.storage import BlockedView, GatheredView, Halos, Store


@dataclass(frozen=True)
class Channel:
    """A channel of an image that is really made."""

    image: str
    number: int


Mixture = tuple[Channel, ...]


@dataclass(frozen=True)
class Routing:
    """`mixtures`: tensor that is not made -> where its channels are. `pools`: image -> all that lie in its pool."""

    mixtures: Mapping[str, Mixture] = field(default_factory=dict)
    pools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


NO_ROUTING = Routing()


def route(network: Network, halos: Halos) -> Routing:
    """Groups of concatenations, slices and shuffles of channels that hang together.

    A group has at least one shuffle, and a pointwise convolution that reads what is in it; other readers would have to
    bring channels together, as slowly as the shuffle. All its images must be made by kernels that write blocked images,
    in float32 and without a halo.
    """
    mixtures: dict[str, Mixture] = {}
    group: dict[str, set[str]] = {}  # tensor -> the group that it belongs to
    shuffled: set[str] = set()
    for layer in network.layers:
        if not _moves_channels(network, layer):
            continue
        sources = [mixtures.get(name) or _whole(network, name) for name in layer.inputs]
        mixtures[layer.output] = _moved(layer, sources)
        joined = {layer.output}.union(*(group.get(name, {name}) for name in layer.inputs))
        group.update(dict.fromkeys(joined, joined))
        if isinstance(layer.op, Shuffle):
            shuffled.add(layer.output)
    good = [
        members
        for members in {id(members): members for members in group.values()}.values()
        if members & shuffled
        and any(_is_read_by_table(network, name) for name in members & mixtures.keys())
        and all(_can_lie_in_a_pool(network, halos, name) for name in members - mixtures.keys())
    ]
    made = [tuple(layer.output for layer in network.layers if layer.output in each - mixtures.keys()) for each in good]
    routed = set[str]().union(*good) & mixtures.keys()
    return Routing(
        {name: mixture for name, mixture in mixtures.items() if name in routed},
        {image: images for images in made for image in images},
    )


class Pools:
    """Where the images of a routing lie. `new_store(name, elements)` makes room for a pool when it is first needed."""

    def __init__(self, network: Network, routing: Routing, lanes: int, new_store: Callable[[str, int], Store]) -> None:
        self._network = network
        self._routing = routing
        self._lanes = lanes
        self._new_store = new_store
        self._stores: dict[tuple[str, ...], Store] = {}

    def place(self, name: str) -> BlockedView | None:
        """The place of an image in the pool that it shares with others; None if it lies in none."""
        images = self._routing.pools.get(name)
        if images is None:
            return None
        _, height, width, channels = self._network.shape(name)
        blocks = [-(-self._network.shape(image)[3] // self._lanes) for image in images]
        pool = Blocked(height, width, sum(blocks) * self._lanes, self._lanes)
        if images not in self._stores:
            self._stores[images] = self._new_store(f"{images[0]}.pool", pool.elements)
        before = sum(blocks[: images.index(name)])
        layout = Blocked(height, width, channels, self._lanes)
        return BlockedView(self._stores[images], layout, before * pool.strides.block)

    def gathered(self, name: str) -> GatheredView | None:
        """Where the channels of a mixture are; None if the tensor is none."""
        mixture = self._routing.mixtures.get(name)
        if mixture is None:
            return None
        images = dict.fromkeys(channel.image for channel in mixture)
        views = {image: view for image in images if (view := self.place(image)) is not None}
        offsets = []
        for channel in mixture:
            view = views[channel.image]
            block, lane = divmod(channel.number, self._lanes)
            offsets.append(view.base + view.layout.offset(0, 0, block) + lane)
        first = views[mixture[0].image]
        return GatheredView(first.store, first.layout, tuple(offsets))


def _moves_channels(network: Network, layer: Layer) -> bool:
    """Whether a layer only chooses and orders channels of float32 images."""
    shape = network.shape(layer.output)
    if len(shape) != 4 or network.tensor(layer.output).dtype != "float32":
        return False
    match layer.op:
        case Concat() as op:
            return op.axis == 3
        case Slice() as op:
            return not op.steps and shape[:3] == network.shape(layer.inputs[0])[:3]
        case Shuffle():
            return True
    return False


def _whole(network: Network, name: str) -> Mixture:
    return tuple(Channel(name, number) for number in range(network.shape(name)[3]))


def _moved(layer: Layer, sources: list[Mixture]) -> Mixture:
    """The channels of a layer's result."""
    match layer.op:
        case Slice() as op:
            return sources[0][op.begins[3] : op.begins[3] + op.sizes[3]]
        case Shuffle() as op:
            count = len(sources[0]) // op.groups
            return tuple(sources[0][group * count + each] for each in range(count) for group in range(op.groups))
    return _joined(sources)


def _joined(mixtures: Iterable[Mixture]) -> Mixture:
    return tuple(channel for mixture in mixtures for channel in mixture)


def _is_read_by_table(network: Network, name: str) -> bool:
    return any(isinstance(reader.op, Conv2D) and reader.op.is_pointwise for reader in network.consumers[name])


def _can_lie_in_a_pool(network: Network, halos: Halos, name: str) -> bool:
    producer = network.producers.get(name)
    return (
        producer is not None
        and isinstance(producer.op, Conv2D | Pool | Resize)
        and name not in network.outputs
        and halos.get(name) == Pads()
        and max(network.shape(name)[1:3]) > 1
    )

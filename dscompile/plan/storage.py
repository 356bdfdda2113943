"""Storage: where tensors live while a program is made. Grows step by step; lifetimes fall out at the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import Concat, Conv2D, Pads, Slice
from dscompile.ir.tensor import DTYPE_BYTES, DType, Shape, Tensor
from dscompile.plan.kernels import ImageStrides
from dscompile.plan.layout import Blocked
from dscompile.plan.program import Operand, Space


@dataclass
class Store:
    """A run of memory in the arena: its size, and the steps in which it is alive."""

    name: str
    elements: int
    dtype: DType
    first: int
    last: int

    @property
    def size_bytes(self) -> int:
        """Bytes."""
        return self.elements * DTYPE_BYTES[self.dtype]

    @property
    def element_bytes(self) -> int:
        """Bytes of an element."""
        return DTYPE_BYTES[self.dtype]

    def touch(self, step: int) -> None:
        """The store is read or written in `step`."""
        self.first = min(self.first, step)
        self.last = max(self.last, step)


@dataclass
class RowOrigin:
    """The row of the image that lies in the first row of a buffer; moves as a window slides down."""

    row: int = 0


@dataclass(frozen=True)
class BlockedView:
    """A blocked image in a store, `base` elements from its start.

    A window holds only some rows of the image, from `origin.row` on; its layout is that of the rows it holds.
    """

    store: Store
    layout: Blocked
    base: int = 0
    origin: RowOrigin = field(default_factory=RowOrigin)

    @property
    def dtype(self) -> DType:
        """Type of its elements."""
        return self.store.dtype

    def at(self, row: int = 0, column: int = 0, block: int = 0, lane: int = 0) -> Operand:
        """Pointer to a pixel of the image; negative coordinates reach into the halo."""
        elements = self.base + self.layout.offset(row - self.origin.row, column, block) + lane
        return Operand("arena", self.store.name, elements * DTYPE_BYTES[self.dtype])


@dataclass(frozen=True)
class FlatView:
    """A tensor of any rank with a stride per axis, at a pointer. `store` is None for what the user passes."""

    shape: Shape
    strides: tuple[int, ...]
    dtype: DType
    space: Space
    name: str
    offset: int = 0
    store: Store | None = None

    def at(self, *index: int) -> Operand:
        """Pointer to an element."""
        elements = self.offset + sum(i * s for i, s in zip(index, self.strides, strict=False))
        return Operand(self.space, self.name, elements * DTYPE_BYTES[self.dtype])

    @property
    def is_dense(self) -> bool:
        """Whether the elements lie in channels-last order without gaps."""
        return self.strides == dense_strides(self.shape)

    @property
    def image(self) -> ImageStrides:
        """Strides of a [1, H, W, C] tensor as an image."""
        _, row, pixel, channel = self.strides
        return ImageStrides(channel, row, pixel)

    def reshaped(self, shape: Shape) -> FlatView:
        """The same dense elements under another shape."""
        return replace(self, shape=shape, strides=dense_strides(shape))


@dataclass(frozen=True)
class GatheredView:
    """Channels of images that lie in one store without halos, in any order.

    Channel c of a pixel is `offsets[c]` elements from where the store has that pixel of its first channel.
    """

    store: Store
    layout: Blocked
    offsets: tuple[int, ...]

    @property
    def strides(self) -> ImageStrides:
        """Strides for a kernel that finds channels by their offsets."""
        return ImageStrides(1, self.layout.strides.row, self.layout.strides.pixel)

    @property
    def span(self) -> int:
        """Elements that the offsets reach."""
        return max(self.offsets) + 1

    def at(self, row: int = 0, column: int = 0) -> Operand:
        """Pointer to a pixel of the store's first channel."""
        return Operand("arena", self.store.name, self.layout.offset(row, column) * DTYPE_BYTES[self.store.dtype])


View = BlockedView | FlatView


def dense_strides(shape: Shape) -> tuple[int, ...]:
    """Row-major strides."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def border_strides(tensor: Tensor) -> tuple[int, ...]:
    """Strides of a border tensor's axes in channels-last order, in the user's buffer."""
    strides = dense_strides(tensor.border_shape)
    if tensor.border == "nchw" and len(tensor.shape) >= 3:
        batch, channel, *spatial = strides
        return (batch, *spatial, channel)
    return strides


def broadcast_strides(view: FlatView, shape: Shape) -> tuple[int, ...]:
    """Strides of `view` when it is stretched to `shape` (0 where it repeats)."""
    missing = len(shape) - len(view.shape)
    stretched = (0,) * missing + view.strides
    sizes = (1,) * missing + view.shape
    return tuple(0 if size == 1 else stride for size, stride in zip(sizes, stretched, strict=True))


def _sharing(network: Network, layer: Layer) -> list[tuple[str, str]]:
    """Pairs of an image and one that it may lie in, made by this layer or read by it."""
    if isinstance(layer.op, Concat):
        return [(name, layer.output) for name in layer.inputs]
    given = network.shape(layer.inputs[0]) if layer.inputs else ()
    if isinstance(layer.op, Slice) and not layer.op.steps and layer.op.sizes[:-1] == given[:-1]:
        return [(layer.output, layer.inputs[0])]
    return []


@dataclass
class Halos:
    """The widest zero padding that readers of each image want around it."""

    pads: dict[str, Pads] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Network) -> Halos:
        """Collects what convolutions read; an image that lies in another one shares its halo.

        These are parts of concatenations, and slices of channels.
        """
        halos = cls()
        for layer in network.layers:
            if isinstance(layer.op, Conv2D):
                halos.widen(layer.inputs[0], layer.op.pads)
        shared = [names for layer in network.layers for names in _sharing(network, layer)]
        before = None
        while before != halos.pads:
            before = dict(halos.pads)
            for part, whole in (*shared, *reversed(shared)):
                halos.widen(whole, halos.get(part))
                halos.widen(part, halos.get(whole))
        return halos

    def get(self, name: str) -> Pads:
        """Halo of a tensor."""
        return self.pads.get(name, Pads())

    def widen(self, name: str, pads: Pads) -> None:
        """Makes room for `pads` around a tensor."""
        have = self.get(name)
        self.pads[name] = Pads(
            max(have.top, pads.top),
            max(have.bottom, pads.bottom),
            max(have.left, pads.left),
            max(have.right, pads.right),
        )


def lifetimes(stores: Iterable[Store]) -> tuple[Store, ...]:
    """Stores that are really used, in a stable order."""
    return tuple(sorted((s for s in stores if s.last >= s.first), key=lambda s: (s.first, s.name)))

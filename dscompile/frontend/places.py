"""Where an operator goes while a network is built, and the convolutions that all blocks are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from dscompile.errors import Position
from dscompile.frontend.integers import ResultType
from dscompile.frontend.schema import ConvBody, DepthwiseBody, Window
from dscompile.frontend.stored import AskedStorage
from dscompile.ir.ops import Concat, Conv2D, Op, Slice
from dscompile.ir.shapes import ShapeError
from dscompile.ir.tensor import Shape


class Assembly(Protocol):
    """A graph that grows."""

    def declare(self, place: Place, op: Op, inputs: tuple[str, ...], bias: bool | None) -> str:
        """Adds one operator under its place's name and output. ShapeError if its inputs do not fit."""

    def shape(self, tensor: str) -> Shape:
        """The shape of a tensor already made."""


@dataclass(frozen=True)
class Place:
    """Where an operator goes: its name, its position in the file, the name of its result if it is another, its type.

    `storage` is what the file says of its weights.
    """

    assembly: Assembly
    name: str
    position: Position
    output: str | None = None
    result: ResultType | None = None
    storage: AskedStorage | None = None

    def add(self, op: Op, *inputs: str, bias: bool | None = None) -> str:
        """Adds the operator here -> its output."""
        return self.assembly.declare(self, op, inputs, bias)

    def part(self, suffix: str) -> Place:
        """The place of an inner layer of a block."""
        return Place(self.assembly, f"{self.name}.{suffix}", self.position)

    def last_part(self, suffix: str) -> Place:
        """The place of the layer that makes a block's result."""
        return replace(self.part(suffix), output=self.output)

    def shape(self, tensor: str) -> Shape:
        """The shape of a tensor."""
        return self.assembly.shape(tensor)

    def image(self, tensor: str) -> tuple[int, int, int]:
        """Height, width, channels. ShapeError if the tensor is no image."""
        shape = self.shape(tensor)
        if len(shape) != 4:
            raise ShapeError(f"needs an image [1, H, W, C], not {list(shape)}")
        return shape[1], shape[2], shape[3]


POINT = Window((1, 1), padding="valid")


def add_conv(place: Place, body: ConvBody, source: str) -> str:
    """A convolution -> its output."""
    height, width, _ = place.image(source)
    window = body.window
    op = Conv2D(
        body.out,
        window.kernel,
        window.stride,
        window.pads(height, width),
        window.dilation,
        body.groups,
        body.activation,
    )
    return place.add(op, source, bias=body.bias)


def add_depthwise(place: Place, body: DepthwiseBody, source: str) -> str:
    """A depthwise convolution -> its output.

    With several kernels it is `<name>.slice3` and `<name>.k3` for the part of size 3, and `<name>.concat`. The parts
    are equal, but for what is left, which the first one has too.
    """
    channels = place.image(source)[2]
    if not body.kernels:
        conv = ConvBody(channels * body.multiplier, body.window, channels, body.activation, body.bias)
        return add_conv(place, conv, source)
    share, left = divmod(channels, len(body.kernels))
    if not share:
        raise ShapeError(f"{channels} channels are too few for {len(body.kernels)} kernels")
    results, begin = [], 0
    for number, size in enumerate(body.kernels):
        width = share + (left if number == 0 else 0)
        part = add_slice(place.part(f"slice{size}"), source, begin, width)
        single = replace(body, kernels=(), window=replace(body.window, kernel=(size, size)))
        results.append(add_depthwise(place.part(f"k{size}"), single, part))
        begin += width
    return place.last_part("concat").add(Concat(3), *results)


def add_slice(place: Place, source: str, begin: int, channels: int) -> str:
    """`channels` channels of an image from `begin` on -> that part."""
    shape = place.shape(source)
    return place.add(Slice((0, 0, 0, begin), (*shape[:3], channels)), source)

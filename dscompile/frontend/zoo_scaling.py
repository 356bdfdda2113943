"""Another width or resolution for a network of the zoo: its net.yaml with other numbers, comments and all."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dscompile.errors import UsageError
from dscompile.frontend.channels import divisible
from dscompile.frontend.yamltree import MappingNode, Node, ScalarNode, SequenceNode, parse_yaml
from dscompile.ir.ops import Pair

_MULTIPLE = 8
_RESOLUTION = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?", re.ASCII)


@dataclass(frozen=True)
class Widths:
    """How a family of networks takes a width multiplier.

    Channels are multiplied and rounded to multiples of 8, except those of layers that are `fixed`, or `never_narrower`
    where the width is below 1. With `table` there are only its widths, and for each of them the channels that take the
    place of others.
    """

    lowest: float = 0.1
    highest: float = 2.0
    fixed: frozenset[str] = frozenset({"classifier"})
    never_narrower: frozenset[str] = frozenset()
    table: Mapping[float, Mapping[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.lowest <= 1 <= self.highest:
            raise ValueError(f"widths from {self.lowest} to {self.highest} do not hold 1")

    def allows(self, width: float) -> bool:
        """Whether there is a network of this width."""
        return width in self.table if self.table else self.lowest <= width <= self.highest

    def describe(self) -> str:
        """The widths there are, for messages."""
        if self.table:
            return ", ".join(f"{width:g}" for width in sorted(self.table))
        return f"{self.lowest:g} to {self.highest:g}"

    def channels(self, layer: str, channels: int, width: float) -> int:
        """The channels of `layer`, which has `channels` at width 1."""
        if self.table:
            return self.table[width].get(channels, channels)
        if layer in self.fixed or (layer in self.never_narrower and width < 1):
            return channels
        return divisible(channels * width, _MULTIPLE)


WIDTHS: Mapping[str, Widths] = {
    "mobilenet_v1": Widths(),
    "mobilenet_v2": Widths(fixed=frozenset({"classifier"}), never_narrower=frozenset({"head"})),
    "mobilenet_v3_large": Widths(never_narrower=frozenset({"features"})),
    "mobilenet_v3_small": Widths(never_narrower=frozenset({"features"})),
    "mnasnet_a1": Widths(never_narrower=frozenset({"head"})),
    "shufflenet_v1": Widths(  # the authors' code; with its narrow stem, 0.25 has the 13 M of table 2 of the paper
        table={
            0.25: {24: 12, 240: 60, 480: 120, 960: 240},
            0.5: {24: 12, 240: 120, 480: 240, 960: 480},
            1.0: {},
            1.5: {240: 360, 480: 720, 960: 1440},
            2.0: {24: 48, 240: 480, 480: 960, 960: 1920},
        }
    ),
    "shufflenet_v2": Widths(  # table 5 of the paper
        table={
            0.5: {116: 48, 232: 96, 464: 192},
            1.0: {},
            1.5: {116: 176, 232: 352, 464: 704},
            2.0: {116: 244, 232: 488, 464: 976, 1024: 2048},
        }
    ),
}


@dataclass(frozen=True)
class _Edit:
    """`text` in the place of what stands there."""

    node: ScalarNode
    text: str


def parse_resolution(text: str) -> Pair:
    """Rows and columns of "224" or "512x1024". UsageError if it is neither."""
    match = _RESOLUTION.fullmatch(text)
    rows, columns = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not rows or not columns:
        raise UsageError(f"'{text}' is no resolution", help="write for example 128, or 512x1024 for rows and columns")
    return rows, columns


def scaled_name(name: str, width: float | None, resolution: Pair | None) -> str:
    """mobilenet_v1 -> mobilenet_v1_0_25_128: what the network, its file and its C functions are called."""
    parts = [name]
    if width is not None:
        parts.append(f"{width:g}".replace(".", "_"))
    if resolution is not None:
        parts.append("x".join(str(size) for size in dict.fromkeys(resolution)))
    return "_".join(parts)


def scaled_yaml(name: str, text: str, width: float | None, resolution: Pair | None) -> str:
    """The net.yaml `text` of the zoo network `name` with another width, or another size of its input image.

    UsageError if the network has no such width, or no image. A first line says what was done.
    """
    root = parse_yaml(text, f"{name}.yaml")
    network = _value(root, "network")
    edits = [_Edit(_scalar(network, "name"), scaled_name(name, width, resolution))]
    described = []
    if width is not None:
        edits += _width_edits(name, network, width)
        described.append(f"width {width:g}")
    if resolution is not None:
        edits += _resolution_edits(name, network, resolution)
        described.append("{} x {}".format(*resolution))
    title = _scalar(network, "title")
    what = ", ".join(described)
    edits.append(_Edit(title, f"{title.text} ({what})"))
    head = f"# {name} of the zoo with {what}. The comments below speak of the original.\n"
    return head + _edited(text, edits)


def _width_edits(name: str, network: Node, width: float) -> Iterator[_Edit]:
    widths = WIDTHS.get(name)
    if widths is None:
        raise UsageError(f"'{name}' has one width", help=f"those that take a --width are {', '.join(WIDTHS)}")
    if not math.isfinite(width) or not widths.allows(width):
        raise UsageError(f"'{name}' has no width {width:g}", help=f"it has {widths.describe()}")
    layers = _value(network, "layers")
    assert isinstance(layers, SequenceNode)
    before = after = 1  # channels of the layer above
    for layer in layers.items:
        body = layer.entries[0][1] if isinstance(layer, MappingNode) else None
        if not isinstance(body, MappingNode) or not any(key.text == "out" for key, _ in body.entries):
            continue
        out = _scalar(body, "out")
        assert isinstance(out.value, int)
        made = widths.channels(_scalar(body, "name").text, out.value, width)
        yield _Edit(out, str(made))
        for key, node in body.entries:
            if key.text == "hidden" and isinstance(node, ScalarNode) and isinstance(node.value, int):
                # Its ratio to the channels that the block reads stays, as in the authors' code.
                yield _Edit(node, str(divisible(node.value / before * after, _MULTIPLE)))
        before, after = out.value, made


def _resolution_edits(name: str, network: Node, resolution: Pair) -> Iterator[_Edit]:
    shape = _value(_value(network, "input"), "shape")
    assert isinstance(shape, SequenceNode)
    _, rows, columns, channels = shape.items
    if not isinstance(channels, ScalarNode) or channels.value != 3:
        raise UsageError(f"'{name}' reads no image, and so has no resolution")
    for node, size in zip((rows, columns), resolution, strict=True):
        assert isinstance(node, ScalarNode)
        yield _Edit(node, str(size))


def _edited(text: str, edits: list[_Edit]) -> str:
    """`text` with the edits made, each in its line and column, from the last to the first."""
    lines = text.split("\n")
    for edit in sorted(edits, key=lambda e: (e.node.position.line, e.node.position.column), reverse=True):
        row, begin = edit.node.position.line - 1, edit.node.position.column - 1
        line = lines[row]
        assert line.startswith(edit.node.text, begin), (line, edit)
        lines[row] = line[:begin] + edit.text + line[begin + len(edit.node.text) :]
    return "\n".join(lines)


def _value(node: Node, key: str) -> Node:
    assert isinstance(node, MappingNode)
    return next(value for name, value in node.entries if name.text == key)


def _scalar(node: Node, key: str) -> ScalarNode:
    value = _value(node, key)
    assert isinstance(value, ScalarNode)
    return value

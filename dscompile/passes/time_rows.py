"""Where time lies in the tensors of a network, and which layers slide along it.

A window of frames goes through a network, whose result for the next window is wanted some frames later. A layer slides
if what it makes of that window is the old result moved up, with new rows below: it does the same to every row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dscompile.errors import Diagnostic
from dscompile.ir.network import Layer, Network
from dscompile.ir.ops import (
    Activate,
    ArgMax,
    BatchNorm,
    Binary,
    Concat,
    Conv2D,
    Dequantize,
    Lookup,
    Pad,
    Pads,
    Pool,
    Quantize,
    Reshape,
    Shuffle,
    Slice,
    Softmax,
    Transpose,
)
from dscompile.ir.tensor import Shape


@dataclass(frozen=True)
class Rows:
    """The rows of a tensor over time: `count` in a window, along `axis` (channels last), one every `frames` frames."""

    axis: int
    count: int
    frames: int


@dataclass(frozen=True)
class Reading:
    """How a layer reads its inputs that have rows.

    Row j of what it makes reads rows from `first` + j * `stride` on. `made` is None where the result belongs to the
    window as a whole: then all rows from `first` on are read.
    """

    made: Rows | None
    stride: int = 1
    first: int = 0

    def past(self, rows: Rows, new: int) -> int:
        """How many rows before the `new` ones are read, to make as many new rows as these give.

        Negative where the first ones of the new rows are not read either.
        """
        if self.made is None:
            return rows.count - new - self.first
        return rows.count - self.made.count * self.stride - self.first


RowsOf: TypeAlias = Mapping[str, Rows]
"""The tensors that have rows over time."""

WHOLE = Reading(None)
# Operators that look at one element alone, and those that look at the last axis.
_ELEMENTWISE = (Lookup, Quantize, Dequantize)
_CHANNELWISE = (BatchNorm, Softmax, ArgMax, Shuffle)


def readings(network: Network, source: str, axis: int) -> tuple[RowsOf, dict[str, Reading], list[Diagnostic]]:
    """Follows `axis` of the input `source` through the network.

    -> the tensors with rows over time, how the layers that read any of them do so, and the layers that pad time, for
    which there is no sliding.
    """
    rows = {source: Rows(axis, network.shape(source)[axis], 1)}
    found: dict[str, Reading] = {}
    padded = []
    for layer in network.layers:
        given = {name: rows[name] for name in layer.inputs if name in rows}
        if not given:
            continue
        reading = _reading(network, layer, given)
        found[layer.name] = reading
        if reading.made is not None:
            rows[layer.output] = reading.made
            before, after = _time_pads(layer, next(iter(given.values())).axis)
            if before or after:
                padded.append(_padding(layer, before, after))
    return rows, found, padded


def _reading(network: Network, layer: Layer, given: RowsOf) -> Reading:
    made = network.shape(layer.output)
    if len(layer.inputs) > 1:
        return _joined(network, layer, given)
    ((source, rows),) = given.items()
    shape, axis = network.shape(source), rows.axis
    match layer.op:
        case Conv2D(stride=stride) | Pool(stride=stride) if axis in (1, 2):
            return _sliding(rows, made, stride[axis - 1])
        case Pad() if axis in (1, 2):
            return Reading(Rows(axis, made[axis], rows.frames))
        case Slice(begins=begins) as op:
            first, step = begins[axis], op.strides[axis]
            return _sliding(rows, made, step, first)
        case Reshape():
            place = _place(shape, axis, made)
            return WHOLE if place is None else Reading(Rows(place, rows.count, rows.frames))
        case Transpose(permutation=permutation):
            return Reading(Rows(permutation.index(axis), rows.count, rows.frames))
        case Activate(activation=activation) if activation.kind != "prelu" or axis < len(shape) - 1:
            return Reading(rows)
        case _ if isinstance(layer.op, _ELEMENTWISE) or (isinstance(layer.op, _CHANNELWISE) and axis < len(shape) - 1):
            return Reading(rows)
        case _:
            return WHOLE


def _sliding(rows: Rows, made: Shape, stride: int, first: int = 0) -> Reading:
    """A layer over windows of rows; one that makes a single row of the whole window has nothing to slide along."""
    if made[rows.axis] == 1:
        return Reading(None, first=first)
    return Reading(Rows(rows.axis, made[rows.axis], rows.frames * stride), stride, first)


def _joined(network: Network, layer: Layer, given: RowsOf) -> Reading:
    """A layer of several inputs: their rows must run side by side, beside constants that are the same for all rows."""
    rank = len(network.shape(layer.output))
    places = {
        Rows(rows.axis + rank - len(network.shape(name)), rows.count, rows.frames) for name, rows in given.items()
    }
    if len(places) > 1:
        return WHOLE
    (rows,) = places
    match layer.op:
        case Concat(axis=axis) if axis != rows.axis and len(given) == len(set(layer.inputs)):
            return Reading(rows)
        case Binary() if all(name in given or _same_for_all_rows(network, name, rows, rank) for name in layer.inputs):
            return Reading(rows)
        case _:
            return WHOLE


def _same_for_all_rows(network: Network, name: str, rows: Rows, rank: int) -> bool:
    """Whether a tensor is constant, and broadcast over time."""
    producer, shape = network.producers.get(name), network.shape(name)
    place = rows.axis - rank + len(shape)
    return producer is not None and not producer.inputs and (place < 0 or shape[place] == 1)


def _place(shape: Shape, axis: int, made: Shape) -> int | None:
    """The axis of a reshape's result that has the rows of `axis`; None if there is none."""
    before = math.prod(shape[:axis])
    for place, size in enumerate(made):
        if size == shape[axis] and math.prod(made[:place]) == before:
            return place
    return None


def _time_pads(layer: Layer, axis: int) -> tuple[int, int]:
    match layer.op:
        case Conv2D(pads=pads) | Pool(pads=pads) | Pad(pads=pads):
            return _along(pads, axis)
        case _:
            return 0, 0


def _along(pads: Pads, axis: int) -> tuple[int, int]:
    return (pads.top, pads.bottom) if axis == 1 else (pads.left, pads.right)


def _padding(layer: Layer, before: int, after: int) -> Diagnostic:
    return Diagnostic(
        f"pads every window over time, by {before} before and {after} after it; rows at its ends then differ from "
        "those that the window before had there",
        layer=layer.name,
    )

"""A network over a window of frames as one that takes the new frames alone and keeps what it needs of those before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dscompile.errors import BadInputError, UnsupportedError, UsageError
from dscompile.ir.cost import layer_macs
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Concat, Op, Reshape, Slice
from dscompile.ir.state import State
from dscompile.ir.tensor import Shape, Tensor
from dscompile.passes.time_rows import Reading, Rows, RowsOf, readings

_TRAIN_ANOTHER = (
    "train the network without padding over time (padding: valid), or build it as it is with --memory stream, which "
    "takes one window row by row"
)


@dataclass(frozen=True)
class Slid:
    """The network of one step, and what it does.

    `window` and `step` count frames; `whole` are the layers that read all rows of a window in every step, and those
    behind them. `macs_before` are those of a window, `macs_after` those of a step.
    """

    network: Network
    window: int
    step: int
    whole: tuple[str, ...]
    macs_before: int
    macs_after: int

    @property
    def steps_to_fill(self) -> int:
        """The step from which on a window holds no frame from before the first."""
        return -(-self.window // self.step)


def time_axis(network: Network, axis: int | None = None) -> int:
    """The axis of the network's input (channels last) along which frames follow each other.

    `axis` counts in the order that the user gives the input in; None: the first one after the batch, channels last,
    that is longer than 1. Raises UsageError and UnsupportedError where there is none.
    """
    if network.states:
        raise UnsupportedError(f"'{network.name}' keeps state already: it takes new frames alone as it is")
    if len(network.inputs) != 1:
        names = ", ".join(f"'{name}'" for name in network.inputs)
        raise UnsupportedError(f"'{network.name}' has the inputs {names}; only networks of one input can slide")
    tensor = network.tensor(network.inputs[0])
    shape = tensor.border_shape
    rank = len(shape)
    channels_first = tensor.border == "nchw" and rank >= 3
    users = [0, *range(2, rank), 1] if channels_first else list(range(rank))  # the user's axes, channels last
    if axis is None:
        found = next((place for place in range(1, rank) if tensor.shape[place] > 1), None)
        if found is None:
            raise UsageError(f"input '{tensor.name}' is {list(shape)}, a single frame")
        return found
    if not 0 < axis < rank or shape[axis] == 1:
        raise UsageError(
            f"axis {axis} of input '{tensor.name}', {list(shape)}, holds no frames one after the other",
            help="the first axis has number 0 and is the batch",
        )
    return users.index(axis)


def slide(network: Network, axis: int, step: int | None, quiet: Mapping[str, Array]) -> Slid:
    """The network that gives after each step what `network` gives on the window of the last frames.

    Time is `axis` (channels last) of its only input. A step takes `step` frames, by default as many as the strides over
    time make necessary. Layers that slide compute new rows alone; the rows before them that are still read are states.
    Outputs that have rows over time consist of the new ones. `quiet` has every tensor of `network` for a window of
    zeros, and states begin as if zeros had come before the first frame.

    Raises BadInputError naming all layers that pad time, UsageError for a step that does not fit, and UnsupportedError
    where nothing can slide.
    """
    (source,) = network.inputs
    rows, how, padded = readings(network, source, axis)
    if padded:
        raise BadInputError([*padded[:-1], replace(padded[-1], help=_TRAIN_ANOTHER)])
    window = rows[source].count
    frames = math.lcm(*(each.frames for each in rows.values()))
    count = frames if step is None else step
    if count % frames:
        raise UsageError(
            f"a step of {_frames(count)} does not fit: strides over time make a row of {_frames(frames)}",
            help=f"give a --step that is a multiple of {frames}",
        )
    if count >= window:
        raise UsageError(
            f"a step of {_frames(count)} leaves nothing of a window of {window}", help="give a smaller one"
        )
    slid = _Rewriting(network, rows, how, count, quiet).run()
    before, after = _macs(network), _macs(slid)
    whole = tuple(layer.name for layer in network.layers if layer.output not in rows and layer.inputs)
    if after >= before:
        why = f": layer '{whole[0]}' reads all of it" if whole else ""
        raise UnsupportedError(
            f"a step of {_frames(count)} would multiply no less than a window of {window}{why}",
            help="give a smaller --step, or with --axis the axis along which frames follow each other",
        )
    return Slid(slid, window, count, whole, before, after)


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _macs(network: Network) -> int:
    return sum(layer_macs(network, layer) for layer in network.layers)


class _Rewriting:
    """Layer by layer from the window's network to that of a step."""

    def __init__(
        self, network: Network, rows: RowsOf, how: Mapping[str, Reading], step: int, quiet: Mapping[str, Array]
    ) -> None:
        self.network = network
        self.rows = rows
        self.how = how
        self.step = step
        self.quiet = quiet
        self.tensors = {name: self._shrunk(tensor) for name, tensor in network.tensors.items()}
        self.taken = {*self.tensors, *(layer.name for layer in network.layers)}
        self.layers: list[Layer] = []
        self.states: list[State] = []
        self.rings: dict[str, tuple[str, int]] = {}
        self.parts: dict[tuple[str, int], str] = {}

    def run(self) -> Network:
        """The network of a step; labels are those of one result, and rows of results have none."""
        for name in self.network.inputs:
            self._keep(name)
        for layer in self.network.layers:
            self._add(layer)
            self._keep(layer.output)
        return replace(
            self.network,
            name=f"{self.network.name}_stream",
            inputs=(*self.network.inputs, *(state.name for state in self.states)),
            outputs=(*self.network.outputs, *(state.next for state in self.states)),
            tensors=self.tensors,
            layers=tuple(self.layers),
            states=tuple(self.states),
            labels=() if self.network.outputs[0] in self.rows else self.network.labels,
        ).validate()

    def _new(self, rows: Rows) -> int:
        """How many rows a step adds."""
        return self.step // rows.frames

    def _shrunk(self, tensor: Tensor) -> Tensor:
        rows = self.rows.get(tensor.name)
        return tensor if rows is None else replace(tensor, shape=_with(tensor.shape, rows.axis, self._new(rows)))

    def _keep(self, name: str) -> None:
        """Makes a state of the rows of a tensor that are read after the step they came in."""
        if name not in self.rows:
            return
        rows = self.rows[name]
        new = self._new(rows)
        past = max((self.how[each.name].past(rows, new) for each in self.network.consumers[name]), default=0)
        if past <= 0:
            self.rings[name] = (name, 0)
            return
        tensor = self.network.tensor(name)
        if tensor.dtype not in ("float32", "int8"):
            raise UnsupportedError(
                f"rows of '{name}' have to be kept, and they are {tensor.dtype}; only float32 and int8 can be"
            )
        old = self._tensor(f"{name}_past", tensor, rows, past)
        ring = self._tensor(f"{name}_rows", tensor, rows, past + new)
        self.layers.append(Layer(ring, Concat(rows.axis), (old, name), ring))
        kept = self._tensor(f"{name}_kept", tensor, rows, past)
        self.layers.append(Layer(kept, self._part(ring, rows, new, past), (ring,), kept))
        # Zeros before the first frame: all rows of what they make are alike, so that any of them will do.
        first = np.take(self.quiet[name], np.zeros(past, int), rows.axis)
        self.states.append(State(old, kept, np.ascontiguousarray(first)))
        self.rings[name] = (ring, past)

    def _add(self, layer: Layer) -> None:
        reading = self.how.get(layer.name)
        if reading is None:
            self.layers.append(layer)
            return
        op = self._op(layer, reading)
        inputs = tuple(self._operand(name, reading, layer.op) if name in self.rows else name for name in layer.inputs)
        self.layers.append(replace(layer, op=op, inputs=inputs))

    def _op(self, layer: Layer, reading: Reading) -> Op:
        """The operator of a step; only those that spell out sizes differ."""
        made = reading.made
        match layer.op:
            case Reshape(shape=shape) if made is not None:
                return Reshape(_with(shape, made.axis, self._new(made)))
            case Slice() as op:
                (name,) = layer.inputs
                rows = self.rows[name]
                past = self.rings[name][1]
                first = past - reading.past(rows, self._new(rows))
                sizes = op.sizes if made is None else _with(op.sizes, rows.axis, self._new(made))
                return Slice(_with(op.begins, rows.axis, first), sizes, op.steps)
            case op:
                return op

    def _operand(self, name: str, reading: Reading, op: Op) -> str:
        """The rows that a layer reads, of those that are kept and the new ones; slices choose themselves."""
        rows = self.rows[name]
        ring, kept = self.rings[name]
        past = reading.past(rows, self._new(rows))
        if past == kept or isinstance(op, Slice):
            return ring
        if (name, past) not in self.parts:
            count = past + self._new(rows)
            part = self._tensor(f"{name}_last", self.network.tensor(name), rows, count)
            self.layers.append(Layer(part, self._part(ring, rows, kept - past, count), (ring,), part))
            self.parts[name, past] = part
        return self.parts[name, past]

    def _part(self, name: str, rows: Rows, first: int, count: int) -> Slice:
        shape = self.tensors[name].shape
        return Slice(_with((0,) * len(shape), rows.axis, first), _with(shape, rows.axis, count))

    def _tensor(self, wanted: str, like: Tensor, rows: Rows, count: int) -> str:
        """Adds a tensor of `count` rows -> its name, which no layer and no tensor had."""
        name, number = wanted, 2
        while name in self.taken:
            name, number = f"{wanted}_{number}", number + 1
        self.taken.add(name)
        self.tensors[name] = replace(like, name=name, shape=_with(like.shape, rows.axis, count), border="nhwc")
        return name


def _with(sizes: Shape, axis: int, value: int) -> Shape:
    return (*sizes[:axis], value, *sizes[axis + 1 :])

"""Building a program: where tensors live, which calls make them, and at the end the arena.

Images live blocked ([C / lanes][H][W][lanes], with the halo that their readers want), everything else flat in
channels-last order; conversions are inserted where an operator wants the other form.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from dscompile.errors import UnsupportedError
from dscompile.ir.cost import layer_kind, layer_macs
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.ops import Constant, Pads
from dscompile.ir.tensor import DTYPE_BYTES, DType, Precision, Shape, Tensor
from dscompile.plan.arena import Request, plan_arena
from dscompile.plan.bands import Segment
from dscompile.plan.bf16_kernels import Bf16ConvKernel
from dscompile.plan.choices import Choice
from dscompile.plan.elements import Element, element_of
from dscompile.plan.fusion import Part, concatenated_parts
from dscompile.plan.kernels import (
    FillKernel,
    FlatKernel,
    GatherKernel,
    PackKernel,
    UnpackKernel,
)
from dscompile.plan.knobs import Knobs
from dscompile.plan.layout import Blocked
from dscompile.plan.program import Buffer, Call, Chosen, Function, Operand, Program, Sections, Step
from dscompile.plan.routing import NO_ROUTING, Pools, Routing
from dscompile.plan.row_tiles import RowTiles, TiledView
from dscompile.plan.storage import (
    BlockedView,
    FlatView,
    GatheredView,
    Halos,
    Store,
    View,
    border_strides,
    dense_strides,
    lifetimes,
)
from dscompile.plan.tuning import UNTUNED, Decision, Tuning
from dscompile.plan.tuning_use import layers_by_source
from dscompile.plan.workloads import Workload
from dscompile.target import Target

if TYPE_CHECKING:
    from dscompile.plan.program import NativeKernel

BEFORE_FIRST_STEP = -1
ChoiceT = TypeVar("ChoiceT", bound=Choice)


class ProgramBuilder:
    """A program in the making: where tensors live, the calls of the current step, the functions used so far."""

    def __init__(
        self,
        network: Network,
        target: Target,
        halos: Halos | None = None,
        tuning: Tuning = UNTUNED,
        threads: int = 1,
        routing: Routing = NO_ROUTING,
        precision: Precision = "float32",
        tiled: frozenset[str] = frozenset(),
    ) -> None:
        """`halos` are the paddings around images in memory; default: what the convolutions of the network read.

        `threads` are how many the program is made for, if it is run by several. `routing` names images that are not
        made, because whoever reads them finds their channels elsewhere; `tiled` are images that lie in tiles.
        """
        self.threads = threads
        self.network = network
        self.target = target
        self.precision = precision
        self.lanes = target.lanes
        self.halos = Halos.of(network) if halos is None else halos
        self.steps: list[Step] = []
        self.stores: dict[str, Store] = {}
        self.constants: dict[str, Array] = {}
        self.fallbacks: list[str] = []
        self.tuning = tuning
        self._decisions: dict[Workload, Decision] = {}
        self._chosen: dict[tuple[int, Workload], Chosen] = {}
        self._functions: dict[tuple[NativeKernel, Knobs | None], Function] = {}
        self._views: dict[str, View] = {}
        self._converted: dict[tuple[str, str], View] = {}
        self._calls: list[Call] = []
        self._first_band: int | None = None
        self._scaled: dict[Operand, Operand] = {}
        self._sections: Sections | None = None
        self._result: tuple[Operand, int] | None = None
        self._layer = ""
        self.routing = routing
        self._tiled_names = tiled
        self._tiled: dict[str, TiledView] = {}
        self._parts = {
            name: part
            for name, part in concatenated_parts(network, lambda name: self.element(name).lanes).items()
            if part.whole not in routing.mixtures
        }
        self._wholes: dict[str, BlockedView] = {}
        self._pools = Pools(network, routing, self.lanes, lambda key, elements: self._store(key, elements, "float32"))
        self._prefix = re.sub(r"\W", "_", network.name)
        borders = (*network.user_inputs, *network.user_outputs)
        self._border_stores = {name: self._border_store(name) for name in borders}
        for name in network.inputs:
            tensor = network.tensor(name)
            self._views[name] = FlatView(tensor.shape, border_strides(tensor), tensor.dtype, "input", name)

    # Steps

    @property
    def index(self) -> int:
        """The step being made."""
        return len(self.steps)

    def begin(self, segment: Segment) -> None:
        """Starts the step of a segment."""
        for work in segment.work:
            for name in (*work.reads, work.result):
                self._check(self.network.tensor(name), work.layer)
        self._calls, self._result, self._sections, self._first_band = [], None, None, None

    def _check(self, tensor: Tensor, layer: Layer) -> None:
        if len(tensor.shape) > 1 and tensor.shape[0] != 1:
            raise UnsupportedError(
                f"tensor '{tensor.name}' has a batch of {tensor.shape[0]}; only 1 is supported",
                layer=layer.name,
                help="run the artifact once per image",
            )

    def enter(self, layer: Layer) -> None:
        """The constants that follow belong to `layer`."""
        self._layer = layer.name

    def end(self, segment: Segment) -> None:
        """Finishes the step: results that the user wants are brought into the user's buffers."""
        for work in segment.work:
            if work.result in self.network.outputs:
                self._deliver(work.result)
        if not self._calls:
            return
        if self._result is None:
            raise AssertionError(f"step {segment.name} has calls but no result")
        operand, size_bytes = self._result
        self.steps.append(
            Step(
                name=segment.name,
                kind=" + ".join(dict.fromkeys(layer_kind(self.network, work.layer) for work in segment.work)),
                layers=tuple(name for work in segment.work for name in work.layers),
                calls=tuple(self._calls),
                macs=sum(layer_macs(self.network, work.layer) for work in segment.work),
                result=operand,
                result_bytes=size_bytes,
                note=segment.note,
                sections=self._sections,
            )
        )

    def call(self, kernel: NativeKernel, operands: Sequence[Operand], knobs: Knobs | None = None) -> None:
        """Appends a call; equal kernels with equal knobs share one function. Operands follow kernel.parameters."""
        self._insert(len(self._calls), kernel, operands, knobs)

    def call_ahead(self, kernel: NativeKernel, operands: Sequence[Operand]) -> None:
        """As `call`, before the first band where the step is done in bands."""
        if self._first_band is None:
            self.call(kernel, operands)
        else:
            self._insert(self._first_band, kernel, operands, None)
            self._first_band += 1

    def _insert(self, place: int, kernel: NativeKernel, operands: Sequence[Operand], knobs: Knobs | None) -> None:
        function = self._functions.get((kernel, knobs))
        if function is None:
            symbol = f"{self._prefix}_k{len(self._functions):03d}_{kernel.kind}"
            function = Function(symbol, kernel, kernel.parameters, knobs)
            self._functions[kernel, knobs] = function
        self._calls.insert(place, Call(function.symbol, tuple(operands)))
        for operand in operands:
            self._touch(operand)

    def scaled(self, weights: Operand, scale: Callable[[], Operand]) -> Operand:
        """Where these weights lie times the factors of their channels; where `scale` brings them if nobody has yet."""
        if weights not in self._scaled:
            self._scaled[weights] = scale()
        return self._scaled[weights]

    @contextmanager
    def aside(self) -> Iterator[list[Call]]:
        """Calls made inside are those of a section: they are collected, and do not count as the step's own."""
        before = self._calls, dict(self._chosen), self._scaled, self._first_band
        self._calls, self._scaled, self._first_band = [], dict(self._scaled), None
        yield self._calls
        self._calls, self._chosen, self._scaled, self._first_band = before

    def begin_bands(self) -> None:
        """The calls that follow are those of bands."""
        self._first_band = len(self._calls)

    def divide(self, sections: Sequence[Sequence[Call]]) -> None:
        """The calls of the step's bands can be done as `sections` instead."""
        assert self._first_band is not None
        self._sections = Sections(self._first_band, len(self._calls), tuple(map(tuple, sections)))

    @property
    def call_count(self) -> int:
        """Calls of the step so far."""
        return len(self._calls)

    def choose(self, workload: Workload, kind: type[ChoiceT]) -> ChoiceT:
        """The choice for a workload of the current layer; `kind` is what belongs to it."""
        decision = self._decisions.get(workload)
        if decision is None:
            decision = self._decisions[workload] = self.tuning.decide(workload, self.target)
        choice = decision.choice
        if not isinstance(choice, kind):
            raise TypeError(f"{workload} is tuned with {choice}")
        before = self._chosen.get((self.index, workload))
        self._chosen[self.index, workload] = Chosen(
            self.index,
            self._layer,
            workload,
            choice,
            decision.source,
            decision.near,
            1 if before is None else before.times + 1,
        )
        return choice

    def constant(self, name: str, array: Array) -> Operand:
        """A constant of the program, called `<layer>.<name>`, or `<layer>.<name>~2` and so on if another one is.

        Bands of different heights may pack the same weights into panels of different widths.
        """
        wanted = key = f"{self._layer}.{name}"
        number = 1
        while key in self.constants and not np.array_equal(self.constants[key], array):
            number += 1
            key = f"{wanted}~{number}"
        self.constants.setdefault(key, np.ascontiguousarray(array))
        return Operand("constant", key)

    # Tensors

    def element(self, name: str) -> Element:
        """What the elements of a tensor are."""
        return element_of(self.network.tensor(name), self.target)

    def new_blocked(self, name: str, shape: Shape, halo: Pads | None = None, *, tag: str = "") -> BlockedView:
        """Room for an image tensor, its halo cleared at once."""
        view = self.uncleared_blocked(name, shape, halo, tag=tag)
        if tag or not self.is_part_of_any(name):
            self.clear_halo(name, view)
        return view

    def uncleared_blocked(self, name: str, shape: Shape, halo: Pads | None = None, *, tag: str = "") -> BlockedView:
        """Room for an image tensor, whose halo the caller clears; a part of a concatenation lies in the whole."""
        _, height, width, channels = shape
        element = self.element(name)
        part = None if tag else self._parts.get(name)
        if part is not None:
            whole = self._whole_view(part)
            layout = Blocked(height, width, channels, element.lanes, whole.layout.halo)
            base = whole.base + part.channel // element.lanes * whole.layout.strides.block
            return BlockedView(whole.store, layout, base)
        pooled = None if tag else self._pools.place(name)
        if pooled is not None:
            return pooled
        layout = Blocked(height, width, channels, element.lanes, self.halos.get(name) if halo is None else halo)
        return BlockedView(self._store(name + tag, layout.elements, element.dtype), layout)

    def whole(self, name: str) -> BlockedView | None:
        """The image of a concatenation that its parts were written into, if any part was."""
        return self._wholes.get(name)

    def is_part(self, name: str, whole: str) -> bool:
        """Whether tensor `name` was written straight into the concatenation `whole`."""
        part = self._parts.get(name)
        return part is not None and part.whole == whole

    def is_part_of_any(self, name: str) -> bool:
        """Whether tensor `name` is written straight into some concatenation."""
        return name in self._parts

    def _whole_view(self, part: Part) -> BlockedView:
        view = self._wholes.get(part.whole)
        if view is None:
            view = self.new_blocked(part.whole, self.network.shape(part.whole))
            self._wholes[part.whole] = view
        return view

    def tiled(self, name: str, rows: int = 0) -> TiledView | None:
        """An image in tiles (plan/row_tiles.py), if it is one.

        Room for it is made when it is first asked for; for so many `rows` at a time, unless that is 0.
        """
        if name not in self._tiled_names:
            return None
        if name not in self._tiled:
            _, height, width, channels = self.network.shape(name)
            layout = RowTiles.of(rows or height, width, channels // self.lanes, self.lanes)
            self._tiled[name] = TiledView(self._store(name, layout.elements, "float32"), layout)
        return self._tiled[name]

    def place_tiled(self, view: TiledView) -> None:
        """Declares that the step's result is an image in tiles."""
        self._result = (Operand("arena", view.store.name), view.store.size_bytes)

    def gathered(self, name: str) -> GatheredView | None:
        """A tensor whose channels lie here and there, if it is one and has not been brought together."""
        return None if (name, "blocked") in self._converted else self._pools.gathered(name)

    def new_flat(self, name: str, shape: Shape, *, tag: str = "") -> FlatView:
        """Room for a dense tensor; the user's own buffer if it is an output that lies dense there."""
        dtype = self.network.tensor(name).dtype
        if name in self.network.outputs and not tag:
            border = border_strides(self.network.tensor(name))
            if border == dense_strides(shape):
                return FlatView(shape, border, dtype, "output", name)
        store = self._store(name + tag, math.prod(shape), dtype)
        return FlatView(shape, dense_strides(shape), dtype, "arena", store.name, 0, store)

    def place(self, name: str, view: View) -> None:
        """Declares where a tensor lives from now on; it may be another name for memory already written."""
        self._views[name] = view
        if isinstance(view, BlockedView):
            size = DTYPE_BYTES[view.dtype]
            self._result = (Operand("arena", view.store.name, view.base * size), view.layout.elements * size)
        else:
            self._result = (view.at(), math.prod(view.shape) * DTYPE_BYTES[view.dtype])

    def home(self, name: str) -> View:
        """Where a tensor lives."""
        return self.blocked(name) if name in self.routing.mixtures else self._views[name]

    def blocked(self, name: str) -> BlockedView:
        """The tensor as a blocked image with at least its halo; packed first if it lives flat or scattered."""
        known = self._converted.get((name, "blocked"))
        if isinstance(known, BlockedView):
            return known
        scattered = self.gathered(name)
        if scattered is not None:
            return self._gather(name, scattered)
        view = self._views[name]
        if isinstance(view, BlockedView):
            return view
        image = self.pack(view, self.new_blocked(name, image_shape(view.shape), tag=".blocked"))
        self._converted[name, "blocked"] = image
        return image

    def _gather(self, name: str, scattered: GatheredView) -> BlockedView:
        image = self.new_blocked(name, self.network.shape(name), tag=".gathered")
        layout = image.layout
        unused = layout.blocks * layout.lanes - layout.channels
        offsets = np.array((*scattered.offsets, *scattered.offsets[-1:] * unused), np.int32)
        kernel = GatherKernel(
            layout.height, layout.width, layout.blocks, layout.lanes, scattered.span, scattered.strides, layout.strides
        )
        self.call(kernel, [scattered.at(), self.constant("gathered", offsets), image.at()])
        self._converted[name, "blocked"] = image
        return image

    def pack(self, view: FlatView, image: BlockedView) -> BlockedView:
        """Writes a flat tensor into a blocked image, and returns that."""
        source = replace(view, shape=image_shape(view.shape), strides=_image_strides(view))
        layout = image.layout
        kernel = PackKernel(
            layout.height, layout.width, layout.channels, layout.lanes, source.image, layout.strides, view.dtype
        )
        self.call(kernel, [source.at(), image.at()])
        return image

    def flat(self, name: str) -> FlatView:
        """The tensor with a stride per axis; unpacked first if it lives blocked."""
        view = self.home(name)
        if isinstance(view, FlatView):
            return view
        layout, shape = view.layout, self.network.shape(name)
        if layout.height == layout.width == 1 and not layout.halo:
            return FlatView(shape, dense_strides(shape), view.dtype, "arena", view.store.name, view.base, view.store)
        known = self._converted.get((name, "flat"))
        if isinstance(known, FlatView):
            return known
        result = self.new_flat(name, shape, tag=".flat")
        self._unpack(view, result)
        self._converted[name, "flat"] = result
        return result

    def dense(self, name: str) -> FlatView:
        """The tensor flat and in channels-last order without gaps; copied first if it is not."""
        view = self.flat(name)
        if view.is_dense:
            return view
        result = self.new_flat(name, view.shape, tag=".dense")
        self.copy(view, result)
        return result

    def copy(self, source: FlatView, target: FlatView) -> None:
        """Copies element by element between views of equal shape."""
        kernel = FlatKernel("copy", source.shape, source.strides, target.strides, dtype=source.dtype)
        self.call(kernel, [source.at(), target.at()])

    def clear_halo(self, name: str, view: BlockedView, first: int = 0, count: int | None = None) -> None:
        """Zeroes the halo of tensor `name` beside `count` rows from `first` on (default: all), and above and below if
        they touch it.

        What lies right of a row and left of the next is one run in memory.
        """
        layout, halo = view.layout, view.layout.halo
        zero, dtype = self.element(name).zero, view.dtype
        strides, lanes = layout.strides, layout.lanes
        end = layout.height if count is None else first + count
        side = (halo.left + halo.right) * lanes
        above = halo.top * strides.row + halo.left * lanes
        below = halo.right * lanes + halo.bottom * strides.row
        if first == 0 and above:
            fill = FillKernel(layout.blocks, 1, above, strides.block, strides.row, zero, dtype)
            self.call(fill, [view.at(-halo.top, -halo.left)])
        between = min(end, layout.height - 1) - first
        if side and between > 0:
            fill = FillKernel(layout.blocks, between, side, strides.block, strides.row, zero, dtype)
            self.call(fill, [view.at(first, layout.width)])
        if end == layout.height and below:
            fill = FillKernel(layout.blocks, 1, below, strides.block, strides.row, zero, dtype)
            self.call(fill, [view.at(layout.height - 1, layout.width)])

    # The end

    def finish(self) -> Program:
        """The program, with its arena planned."""
        for name in self.network.outputs:
            if name in self.network.inputs:
                raise UnsupportedError(f"output '{name}' is an input of the network; there is nothing to compute")
        for name in self.network.user_outputs:
            self._border_stores[name].touch(len(self.steps))
        stores = lifetimes([*self.stores.values(), *self._border_stores.values()])
        alignment = self.target.arena_alignment
        requests = [Request(s.name, s.size_bytes, s.first, s.last) for s in stores]
        placement = plan_arena(requests, alignment=alignment)
        chosen = tuple(self._chosen.values())
        by_rule = layers_by_source(chosen, self.target)["rule"] if self.tuning.name else ()
        buffers = tuple(Buffer(r.name, r.size_bytes, r.first, r.last, placement.offsets[r.name]) for r in requests)
        return Program(
            network=self.network,
            target=self.target,
            steps=tuple(self.steps),
            functions=tuple(self._functions.values()),
            buffers=buffers,
            arena_bytes=placement.size_bytes,
            arena_lower_bound_bytes=placement.lower_bound_bytes,
            inputs={name: self._border_stores[name].name for name in self.network.user_inputs},
            outputs={name: self._border_stores[name].name for name in self.network.user_outputs},
            constants=self.constants,
            fallback_layers=tuple(dict.fromkeys((*self.fallbacks, *by_rule))),
            precision="bfloat16"
            if any(isinstance(kernel, Bf16ConvKernel) for kernel, _ in self._functions)
            else "float32",
            chosen=chosen,
            tuning=self.tuning.name,
        )

    def materialize(self, layer: Layer) -> None:
        """A Constant layer: its value becomes a constant of the program, found by its tensor's name."""
        self._layer = layer.name
        dtype = self.network.tensor(layer.output).dtype
        value = np.asarray(self.network.weight(layer, "value"), np.dtype(dtype))
        operand = self.constant("value", value)
        self._views[layer.output] = FlatView(value.shape, dense_strides(value.shape), dtype, "constant", operand.name)

    def _deliver(self, name: str) -> None:
        """Brings an output into the user's buffer if it does not lie there yet."""
        view = self.home(name)
        if isinstance(view, FlatView) and view.space == "output" and view.name == name:
            return
        tensor = self.network.tensor(name)
        result = FlatView(tensor.shape, border_strides(tensor), tensor.dtype, "output", name)
        if isinstance(view, BlockedView) and len(tensor.shape) == 4:
            self._unpack(view, result)
        else:
            self.copy(self.flat(name), result)
        if self._result is None:
            self._result = (result.at(), tensor.size_bytes)

    def _unpack(self, view: BlockedView, result: FlatView) -> None:
        layout = view.layout
        shaped = result if len(result.shape) == 4 else result.reshaped(image_shape(result.shape))
        kernel = UnpackKernel(
            layout.height, layout.width, layout.channels, layout.lanes, layout.strides, shaped.image, view.dtype
        )
        self.call(kernel, [view.at(), result.at()])

    def _store(self, wanted: str, elements: int, dtype: DType) -> Store:
        """Room of its own in the arena, called `wanted`, or `wanted.2` and so on where that is taken.

        One tensor may be padded, repeated or copied several times, for several readers.
        """
        name, number = wanted, 1
        while name in self.stores:
            number += 1
            name = f"{wanted}.{number}"
        store = Store(name, elements, dtype, self.index, self.index)
        self.stores[name] = store
        return store

    def _border_store(self, name: str) -> Store:
        """Room in the arena for a border tensor, alive while anyone reads or writes it."""
        tensor = self.network.tensor(name)
        if name in self.network.inputs:
            return Store(f"input:{name}", tensor.elements, tensor.dtype, BEFORE_FIRST_STEP, BEFORE_FIRST_STEP)
        return Store(f"output:{name}", tensor.elements, tensor.dtype, len(self.network.layers), BEFORE_FIRST_STEP)

    def _touch(self, operand: Operand) -> None:
        if operand.space == "arena":
            self.stores[operand.name].touch(self.index)
        elif operand.space in ("input", "output") and operand.name in self._border_stores:
            self._border_stores[operand.name].touch(self.index)


def image_shape(shape: Shape) -> Shape:
    """A tensor of lower rank seen as an image [1, H, W, C]: missing axes are 1, before the last."""
    if len(shape) == 4:
        return shape
    if len(shape) > 4:
        raise UnsupportedError(f"a tensor of shape {list(shape)} is no image")
    *front, channels = shape[1:] if len(shape) > 1 else shape
    return (1, *(1,) * (2 - len(front)), *front, channels)


def _image_strides(view: FlatView) -> tuple[int, ...]:
    if len(view.shape) == 4:
        return view.strides
    *front, channel = view.strides[1:] if len(view.shape) > 1 else view.strides
    return (0, *(0,) * (2 - len(front)), *front, channel)


def is_constant(network: Network, name: str) -> bool:
    """Whether a tensor is made by a Constant layer."""
    producer = network.producers.get(name)
    return producer is not None and isinstance(producer.op, Constant)

"""From a canonical network to a program of standalone C: steps, kernels, an arena in which tensors overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dscompile.errors import UnsupportedError
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.tensor import DType, Shape
from dscompile.plan.mcu.draft import Draft, PlannedCall, PlannedStep
from dscompile.plan.mcu.kernels import McuKernel
from dscompile.plan.mcu.planes import ROOMS
from dscompile.plan.mcu.quantized import QuantizedWeights
from dscompile.plan.mcu.sets import has_pairs, kernel_sets
from dscompile.plan.mcu.slices import Slice
from dscompile.plan.mcu.small_kernels import CopyKernel, MoveKernel
from dscompile.plan.mcu.storage import Place, Store, border_strides, dense_strides, merge_axes
from dscompile.plan.program import Operand
from dscompile.plan.states import kept_tensors
from dscompile.target import Target

BEFORE_FIRST_STEP = -1
_WORD = 4  # bytes


class McuLowering:
    """A program in the making: where tensors live, the calls of the current step."""

    def __init__(
        self,
        network: Network,
        target: Target,
        *,
        affine: bool,
        slices: Mapping[str, Slice],
        prepared: dict[str, QuantizedWeights],
    ) -> None:
        self.network = network
        self.target = target
        self.affine = affine
        self.prepared = prepared
        self.prepared_rows: dict[str, QuantizedWeights | None] = {}
        self.in_rows: frozenset[str] = frozenset()
        self.planes_room = ROOMS[0]
        self.wanted_rooms: set[float] = set()
        self.has_short = False  # whether products of few words have code of their own
        self.turns = False  # whether images of large windows are to be turned,
        self.has_turned = False  # and whether one was
        self.shuffled: dict[str, int] = {}  # tensors that lie as they were before a shuffle of so many groups
        self._slices = slices
        self.sets = kernel_sets(target)
        self.has_floats = target.has("fpu")
        self._stores: dict[str, Store] = {}
        self._constants: dict[str, Array] = {}
        self._places: dict[str, Place] = {}
        self._steps: list[PlannedStep] = []
        self._calls: list[PlannedCall] = []
        self._layer = ""
        for name in (*network.inputs, *network.outputs):
            self._check(name)
        self._kept = kept_tensors(network)
        for name in network.inputs:
            tensor = network.tensor(name)
            self._places[name] = Place(Operand("input", name), tensor.shape, tensor.dtype)
        for name in network.user_inputs:
            tensor = network.tensor(name)
            self._stores[f"input:{name}"] = Store(f"input:{name}", tensor.size_bytes, -1, -1)
        for name in network.user_outputs:
            if name in network.inputs:
                raise UnsupportedError(f"output '{name}' is an input of the network; there is nothing to compute")
            tensor = network.tensor(name)
            end = len(network.layers)
            self._stores[f"output:{name}"] = Store(f"output:{name}", tensor.size_bytes, end, BEFORE_FIRST_STEP)

    # Steps

    @property
    def index(self) -> int:
        """The step being made."""
        return len(self._steps)

    def begin(self, layer: Layer) -> None:
        """Starts a step; the constants that follow belong to `layer`."""
        self._calls, self._layer = [], layer.name
        for name in (*layer.inputs, layer.output):
            self._check(name)

    def enter(self, layer: Layer) -> None:
        """The constants that follow belong to `layer`, which is fused into the current step."""
        self._layer = layer.name
        self._check(layer.output)

    def enter_group(self, layer: Layer, group: int) -> None:
        """The constants that follow belong to a group of the channels of `layer`."""
        self._layer = f"{layer.name}.group{group}"

    def end(self, layers: Sequence[Layer]) -> None:
        """Finishes the step that computes `layers`; a result that the user wants goes to the user's buffer."""
        name = layers[-1].output
        if name in self.network.outputs:
            self._deliver(name)
        if not self._calls:
            return
        place = self.place(name)
        self._steps.append(PlannedStep(tuple(layers), tuple(self._calls), place.operand, place.size_bytes))

    def call(self, kernel: McuKernel, operands: Sequence[Operand]) -> None:
        """Appends a call; operands follow kernel.parameters."""
        self._calls.append(PlannedCall(kernel, tuple(operands)))
        for operand in operands:
            store = self._store_of(operand)
            if store is not None:
                store.touch(self.index)

    def constant(self, name: str, array: Array) -> Operand:
        """A constant of the program, called `<layer>.<name>`."""
        key = f"{self._layer}.{name}"
        self._constants[key] = np.ascontiguousarray(array)
        return Operand("constant", key)

    # Tensors

    def place(self, name: str) -> Place:
        """Where a tensor is."""
        return self._places[name]

    def dense(self, name: str) -> Place:
        """Where a tensor is, in channels-last order: inputs of another order are copied first."""
        place = self._places[name]
        if name in self.network.inputs and place.operand.space == "input":
            tensor = self.network.tensor(name)
            strides = border_strides(tensor)
            if strides != dense_strides(tensor.shape):
                result = self._new_store(f"{name}.nhwc", tensor.shape, tensor.dtype)
                self.copy(
                    place.operand, strides, result.operand, dense_strides(tensor.shape), tensor.shape, tensor.dtype
                )
                self._places[name] = result
                return result
        return place

    def new(self, name: str) -> Place:
        """Room for a tensor: its part of a concatenation, the user's buffer if nobody else reads it, or the arena.

        A new state is read where it lies in the state.
        """
        tensor = self.network.tensor(name)
        if name in self._slices:
            return self._new_slice(name, self._slices[name])
        direct = (
            name in self.network.outputs
            and (name in self._kept or not self.network.consumers[name])
            and border_strides(tensor) == dense_strides(tensor.shape)
        )
        if direct:
            place = Place(Operand("output", name), tensor.shape, tensor.dtype)
        else:
            place = self._new_store(name, tensor.shape, tensor.dtype, in_rows=name in self.in_rows)
        self._places[name] = place
        return place

    def _new_slice(self, name: str, part: Slice) -> Place:
        tensor = self.network.tensor(name)
        whole = self._places.get(part.whole) or self.new(part.whole)
        place = Place(whole.at(part.start), tensor.shape, tensor.dtype, part.step)
        self._places[name] = place
        return place

    def is_inside(self, name: str) -> bool:
        """Whether a tensor is to be written into its part of a concatenation."""
        return name in self._slices

    def joined(self, name: str) -> Place:
        """Room for the result of a concatenation, which may be in use since the first of its parts was written."""
        return self._places.get(name) or self.new(name)

    def alias(self, name: str, place: Place) -> None:
        """The tensor lies where another one does."""
        self._places[name] = place

    def scratch(self, size_bytes: int, name: str = "columns") -> Operand:
        """Room for the current step only."""
        return self._new_store(f"{self._layer}.{name}", (size_bytes,), "int8").operand

    def copy(
        self,
        source: Operand,
        source_strides: Shape,
        result: Operand,
        result_strides: Shape,
        shape: Shape,
        dtype: DType,
    ) -> None:
        """Copies elements from strides to strides."""
        merged, x, y = merge_axes(shape, source_strides, result_strides)
        if x == y == (1,) and self._is_shift(source, result):
            self.call(MoveKernel(merged[0], dtype), [source, result])
        else:
            is_run = x[-1] == y[-1] == 1 and merged[-1] >= _WORD and dtype == "int8"
            self.call(CopyKernel(merged, x, y, dtype, is_run and has_pairs(self.sets)), [source, result])

    def _is_shift(self, source: Operand, result: Operand) -> bool:
        """Whether a copy goes from a state to its own next value, which lie in the same place."""
        spaces = (source.space, result.space) == ("input", "output")
        return spaces and any((source.name, result.name) == (s.name, s.next) for s in self.network.states)

    def _new_store(self, wanted: str, shape: Shape, dtype: DType, *, in_rows: bool = False) -> Place:
        name, number = wanted, 1
        while name in self._stores:
            number += 1
            name = f"{wanted}.{number}"
        place = Place(Operand("arena", name), shape, dtype, in_rows=in_rows)
        self._stores[name] = Store(name, place.size_bytes, self.index, self.index)
        return place

    def _deliver(self, name: str) -> None:
        """Brings an output into the user's buffer if it does not lie there yet."""
        place, tensor = self._places[name], self.network.tensor(name)
        if place.operand == Operand("output", name):
            return
        self.copy(
            place.operand,
            dense_strides(tensor.shape),
            Operand("output", name),
            border_strides(tensor),
            tensor.shape,
            tensor.dtype,
        )

    def _check(self, name: str) -> None:
        tensor = self.network.tensor(name)
        if len(tensor.shape) > 1 and tensor.shape[0] != 1:
            raise UnsupportedError(
                f"tensor '{tensor.name}' has a batch of {tensor.shape[0]}; only 1 is supported",
                layer=self._layer or None,
                help="run the artifact once per image",
            )

    def _store_of(self, operand: Operand) -> Store | None:
        if operand.space == "constant" or (operand.space in ("input", "output") and operand.name in self._kept):
            return None
        return self._stores[operand.name if operand.space == "arena" else f"{operand.space}:{operand.name}"]

    # The end

    def finish(self) -> Draft:
        """Everything that was lowered, ready to be streamed and placed in memory."""
        for name in self.network.user_outputs:
            self._stores[f"output:{name}"].touch(len(self._steps))
        return Draft(
            self.network,
            self.target,
            tuple(self._steps),
            self._stores,
            self._constants,
            self._kept,
            bool(self.in_rows) or self.has_turned,
        )

"""From a canonical network to a program of standalone C: steps, kernels, an arena in which tensors overlap."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dscompile.errors import UnsupportedError
from dscompile.ir.cost import layer_kind, layer_macs
from dscompile.ir.network import Array, Layer, Network
from dscompile.ir.tensor import DType, Shape
from dscompile.passes.split_groups import split_groups
from dscompile.plan.arena import Overlap, Request
from dscompile.plan.mcu_kernels import (
    ConvKernel,
    CopyKernel,
    DepthwiseKernel,
    McuKernel,
    MoveKernel,
    PoolKernel,
    SeparableKernel,
    WindowedKernel,
)
from dscompile.plan.mcu_memories import Places, place_buffers, place_constants
from dscompile.plan.mcu_overlap import goes_upwards, permitted_distances
from dscompile.plan.mcu_quantized import QuantizedWeights
from dscompile.plan.mcu_sets import kernel_sets
from dscompile.plan.mcu_slices import Slice, concatenated_slices
from dscompile.plan.mcu_storage import Place, Store, border_strides, dense_strides, merge_axes
from dscompile.plan.mcu_traffic import operand_traffic
from dscompile.plan.program import Buffer, Call, Function, Operand, Program, Space, Step
from dscompile.plan.states import kept_tensors
from dscompile.target import Target

BEFORE_FIRST_STEP = -1
_MORE_FOR_ROWS = 1 / 32  # of an arena without tensors in rows


@dataclass(frozen=True)
class _PlannedCall:
    """A call whose kernel still has to learn its direction."""

    kernel: McuKernel
    operands: tuple[Operand, ...]


@dataclass(frozen=True)
class _PlannedStep:
    """A step whose calls are planned."""

    layers: tuple[Layer, ...]
    calls: tuple[_PlannedCall, ...]
    result: Operand
    result_bytes: int


def plan_mcu_program(network: Network, target: Target, *, affine: bool = True) -> Program:
    """The program of a canonical network (see dscompile.passes) as standalone C for `target`.

    `affine` allows requantization by a searched multiplication (plan/requantization.py), which gives the same results
    as the network's own rounding. Concatenated tensors are written where they belong, unless copies save memory. Raises
    UnsupportedError for batches, and for sums that could leave 32 bits.
    """
    from dscompile.plan.mcu_layers import lower_network
    from dscompile.plan.mcu_row_choice import row_tensors

    network = split_groups(network)
    slices = concatenated_slices(network)
    prepared: dict[str, QuantizedWeights] = {}
    prepared_rows: dict[str, QuantizedWeights | None] = {}
    programs, in_rows = [], []
    for inside in (slices, {}) if slices else (slices,):
        lowering = McuLowering(network, target, affine=affine, slices=inside, prepared=prepared)
        lowering.prepared_rows = prepared_rows
        lower_network(lowering)
        programs.append(lowering.finish())
        lowering = McuLowering(network, target, affine=affine, slices=inside, prepared=prepared)
        lowering.prepared_rows = prepared_rows
        lowering.in_rows = row_tensors(lowering)
        if lowering.in_rows:
            lower_network(lowering)
            in_rows.append(lowering.finish())
    return _chosen(_smallest(programs), in_rows)


def _smallest(programs: Sequence[Program]) -> Program:
    """The one with the smallest arena, over several memories the cheapest that fits; of equals the first."""

    def size(program: Program) -> tuple[int, float, int]:
        split = program.split
        return (0 if split is None else split.lacking_bytes, 0.0 if split is None else split.cost, program.arena_bytes)

    return min(programs, key=size)


def _chosen(dense: Program, in_rows: Sequence[Program]) -> Program:
    """A program with tensors in rows, which is faster, unless that costs too much memory."""
    if not in_rows:
        return dense
    smallest = _smallest(in_rows)
    if smallest.split is not None and dense.split is not None:
        return smallest if smallest.split.lacking_bytes <= dense.split.lacking_bytes else dense
    return smallest if smallest.arena_bytes <= dense.arena_bytes * (1 + _MORE_FOR_ROWS) else dense


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
        self._slices = slices
        self.sets = kernel_sets(target)
        self._stores: dict[str, Store] = {}
        self._constants: dict[str, Array] = {}
        self._places: dict[str, Place] = {}
        self._steps: list[_PlannedStep] = []
        self._calls: list[_PlannedCall] = []
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

    def end(self, layers: Sequence[Layer]) -> None:
        """Finishes the step that computes `layers`; a result that the user wants goes to the user's buffer."""
        name = layers[-1].output
        if name in self.network.outputs:
            self._deliver(name)
        if not self._calls:
            return
        place = self.place(name)
        self._steps.append(_PlannedStep(tuple(layers), tuple(self._calls), place.operand, place.size_bytes))

    def call(self, kernel: McuKernel, operands: Sequence[Operand]) -> None:
        """Appends a call; operands follow kernel.parameters."""
        self._calls.append(_PlannedCall(kernel, tuple(operands)))
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

    def scratch(self, size_bytes: int) -> Operand:
        """Room for the current step only."""
        return self._new_store(f"{self._layer}.columns", (size_bytes,), "int8").operand

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
            self.call(CopyKernel(merged, x, y, dtype), [source, result])

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

    def finish(self) -> Program:
        """The program, with its arena planned and every kernel given its direction."""
        for name in self.network.user_outputs:
            self._stores[f"output:{name}"].touch(len(self._steps))
        stores = sorted((s for s in self._stores.values() if s.last >= s.first), key=lambda s: (s.first, s.name))
        requests = [Request(s.name, s.size_bytes, s.first, s.last) for s in stores]
        overlaps = self._overlaps()
        traffic = operand_traffic(
            ((call.kernel, call.operands) for step in self._steps for call in step.calls), self._constants
        )
        places = place_buffers(requests, overlaps, self._store_traffic(traffic), self.target)
        functions = _Functions(re.sub(r"\W", "_", self.network.name))
        steps = tuple(self._step(step, places, functions) for step in self._steps)
        return Program(
            network=self.network,
            target=self.target,
            steps=steps,
            functions=functions.all,
            buffers=tuple(
                Buffer(r.name, r.size_bytes, r.first, r.last, places.offsets[r.name], places.region(r.name))
                for r in requests
            ),
            arena_bytes=places.size_bytes,
            arena_lower_bound_bytes=places.lower_bound_bytes,
            inputs={name: f"input:{name}" for name in self.network.user_inputs},
            outputs={name: f"output:{name}" for name in self.network.user_outputs},
            constants=self._constants,
            overlaps=tuple(
                o
                for o in overlaps
                if places.share(
                    o.earlier, self._stores[o.earlier].size_bytes, o.later, self._stores[o.later].size_bytes
                )
            ),
            split=places.split,
            weights=place_constants(
                self._constants,
                {name: moved for (space, name), moved in traffic.items() if space == "constant"},
                self.target,
            ),
        )

    def _store_traffic(self, traffic: Mapping[tuple[Space, str], int]) -> dict[str, int]:
        """Bytes that are loaded and stored in each store."""
        moved: dict[str, int] = {}
        for (space, name), size in traffic.items():
            store = self._store_of(Operand(space, name))
            if store is not None:
                moved[store.name] = moved.get(store.name, 0) + size
        return moved

    def _overlaps(self) -> list[Overlap]:
        """What every call permits, where input and output are whole stores that meet in this step alone."""
        overlaps: dict[tuple[str, str], Overlap] = {}
        for index, step in enumerate(self._steps):
            if len(step.calls) != 1:
                continue  # what another call of the step does in between is not accounted for
            (call,) = step.calls
            later = self._store_of(call.operands[-1])
            given = list(zip(call.operands[:-1], call.kernel.parameters, strict=False))
            for operand in dict.fromkeys(call.operands[:-1]):
                earlier = self._store_of(operand)
                names = [parameter.name for each, parameter in given if each == operand]
                distances = permitted_distances(call.kernel, names)
                if earlier is None or later is None or distances is None or earlier is later:
                    continue
                if earlier.last != index or later.first != index or earlier.first >= index:
                    continue
                others = [each for each in call.operands if self._store_of(each) is earlier and each != operand]
                if operand.offset_bytes or call.operands[-1].offset_bytes or others:
                    continue
                overlaps[earlier.name, later.name] = Overlap(
                    earlier.name, later.name, distances.below_bytes, distances.above_bytes
                )
        return list(overlaps.values())

    def _step(self, step: _PlannedStep, places: Places, functions: _Functions) -> Step:
        layers = step.layers
        return Step(
            name=layers[-1].name if len(layers) == 1 else layers[0].name,
            kind=" + ".join(dict.fromkeys(layer_kind(self.network, layer) for layer in layers)),
            layers=tuple(layer.name for layer in layers),
            calls=tuple(Call(functions.symbol(self._directed(call, places)), call.operands) for call in step.calls),
            macs=sum(layer_macs(self.network, layer) for layer in layers),
            result=step.result,
            result_bytes=step.result_bytes,
        )

    def _directed(self, call: _PlannedCall, places: Places) -> McuKernel:
        """The kernel, downwards where its output lies above its input and reaches into it."""
        if not isinstance(call.kernel, WindowedKernel):
            return call.kernel
        earlier, later = self._store_of(call.operands[0]), self._store_of(call.operands[-1])
        if earlier is None or later is None:
            return call.kernel
        shift = places.offsets[later.name] - places.offsets[earlier.name]
        meet = places.share(earlier.name, earlier.size_bytes, later.name, later.size_bytes)
        if not meet or goes_upwards(call.kernel, shift):
            return call.kernel
        return _downwards(call.kernel)


def _downwards(kernel: WindowedKernel) -> WindowedKernel:
    match kernel:
        case ConvKernel() | DepthwiseKernel() | SeparableKernel() | PoolKernel():
            return replace(kernel, descending=True)


class _Functions:
    """The functions used so far; equal kernels share one."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._by_kernel: dict[McuKernel, Function] = {}

    def symbol(self, kernel: McuKernel) -> str:
        """The symbol of the function for `kernel`."""
        function = self._by_kernel.get(kernel)
        if function is None:
            function = Function(f"{kernel.kind}_{len(self._by_kernel)}", kernel, kernel.parameters)
            self._by_kernel[kernel] = function
        return function.symbol

    @property
    def all(self) -> tuple[Function, ...]:
        """In the order of their first use."""
        return tuple(self._by_kernel.values())

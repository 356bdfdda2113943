"""A program of standalone C before its buffers have places: steps whose kernels still have to learn their direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dscompile.ir.cost import layer_kind, layer_macs
from dscompile.ir.network import Array, Layer, Network
from dscompile.plan.arena import Overlap, Request
from dscompile.plan.mcu.kernels import McuKernel, WindowedKernel, row_bounds
from dscompile.plan.mcu.late import records_backwards
from dscompile.plan.mcu.memories import Places, place_buffers, place_constants
from dscompile.plan.mcu.overlap import downwards, goes_upwards, permitted_distances
from dscompile.plan.mcu.products import SeparableKernel
from dscompile.plan.mcu.storage import Store
from dscompile.plan.mcu.traffic import operand_traffic
from dscompile.plan.program import Buffer, Call, Function, MemoryChoice, Operand, Program, Space, Step, Stream
from dscompile.target import Target


@dataclass(frozen=True)
class PlannedCall:
    """A call whose kernel still has to learn its direction."""

    kernel: McuKernel
    operands: tuple[Operand, ...]

    def operand(self, parameter: str) -> Operand:
        """What a parameter points to."""
        names = [each.name for each in self.kernel.parameters]
        return self.operands[names.index(parameter)]


@dataclass(frozen=True)
class PlannedStep:
    """A step whose calls are planned. `overlap_bytes`: how far below its source the result of a stream may begin."""

    layers: tuple[Layer, ...]
    calls: tuple[PlannedCall, ...]
    result: Operand
    result_bytes: int
    stream: Stream | None = None
    overlap_bytes: int | None = None


@dataclass(frozen=True)
class Plan:
    """Where the buffers of a draft lie."""

    requests: tuple[Request, ...]
    overlaps: tuple[Overlap, ...]
    places: Places


@dataclass(frozen=True)
class Draft:
    """A lowered network: its steps, the stores in the arena by name, constants, and the borders that lie in a state.

    `in_rows`: some tensors lie in rows, or are turned into them (plan/mcu/rows.py, plan/mcu/turned.py).
    """

    network: Network
    target: Target
    steps: tuple[PlannedStep, ...]
    stores: Mapping[str, Store]
    constants: Mapping[str, Array]
    kept: frozenset[str]
    in_rows: bool = False

    def store_of(self, operand: Operand) -> Store | None:
        """The store behind an operand; None for constants, states, and rows that the user pushes."""
        if operand.space == "constant" or (operand.space in ("input", "output") and operand.name in self.kept):
            return None
        return self.stores.get(operand.name if operand.space == "arena" else f"{operand.space}:{operand.name}")

    @property
    def live_stores(self) -> list[Store]:
        """Those that some step touches, in the order of time."""
        return sorted((s for s in self.stores.values() if s.last >= s.first), key=lambda s: (s.first, s.name))

    def plan(self) -> Plan:
        """The smallest arena that is found; over several memories the one whose accesses cost least."""
        requests = tuple(Request(s.name, s.size_bytes, s.first, s.last) for s in self.live_stores)
        overlaps = tuple(self.overlaps())
        traffic = self._store_traffic() if self.target.regions else {}
        return Plan(requests, overlaps, place_buffers(requests, overlaps, traffic, self.target))

    def _traffic(self) -> dict[tuple[Space, str], int]:
        """Bytes that whole layers load and store in each operand; drafts with several memories have no streams."""
        calls = ((call.kernel, call.operands) for step in self.steps for call in step.calls)
        return operand_traffic(calls, self.constants)

    def _store_traffic(self) -> dict[str, int]:
        """The same for each store."""
        moved: dict[str, int] = {}
        for (space, name), size in self._traffic().items():
            store = self.store_of(Operand(space, name))
            if store is not None:
                moved[store.name] = moved.get(store.name, 0) + size
        return moved

    def _constant_traffic(self) -> dict[str, int]:
        return {name: moved for (space, name), moved in self._traffic().items() if space == "constant"}

    def program(self, plan: Plan, memory: MemoryChoice | None = None) -> Program:
        """The program, with every kernel given its direction."""
        places = plan.places
        functions = _Functions()
        steps = tuple(self._step(step, places, functions) for step in self.steps)
        sizes = {request.name: request.size_bytes for request in plan.requests}
        return Program(
            network=self.network,
            target=self.target,
            steps=steps,
            functions=functions.all,
            buffers=tuple(
                Buffer(r.name, r.size_bytes, r.first, r.last, places.offsets[r.name], places.region(r.name))
                for r in plan.requests
            ),
            arena_bytes=places.size_bytes,
            arena_lower_bound_bytes=places.lower_bound_bytes,
            inputs={n: f"input:{n}" for n in self.network.user_inputs if f"input:{n}" in sizes},
            outputs={name: f"output:{name}" for name in self.network.user_outputs},
            constants=self._directed_constants(places),
            overlaps=tuple(
                o for o in plan.overlaps if places.share(o.earlier, sizes[o.earlier], o.later, sizes[o.later])
            ),
            memory=memory,
            split=places.split,
            weights=(
                place_constants(self.constants, self._constant_traffic(), self.target)
                if self.target.weight_regions
                else ()
            ),
        )

    def overlaps(self) -> list[Overlap]:
        """What every call and every stream permits, where two whole stores meet in this step alone."""
        overlaps: dict[tuple[str, str], Overlap] = {}
        for index in range(len(self.steps)):
            for overlap in self.step_overlaps(index):
                overlaps[overlap.earlier, overlap.later] = overlap
        return list(overlaps.values())

    def step_overlaps(self, index: int) -> Sequence[Overlap]:
        """What a step permits."""
        step = self.steps[index]
        return self._stream_overlaps(index, step) if step.stream else self._call_overlaps(index, step)

    def _stream_overlaps(self, index: int, step: PlannedStep) -> Sequence[Overlap]:
        stream = step.stream
        assert stream is not None
        if step.overlap_bytes is None:
            return ()
        source, sink = step.calls[0].operand(stream.stages[0].image), step.result
        earlier, later = self.store_of(source), self.store_of(sink)
        if earlier is None or later is None or not _meet_once(index, earlier, later):
            return ()
        if source.offset_bytes or sink.offset_bytes:
            return ()
        return (Overlap(earlier.name, later.name, step.overlap_bytes),)

    def _call_overlaps(self, index: int, step: PlannedStep) -> Sequence[Overlap]:
        if len(step.calls) != 1:
            return ()  # what another call of the step does in between is not accounted for
        (call,) = step.calls
        found = []
        later = self.store_of(call.operands[-1])
        given = list(zip(call.operands[:-1], call.kernel.parameters, strict=False))
        for operand in dict.fromkeys(call.operands[:-1]):
            earlier = self.store_of(operand)
            if earlier is None or later is None or not _meet_once(index, earlier, later):
                continue
            others = [each for each in call.operands if self.store_of(each) is earlier and each != operand]
            if operand.offset_bytes or call.operands[-1].offset_bytes or others:
                continue
            distances = permitted_distances(
                call.kernel, [parameter.name for each, parameter in given if each == operand]
            )
            if distances is None:
                continue
            found.append(Overlap(earlier.name, later.name, distances.below_bytes, distances.above_bytes))
        return found

    def _step(self, step: PlannedStep, places: Places, functions: _Functions) -> Step:
        layers = step.layers
        return Step(
            name=layers[-1].name if len(layers) == 1 else layers[0].name,
            kind=" + ".join(dict.fromkeys(layer_kind(self.network, layer) for layer in layers)),
            layers=tuple(layer.name for layer in layers),
            calls=tuple(Call(functions.symbol(self._directed(call, places)), call.operands) for call in step.calls),
            macs=sum(layer_macs(self.network, layer) for layer in layers),
            result=step.result,
            result_bytes=step.result_bytes,
            stream=step.stream,
        )

    def _directed_constants(self, places: Places) -> Mapping[str, Array]:
        """The constants, in the order in which kernels with their direction read them."""
        turned = {}
        for call in (call for step in self.steps for call in step.calls):
            kernel = self._directed(call, places)
            if isinstance(kernel, SeparableKernel) and kernel.depthwise.late and kernel.descending:
                name = call.operand("records").name
                turned[name] = records_backwards(self.constants[name])
        return {**self.constants, **turned}

    def _directed(self, call: PlannedCall, places: Places) -> McuKernel:
        """The kernel, downwards where its output lies above its input and reaches into it."""
        if not isinstance(call.kernel, WindowedKernel) or call.kernel.by_row:
            return call.kernel
        earlier, later = self.store_of(call.operands[0]), self.store_of(call.operands[-1])
        if earlier is None or later is None:
            return call.kernel
        shift = places.offsets[later.name] - places.offsets[earlier.name]
        meet = places.share(earlier.name, earlier.size_bytes, later.name, later.size_bytes)
        if not meet or goes_upwards(call.kernel, shift):
            return call.kernel
        return downwards(call.kernel)


def _meet_once(index: int, earlier: Store, later: Store) -> bool:
    """Whether step `index` is the last of one store and the first of another one."""
    return earlier is not later and earlier.first < index == earlier.last == later.first


class _Functions:
    """The functions used so far; equal kernels share one."""

    def __init__(self) -> None:
        self._by_kernel: dict[McuKernel, Function] = {}

    def symbol(self, kernel: McuKernel) -> str:
        """The symbol of the function for `kernel`."""
        function = self._by_kernel.get(kernel)
        if function is None:
            function = Function(
                f"{kernel.kind}_{len(self._by_kernel)}", kernel, kernel.parameters, bounds=row_bounds(kernel)
            )
            self._by_kernel[kernel] = function
        return function.symbol

    @property
    def all(self) -> tuple[Function, ...]:
        """In the order of their first use."""
        return tuple(self._by_kernel.values())

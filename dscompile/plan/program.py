"""Program: what will run. Steps over one arena; every step calls kernels on regions, with constants.

Fusion, layout and memory are decided when a Program is made and are visible in it; whoever emits it only writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from dscompile.ir.memory import MemoryMode
from dscompile.ir.network import Array, Network
from dscompile.ir.tensor import Precision
from dscompile.plan.arena import Overlap
from dscompile.regions import Region, WeightRegion
from dscompile.target import Target

if TYPE_CHECKING:  # a planner pays only for the kernels of its own backend
    from dscompile.plan.bf16_kernels import Bf16ConvKernel
    from dscompile.plan.choices import Choice, Source
    from dscompile.plan.gpu.kernels import GpuKernel
    from dscompile.plan.gpu.tensor_kernels import TensorKernel
    from dscompile.plan.int8_elementwise import Int8ElementwiseKernel
    from dscompile.plan.int8_kernels import Int8Kernel
    from dscompile.plan.kernels import Kernel, Parameter
    from dscompile.plan.knobs import Knobs
    from dscompile.plan.mcu.kernels import McuKernel
    from dscompile.plan.workloads import Workload

    NativeKernel = Kernel | Bf16ConvKernel | Int8Kernel | Int8ElementwiseKernel | GpuKernel | TensorKernel

Space = Literal["arena", "input", "output", "constant"]


@dataclass(frozen=True)
class Operand:
    """Where a pointer argument points: `offset_bytes` into an arena buffer, a border tensor or a constant."""

    space: Space
    name: str
    offset_bytes: int = 0


@dataclass(frozen=True)
class Function:
    """A compiled kernel: its C symbol, the kernel it implements, its pointer parameters in order, and its knobs.

    `extents` are the rounds of its outermost loops, if a call says which of them it is to do: behind the pointers, it
    then takes for each of these loops the first round and the end. Whoever compiles the kernels knows them
    (schedule/ranges.py); the rounds may be done in any order, each once. `bounds` are integers that a kernel by row
    takes there (plan/mcu/kernels.py: row_bounds).
    """

    symbol: str
    kernel: NativeKernel | McuKernel
    parameters: tuple[Parameter, ...]
    knobs: Knobs | None = None
    extents: tuple[int, ...] = ()
    bounds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """One call of a function (by its symbol); operands match the function's parameters."""

    symbol: str
    operands: tuple[Operand, ...]


@dataclass(frozen=True)
class Sections:
    """Another way to do calls `first` .. `end` of a step: lists of calls that do not need each other."""

    first: int
    end: int
    calls: tuple[tuple[Call, ...], ...]


@dataclass(frozen=True)
class Stage:
    """One kernel of a stream, which makes rows of an image from rows of another one.

    The parameter `image` of the stage's call points to rows that lie at the call's own operand: `row_bytes` each, with
    room for `room` of them. Of the `size` rows of the image, window y reads y * stride - before + i * dilation for
    i < taps, and there are `outputs` windows. A parameter `residual`, if there is one, reads row y of the image that
    stage number `residual_stage` reads.
    """

    image: str
    row_bytes: int
    room: int
    size: int
    outputs: int
    taps: int
    stride: int
    before: int
    dilation: int
    residual: str = ""
    residual_stage: int = -1


@dataclass(frozen=True)
class Stream:
    """A step that makes its result row by row: stage i belongs to call i, each makes rows of what the next one reads.

    The last one writes rows of `sink_row_bytes` to its own result. `counters` is where in the arena the stream keeps
    how far it is. If `pushed`, the rows that the first stage reads come from the user, one by one.
    """

    stages: tuple[Stage, ...]
    sink_row_bytes: int
    counters: Operand
    pushed: bool = False


@dataclass(frozen=True)
class Step:
    """The calls that compute one layer, or several fused ones. `layers` are names of the canonical network.

    `result` is where the step's result begins and `result_bytes` how much memory it spans, for the profiling hook.
    `sections` are for several threads. A step with a `stream` repeats its calls, in the order in which rows get ready.
    """

    name: str
    kind: str
    layers: tuple[str, ...]
    calls: tuple[Call, ...]
    macs: int
    result: Operand
    result_bytes: int
    note: str = ""
    sections: Sections | None = None
    stream: Stream | None = None

    @property
    def every_call(self) -> tuple[Call, ...]:
        """Its calls, and those that several threads make in place of some of them."""
        aside = () if self.sections is None else self.sections.calls
        return (*self.calls, *(call for calls in aside for call in calls))


@dataclass(frozen=True)
class Chosen:
    """How a layer in step number `step` is cut into tiles, and where that choice comes from.

    `near` is the similar workload whose record decided; None where there is none.
    `times` is how often the step computes the workload: once for every band of rows and every group of filters.
    """

    step: int
    layer: str
    workload: Workload
    choice: Choice
    source: Source
    near: Workload | None = None
    times: int = 1


@dataclass(frozen=True)
class Buffer:
    """A buffer of the arena, alive from step `first` to step `last` (both inclusive, counted from 0).

    Network inputs that are read in place live from -1, outputs to len(steps). `region` is the memory that it lies in,
    from where its offset counts; "" where the arena is in one.
    """

    name: str
    size_bytes: int
    first: int
    last: int
    offset_bytes: int = 0
    region: str = ""


@dataclass(frozen=True)
class RegionUse:
    """What an inference takes of one memory of the arena: bytes, and how many loads and stores move in it."""

    region: Region
    size_bytes: int
    lower_bound_bytes: int
    traffic_bytes: int

    @property
    def lacking_bytes(self) -> int:
        """How many more bytes than the region has; 0 if it is large enough."""
        return max(0, self.size_bytes - self.region.size_bytes)


@dataclass(frozen=True)
class Split:
    """An arena over several memories: the parts in their order, and what all accesses cost, in bytes times costs.

    No way to give buffers regions costs less than `lower_bound_cost`.
    """

    uses: tuple[RegionUse, ...]
    cost: float
    lower_bound_cost: float

    @property
    def proven(self) -> bool:
        """Whether it costs no more than it must."""
        return self.cost == self.lower_bound_cost

    @property
    def lacking_bytes(self) -> int:
        """Bytes that the regions lack together."""
        return sum(use.lacking_bytes for use in self.uses)


@dataclass(frozen=True)
class WeightUse:
    """What a network keeps in one memory for constants.

    `offsets` are those of the constants that lie there; in a region without copy the linker finds them places, and
    `size_bytes` has those that are copied elsewhere, too. `traffic_bytes` are loaded from it in one inference.
    """

    region: WeightRegion
    offsets: Mapping[str, int]
    size_bytes: int
    traffic_bytes: int

    @property
    def lacking_bytes(self) -> int:
        """How many more bytes than the region has; 0 if it is large enough."""
        return max(0, self.size_bytes - self.region.size_bytes)


@dataclass(frozen=True)
class MemoryChoice:
    """How the steps of a program were chosen: the mode, and estimated instructions beside those of the fastest plan.

    `streams` is how many steps are streams. `proven`: no plan of the mode has a smaller arena, or with a budget, none
    that keeps it has fewer estimated instructions. `smallest`: where the budget cannot be kept, the mode whose
    arena is the smallest of all, and its bytes.
    """

    mode: MemoryMode
    streams: int
    instructions: int
    fastest_instructions: int
    proven: bool
    smallest: tuple[MemoryMode, int] | None = None


@dataclass(frozen=True)
class Program:
    """A network made ready for one target.

    `inputs` and `outputs` map border tensors to the arena buffers that `<net>_input(arena)` and `<net>_output(arena)`
    return. `constants` are packed weights, ready to be laid into the weights section at `arena_alignment`.
    `fallback_layers` are those whose schedule was chosen by rule and not from a tuning record or a known-good table:
    always those that have no schedule of their own, and where tuning records are in use, those whose tiles are not from
    records.
    `overlaps` are the pairs of buffers that share memory though both live in one step, which is the last of one and the
    first of the other; no other two live buffers share any (emit/check.py proves it).
    `precision` is float16 or bfloat16 if any kernel multiplies these. `chosen` are the tiles of the layers of CPU
    programs, `tuning` is the name of the records that they were looked up in. `memory` says how the planner of
    standalone C chose what is streamed. `split` says how the arena lies in several memories, whose sizes `arena_bytes`
    adds up; `weights` where constants are, if their memories have names.
    """

    network: Network
    target: Target
    steps: tuple[Step, ...]
    functions: tuple[Function, ...]
    buffers: tuple[Buffer, ...]
    arena_bytes: int
    arena_lower_bound_bytes: int
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    constants: Mapping[str, Array] = field(default_factory=dict)
    fallback_layers: tuple[str, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    precision: Precision = "float32"
    chosen: tuple[Chosen, ...] = ()
    tuning: str = ""
    memory: MemoryChoice | None = None
    split: Split | None = None
    weights: tuple[WeightUse, ...] = ()

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs", "constants"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def region_bytes(self, name: str) -> int:
        """Size of the arena in the memory called `name`; of the only one for ""."""
        if self.split is None:
            return self.arena_bytes
        return next(use.size_bytes for use in self.split.uses if use.region.name == name)

    def buffer(self, name: str) -> Buffer:
        """The arena buffer called `name`."""
        return next(buffer for buffer in self.buffers if buffer.name == name)

    @property
    def pushed(self) -> Step | None:
        """The step whose rows the user pushes, if there is one; then it is the first."""
        first = self.steps[0] if self.steps else None
        return first if first is not None and first.stream is not None and first.stream.pushed else None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(step.macs for step in self.steps)

    @property
    def constant_bytes(self) -> int:
        """Bytes of all packed constants, without alignment."""
        return sum(array.nbytes for array in self.constants.values())

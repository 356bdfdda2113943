"""What an artifact says about itself, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dscompile.artifact.made_from import MadeFrom
from dscompile.ir.state import Slot
from dscompile.ir.storage import Storage
from dscompile.ir.tensor import TOLERANCES, Precision, Rounding, Tensor
from dscompile.target import Target

MemoryKind = Literal["arena", "copy", "constants"]


@dataclass(frozen=True)
class LayerInfo:
    """One step of the program: a row of the layer table and of the profiling hook.

    `layers` are the layers of the network that it computes: several where they are fused or go band by band; they have
    `layer_macs` (none in manifests of before these were written down). `kernels` are the C symbols of the compiled
    kernels that it calls, in order; empty where kernels are C. `instructions` and `cycles` of one inference are
    estimates (plan/mcu/estimates.py); None where there are none.
    """

    name: str
    kind: str
    layers: tuple[str, ...]
    macs: int
    result_bytes: int
    layer_macs: tuple[int, ...] = ()
    kernels: tuple[str, ...] = ()
    instructions: int | None = None
    cycles: int | None = None


@dataclass(frozen=True)
class PackedWeights:
    """A layer whose weights take `size_bytes` of flash, and would take `plain_bytes` with a byte each."""

    layer: str
    storage: Storage
    size_bytes: int
    plain_bytes: int

    @property
    def saved_bytes(self) -> int:
        """What packing saves."""
        return self.plain_bytes - self.size_bytes


@dataclass(frozen=True)
class BufferInfo:
    """A buffer of the arena; `first` and `last` are the layers that use it (-1: before the first).

    `region` is its memory, from where its offset counts; "" where the arena is in one.
    """

    name: str
    offset_bytes: int
    size_bytes: int
    first: int
    last: int
    region: str = ""


@dataclass(frozen=True)
class MemoryInfo:
    """A memory that an artifact names: for a part of the arena, for copies of constants, or where constants are placed.

    `name` is the member of `<net>_arenas` that points to it; "" for constants, for which the linker sees to it. Of the
    region's `capacity_bytes` (0: no limit) it takes `size_bytes`. By the plan, loads and stores of an inference move
    `traffic_bytes`, each at `cost`.
    """

    name: str
    region: str
    kind: MemoryKind
    size_bytes: int
    capacity_bytes: int
    cost: float
    traffic_bytes: int


@dataclass(frozen=True)
class ArenaInfo:
    """The arena: its size, the size below which no plan can go, and its buffers."""

    size_bytes: int
    lower_bound_bytes: int
    alignment: int
    buffers: tuple[BufferInfo, ...]


@dataclass(frozen=True)
class StreamingInfo:
    """How standalone C trades instructions for memory: the mode, and the steps that are streamed row by row.

    `takes_rows`: the input may be pushed row by row. `instructions` and `fastest_instructions` are estimates for this
    plan and for whole layers. `proven`: no plan of the mode has a smaller arena, or with a budget, none that keeps it
    has fewer estimated instructions.
    """

    mode: str
    streamed: tuple[str, ...]
    takes_rows: bool
    instructions: int
    fastest_instructions: int
    proven: bool

    @property
    def extra(self) -> float:
        """The share of estimated instructions above those of whole layers."""
        return self.instructions / self.fastest_instructions - 1 if self.fastest_instructions else 0.0


@dataclass(frozen=True)
class Sizes:
    """Bytes: the weights blob, code with its read-only data, and the files of the libraries (0: none)."""

    weights: int
    text: int
    shared_library: int
    static_library: int

    @property
    def flash_bytes(self) -> int:
        """What a device must hold: weights and code."""
        return self.weights + self.text


@dataclass(frozen=True)
class Versions:
    """Who made the artifact."""

    dscompile: str
    c_compiler: str
    tvm: str


@dataclass(frozen=True)
class Checksum:
    """SHA-256 of a file of the artifact."""

    file: str
    sha256: str


@dataclass(frozen=True)
class TuningInfo:
    """Where the tiles of a program's layers come from, by the layers' names: tuning records (whose `ids` are given, if
    any are in use), records of similar layers, or the target's rule.
    """

    target: str
    ids: tuple[str, ...]
    from_records: tuple[str, ...]
    from_similar: tuple[str, ...]
    by_rule: tuple[str, ...]

    @property
    def layer_count(self) -> int:
        """Layers that have tiles to choose."""
        return len(self.from_records) + len(self.from_similar) + len(self.by_rule)


@dataclass(frozen=True)
class VariantInfo:
    """One of the variants in a library that chooses when it runs.

    `stands_for` are the names of the target's variants that it serves, its own first. `constants_bytes` are the packed
    weights that it reads (variants share what is equal), `text_bytes` its kernels. Its layers are `layer_count` rows of
    the layer table from `first_layer` on.
    """

    target: Target
    stands_for: tuple[str, ...]
    text_bytes: int
    constants_bytes: int
    arena_bytes: int
    first_layer: int
    layer_count: int

    @property
    def name(self) -> str:
        """The name of its target."""
        return self.target.name


@dataclass(frozen=True)
class KernelTraffic:
    """Bytes of global memory that one launch of a GPU kernel moves by its plan; weights once for each block."""

    input_bytes: int
    residual_bytes: int
    output_bytes: int
    weight_bytes: int

    @property
    def activation_bytes(self) -> int:
        """Without weights."""
        return self.input_bytes + self.residual_bytes + self.output_bytes


@dataclass(frozen=True)
class KernelUse:
    """What the compiled kernel takes of a multiprocessor: per thread, but shared memory per block.

    `occupancy` is the share of its warps that are resident at once, `limiter` what allows no more.
    """

    registers: int
    stack_bytes: int
    spill_store_bytes: int
    spill_load_bytes: int
    shared_bytes: int
    occupancy: float
    limiter: str


@dataclass(frozen=True)
class KernelInfo:
    """A GPU kernel: the layers that it computes, and how it is launched, in blocks and threads along x and y.

    `planned` is None for kernels whose traffic nobody planned, `use` where no compiler was there to tell.
    """

    symbol: str
    kind: str
    layers: tuple[str, ...]
    grid: tuple[int, int]
    block: tuple[int, int]
    planned: KernelTraffic | None = None
    use: KernelUse | None = None

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.block[0] * self.block[1]


@dataclass(frozen=True)
class Manifest:
    """Everything an artifact says about itself.

    `c_name` is the network's name as C knows it: the prefix of its symbols and the stem of its files. `fingerprint`
    equals the one in the header and in the library. `inputs` and `outputs` have their shapes channels last; `border`
    says in which order the user's buffers hold them. `latency_budget_us` is what the network's file allows one
    inference; `bench` checks it. `variants` are those of a library that chooses when it runs, best first; then `layers`
    has the rows of all, and `arena` the buffers of the variant that needs most. `kernels` are those of a GPU, in the
    order of their first launches. `tuning` has an entry for every program whose layers have tiles to choose: for each
    variant of a library, none for standalone C and GPUs. `precision` is float16 or bfloat16 if any kernel multiplies
    these, and decides on `tolerance`. `slots` are what the network keeps from one inference to
    the next. `memories` are those that standalone C is split over, if it is. `streaming` says how standalone C trades
    instructions for memory; None for libraries. `packed` are its layers whose weights do not have a byte each.
    `made_from` are the files and the tools of its build.
    """

    name: str
    c_name: str
    origin: str
    target: Target
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    labels: tuple[str, ...]
    layers: tuple[LayerInfo, ...]
    macs: int
    parameters: int
    arena: ArenaInfo
    sizes: Sizes
    fingerprint: int
    versions: Versions
    fallback_layers: tuple[str, ...] = ()
    checksums: tuple[Checksum, ...] = ()
    rounding: Rounding | None = None
    latency_budget_us: float | None = None
    variants: tuple[VariantInfo, ...] = ()
    kernels: tuple[KernelInfo, ...] = ()
    precision: Precision = "float32"
    tuning: tuple[TuningInfo, ...] = ()
    slots: tuple[Slot, ...] = ()
    streaming: StreamingInfo | None = None
    memories: tuple[MemoryInfo, ...] = ()
    packed: tuple[PackedWeights, ...] = ()
    made_from: MadeFrom = field(default_factory=MadeFrom)

    @property
    def lent(self) -> tuple[MemoryInfo, ...]:
        """The members of `<net>_arenas`, in their order; none where there is one arena."""
        return tuple(memory for memory in self.memories if memory.name)

    @property
    def tolerance(self) -> float:
        """Largest error of a float output that passes, relative to the output's largest magnitude."""
        return TOLERANCES[self.precision]

    @property
    def tuning_ids(self) -> tuple[str, ...]:
        """The ids of all tuning records in use."""
        return tuple(dict.fromkeys(name for one in self.tuning for name in one.ids))

    def rows_of(self, variant: str | None) -> range:
        """Which of `layers` the variant of this name has; all for None or a library without variants."""
        for one in self.variants:
            if one.name == variant:
                return range(one.first_layer, one.first_layer + one.layer_count)
        return range(len(self.layers))

    def layers_of(self, variant: str | None) -> tuple[LayerInfo, ...]:
        """The layers of the variant of this name; all for None or a library without variants."""
        return tuple(self.layers[row] for row in self.rows_of(variant))

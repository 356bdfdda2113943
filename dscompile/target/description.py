"""What is known of a target: its vectors, caches, compilers, memories."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dscompile.board import Board, QemuUser, ZigTools
from dscompile.gpu import Gpu
from dscompile.regions import Region, WeightRegion, check_regions

BROADCAST, ELEMENT = "broadcast", "element"
PORTABLE = "portable"  # the family of targets that any machine with a C compiler runs
CUDA = "cuda"  # the family of targets that are a GPU
Choice = Literal["build", "run"]
BF16_FEATURES = frozenset({"bf16", "avx512_bf16"})
"""Extensions that multiply bfloat16 (BFMMLA, VDPBF16PS), of which a network makes use if its net.yaml says so."""
INT8_FEATURES = frozenset({"asimddp", "i8mm", "avx512_vnni", "avx_vnni"})
"""Extensions that only multiply integers: a float32 network gains nothing from a variant that adds no others."""


@dataclass(frozen=True)
class Caches:
    """Data caches of one core, in bytes; 0 where there is none."""

    l1d_bytes: int = 0
    l2_bytes: int = 0
    l3_bytes: int = 0


@dataclass(frozen=True)
class Target:
    """One kind of machine that artifacts are built for.

    `lanes` is the number of float32 in a vector register, `registers` the number of vector registers, `int8_lanes` how
    many channels of an int8 image lie together. `mcpu` is LLVM's name of the core, `simulated` that of the one whose
    cycles are estimated if it is another, `attributes` what it has beyond that (`+dotprod`), `triple` the machine if it
    is not this one. `multiply` says where a multiply-add takes the factor from that all lanes share: `broadcast` from
    memory, or an `element` of a register. `compiler`, `other_compilers` and `zig` are the chain of C compilers for the
    driver: the first that is there is taken, with `compiler_flags` unless it is zig. `emulator` runs programs of the
    target on other machines. `kernels` is the chain of template sets for targets that get C: the first one that has a
    kernel provides it. `board` is there for microcontrollers, `gpu` for GPUs, whose `vector_bytes` is what one thread
    loads at once.

    `regions` are the memories that the arena is split over, the fastest first; none: there is one arena of any size.
    `weight_regions` are those that constants are placed in; none: the linker script decides. A net.yaml may set both.

    `variants` are names of concrete targets, best first, that this one stands for. With `choice` "build" it is the
    best of them for the building machine (`host`), with "run" a library that holds them and chooses when it runs.
    """

    name: str
    family: str
    description: str
    mcpu: str = ""
    simulated: str = ""
    triple: str = ""
    attributes: tuple[str, ...] = ()
    features: frozenset[str] = frozenset()
    vector_bytes: int = 4
    registers: int = 0
    int8_lanes: int = 8
    fma_per_cycle: int = 1
    fma_latency: int = 4
    multiply: str = BROADCAST
    caches: Caches = field(default_factory=Caches)
    compiler: str = "gcc"
    other_compilers: tuple[str, ...] = ()
    compiler_flags: tuple[str, ...] = ()
    zig: ZigTools | None = None
    emulator: QemuUser | None = None
    arena_alignment: int = 64
    variants: tuple[str, ...] = ()
    choice: Choice = "build"
    kernels: tuple[str, ...] = ()
    board: Board | None = None
    gpu: Gpu | None = None
    regions: tuple[Region, ...] = ()
    weight_regions: tuple[WeightRegion, ...] = ()

    def __post_init__(self) -> None:
        if self.vector_bytes <= 0 or self.vector_bytes & (self.vector_bytes - 1):
            raise ValueError(f"vector_bytes must be a power of two, not {self.vector_bytes}")
        if self.arena_alignment < self.vector_bytes or self.arena_alignment & (self.arena_alignment - 1):
            raise ValueError(f"arena_alignment must be a power of two and hold a vector, not {self.arena_alignment}")
        if self.multiply not in (BROADCAST, ELEMENT):
            raise ValueError(f"multiply must be '{BROADCAST}' or '{ELEMENT}', not '{self.multiply}'")
        if (self.family == CUDA) != (self.gpu is not None):
            raise ValueError(f"family '{CUDA}' and a section 'gpu' belong together")

        check_regions(self.regions)
        check_regions(self.weight_regions)
        if (self.regions or self.weight_regions) and not self.kernels:
            raise ValueError("regions are for targets of standalone C, which have 'kernels'")
        unit = 8 if self.gpu is None else 4  # a thread of a GPU multiplies four int8 at once
        if self.int8_lanes <= 0 or self.int8_lanes % unit:
            raise ValueError(f"int8_lanes must be a multiple of {unit}, not {self.int8_lanes}")

    @property
    def lanes(self) -> int:
        """float32 elements in a vector register."""
        return self.vector_bytes // 4

    @property
    def precisions(self) -> tuple[str, ...]:
        """What float32 networks can multiply on this target, float32 first (ir/tensor.py)."""
        halves = ("float16",) if self.gpu is not None else ()
        return ("float32", *halves, *(("bfloat16",) if self.features & BF16_FEATURES else ()))

    @property
    def has_threads(self) -> bool:
        """Whether threads can share an inference: on CPUs with an operating system."""
        return self.gpu is None and not self.kernels

    def has(self, feature: str) -> bool:
        """Whether the instruction-set feature is there, by its /proc/cpuinfo name."""
        return feature in self.features

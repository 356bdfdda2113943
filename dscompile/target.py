"""Targets: hardware as data, read from `targets/*.yaml` or a file of the user's.

Nothing in the compiler asks for a target by name; code asks what it has: `target.lanes`, `target.has("avx512f")`.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

from dscompile.board import Board, GccTools, Memory, QemuMachine, QemuUser, Sections, UnicornCpu, ZigTools
from dscompile.data import data_directory
from dscompile.errors import BadInputError, Position, ToolError, UsageError, did_you_mean
from dscompile.gpu import Gpu
from dscompile.plain_yaml import load_plain_yaml
from dscompile.regions import GROWTH, Region, WeightRegion, check_regions

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|kB|KB|MB|GB)?\s*$")
_RATE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kMGT]?)(Hz|B/s)\s*$")
BROADCAST, ELEMENT = "broadcast", "element"
PORTABLE = "portable"  # the family of targets that any machine with a C compiler runs
CUDA = "cuda"  # the family of targets that are a GPU
Choice = Literal["build", "run"]
BF16_FEATURES = frozenset({"bf16", "avx512_bf16"})
"""Extensions that multiply bfloat16 (BFMMLA, VDPBF16PS), of which a network makes use if its net.yaml says so."""
INT8_FEATURES = frozenset({"asimddp", "i8mm", "avx512_vnni", "avx_vnni"})
"""Extensions that only multiply integers: a float32 network gains nothing from a variant that adds no others."""

_FAMILIES = {"x86_64": "x86", "AMD64": "x86", "aarch64": "arm64", "arm64": "arm64"}  # by platform.machine()
_PREFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS = {None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 1000, "KB": 1000, "MB": 10**6, "GB": 10**9}


def parse_size(text: object) -> int:
    """Bytes in "20 KiB", "1.5 MiB", "512 B" or a plain whole number. Raises ValueError with advice."""
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    match = _SIZE.match(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"'{text}' is not a size; write for example 20 KiB, 1 MiB or 512 B")
    size = float(match[1]) * _UNITS[match[2]]
    if size != int(size):
        raise ValueError(f"'{text}' is not a whole number of bytes")
    return int(size)


def parse_rate(text: object, unit: Literal["Hz", "B/s"]) -> float:
    """Hz in "1410 MHz", or bytes per second in "1555 GB/s". Raises ValueError with advice."""
    match = _RATE.match(text) if isinstance(text, str) else None
    if match is None or match[3] != unit:
        example = {"Hz": "a clock; write for example 1410 MHz", "B/s": "a rate; write for example 1555 GB/s"}[unit]
        raise ValueError(f"'{text}' is not {example}")
    return float(match[1]) * _PREFIXES[match[2]]


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


TARGET_KEYS: dict[str, tuple[str, ...]] = {
    "": (
        "dscompile_target",
        "name",
        "family",
        "description",
        "isa",
        "vector",
        "caches",
        "toolchain",
        "arena",
        "variants",
        "choice",
        "kernels",
        "float_unit",
        "memories",
        "sections",
        "clock",
        "emulators",
        "gpu",
    ),
    "isa": ("mcpu", "simulated", "triple", "attributes", "features"),
    "vector": ("bytes", "registers", "int8_lanes", "fma_per_cycle", "fma_latency", "multiply"),
    "caches": ("l1d", "l2", "l3"),
    "toolchain": ("compiler", "flags", "gcc", "zig"),
    "toolchain.gcc": ("prefix", "flags"),
    "toolchain.zig": ("target", "cpu", "static"),
    "arena": ("alignment", "regions"),
    "sections": ("code", "constants", "data", "stack"),
    "emulators": ("qemu", "unicorn", "qemu_user"),
    "emulators.qemu": ("program", "machine", "options"),
    "emulators.unicorn": ("architecture", "model"),
    "emulators.qemu_user": ("program", "cpu"),
    "memories.": ("origin", "size", "cost", "wait_states", "line", "cache", "prefetch"),
    "gpu": (
        "arch",
        "device",
        "multiprocessors",
        "clock",
        "fma_per_clock",
        "tensor_fma_per_clock",
        "dram",
        "l2",
        "warp_threads",
        "threads_per_block",
        "threads_per_multiprocessor",
        "blocks_per_multiprocessor",
        "registers_per_multiprocessor",
        "registers_per_thread",
        "register_unit",
        "shared_per_multiprocessor",
        "shared_per_block",
        "shared_reserved",
        "shared_unit",
        "also",
    ),
}


def list_targets() -> tuple[Target, ...]:
    """Every target that ships, in the order of their names."""
    return tuple(_shipped(path) for path in sorted(data_directory("targets").glob("*.yaml")))


def target_names() -> tuple[str, ...]:
    """The names of all targets that ship, sorted; no file is read."""
    return tuple(path.stem for path in sorted(data_directory("targets").glob("*.yaml")))


def precision_advice(precision: str) -> str:
    """Which targets multiply what a user asked another one for."""
    return f"targets that do: {', '.join(t.name for t in list_targets() if precision in t.precisions)}"


def is_target_file(name: str) -> bool:
    """Whether the user means a target file of their own rather than a target that ships."""
    return name.endswith((".yaml", ".yml")) or "/" in name


def target_advice(name: str) -> str:
    """What a user who wrote the unknown target `name` may have meant."""
    names = target_names()
    return did_you_mean(name, names) or f"known: {', '.join(names)}"


def find_target(name: str) -> Target:
    """The target called `name`, or in the file `name`; as written, before `host` and the like are resolved.

    Raises UsageError for an unknown name and BadInputError for a bad file.
    """
    if is_target_file(name):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"there is no target file '{name}'")
        return _read(path)
    if name not in target_names():
        raise UsageError(f"unknown target '{name}'", help=target_advice(name))
    return _shipped(target_path(name))


def target_path(name: str) -> Path:
    """The file of the target called `name`, which is there, or the file `name` itself."""
    return Path(name) if is_target_file(name) else data_directory("targets") / f"{name}.yaml"


def resolve_target(name: str) -> Target:
    """One concrete target: for `host`, `x86` and the like the best variant that this machine runs.

    Raises UsageError, BadInputError, or ToolError when this machine runs none of the variants.
    """
    target = find_target(name)
    if not target.variants:
        return target
    features = host_features()
    for variant in target.variants:
        candidate = find_target(variant)
        if runs_here(candidate, features):
            return candidate
    raise ToolError(
        f"this machine runs none of the variants of '{name}' ({', '.join(target.variants)})",
        help="name one of them to build for another machine",
    )


def build_target(name: str) -> Target:
    """What a build for `name` makes: `host` becomes a concrete target, while `x86` and `arm64` stay the names of a
    library with several variants, aligned for the most demanding one and run wherever the least demanding one does.

    Raises as `resolve_target`, and BadInputError for variants that cannot be one library.
    """
    target = find_target(name)
    if not target.variants or target.choice == "build":
        return resolve_target(name)
    variants = variants_of(target)
    others = [variant.name for variant in variants if variant.family != target.family or variant.variants]
    if others:
        raise BadInputError(f"target {target.name}: {', '.join(others)} cannot be a variant of family {target.family}")
    return replace(
        target,
        features=frozenset.intersection(*(variant.features for variant in variants)),
        vector_bytes=max(variant.vector_bytes for variant in variants),
        arena_alignment=max(variant.arena_alignment for variant in variants),
    )


def variants_of(target: Target) -> tuple[Target, ...]:
    """The concrete targets that a target stands for, best first; itself if it is concrete."""
    return tuple(find_target(name) for name in target.variants) or (target,)


def representative(target: Target) -> Target:
    """The variant to show when one must stand for all: the best that this machine runs, otherwise the best."""
    variants = variants_of(target)
    return next((variant for variant in variants if runs_here(variant)), variants[0])


def useful_variants(variants: Sequence[Target], *, int8: bool) -> tuple[tuple[Target, ...], ...]:
    """The variants that a network has a use for, each in front of those that it also stands for.

    A float32 network needs no variant that differs from the next less demanding one by what it does not multiply alone.
    """
    unused = INT8_FEATURES | BF16_FEATURES
    groups: list[tuple[Target, ...]] = []
    for variant in reversed(variants):
        if groups and not int8 and variant.features - unused == groups[0][0].features - unused:
            groups[0] = (*groups[0], variant)
        else:
            groups.insert(0, (variant,))
    return tuple(groups)


def runs_here(target: Target, features: frozenset[str] | None = None) -> bool:
    """Whether artifacts for `target` run on this machine."""
    available = host_features() if features is None else features
    return target.family in (machine_family(), PORTABLE) and target.features <= available


def machine_family() -> str | None:
    """The family of targets that this machine belongs to; None if there is none."""
    return _FAMILIES.get(platform.machine())


def host_features() -> frozenset[str]:
    """Instruction-set features of this machine as Linux names them; empty where there is no /proc/cpuinfo."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(match[1].split()) if match else frozenset()


@cache
def _shipped(path: Path) -> Target:
    """A target of this package, whose files nobody changes while it runs."""
    return _read(path)


def _read(path: Path) -> Target:
    return _parse(load_plain_yaml(path, "target file"), path)


def _parse(content: object, path: Path) -> Target:
    where = Position(str(path))
    top = _section(content, "", where)
    if top.get("dscompile_target") != 1:
        raise BadInputError("not a target file: it must begin with 'dscompile_target: 1'", position=where)
    isa, vector, caches, toolchain, arena, emulators = (
        _section(top.get(key, {}), key, where) for key in ("isa", "vector", "caches", "toolchain", "arena", "emulators")
    )
    zig = _optional(toolchain, "zig", "toolchain.zig", where)
    qemu = _optional(emulators, "qemu_user", "emulators.qemu_user", where)
    compilers = toolchain.get("compiler", "gcc")
    compilers = compilers if isinstance(compilers, list) else [compilers]
    try:
        return Target(
            name=str(top["name"]),
            family=str(top["family"]),
            description=str(top["description"]),
            mcpu=str(isa.get("mcpu", "")),
            simulated=str(isa.get("simulated", "")),
            triple=str(isa.get("triple", "")),
            attributes=tuple(str(a) for a in isa.get("attributes", ())),
            features=frozenset(str(f) for f in isa.get("features", ())),
            vector_bytes=int(vector.get("bytes", 4)),
            registers=int(vector.get("registers", 0)),
            int8_lanes=int(vector.get("int8_lanes", 8)),
            fma_per_cycle=int(vector.get("fma_per_cycle", 1)),
            fma_latency=int(vector.get("fma_latency", 4)),
            multiply=str(vector.get("multiply", BROADCAST)),
            caches=Caches(*(parse_size(caches.get(key, 0)) for key in ("l1d", "l2", "l3"))),
            compiler=str(compilers[0]) if compilers else "",
            other_compilers=tuple(str(c) for c in compilers[1:]),
            compiler_flags=tuple(str(f) for f in toolchain.get("flags", ())),
            zig=_zig(zig) if zig and "memories" not in top else None,
            emulator=QemuUser(str(qemu["program"]), str(qemu["cpu"])) if qemu else None,
            arena_alignment=int(arena.get("alignment", 64)),
            variants=tuple(str(v) for v in top.get("variants", ())),
            choice=_choice(top.get("choice", "build")),
            kernels=tuple(str(k) for k in top.get("kernels", ())),
            board=_board(top, where) if "memories" in top else None,
            gpu=_gpu(_section(top["gpu"], "gpu", where)) if "gpu" in top else None,
            regions=_regions(arena.get("regions", {}), top.get("memories", {})),
        )
    except KeyError as error:
        raise BadInputError(f"the target file lacks the key {error}", position=where) from error
    except (TypeError, ValueError) as error:
        raise BadInputError(f"the target file is wrong: {error}", position=where) from error


def _board(top: Mapping[str, Any], where: Position) -> Board:
    """The part of a target file that makes it a microcontroller."""
    toolchain, emulators = (_section(top.get(key, {}), key, where) for key in ("toolchain", "emulators"))
    gcc = _optional(toolchain, "gcc", "toolchain.gcc", where)
    zig = _optional(toolchain, "zig", "toolchain.zig", where)
    qemu = _optional(emulators, "qemu", "emulators.qemu", where)
    unicorn = _optional(emulators, "unicorn", "emulators.unicorn", where)
    sections = _section(top["sections"], "sections", where)
    return Board(
        memories=_memories(top["memories"], where),
        sections=Sections(*(str(sections[use]) for use in TARGET_KEYS["sections"])),
        float_unit=str(top.get("float_unit", "none")),
        gcc=GccTools(str(gcc["prefix"]), tuple(str(f) for f in gcc.get("flags", ()))) if gcc else None,
        zig=_zig(zig) if zig else None,
        qemu=QemuMachine(str(qemu["program"]), str(qemu["machine"]), tuple(str(o) for o in qemu.get("options", ())))
        if qemu
        else None,
        unicorn=UnicornCpu(str(unicorn["architecture"]), str(unicorn["model"])) if unicorn else None,
        clock_hz=parse_rate(top["clock"], "Hz") if "clock" in top else None,
    )


def _gpu(content: Mapping[str, Any]) -> Gpu:
    """The part of a target file that makes it a GPU."""
    return Gpu(
        arch=str(content["arch"]),
        device=str(content["device"]),
        multiprocessors=int(content["multiprocessors"]),
        clock_hz=parse_rate(content["clock"], "Hz"),
        fma_per_clock=int(content["fma_per_clock"]),
        tensor_fma_per_clock=int(content["tensor_fma_per_clock"]),
        dram_bytes_per_s=parse_rate(content["dram"], "B/s"),
        l2_bytes=parse_size(content["l2"]),
        warp_threads=int(content["warp_threads"]),
        threads_per_block=int(content["threads_per_block"]),
        threads_per_multiprocessor=int(content["threads_per_multiprocessor"]),
        blocks_per_multiprocessor=int(content["blocks_per_multiprocessor"]),
        registers_per_multiprocessor=int(content["registers_per_multiprocessor"]),
        registers_per_thread=int(content["registers_per_thread"]),
        register_unit=int(content["register_unit"]),
        shared_per_multiprocessor_bytes=parse_size(content["shared_per_multiprocessor"]),
        shared_per_block_bytes=parse_size(content["shared_per_block"]),
        shared_reserved_bytes=parse_size(content["shared_reserved"]),
        shared_unit_bytes=parse_size(content["shared_unit"]),
        also=_words(content.get("also", [])),
    )


def _words(content: object) -> tuple[str, ...]:
    if not isinstance(content, list):
        raise ValueError(f"'{content}' must be a list")
    return tuple(map(str, content))


def _zig(content: Mapping[str, Any]) -> ZigTools:
    return ZigTools(str(content["target"]), str(content["cpu"]), str(content.get("static", "")))


def _choice(word: object) -> Choice:
    if word not in get_args(Choice):
        raise ValueError(f"'choice' must be build or run, not '{word}'")
    return cast(Choice, word)


def _memories(content: object, where: Position) -> tuple[Memory, ...]:
    if not isinstance(content, dict) or not content:
        raise BadInputError("section 'memories' must be a mapping of names to regions", position=where)
    regions = {str(name): _section(region, "memories.", where) for name, region in content.items()}
    return tuple(
        Memory(
            name,
            int(region["origin"]),
            parse_size(region["size"]),
            _cost(region.get("cost")),
            int(region.get("wait_states", 0)),
            parse_size(region.get("line", 4)),
            parse_size(region.get("cache", 0)),
            _flag(region.get("prefetch", False), "prefetch"),
        )
        for name, region in regions.items()
    )


def _flag(value: object, key: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"'{key}' must be true or false, not '{value}'")
    return value


def _cost(value: object) -> float | None:
    return None if value is None else float(cast(float, value))


def _regions(content: object, memories: object) -> tuple[Region, ...]:
    """The regions of the arena: names and sizes, with the costs of the memories of these names."""
    if not isinstance(content, dict):
        raise ValueError("'regions' must map names to sizes, the fastest first")
    named = memories if isinstance(memories, dict) else {}
    regions: list[Region] = []
    for name, size in content.items():
        given = named.get(name, {}).get("cost") if isinstance(named.get(name), dict) else None
        regions.append(Region(str(name), parse_size(size), next_cost(regions) if given is None else float(given)))
    return tuple(regions)


def next_cost(regions: Sequence[Region]) -> float:
    """What an access costs in a region of which nothing is known but that it comes after `regions`."""
    return regions[-1].cost * GROWTH if regions else 1.0


def _optional(content: Mapping[str, Any], key: str, name: str, where: Position) -> Mapping[str, Any]:
    return _section(content[key], name, where) if key in content else {}


def _section(content: object, name: str, where: Position) -> Mapping[str, Any]:
    if not isinstance(content, dict):
        what = f"section '{name.rstrip('.')}'" if name else "a target file"
        raise BadInputError(f"{what} must be a mapping of keys", position=where)
    for key in content:
        if key not in TARGET_KEYS[name]:
            place = f" in '{name.rstrip('.')}'" if name else ""
            raise BadInputError(
                f"unknown key '{key}'{place} of the target file",
                position=where,
                help=did_you_mean(str(key), TARGET_KEYS[name]) or f"known: {', '.join(TARGET_KEYS[name])}",
            )
    return content

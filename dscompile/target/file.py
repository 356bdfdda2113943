"""Target files: YAML that describes one target (docs/targets.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from dscompile.board import Board, GccTools, Memory, QemuMachine, QemuUser, Sections, UnicornCpu, ZigTools
from dscompile.errors import BadInputError, Position, did_you_mean
from dscompile.gpu import Gpu
from dscompile.plain_yaml import load_plain_yaml
from dscompile.regions import GROWTH, Region
from dscompile.target.amounts import parse_rate, parse_size
from dscompile.target.description import BROADCAST, Caches, Choice, Target

_LARGEST = 1 << 63  # of any number
LEAST_REGISTERS = 8  # that the smallest tile takes beside what its loop needs
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


def read_target(path: Path) -> Target:
    """The target in a file. Raises BadInputError."""
    target = _parse(load_plain_yaml(path, "target file"), path)
    if not (target.kernels or target.variants or target.gpu) and target.registers < LEAST_REGISTERS:
        raise BadInputError(
            f"'registers' in 'vector' is {target.registers}; kernels that are compiled need {LEAST_REGISTERS} or more",
            position=Position(str(path)),
            help="targets of standalone C have 'kernels' instead, for example `kernels: [c99]`",
        )
    return target


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
            fma_per_cycle=_positive(vector, "fma_per_cycle", 1),
            fma_latency=_positive(vector, "fma_latency", 4),
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


def _positive(section: Mapping[str, Any], key: str, default: int) -> int:
    value = int(section.get(key, default))
    if value < 1:
        raise ValueError(f"'{key}' must be positive, not {value}")
    return value


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
    for key, value in content.items():
        if key not in TARGET_KEYS[name]:
            place = f" in '{name.rstrip('.')}'" if name else ""
            raise BadInputError(
                f"unknown key '{key}'{place} of the target file",
                position=where,
                help=did_you_mean(str(key), TARGET_KEYS[name]) or f"known: {', '.join(TARGET_KEYS[name])}",
            )
        if isinstance(value, int | float) and not abs(value) <= _LARGEST:
            raise BadInputError(f"'{key}' of the target file must be a number up to 2^63", position=where)
    return content

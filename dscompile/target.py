"""Targets: hardware as data, read from `targets/*.yaml` or a file of the user's.

Nothing in the compiler asks for a target by name; code asks what it has: `target.lanes`, `target.has("avx512f")`.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dscompile.board import Board, GccTools, Memory, QemuMachine, Sections, UnicornCpu, ZigTools
from dscompile.data import data_directory
from dscompile.errors import BadInputError, Position, ToolError, UsageError, did_you_mean

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|kB|KB|MB|GB)?\s*$")
BROADCAST, ELEMENT = "broadcast", "element"
PORTABLE = "portable"  # the family of targets that any machine with a C compiler runs
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


@dataclass(frozen=True)
class Caches:
    """Data caches of one core, in bytes; 0 where there is none."""

    l1d_bytes: int = 0
    l2_bytes: int = 0
    l3_bytes: int = 0


@dataclass(frozen=True)
class Target:
    """One kind of machine that artifacts are built for.

    `lanes` is the number of float32 in a vector register, `registers` the number of vector registers. `mcpu` is LLVM's
    name of the core, `attributes` what it has beyond that (`+dotprod`), `triple` the machine if it is not this one;
    `multiply` says where a multiply-add takes the factor from that all lanes share: `broadcast` from memory, or an
    `element` of a register.
    `compiler_flags` go to the C compiler that builds the driver. `kernels` is the chain of template
    sets for targets that get C: the first one that has a kernel provides it. `board` is there for microcontrollers.
    """

    name: str
    family: str
    description: str
    mcpu: str = ""
    triple: str = ""
    attributes: tuple[str, ...] = ()
    features: frozenset[str] = frozenset()
    vector_bytes: int = 4
    registers: int = 0
    fma_per_cycle: int = 1
    fma_latency: int = 4
    multiply: str = BROADCAST
    caches: Caches = field(default_factory=Caches)
    compiler: str = "gcc"
    compiler_flags: tuple[str, ...] = ()
    arena_alignment: int = 64
    variants: tuple[str, ...] = ()  # names of concrete targets, best first, for a name like `host`
    kernels: tuple[str, ...] = ()
    board: Board | None = None

    def __post_init__(self) -> None:
        if self.vector_bytes <= 0 or self.vector_bytes & (self.vector_bytes - 1):
            raise ValueError(f"vector_bytes must be a power of two, not {self.vector_bytes}")
        if self.arena_alignment < self.vector_bytes or self.arena_alignment & (self.arena_alignment - 1):
            raise ValueError(f"arena_alignment must be a power of two and hold a vector, not {self.arena_alignment}")
        if self.multiply not in (BROADCAST, ELEMENT):
            raise ValueError(f"multiply must be '{BROADCAST}' or '{ELEMENT}', not '{self.multiply}'")

    @property
    def lanes(self) -> int:
        """float32 elements in a vector register."""
        return self.vector_bytes // 4

    def has(self, feature: str) -> bool:
        """Whether the instruction-set feature is there, by its /proc/cpuinfo name."""
        return feature in self.features


_KEYS: dict[str, tuple[str, ...]] = {
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
        "kernels",
        "float_unit",
        "memories",
        "sections",
        "emulators",
    ),
    "isa": ("mcpu", "triple", "attributes", "features"),
    "vector": ("bytes", "registers", "fma_per_cycle", "fma_latency", "multiply"),
    "caches": ("l1d", "l2", "l3"),
    "toolchain": ("compiler", "flags", "gcc", "zig"),
    "toolchain.gcc": ("prefix", "flags"),
    "toolchain.zig": ("target", "cpu"),
    "arena": ("alignment",),
    "sections": ("code", "constants", "data", "stack"),
    "emulators": ("qemu", "unicorn"),
    "emulators.qemu": ("program", "machine", "options"),
    "emulators.unicorn": ("architecture", "model"),
    "memories.": ("origin", "size"),
}


def list_targets() -> tuple[Target, ...]:
    """Every target that ships, in the order of their names."""
    return tuple(_read(path) for path in sorted(data_directory("targets").glob("*.yaml")))


def target_names() -> tuple[str, ...]:
    """The names of all targets that ship, sorted; no file is read."""
    return tuple(path.stem for path in sorted(data_directory("targets").glob("*.yaml")))


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
    return _read(data_directory("targets") / f"{name}.yaml")


def resolve_target(name: str) -> Target:
    """The concrete target to build for: for `host` and `x86` the best variant that this machine runs.

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


def runs_here(target: Target, features: frozenset[str] | None = None) -> bool:
    """Whether artifacts for `target` run on this machine."""
    machine_family = {"x86_64": "x86", "AMD64": "x86", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine())
    available = host_features() if features is None else features
    return target.family in (machine_family, PORTABLE) and target.features <= available


def host_features() -> frozenset[str]:
    """Instruction-set features of this machine as Linux names them; empty where there is no /proc/cpuinfo."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(match[1].split()) if match else frozenset()


def _read(path: Path) -> Target:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(path.read_bytes())
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        raise BadInputError(f"cannot read the target file: {error}", position=Position(str(path))) from error
    return _parse(content, path)


def _parse(content: object, path: Path) -> Target:
    where = Position(str(path))
    top = _section(content, "", where)
    if top.get("dscompile_target") != 1:
        raise BadInputError("not a target file: it must begin with 'dscompile_target: 1'", position=where)
    isa, vector, caches, toolchain, arena = (
        _section(top.get(key, {}), key, where) for key in ("isa", "vector", "caches", "toolchain", "arena")
    )
    try:
        return Target(
            name=str(top["name"]),
            family=str(top["family"]),
            description=str(top["description"]),
            mcpu=str(isa.get("mcpu", "")),
            triple=str(isa.get("triple", "")),
            attributes=tuple(str(a) for a in isa.get("attributes", ())),
            features=frozenset(str(f) for f in isa.get("features", ())),
            vector_bytes=int(vector.get("bytes", 4)),
            registers=int(vector.get("registers", 0)),
            fma_per_cycle=int(vector.get("fma_per_cycle", 1)),
            fma_latency=int(vector.get("fma_latency", 4)),
            multiply=str(vector.get("multiply", BROADCAST)),
            caches=Caches(*(parse_size(caches.get(key, 0)) for key in ("l1d", "l2", "l3"))),
            compiler=str(toolchain.get("compiler", "gcc")),
            compiler_flags=tuple(str(f) for f in toolchain.get("flags", ())),
            arena_alignment=int(arena.get("alignment", 64)),
            variants=tuple(str(v) for v in top.get("variants", ())),
            kernels=tuple(str(k) for k in top.get("kernels", ())),
            board=_board(top, where) if "memories" in top else None,
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
        sections=Sections(*(str(sections[use]) for use in _KEYS["sections"])),
        float_unit=str(top.get("float_unit", "none")),
        gcc=GccTools(str(gcc["prefix"]), tuple(str(f) for f in gcc.get("flags", ()))) if gcc else None,
        zig=ZigTools(str(zig["target"]), str(zig["cpu"])) if zig else None,
        qemu=QemuMachine(str(qemu["program"]), str(qemu["machine"]), tuple(str(o) for o in qemu.get("options", ())))
        if qemu
        else None,
        unicorn=UnicornCpu(str(unicorn["architecture"]), str(unicorn["model"])) if unicorn else None,
    )


def _memories(content: object, where: Position) -> tuple[Memory, ...]:
    if not isinstance(content, dict) or not content:
        raise BadInputError("section 'memories' must be a mapping of names to regions", position=where)
    regions = {str(name): _section(region, "memories.", where) for name, region in content.items()}
    return tuple(Memory(name, int(region["origin"]), parse_size(region["size"])) for name, region in regions.items())


def _optional(content: Mapping[str, Any], key: str, name: str, where: Position) -> Mapping[str, Any]:
    return _section(content[key], name, where) if key in content else {}


def _section(content: object, name: str, where: Position) -> Mapping[str, Any]:
    if not isinstance(content, dict):
        what = f"section '{name.rstrip('.')}'" if name else "a target file"
        raise BadInputError(f"{what} must be a mapping of keys", position=where)
    for key in content:
        if key not in _KEYS[name]:
            place = f" in '{name.rstrip('.')}'" if name else ""
            raise BadInputError(
                f"unknown key '{key}'{place} of the target file",
                position=where,
                help=did_you_mean(str(key), _KEYS[name]) or f"known: {', '.join(_KEYS[name])}",
            )
    return content

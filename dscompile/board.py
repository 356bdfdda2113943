"""What a microcontroller target adds: where code and data lie, who compiles for it, and which emulators run it.

`ZigTools` and `QemuUser` also serve targets with an operating system.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

FLOAT_UNITS = ("none", "single", "double")


@dataclass(frozen=True)
class Memory:
    """A region of the address space; `cost` of an access to a byte is relative to other memories (None: not known)."""

    name: str
    origin: int
    size_bytes: int
    cost: float | None = None

    def __post_init__(self) -> None:
        if self.size_bytes <= 0 or self.origin < 0 or self.origin + self.size_bytes > 1 << 32:
            raise ValueError(f"memory '{self.name}' must lie inside the 32-bit address space and not be empty")

    @property
    def end(self) -> int:
        """The first address behind the region."""
        return self.origin + self.size_bytes


@dataclass(frozen=True)
class Sections:
    """Names of the memories that hold code, constants, variables (with their arena) and the stack."""

    code: str
    constants: str
    data: str
    stack: str


@dataclass(frozen=True)
class GccTools:
    """A GNU cross toolchain: `prefix` with its dash, and the flags that choose the core."""

    prefix: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class ZigTools:
    """`zig cc` as a cross compiler: its target triple and its name of the core.

    `static_triple` is the one that static programs are linked for, if it is another.
    """

    triple: str
    cpu: str
    static_triple: str = ""


@dataclass(frozen=True)
class QemuUser:
    """QEMU's user emulation: its program, and the core with the features of the target."""

    program: str
    cpu: str


@dataclass(frozen=True)
class QemuMachine:
    """A board that QEMU's system emulation has, with the memories of the target."""

    program: str
    machine: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnicornCpu:
    """A core that unicorn has: "arm" or "riscv", and the model's name in unicorn's constants."""

    architecture: str
    model: str

    def __post_init__(self) -> None:
        if self.architecture not in ("arm", "riscv"):
            raise ValueError(f"unicorn has the architectures arm and riscv, not '{self.architecture}'")


@dataclass(frozen=True)
class Board:
    """Everything needed to make a bare-metal program for a microcontroller and to run it without one.

    `float_unit` says what the core computes itself: "none", "single" or "double" precision.
    """

    memories: tuple[Memory, ...]
    sections: Sections
    float_unit: str = "none"
    gcc: GccTools | None = None
    zig: ZigTools | None = None
    qemu: QemuMachine | None = None
    unicorn: UnicornCpu | None = None

    def __post_init__(self) -> None:
        if self.float_unit not in FLOAT_UNITS:
            raise ValueError(f"float_unit must be one of {', '.join(FLOAT_UNITS)}, not '{self.float_unit}'")
        names = [memory.name for memory in self.memories]
        for use, name in vars(self.sections).items():
            if name not in names:
                raise ValueError(f"sections: '{use}' lies in '{name}', which is not a memory ({', '.join(names)})")
        regions = sorted(self.memories, key=lambda memory: memory.origin)
        for one, other in itertools.pairwise(regions):
            if one.end > other.origin:
                raise ValueError(f"memories '{one.name}' and '{other.name}' overlap")

    def memory(self, name: str) -> Memory:
        """The memory called `name`. Raises ValueError if there is none."""
        for memory in self.memories:
            if memory.name == name:
                return memory
        raise ValueError(f"there is no memory '{name}'")

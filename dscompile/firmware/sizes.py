"""How many bytes of flash and RAM each function and array of a program takes."""

from __future__ import annotations

from dataclasses import dataclass

from dscompile.firmware.build import Firmware
from dscompile.firmware.image import Image, Place, Symbol, read_image

_HARNESS = ".firmware"  # start-up code and test harness: not a part of what is measured
_HARNESS_VARIABLES = tuple(f"firmware_{name}" for name in ("entry", "arguments", "result", "stack_used", "fault"))


@dataclass(frozen=True)
class SymbolSize:
    """A function or array. `source` is the stem of the source file that defines it, "" for libraries."""

    name: str
    source: str
    place: Place
    size_bytes: int


@dataclass(frozen=True)
class ProgramSizes:
    """Sizes of a linked program without its start-up code and harness.

    `code`, `constants`, `data` and `zeros` are whole sections in bytes: functions; constants; variables with and
    without initial values. `symbols` has the largest first. Sections hold more than the symbols: padding, and literals
    that have no name.
    """

    code: int
    constants: int
    data: int
    zeros: int
    symbols: tuple[SymbolSize, ...]

    @property
    def flash_bytes(self) -> int:
        """Code, constants and the initial values of variables."""
        return self.code + self.constants + self.data

    @property
    def ram_bytes(self) -> int:
        """Variables; the stack comes on top."""
        return self.data + self.zeros

    def of(self, *places: Place, source: str | None = None) -> int:
        """Bytes of the symbols in `places`, of one source file or of all."""
        return sum(s.size_bytes for s in self.symbols if s.place in places and source in (None, s.source))


def measure_sizes(firmware: Firmware) -> ProgramSizes:
    """The sizes of a program of `build_firmware`, after what is not used was left out.

    Raises ToolError if pyelftools is not installed.
    """
    image = read_image(firmware.elf)
    sources: dict[str, str] = {}
    for path in firmware.objects:
        sources.update({s.name: path.stem for s in read_image(path).symbols if s.place is not None})
    harness = sum(s.size_bytes for s in image.symbols if s.name in _HARNESS_VARIABLES)
    sizes = {place: _section_bytes(image, place) for place in ("code", "constants", "data", "zeros")}
    sizes["zeros"] -= harness
    symbols = [SymbolSize(s.name, sources.get(s.name, ""), s.place, s.size_bytes) for s in _distinct(image) if s.place]
    return ProgramSizes(
        sizes["code"],
        sizes["constants"],
        sizes["data"],
        sizes["zeros"],
        tuple(sorted(symbols, key=lambda s: (-s.size_bytes, s.name))),
    )


def _section_bytes(image: Image, place: Place) -> int:
    return sum(s.size_bytes for s in image.sections if s.place == place and s.name != _HARNESS)


def _distinct(image: Image) -> list[Symbol]:
    """Symbols with a size, one for every place in memory; of several names for one, a global one."""
    found: dict[tuple[int, int], Symbol] = {}
    for symbol in sorted(image.symbols, key=lambda s: (not s.is_global, s.name)):
        if symbol.size_bytes and symbol.place is not None and not symbol.name.startswith("firmware_"):
            found.setdefault((symbol.address, symbol.size_bytes), symbol)
    return list(found.values())

"""The sections `targets:` and `quantization:` of a net.yaml: budgets and settings for one target, and int8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from dscompile.errors import BadInputError, Position, UsageError
from dscompile.frontend.amounts import amount, size_of
from dscompile.frontend.fields import Fields, Problems
from dscompile.frontend.paths import file_beside
from dscompile.frontend.region_settings import read_arena_regions, read_weight_regions
from dscompile.frontend.stored import AskedStorage, read_storage
from dscompile.frontend.yamltree import MappingNode, Node, ScalarNode, shorten
from dscompile.ir.memory import MEMORY_MODES, MemoryMode
from dscompile.ir.storage import WEIGHT_BITS, WEIGHT_TYPES, Sparsity, WeightBits, WeightType
from dscompile.ir.tensor import PRECISIONS, Precision
from dscompile.regions import Region, WeightRegion
from dscompile.target import Target, find_target, is_target_file, precision_advice, target_advice, target_names

Rounding = Literal["tflite", "float32", "half-up", "single"]
CalibrationMethod = Literal["percentile", "min-max", "mse"]
_ROUNDINGS: tuple[Rounding, ...] = ("tflite", "float32", "half-up", "single")
_METHODS: tuple[CalibrationMethod, ...] = ("percentile", "min-max", "mse")
_MICROSECONDS = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}


@dataclass(frozen=True)
class TargetSettings:
    """What `targets: {NAME: ...}` asks of one target; None where it says nothing.

    A network that needs more than `arena_bytes` or `flash_bytes` fails its build with exit code 4; one that takes
    longer than `latency_us` fails `bench`. `precision` is what is multiplied where the target is faster at it, `memory`
    what standalone C may give for a smaller arena. `regions` are the memories that the arena is split over,
    `weight_regions` those for constants.
    """

    arena_bytes: int | None = None
    flash_bytes: int | None = None
    latency_us: float | None = None
    threads: int | None = None
    precision: Precision = "float32"
    memory: MemoryMode | None = None
    regions: tuple[Region, ...] = ()
    weight_regions: tuple[WeightRegion, ...] = ()
    position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Calibration:
    """Inputs from which activation ranges are taken. `keep` is the share of values a range covers (percentile)."""

    file: Path
    method: CalibrationMethod = "mse"
    keep: float = 0.9999


@dataclass(frozen=True)
class QuantizationSettings:
    """`quantization:` of a net.yaml: an int8 build is asked for.

    `storage` is that of the weights of an int8 network. `weights`, `sparsity` and `layers` (exceptions, by name) say
    what becomes of the weights of a float32 network; None where the file says nothing.
    """

    rounding: Rounding = "tflite"
    calibration: Calibration | None = None
    storage: AskedStorage = "plain"
    weights: WeightBits | None = None
    sparsity: Sparsity | None = None
    layers: Mapping[str, WeightType] = field(default_factory=lambda: MappingProxyType({}))
    position: Position | None = field(default=None, compare=False)


def read_targets(node: MappingNode | None, problems: Problems, directory: Path) -> Mapping[str, TargetSettings]:
    """Target name -> its settings, in the order of the file.

    The key is the name of a target that ships, or a target file of the user's, whose path counts from `directory`.
    """
    settings: dict[str, TargetSettings] = {}
    for key, value in node.entries if node is not None else ():
        name = _target_name(key, problems, directory)
        if name in settings:
            problems.add(f"target '{name}' has settings already", key.position)
        if not isinstance(value, MappingNode):
            problems.add(
                f"the settings of target '{key.text}' must be a mapping",
                value.position,
                help="for example `{arena: 20 KiB, flash: 64 KiB}`",
            )
            continue
        fields = Fields(f"target '{key.text}'", MappingNode(value.entries, key.position), problems)
        target = _target(key.text, directory)
        arena_bytes, regions = _arena(fields, target)
        settings[name] = TargetSettings(
            arena_bytes,
            _bytes(fields, "flash"),
            _latency_us(fields),
            fields.integer("threads", 0, maximum=1024) or None,
            _precision(fields, key, target),
            _memory(fields, key, target),
            regions,
            _weights(fields, target),
            key.position,
        )
        fields.finish()
    return MappingProxyType(settings)


def _target_name(key: ScalarNode, problems: Problems, directory: Path) -> str:
    """The name of the target that a key means; the key itself after recording that there is none."""
    if not is_target_file(key.text):
        if key.text not in target_names():
            advice = f"{target_advice(key.text)} (one of your own is named by its file, such as ./my-core.yaml)"
            problems.add(f"unknown target '{shorten(key.text)}'", key.position, help=advice)
        return key.text
    path = directory / key.text
    if not path.is_file():
        problems.add(f"there is no target file '{shorten(key.text)}'", key.position, help="its path counts from here")
        return key.text
    try:
        return find_target(str(path)).name
    except BadInputError as error:
        for diagnostic in error.diagnostics:
            problems.add(f"target file '{shorten(key.text)}': {diagnostic.message}", key.position, help=diagnostic.help)
        return key.text


def _bytes(fields: Fields, key: str) -> int | None:
    """`20 KiB`, `1.5 MB`, or a whole number of bytes."""
    node = fields.take(key)
    return None if node is None else size_of(fields, key, node)


def _arena(fields: Fields, target: Target | None) -> tuple[int | None, tuple[Region, ...]]:
    """The budget of one arena, or the memories of several; a single memory is a budget with a name."""
    node = fields.take("arena")
    if node is None:
        return None, ()
    if not isinstance(node, MappingNode):
        return size_of(fields, "arena", node), ()
    regions = read_arena_regions(fields, node, target)
    return (regions[0].size_bytes, ()) if len(regions) == 1 else (None, regions)


def _weights(fields: Fields, target: Target | None) -> tuple[WeightRegion, ...]:
    node = fields.mapping("weights")
    return () if node is None else read_weight_regions(fields, node, target)


def _precision(fields: Fields, key: ScalarNode, target: Target | None) -> Precision:
    """What float32 networks multiply: float16 is for tensor cores, bfloat16 for CPUs with instructions for it."""
    node = fields.take("precision")
    if node is None:
        return "float32"
    word = fields.choice_of("precision", node, PRECISIONS)
    if target is not None and word not in target.precisions:
        fields.problems.add(
            f"target '{shorten(key.text)}' does not multiply {word}", node.position, help=precision_advice(word)
        )
    return next(p for p in PRECISIONS if p == word)


def _memory(fields: Fields, key: ScalarNode, target: Target | None) -> MemoryMode | None:
    """The memory mode: only standalone C has any."""
    node = fields.take("memory")
    if node is None:
        return None
    word = fields.choice_of("memory", node, MEMORY_MODES)
    if target is not None and not target.kernels:
        fields.problems.add(
            f"target '{shorten(key.text)}' has no memory modes",
            node.position,
            help="targets of standalone C have them, such as c99 and cortex-m4",
        )
    return next((mode for mode in MEMORY_MODES if mode == word), None)


def _target(key: str, directory: Path) -> Target | None:
    """The target of a key; None (of which another error tells) if there is none."""
    if not is_target_file(key) and key not in target_names():
        return None
    try:
        return find_target(str(directory / key) if is_target_file(key) else key)
    except (BadInputError, UsageError):
        return None


def _latency_us(fields: Fields) -> float | None:
    node = fields.take("latency")
    if node is None:
        return None
    time = amount(node.text, _MICROSECONDS) if isinstance(node, ScalarNode) else None
    if time is None or time <= 0:
        fields.wrong("latency", node, "a time with its unit", "write `5 ms`, `800 us` or `1.5 s`")
        return None
    return time


def read_quantization(node: MappingNode | None, problems: Problems, directory: Path) -> QuantizationSettings | None:
    """The section `quantization:`; None if the file has none. Paths must stay inside `directory`."""
    if node is None:
        return None
    fields = Fields("quantization", node, problems)
    scheme = fields.require("scheme", "int8")
    if scheme is not None:
        fields.choice_of("scheme", scheme, ("int8",))
    rounding = fields.choice("rounding", _ROUNDINGS, "tflite")
    calibration = _calibration(fields, directory)
    storage = read_storage(fields) or "plain"
    weights, sparsity = fields.take("weights"), fields.take("sparsity")
    settings = QuantizationSettings(
        next(r for r in _ROUNDINGS if r == rounding),
        calibration,
        storage,
        _weight_bits(fields, weights) if weights is not None else None,
        "2:4" if sparsity is not None and fields.choice_of("sparsity", sparsity, ("2:4", "none")) == "2:4" else None,
        _exceptions(fields),
        node.position,
    )
    fields.finish()
    return settings


def _weight_bits(fields: Fields, node: Node) -> WeightBits:
    word = fields.choice_of("weights", node, WEIGHT_BITS)
    return next(each for each in WEIGHT_BITS if each == word)


def _exceptions(fields: Fields) -> Mapping[str, WeightType]:
    """`layers: {stem: int8}`."""
    node = fields.mapping("layers")
    found: dict[str, WeightType] = {}
    for key, value in node.entries if node is not None else ():
        word = fields.choice_of(key.text, value, WEIGHT_TYPES)
        found[key.text] = next(each for each in WEIGHT_TYPES if each == word)
    return MappingProxyType(found)


def _calibration(fields: Fields, directory: Path) -> Calibration | None:
    node = fields.mapping("calibration")
    if node is None:
        return None
    inner = Fields("calibration", node, fields.problems)
    file = inner.require("file", "calib.npz")
    path = file_beside(directory, inner.text_of("file", file), file.position, inner.problems) if file else None
    method = inner.choice("method", _METHODS, "percentile" if inner.has("keep") else "mse")
    if method != "percentile" and inner.has("keep"):
        inner.problems.add("'keep' belongs to `method: percentile`", inner.position)
    keep = inner.positive("keep", 0.9999, maximum=1.0)
    inner.finish()
    return Calibration(path, next(m for m in _METHODS if m == method), keep) if path is not None else None

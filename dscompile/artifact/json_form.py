"""The manifest as JSON: the one place that knows its keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar, cast, get_args

from dscompile.artifact.manifest import (
    ArenaInfo,
    BufferInfo,
    Checksum,
    LayerInfo,
    Manifest,
    Sizes,
    Versions,
)
from dscompile.ir.tensor import BorderLayout, DType, Quantization, Tensor
from dscompile.target import Caches, Target

T = TypeVar("T")
Json = dict[str, object]
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_C_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Fields:
    """The keys of one JSON object. What is missing or of the wrong type goes to `problems`, once per key."""

    def __init__(self, content: object, where: str, problems: list[str]) -> None:
        self.where = where
        self.problems = problems
        self.content: Json = content if isinstance(content, dict) else {}
        if not isinstance(content, dict):
            problems.append(f"'{where.rstrip('.')}' must be an object, not {_shown(content)}")

    def text(self, key: str) -> str:
        """A string."""
        return self._typed(key, (str,), "a string", "")

    def whole(self, key: str, *, least: int = 0) -> int:
        """A whole number, not below `least`."""
        value = self._typed(key, (int,), "a whole number", least)
        if value < least:
            self.problems.append(f"'{self.where}{key}' must be a whole number of at least {least}, not {_shown(value)}")
            return least
        return value

    def number(self, key: str) -> float:
        """A number."""
        return float(self._typed(key, (int, float), "a number", 1.0))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(self._each(key, lambda item, where: self._checked(item, where, (str,), "a string", "")))

    def wholes(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        return tuple(self._each(key, lambda item, where: self._checked(item, where, (int,), "a whole number", 1)))

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers."""
        each = self._each(key, lambda item, where: self._checked(item, where, (int, float), "a number", 1.0))
        return tuple(float(item) for item in each)

    def word(self, key: str, words: tuple[str, ...]) -> str:
        """One of `words`."""
        value = self.text(key)
        if value not in words:
            self.problems.append(f"'{self.where}{key}' must be one of {', '.join(words)}, not {_shown(value)}")
        return value

    def matching(self, key: str, pattern: re.Pattern[str], what: str) -> str:
        """A string that matches `pattern` as a whole."""
        value = self.text(key)
        if not pattern.fullmatch(value):
            self.problems.append(f"'{self.where}{key}' must be {what}, not {_shown(value)}")
        return value

    def child(self, key: str) -> Fields:
        """A nested object."""
        return Fields(self._present(key, {}), f"{self.where}{key}.", self.problems)

    def children(self, key: str, read: Callable[[Fields], T]) -> tuple[T, ...]:
        """A list of objects, each read by `read`."""
        return tuple(self._each(key, lambda item, where: read(Fields(item, f"{where}.", self.problems))))

    def has_value(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self.content.get(key) is not None

    def _present(self, key: str, default: object) -> object:
        if key not in self.content:
            self.problems.append(f"'{self.where}{key}' is missing")
            return default
        return self.content[key]

    def _typed(self, key: str, kinds: tuple[type, ...], what: str, default: T) -> T:
        return self._checked(self._present(key, default), f"{self.where}{key}", kinds, what, default)

    def _checked(self, value: object, where: str, kinds: tuple[type, ...], what: str, default: T) -> T:
        if isinstance(value, kinds) and not isinstance(value, bool):
            return cast(T, value)
        self.problems.append(f"'{where}' must be {what}, not {_shown(value)}")
        return default

    def _each(self, key: str, read: Callable[[object, str], T]) -> list[T]:
        value = self._present(key, [])
        where = f"{self.where}{key}"
        if not isinstance(value, list):
            self.problems.append(f"'{where}' must be a list, not {_shown(value)}")
            return []
        return [read(item, f"{where}[{index}]") for index, item in enumerate(value)]


def manifest_to_json(m: Manifest) -> Json:
    """The manifest as nested lists and objects, in a fixed order."""
    return {
        "version": m.versions.dscompile,
        "name": m.name,
        "c_name": m.c_name,
        "origin": m.origin,
        "target": _target_to_json(m.target),
        "inputs": [_tensor_to_json(t) for t in m.inputs],
        "outputs": [_tensor_to_json(t) for t in m.outputs],
        "labels": list(m.labels),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "layers": list(layer.layers),
                "macs": layer.macs,
                "result_bytes": layer.result_bytes,
            }
            for layer in m.layers
        ],
        "macs": m.macs,
        "parameters": m.parameters,
        "arena": {
            "bytes": m.arena.size_bytes,
            "lower_bound": m.arena.lower_bound_bytes,
            "alignment": m.arena.alignment,
            "buffers": [
                {"name": b.name, "offset": b.offset_bytes, "size": b.size_bytes, "first": b.first, "last": b.last}
                for b in m.arena.buffers
            ],
        },
        "sizes": {
            "weights": m.sizes.weights,
            "text": m.sizes.text,
            "so": m.sizes.shared_library,
            "a": m.sizes.static_library,
        },
        "flash_bytes": m.sizes.flash_bytes,
        "fingerprint": f"0x{m.fingerprint:08x}",
        "compiler": {"dscompile": m.versions.dscompile, "c": m.versions.c_compiler, "tvm": m.versions.tvm},
        "fallback_layers": list(m.fallback_layers),
        "tuning_ids": list(m.tuning_ids),
        "checksums": {c.file: c.sha256 for c in m.checksums},
    }


def manifest_from_json(fields: Fields) -> Manifest:
    """The manifest in an object; nonsense where `fields.problems` has entries afterwards."""
    arena, sizes, compiler = fields.child("arena"), fields.child("sizes"), fields.child("compiler")
    fingerprint = fields.matching("fingerprint", re.compile(r"0x[0-9a-f]{8}"), "eight hexadecimal digits after 0x")
    return Manifest(
        name=fields.text("name"),
        c_name=fields.matching("c_name", _C_NAME, "a C identifier"),
        origin=fields.text("origin"),
        target=_target_from_json(fields.child("target")),
        inputs=fields.children("inputs", _tensor_from_json),
        outputs=fields.children("outputs", _tensor_from_json),
        labels=fields.texts("labels"),
        layers=fields.children(
            "layers",
            lambda f: LayerInfo(
                f.text("name"), f.text("kind"), f.texts("layers"), f.whole("macs"), f.whole("result_bytes")
            ),
        ),
        macs=fields.whole("macs"),
        parameters=fields.whole("parameters"),
        arena=ArenaInfo(
            arena.whole("bytes", least=1),
            arena.whole("lower_bound"),
            arena.whole("alignment", least=1),
            arena.children(
                "buffers",
                lambda f: BufferInfo(
                    f.text("name"),
                    f.whole("offset"),
                    f.whole("size"),
                    f.whole("first", least=-1),
                    f.whole("last", least=-1),
                ),
            ),
        ),
        sizes=Sizes(sizes.whole("weights"), sizes.whole("text"), sizes.whole("so"), sizes.whole("a")),
        fingerprint=int(fingerprint, 16) if fingerprint.startswith("0x") and not fields.problems else 0,
        versions=Versions(compiler.text("dscompile"), compiler.text("c"), compiler.text("tvm")),
        fallback_layers=fields.texts("fallback_layers"),
        tuning_ids=fields.texts("tuning_ids"),
        checksums=_checksums_from_json(fields),
    )


def _tensor_to_json(tensor: Tensor) -> Json:
    q = tensor.quantization
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "border": tensor.border,
        "dtype": tensor.dtype,
        "elements": tensor.elements,
        "quantization": None if q is None else {"scales": list(q.scales), "zero_point": q.zero_point},
    }


def _tensor_from_json(fields: Fields) -> Tensor:
    tensor = Tensor(
        name=fields.text("name"),
        shape=fields.wholes("shape"),
        dtype=cast(DType, fields.word("dtype", get_args(DType))),
        quantization=_quantization_from_json(fields),
        border=cast(BorderLayout, fields.word("border", get_args(BorderLayout))),
    )
    if fields.whole("elements") != tensor.elements or min(tensor.shape, default=1) < 1:
        fields.problems.append(f"'{fields.where}elements' does not fit the shape {list(tensor.shape)}")
    return tensor


def _quantization_from_json(fields: Fields) -> Quantization | None:
    if not fields.has_value("quantization"):
        return None
    inner = fields.child("quantization")
    try:
        return Quantization(inner.numbers("scales"), inner.whole("zero_point", least=-(2**31)))
    except ValueError as error:
        fields.problems.append(f"'{fields.where}quantization': {error}")
        return None


def _target_to_json(target: Target) -> Json:
    return {
        "name": target.name,
        "family": target.family,
        "description": target.description,
        "mcpu": target.mcpu,
        "features": sorted(target.features),
        "vector_bytes": target.vector_bytes,
        "registers": target.registers,
        "fma_per_cycle": target.fma_per_cycle,
        "fma_latency": target.fma_latency,
        "l1d_bytes": target.caches.l1d_bytes,
        "l2_bytes": target.caches.l2_bytes,
        "l3_bytes": target.caches.l3_bytes,
        "compiler": target.compiler,
        "compiler_flags": list(target.compiler_flags),
        "arena_alignment": target.arena_alignment,
    }


def _target_from_json(fields: Fields) -> Target:
    try:
        return Target(
            name=fields.text("name"),
            family=fields.text("family"),
            description=fields.text("description"),
            mcpu=fields.text("mcpu"),
            features=frozenset(fields.texts("features")),
            vector_bytes=fields.whole("vector_bytes", least=1),
            registers=fields.whole("registers"),
            fma_per_cycle=fields.whole("fma_per_cycle"),
            fma_latency=fields.whole("fma_latency"),
            caches=Caches(fields.whole("l1d_bytes"), fields.whole("l2_bytes"), fields.whole("l3_bytes")),
            compiler=fields.text("compiler"),
            compiler_flags=fields.texts("compiler_flags"),
            arena_alignment=fields.whole("arena_alignment", least=1),
        )
    except ValueError as error:
        fields.problems.append(f"'target': {error}")
        return Target(name="", family="", description="")


def _checksums_from_json(fields: Fields) -> tuple[Checksum, ...]:
    inner = fields.child("checksums")
    for name in inner.content:
        if not _FILE_NAME.fullmatch(name):
            fields.problems.append(f"'checksums' names {_shown(name)}, which is no file of an artifact")
    return tuple(Checksum(name, inner.text(name)) for name in inner.content)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."

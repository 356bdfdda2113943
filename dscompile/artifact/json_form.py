"""The manifest as JSON: the one place that knows its keys."""

from __future__ import annotations

import re

from dscompile.artifact.fields import Fields, Json, shown
from dscompile.artifact.kernel_json import kernel_from_json, kernel_to_json
from dscompile.artifact.made_from import made_from_from_json, made_from_to_json
from dscompile.artifact.manifest import (
    ArenaInfo,
    BufferInfo,
    Checksum,
    LayerInfo,
    Manifest,
    PackedWeights,
    Sizes,
    StreamingInfo,
    TuningInfo,
    VariantInfo,
    Versions,
)
from dscompile.artifact.memory_json import memory_from_json, memory_to_json
from dscompile.artifact.state_json import slots_from_json, state_to_json
from dscompile.artifact.target_json import target_from_json, target_to_json
from dscompile.artifact.tensor_json import tensor_from_json, tensor_to_json
from dscompile.ir.storage import STORAGES
from dscompile.ir.tensor import PRECISIONS, ROUNDINGS, Precision, Rounding

# Below the artifact's directory; no part begins with a dot, so that none is `..`.
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_C_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def manifest_to_json(m: Manifest) -> Json:
    """The manifest as nested lists and objects, in a fixed order."""
    return {
        "version": m.versions.dscompile,
        "name": m.name,
        "c_name": m.c_name,
        "origin": m.origin,
        "rounding": m.rounding,
        "target": target_to_json(m.target),
        "inputs": [tensor_to_json(t) for t in m.inputs],
        "outputs": [tensor_to_json(t) for t in m.outputs],
        **({"state": state_to_json(m.slots)} if m.slots else {}),
        "labels": list(m.labels),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "layers": list(layer.layers),
                "layer_macs": list(layer.layer_macs),
                "macs": layer.macs,
                "result_bytes": layer.result_bytes,
                "kernels": list(layer.kernels),
                "instructions": layer.instructions,
                "cycles": layer.cycles,
            }
            for layer in m.layers
        ],
        **({"packed": [packed_to_json(one) for one in m.packed]} if m.packed else {}),
        "variants": [
            {
                "target": target_to_json(variant.target),
                "stands_for": list(variant.stands_for),
                "text": variant.text_bytes,
                "constants": variant.constants_bytes,
                "arena_bytes": variant.arena_bytes,
                "first_layer": variant.first_layer,
                "layer_count": variant.layer_count,
            }
            for variant in m.variants
        ],
        "kernels": [kernel_to_json(kernel) for kernel in m.kernels],
        "macs": m.macs,
        "parameters": m.parameters,
        "arena": {
            "bytes": m.arena.size_bytes,
            "lower_bound": m.arena.lower_bound_bytes,
            "alignment": m.arena.alignment,
            "buffers": [
                {
                    "name": b.name,
                    "offset": b.offset_bytes,
                    "size": b.size_bytes,
                    "first": b.first,
                    "last": b.last,
                    **({"region": b.region} if b.region else {}),
                }
                for b in m.arena.buffers
            ],
        },
        **({"streaming": streaming_to_json(m.streaming)} if m.streaming else {}),
        **({"memories": [memory_to_json(memory) for memory in m.memories]} if m.memories else {}),
        "sizes": {
            "weights": m.sizes.weights,
            "text": m.sizes.text,
            "so": m.sizes.shared_library,
            "a": m.sizes.static_library,
        },
        "flash_bytes": m.sizes.flash_bytes,
        "fingerprint": f"0x{m.fingerprint:08x}",
        "compiler": {"dscompile": m.versions.dscompile, "c": m.versions.c_compiler, "tvm": m.versions.tvm},
        "made_from": made_from_to_json(m.made_from),
        "fallback_layers": list(m.fallback_layers),
        "tuning_ids": list(m.tuning_ids),
        "tuning": [tuning_to_json(one) for one in m.tuning],
        "latency_budget_us": m.latency_budget_us,
        "precision": m.precision,
        "tolerance": m.tolerance,
        "checksums": {c.file: c.sha256 for c in m.checksums},
    }


def manifest_from_json(fields: Fields) -> Manifest:
    """The manifest in an object; nonsense where `fields.problems` has entries afterwards."""
    arena, sizes, compiler = fields.child("arena"), fields.child("sizes"), fields.child("compiler")
    layers = fields.children("layers", _layer_from_json)
    variants = fields.children("variants", _variant_from_json) if fields.has_value("variants") else ()
    for variant in variants:
        if variant.first_layer + variant.layer_count > len(layers):
            fields.problems.append(f"'variants': {variant.name} has rows beyond the {len(layers)} of 'layers'")
    fingerprint = fields.matching("fingerprint", re.compile(r"0x[0-9a-f]{8}"), "eight hexadecimal digits after 0x")
    return Manifest(
        name=fields.text("name"),
        c_name=fields.matching("c_name", _C_NAME, "a C identifier"),
        origin=fields.text("origin"),
        rounding=_rounding_from_json(fields),
        target=target_from_json(fields.child("target")),
        inputs=fields.children("inputs", tensor_from_json),
        outputs=fields.children("outputs", tensor_from_json),
        slots=slots_from_json(fields),
        memories=fields.children("memories", memory_from_json) if fields.has_value("memories") else (),
        labels=fields.texts("labels"),
        layers=layers,
        packed=fields.children("packed", _packed_from_json) if fields.has_value("packed") else (),
        variants=variants,
        kernels=fields.children("kernels", kernel_from_json) if fields.has_value("kernels") else (),
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
                    f.text("region") if f.has_value("region") else "",
                ),
            ),
        ),
        sizes=Sizes(sizes.whole("weights"), sizes.whole("text"), sizes.whole("so"), sizes.whole("a")),
        fingerprint=int(fingerprint, 16) if fingerprint.startswith("0x") and not fields.problems else 0,
        versions=Versions(compiler.text("dscompile"), compiler.text("c"), compiler.text("tvm")),
        fallback_layers=fields.texts("fallback_layers"),
        tuning=fields.children("tuning", _tuning_from_json) if fields.has_value("tuning") else (),
        checksums=_checksums_from_json(fields),
        made_from=made_from_from_json(fields),
        precision=_precision_from_json(fields),
        streaming=_streaming_from_json(fields.child("streaming")) if fields.has_value("streaming") else None,
        latency_budget_us=fields.number("latency_budget_us") if fields.has_value("latency_budget_us") else None,
    )


def streaming_to_json(streaming: StreamingInfo) -> Json:
    """What standalone C streams, as manifests, `build --json` and `inspect --json` have it."""
    return {
        "mode": streaming.mode,
        "streamed": list(streaming.streamed),
        "takes_rows": streaming.takes_rows,
        "instructions": streaming.instructions,
        "fastest_instructions": streaming.fastest_instructions,
        "proven": streaming.proven,
    }


def _streaming_from_json(fields: Fields) -> StreamingInfo:
    return StreamingInfo(
        fields.text("mode"),
        fields.texts("streamed"),
        fields.flag("takes_rows"),
        fields.whole("instructions"),
        fields.whole("fastest_instructions"),
        fields.flag("proven"),
    )


def tuning_to_json(one: TuningInfo) -> Json:
    """What a program took of tuning records, as manifests and `build --json` have it."""
    return {
        "target": one.target,
        "ids": list(one.ids),
        "from_records": list(one.from_records),
        "from_similar": list(one.from_similar),
        "by_rule": list(one.by_rule),
    }


def _tuning_from_json(fields: Fields) -> TuningInfo:
    return TuningInfo(
        fields.text("target"),
        fields.texts("ids"),
        fields.texts("from_records"),
        fields.texts("from_similar"),
        fields.texts("by_rule"),
    )


def packed_to_json(packed: PackedWeights) -> Json:
    """A layer of packed weights as one object."""
    return {
        "layer": packed.layer,
        "storage": packed.storage,
        "bytes": packed.size_bytes,
        "plain_bytes": packed.plain_bytes,
    }


def _packed_from_json(fields: Fields) -> PackedWeights:
    word = fields.word("storage", STORAGES)
    return PackedWeights(
        layer=fields.text("layer"),
        storage=next((known for known in STORAGES if known == word), "plain"),
        size_bytes=fields.whole("bytes"),
        plain_bytes=fields.whole("plain_bytes"),
    )


def _layer_from_json(fields: Fields) -> LayerInfo:
    layer = LayerInfo(
        name=fields.text("name"),
        kind=fields.text("kind"),
        layers=fields.texts("layers"),
        macs=fields.whole("macs"),
        result_bytes=fields.whole("result_bytes"),
        layer_macs=fields.wholes("layer_macs") if fields.has_value("layer_macs") else (),
        kernels=fields.texts("kernels") if fields.has_value("kernels") else (),
        instructions=fields.whole("instructions") if fields.has_value("instructions") else None,
        cycles=fields.whole("cycles") if fields.has_value("cycles") else None,
    )
    if layer.layer_macs and len(layer.layer_macs) != len(layer.layers):
        fields.problems.append(f"'{fields.where}layer_macs' must have an entry for each of 'layers'")
    return layer


def _variant_from_json(fields: Fields) -> VariantInfo:
    return VariantInfo(
        target=target_from_json(fields.child("target")),
        stands_for=fields.texts("stands_for"),
        text_bytes=fields.whole("text"),
        constants_bytes=fields.whole("constants"),
        arena_bytes=fields.whole("arena_bytes", least=1),
        first_layer=fields.whole("first_layer"),
        layer_count=fields.whole("layer_count"),
    )


def _rounding_from_json(fields: Fields) -> Rounding | None:
    if not fields.has_value("rounding"):
        return None
    text = fields.text("rounding")
    known = next((rounding for rounding in ROUNDINGS if rounding == text), None)
    if known is None:
        fields.problems.append(f"'rounding' is '{text}', it must be one of {', '.join(ROUNDINGS)}")
    return known


def _precision_from_json(fields: Fields) -> Precision:
    if not fields.has_value("precision"):
        return "float32"  # of artifacts older than the choice
    text = fields.text("precision")
    known = next((precision for precision in PRECISIONS if precision == text), None)
    if known is None:
        fields.problems.append(f"'precision' is '{text}', it must be one of {', '.join(PRECISIONS)}")
    return known or "float32"


def _checksums_from_json(fields: Fields) -> tuple[Checksum, ...]:
    inner = fields.child("checksums")
    for name in inner.content:
        if not _FILE_NAME.fullmatch(name):
            fields.problems.append(f"'checksums' names {shown(name)}, which is no file of an artifact")
    return tuple(Checksum(name, inner.text(name)) for name in inner.content)

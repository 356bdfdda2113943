"""A target as JSON: in manifests, so that an artifact can be run again later, and in what `targets` prints."""

from __future__ import annotations

from typing import cast, get_args

from dscompile.artifact.board_json import board_from_json, board_to_json, zig_from_json, zig_to_json
from dscompile.artifact.fields import Fields, Json
from dscompile.artifact.gpu_json import gpu_from_json, gpu_to_json
from dscompile.artifact.memory_json import (
    region_from_json,
    region_to_json,
    weight_region_from_json,
    weight_region_to_json,
)
from dscompile.board import QemuUser
from dscompile.target import BROADCAST, Caches, Choice, Target


def target_to_json(target: Target) -> Json:
    """A concrete target as a manifest holds it."""
    return {**hardware_to_json(target), "board": None if target.board is None else board_to_json(target.board)}


def hardware_to_json(target: Target) -> Json:
    """What a target has and how it is compiled for, without its board."""
    return {
        "name": target.name,
        "family": target.family,
        "description": target.description,
        "mcpu": target.mcpu,
        "simulated": target.simulated,
        "triple": target.triple,
        "attributes": list(target.attributes),
        "features": sorted(target.features),
        "vector_bytes": target.vector_bytes,
        "registers": target.registers,
        "int8_lanes": target.int8_lanes,
        "fma_per_cycle": target.fma_per_cycle,
        "fma_latency": target.fma_latency,
        "multiply": target.multiply,
        "l1d_bytes": target.caches.l1d_bytes,
        "l2_bytes": target.caches.l2_bytes,
        "l3_bytes": target.caches.l3_bytes,
        "compiler": target.compiler,
        "other_compilers": list(target.other_compilers),
        "compiler_flags": list(target.compiler_flags),
        "zig": zig_to_json(target.zig),
        "emulator": None if target.emulator is None else dict(vars(target.emulator)),
        "arena_alignment": target.arena_alignment,
        "variants": list(target.variants),
        "choice": target.choice if target.variants else None,
        "kernels": list(target.kernels),
        "gpu": gpu_to_json(target.gpu),
        **({"regions": [region_to_json(r) for r in target.regions]} if target.regions else {}),
        **(
            {"weight_regions": list(map(weight_region_to_json, target.weight_regions))} if target.weight_regions else {}
        ),
    }


def target_from_json(fields: Fields) -> Target:
    """The target that `target_to_json` wrote; nonsense where `fields.problems` has entries afterwards."""
    emulator = fields.child("emulator") if fields.has_value("emulator") else None
    try:
        return Target(
            name=fields.text("name"),
            family=fields.text("family"),
            description=fields.text("description"),
            mcpu=fields.text("mcpu"),
            simulated=fields.text("simulated") if fields.has_value("simulated") else "",
            triple=fields.text("triple"),
            attributes=fields.texts("attributes"),
            features=frozenset(fields.texts("features")),
            vector_bytes=fields.whole("vector_bytes", least=1),
            registers=fields.whole("registers"),
            int8_lanes=fields.whole("int8_lanes"),
            fma_per_cycle=fields.whole("fma_per_cycle"),
            fma_latency=fields.whole("fma_latency"),
            multiply=fields.text("multiply") if fields.has_value("multiply") else BROADCAST,
            caches=Caches(fields.whole("l1d_bytes"), fields.whole("l2_bytes"), fields.whole("l3_bytes")),
            compiler=fields.text("compiler"),
            other_compilers=fields.texts("other_compilers") if fields.has_value("other_compilers") else (),
            compiler_flags=fields.texts("compiler_flags"),
            zig=zig_from_json(fields.child("zig")) if fields.has_value("zig") else None,
            emulator=QemuUser(emulator.text("program"), emulator.text("cpu")) if emulator else None,
            arena_alignment=fields.whole("arena_alignment", least=1),
            variants=fields.texts("variants") if fields.has_value("variants") else (),
            choice=cast(Choice, fields.word("choice", get_args(Choice))) if fields.has_value("choice") else "build",
            kernels=fields.texts("kernels") if fields.has_value("kernels") else (),
            board=board_from_json(fields.child("board")) if fields.has_value("board") else None,
            gpu=gpu_from_json(fields.child("gpu")) if fields.has_value("gpu") else None,
            regions=fields.children("regions", region_from_json) if fields.has_value("regions") else (),
            weight_regions=fields.children("weight_regions", weight_region_from_json)
            if fields.has_value("weight_regions")
            else (),
        )
    except ValueError as error:
        fields.problems.append(f"'target': {error}")
        return Target(name="", family="", description="")

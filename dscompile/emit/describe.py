"""The manifest of an artifact, the same for every kind of code."""

from __future__ import annotations

from pathlib import Path

from dscompile.artifact import ArenaInfo, BufferInfo, LayerInfo, Manifest, Sizes, Versions, checksums
from dscompile.ir.cost import layer_macs, layer_parameters
from dscompile.plan.program import Program


def describe(
    program: Program,
    c_name: str,
    origin: str,
    sizes: Sizes,
    fingerprint: int,
    versions: Versions,
    directory: Path,
    files: list[str],
) -> Manifest:
    """The manifest of the finished `files` in `directory`, which hold `program`."""
    network = program.network
    macs = {layer.name: layer_macs(network, layer) for layer in network.layers}
    return Manifest(
        name=network.name,
        c_name=c_name,
        origin=origin,
        rounding=network.rounding,
        target=program.target,
        inputs=tuple(network.tensor(name) for name in network.inputs),
        outputs=tuple(network.tensor(name) for name in network.outputs),
        labels=network.labels,
        layers=tuple(
            LayerInfo(s.name, s.kind, s.layers, s.macs, s.result_bytes, tuple(macs[name] for name in s.layers))
            for s in program.steps
        ),
        macs=program.macs,
        parameters=sum(layer_parameters(network, layer) for layer in network.layers),
        arena=ArenaInfo(
            program.arena_bytes,
            program.arena_lower_bound_bytes,
            program.target.arena_alignment,
            tuple(BufferInfo(b.name, b.offset_bytes, b.size_bytes, b.first, b.last) for b in program.buffers),
        ),
        sizes=sizes,
        fingerprint=fingerprint,
        versions=versions,
        fallback_layers=program.fallback_layers,
        checksums=checksums(directory, files),
    )

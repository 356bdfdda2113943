"""The manifest of an artifact, the same for every kind of code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dscompile.artifact import (
    ArenaInfo,
    BufferInfo,
    KernelInfo,
    LayerInfo,
    MadeFrom,
    Manifest,
    MemoryInfo,
    Sizes,
    Tool,
    Versions,
    checksums,
)
from dscompile.emit.interface import Block
from dscompile.ir.cost import layer_macs, layer_parameters
from dscompile.ir.state import slots
from dscompile.plan.mcu.estimates import estimate
from dscompile.plan.memory_use import streaming_info
from dscompile.plan.program import Program
from dscompile.plan.tuning_use import tuning_info

UNKNOWN = MadeFrom()
NO_COMPILER = "none"  # instead of the version of one


def describe(
    program: Program,
    c_name: str,
    origin: str,
    sizes: Sizes,
    fingerprint: int,
    versions: Versions,
    directory: Path,
    files: list[str],
    *,
    symbols: Mapping[str, str] | None = None,
    kernels: tuple[KernelInfo, ...] = (),
    blocks: Sequence[Block] = (),
) -> Manifest:
    """The manifest of the finished `files` in `directory`, which hold `program`.

    `symbols` are the C names of its compiled kernels, if they are compiled, `kernels` those of a GPU. `blocks` are the
    memories that its caller lends, if there are several.
    """
    network, tuning = program.network, tuning_info(program)
    return Manifest(
        name=network.name,
        c_name=c_name,
        origin=origin,
        rounding=network.rounding,
        target=program.target,
        inputs=tuple(network.tensor(name) for name in network.user_inputs),
        outputs=tuple(network.tensor(name) for name in network.user_outputs),
        labels=network.labels,
        layers=layer_infos(program, symbols or {}),
        macs=program.macs,
        parameters=sum(layer_parameters(network, layer) for layer in network.layers),
        arena=arena_info(program),
        sizes=sizes,
        fingerprint=fingerprint,
        versions=versions,
        fallback_layers=program.fallback_layers,
        checksums=checksums(directory, files),
        kernels=kernels,
        precision=program.precision,
        slots=slots(network.states, network.tensors),
        tuning=() if tuning is None else (tuning,),
        streaming=streaming_info(program),
        memories=memory_infos(program, blocks),
    )


def finished(manifest: Manifest, latency_budget_us: float | None, made_from: MadeFrom) -> Manifest:
    """With what the program does not know: the time that an inference may take, and what all was made from.

    The C compiler joins the tools that the caller of a build knows, at their end.
    """
    compiler = manifest.versions.c_compiler
    tools = made_from.tools if compiler == NO_COMPILER else (*made_from.tools, Tool("c compiler", compiler))
    return replace(manifest, latency_budget_us=latency_budget_us, made_from=replace(made_from, tools=tools))


def arena_info(program: Program) -> ArenaInfo:
    """The arena of a program."""
    return ArenaInfo(
        program.arena_bytes,
        program.arena_lower_bound_bytes,
        program.target.arena_alignment,
        tuple(BufferInfo(b.name, b.offset_bytes, b.size_bytes, b.first, b.last, b.region) for b in program.buffers),
    )


def memory_infos(program: Program, blocks: Sequence[Block]) -> tuple[MemoryInfo, ...]:
    """The memories of a program: the `blocks` that its caller lends, in their order, then those of constants."""
    parts = {} if program.split is None else {use.region.name: use for use in program.split.uses}
    constants = {use.region.name: use for use in program.weights}
    infos = []
    for block in blocks:
        use = constants[block.region] if block.is_copy else parts.get(block.region)
        infos.append(
            MemoryInfo(
                block.name,
                block.region,
                "copy" if block.is_copy else "arena",
                block.size_bytes,
                0 if use is None else use.region.size_bytes,
                1.0 if use is None else use.region.cost,
                0 if use is None else use.traffic_bytes,
            )
        )
    infos += [
        MemoryInfo("", region, "constants", use.size_bytes, use.region.size_bytes, use.region.cost, use.traffic_bytes)
        for region, use in constants.items()
        if not use.region.copy
    ]
    return tuple(infos)


def layer_infos(program: Program, symbols: Mapping[str, str]) -> tuple[LayerInfo, ...]:
    """A row for each step, with the C names of the kernels that `symbols` knows."""
    network, estimates = program.network, estimate(program)
    steps = [None] * len(program.steps) if estimates is None else estimates.steps
    macs = {layer.name: layer_macs(network, layer) for layer in network.layers}
    return tuple(
        LayerInfo(
            step.name,
            step.kind,
            step.layers,
            step.macs,
            step.result_bytes,
            tuple(macs[name] for name in step.layers),
            tuple(symbols[call.symbol] for call in step.calls if call.symbol in symbols),
            None if executed is None else executed.instructions,
            None if executed is None else executed.cycles,
        )
        for step, executed in zip(program.steps, steps, strict=True)
    )

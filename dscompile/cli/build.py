"""dscompile build NET."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from dscompile import api
from dscompile.cli import output
from dscompile.cli.arguments import (
    chosen_tuning,
    input_shape_option,
    memory_option,
    net_argument,
    no_tuning_option,
    rounding_option,
    targets_option,
    tuning_option,
    weights_option,
)
from dscompile.cli.completion import complete_package
from dscompile.cli.describe import estimate_text, memory_text
from dscompile.cli.progress import shown_progress
from dscompile.cli.settings import command as subcommand
from dscompile.cli.settings import current_settings
from dscompile.ir.state import state_bytes
from dscompile.report import records, text
from dscompile.report.kernels import artifact_kernels, kernels_summary, kernels_table
from dscompile.report.memories import memory_lines
from dscompile.report.tuning import tuning_lines, without_schedules

if TYPE_CHECKING:
    from pathlib import Path

    from dscompile.artifact import Artifact, VariantInfo
    from dscompile.ir.memory import MemoryMode
    from dscompile.ir.tensor import Rounding


@subcommand("build")
@net_argument
@targets_option
@click.option(
    "-o",
    "--output",
    "destination",
    type=click.Path(),
    metavar="DIR",
    help="The artifact's directory; with several targets, where theirs go.  [default: build/<net>-<target>]",
)
@weights_option
@rounding_option
@input_shape_option
@memory_option
@tuning_option
@no_tuning_option
@click.option(
    "--package",
    "packages",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_package,
    help="Also make standalone C a library for: cmake, arduino, zephyr, esp-idf, platformio, cmsis-pack. Repeats.",
)
@click.option(
    "--require-binary",
    is_flag=True,
    help="Fail (exit code 5) where a library cannot be linked because nvcc or a cross compiler is missing, instead of "
    "leaving it out.",
)
def command(
    net: str,
    targets: tuple[str, ...],
    destination: str | None,
    weights: str | None,
    rounding: Rounding | None,
    input_shapes: dict[str, tuple[int, ...]],
    memory: MemoryMode | None,
    tuning: tuple[str, ...],
    no_tuning: bool,
    packages: tuple[str, ...],
    require_binary: bool,
) -> None:
    """Compile a network to a C header and a library that needs nothing.

    An output directory is written completely or not at all; a failed build leaves the old one.
    """
    start = time.monotonic()
    with shown_progress() as progress:
        models = api.build(
            net,
            list(targets) or ["host"],
            destination,
            weights=weights,
            rounding=rounding,
            input_shapes=input_shapes,
            memory=memory,
            tuning=chosen_tuning(tuning, no_tuning),
            packages=packages,
            require_binary=require_binary,
            seed=current_settings().seed,
            progress=progress,
        )
    for remark in dict.fromkeys(remark for model in models for remark in model.notes):
        output.note(remark)
    if not current_settings().quiet:
        click.echo(f"built in {time.monotonic() - start:.1f} s", err=True)
    artifacts = [model.artifact for model in models]
    output.result("\n\n".join(map(_summary, artifacts)), records.build_record(artifacts))


def _summary(artifact: Artifact) -> str:
    manifest = artifact.manifest
    pairs = [
        ("target", manifest.target.name),
        ("arena", text.size(manifest.arena.size_bytes)),
        *([("memory mode", memory_text(manifest.streaming))] if manifest.streaming else []),
        *(("memory", line) for line in memory_lines(manifest)),
        *([("state", text.size(state_bytes(manifest.slots)))] if manifest.slots else []),
        ("flash", f"{text.size(manifest.sizes.flash_bytes)}, of it weights {text.number(manifest.sizes.weights)} B"),
        *([("inference", estimated)] if (estimated := estimate_text(manifest)) else []),
        ("network", f"{text.number(manifest.macs)} MAC, {text.plural(manifest.parameters, 'parameter')}"),
        ("header", str(artifact.header.name)),
        ("libraries", ", ".join(library.name for library in _libraries(artifact)))
        if artifact.has_libraries
        else ("sources", ", ".join(source.name for source in artifact.sources)),
    ]
    if artifact.has_shared_library and not artifact.has_libraries:
        pairs.append(("library", artifact.shared_library.name))
    if manifest.packed:
        saved = sum(packed.saved_bytes for packed in manifest.packed)
        kinds = ", ".join(dict.fromkeys(packed.storage for packed in manifest.packed))
        layers = text.plural(len(manifest.packed), "layer")
        pairs.append(("packed", f"weights of {layers} as {kinds}, {text.size(saved)} less than a byte each"))
    if manifest.precision != "float32":
        pairs.append(("precision", text.precision(manifest.precision)))
    if manifest.kernels:
        pairs.append(("kernels", kernels_summary(manifest)))
    if manifest.variants:
        pairs.insert(1, ("variants", ", ".join(map(_variant, manifest.variants))))
    pairs += [("tuning", line) for line in tuning_lines(manifest.tuning)]
    by_rule = manifest.fallback_layers if current_settings().verbose else without_schedules(manifest)
    if by_rule:
        pairs.append(("by rule", f"schedules of {', '.join(by_rule)}"))
    summary = f"{artifact.directory}\n{text.fields(pairs)}"
    if current_settings().verbose and (reports := artifact_kernels(manifest)):
        summary += f"\n\nkernels on {manifest.target.name}, as ptxas assigned registers\n{kernels_table(reports)}"
    return summary


def _libraries(artifact: Artifact) -> list[Path]:
    """The static library, and the shared one if something could link it."""
    return [artifact.static_library, *([artifact.shared_library] if artifact.has_shared_library else [])]


def _variant(variant: VariantInfo) -> str:
    also = [name for name in variant.stands_for if name != variant.name]
    return f"{variant.name} (also for {' and '.join(also)})" if also else variant.name

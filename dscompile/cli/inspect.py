"""dscompile inspect NET."""

from __future__ import annotations

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
    target_option,
    tuning_option,
    weights_option,
)
from dscompile.cli.describe import memory_text, network_fields
from dscompile.cli.progress import shown_progress
from dscompile.cli.settings import command as subcommand
from dscompile.cli.settings import current_settings
from dscompile.report import records, text
from dscompile.report.memories import planned_memories
from dscompile.report.tuning import tiles_table, tuning_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dscompile.ir.memory import MemoryMode
    from dscompile.plan.mcu.estimates import Estimate
    from dscompile.report.cycles import LoopCycles
    from dscompile.report.inspection import ArenaMap, Inspection, LayerRow
    from dscompile.target import Target


_BAR = 40  # characters of a bar as long as the arena


@subcommand("inspect")
@net_argument
@target_option
@weights_option
@input_shape_option
@memory_option
@tuning_option
@no_tuning_option
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Also write it as a page with charts.")
@click.option(
    "--cycles", is_flag=True, help="Also the inner loops of the target's kernels, as llvm-mca estimates them."
)
def command(
    net: str,
    target: str | None,
    weights: str | None,
    input_shapes: dict[str, tuple[int, ...]],
    memory: MemoryMode | None,
    tuning: tuple[str, ...],
    no_tuning: bool,
    html: str | None,
    cycles: bool,
) -> None:
    """Show what every layer of a network is and costs.

    Columns: bytes a layer must read and write; FLOP/B, its arithmetic intensity; standard MAC, the cost of the standard
    convolution that a depthwise layer and its pointwise one replace, and ratio, what the two cost of it: 1 / C_out +
    1 / k^2. With a target also share, the layer's part of the network's roofline time, and bound, what limits it there;
    then the arena: where its buffers lie, and what is alive in each step.

    For a microcontroller also instructions, an estimate of what is executed for the layer, and for a Cortex-M4 cycles,
    with the wait states of the target file's memories; a layer that is computed in another one's loop has none. Their
    sum is that of one inference, and a time where the target file has a clock.

    --html writes all of it as one page that needs nothing else: no network, no other files.

    For a GPU, also the modules that convolutions are fused into: one tile, blocks and threads, the bytes that images
    move through global memory beside those of one kernel for each convolution, and an estimate of the time; and for
    every two neighbors that stay apart, what both choices cost.

    With -v also the tiles of every layer that has any to choose, and where they come from: tuning records, those of a
    similar layer, or the target's rule.

    --cycles compiles the kernels and shows, for every step, the loop that multiplies most: a limit to compare schedules
    by, with everything in the L1 cache, and no time.
    """
    with shown_progress() as progress:
        inspection = api.inspect(
            net,
            target,
            weights=weights,
            input_shapes=input_shapes,
            memory=memory,
            tuning=chosen_tuning(tuning, no_tuning),
            cycles=cycles,
            progress=progress,
        )
    parts = [text.fields(network_fields(inspection), indent=""), _layers(inspection), _comparison(inspection)]
    if inspection.estimate is not None and inspection.target is not None:
        parts.append(_estimate(inspection, inspection.estimate, inspection.target))
    if inspection.arena is not None and inspection.target is not None:
        parts.append(_arena(inspection.arena, inspection.target.name))
    if inspection.streaming is not None:
        parts.append(f"memory mode: {memory_text(inspection.streaming)}")
    if inspection.tuning is not None:
        parts.append("\n".join(f"tuning: {line}" for line in tuning_lines([inspection.tuning])))
        if current_settings().verbose:
            parts.append(tiles_table(inspection.tiles))
    if inspection.modules is not None:
        from dscompile.report.gpu_plan import plan_text

        parts.append(plan_text(inspection.modules))
    if inspection.loops is not None and inspection.target is not None:
        parts.append(_loops(inspection.loops, inspection.target))
    if html is not None:
        parts.append(f"wrote {api.inspection_page(inspection, html)}")
    output.result("\n\n".join(parts), {**records.inspection_record(inspection), "html": html})


def _layers(inspection: Inspection) -> str:
    header = ["layer", "kind", "input", "output", "MAC", "parameters", "bytes", "FLOP/B", "standard MAC", "ratio"]
    if inspection.target is not None:
        header += ["share", "bound"]
    shows = inspection.estimated_columns
    header += shows
    packed = any(layer.storage != "plain" for layer in inspection.layers)
    if packed:
        header += ["weights", "saved"]
    left = ("layer", "kind", "bound", "weights")
    ratios = {pair.depthwise: text.percent(pair.ratio) for pair in inspection.pairs}
    rows = [_row(layer, ratios.get(layer.name, ""), shows, packed=packed) for layer in inspection.layers]
    return text.table(header, rows, right=[name for name in header if name not in left])


def _estimate(inspection: Inspection, estimate: Estimate, target: Target) -> str:
    """The sums of these columns."""
    sums = f"one inference on {target.name}, estimated: {text.number(estimate.instructions)} instructions"
    if estimate.cycles is not None:
        sums += f", {text.number(estimate.cycles)} cycles"
    return sums if inspection.time_us is None else f"{sums}, {inspection.time_us / 1e3:.2f} ms"


def _row(layer: LayerRow, ratio: str, shows: Sequence[str], *, packed: bool) -> list[str]:
    row = [
        layer.name,
        layer.kind,
        text.shape(layer.input),
        text.shape(layer.output),
        text.number(layer.macs),
        text.number(layer.parameters),
        text.number(layer.size_bytes),
        f"{layer.flops_per_byte:.1f}",
        text.number(layer.standard_macs),
        ratio,
    ]
    if layer.share is not None and layer.limit is not None:
        row += [text.percent(layer.share), layer.limit]
    if layer.estimate is not None:
        counts = (layer.estimate.instructions, layer.estimate.cycles)
        row += [text.number(count) for count in counts if count is not None]
    else:
        row += [""] * len(shows)
    if packed:
        row += [layer.storage, text.number(layer.saved_bytes)] if layer.storage != "plain" else ["", ""]
    return row


def _comparison(inspection: Inspection) -> str:
    """Sums beside those of the same network with standard convolutions."""
    rows = [
        ("this network", text.number(inspection.macs), text.number(inspection.parameters)),
        (
            "with standard convolutions",
            text.number(inspection.standard_macs),
            text.number(inspection.standard_parameters),
        ),
        (
            "ratio",
            _ratio(inspection.standard_macs, inspection.macs),
            _ratio(inspection.standard_parameters, inspection.parameters),
        ),
    ]
    return text.table(("", "MAC", "parameters"), rows, right=("MAC", "parameters"))


def _ratio(standard: int, actual: int) -> str:
    return f"{standard / actual:.1f}x" if actual else "-"


def _loops(loops: Sequence[LoopCycles], target: Target) -> str:
    from dscompile.report.cycles import simulated_core

    header = ("step", "instructions", "MAC", "cycles", "MAC/cycle")
    rows = [
        (loop.step, str(loop.instructions), str(loop.macs), f"{loop.cycles:.2f}", f"{loop.macs_per_cycle:.1f}")
        for loop in loops
    ]
    head = f"one pass of the inner loop on {target.name}, by llvm-mca's model of {simulated_core(target)}"
    return f"{head}\n{text.table(header, rows, right=header[1:])}"


def _arena(arena: ArenaMap, target: str) -> str:
    least = f", no plan takes less than {text.size(arena.lower_bound_bytes)}" if arena.split is None else ""
    head = f"arena on {target}: {text.size(arena.size_bytes)}{least}; most is alive at {arena.peak_step}"
    rows = [
        (
            buffer.name,
            text.number(buffer.offset_bytes),
            text.number(buffer.size_bytes),
            f"{buffer.first}..{buffer.last}",
            *([buffer.region] if arena.split is not None else []),
        )
        for buffer in arena.buffers
    ]
    header = ("buffer", "offset", "bytes", "steps", *(["region"] if arena.split is not None else []))
    buffers = text.table(header, rows, right=("offset", "bytes", "steps"))
    whole = max(arena.size_bytes, 1)
    times = [
        (str(index), step.name, text.number(step.live_bytes), "#" * round(_BAR * step.live_bytes / whole))
        for index, step in enumerate(arena.steps)
    ]
    memories = planned_memories(arena.split, arena.weights)
    if memories:
        head += f"\n\n{memories}\n"
    return f"{head}\n{buffers}\n\n{text.table(('', 'step', 'alive', 'of the arena'), times, right=('', 'alive'))}"

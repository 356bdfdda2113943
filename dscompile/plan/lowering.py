"""From a canonical network to a program: segments in order, each lowered to kernel calls."""

from __future__ import annotations

from dscompile.ir.network import Network
from dscompile.ir.tensor import Precision
from dscompile.plan.bands import find_segments
from dscompile.plan.builder import ProgramBuilder
from dscompile.plan.layers import lower_layer
from dscompile.plan.program import Program
from dscompile.plan.routing import NO_ROUTING, route
from dscompile.plan.row_tiles import tiled_images, tiled_in_bands
from dscompile.plan.rows import lower_in_bands
from dscompile.plan.storage import Halos
from dscompile.plan.tuning import UNTUNED, Tuning
from dscompile.target import Target

USUAL_THREADS = 2


def plan_program(
    network: Network,
    target: Target,
    tuning: Tuning = UNTUNED,
    *,
    halos: Halos | None = None,
    threads: int = USUAL_THREADS,
    precision: Precision = "float32",
) -> Program:
    """The program of a canonical network (see dscompile.passes) for a CPU target.

    `halos` are the paddings around images in memory; default: what the convolutions of the network read. `threads` are
    those that sections of bands are made for; one or more of them may run the program all the same.
    `precision` is what pointwise convolutions and dense layers multiply, if the target can.
    Raises UnsupportedError for what has no kernel, such as batches, and for int8 sums that could leave 32 bits.
    """
    halos = Halos.of(network) if halos is None else halos
    floats = precision == "float32"
    # Where inputs are read as vectors of channels, these must lie side by side.
    routing = route(network, halos) if floats and target.multiply == "broadcast" else NO_ROUTING
    segments = find_segments(network, target, scales=floats)
    tiled = tiled_images(network, target, segments, halos) - routing.pools.keys() if floats else frozenset()
    segments = tiled_in_bands(network, target, segments, tiled)
    builder = ProgramBuilder(network, target, halos, tuning, threads, routing, precision, tiled)
    for segment in segments:
        builder.begin(segment)
        if len(segment.work) == 1:
            builder.enter(segment.work[0].layer)
            lower_layer(builder, segment.work[0])
        else:
            lower_in_bands(builder, segment)
        builder.end(segment)
    return builder.finish()

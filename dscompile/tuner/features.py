"""Features: what a cost model learns from, for one choice of a workload. Numbers whose scale does not matter."""

from __future__ import annotations

from dataclasses import astuple

from dscompile.plan.choices import Choice, ConvChoice, DenseChoice, DepthwiseChoice, Int8ConvChoice
from dscompile.plan.int8_tiles import int8_conv_cost
from dscompile.plan.tiles import conv_cost, cut, depthwise_cost
from dscompile.plan.workloads import (
    ConvWorkload,
    DenseWorkload,
    DepthwiseWorkload,
    Int8ConvWorkload,
    Int8DepthwiseWorkload,
    Workload,
)
from dscompile.target import Target

Features = tuple[float, ...]


def features(workload: Workload, choice: Choice, target: Target) -> Features:
    """The numbers of a choice, what follows from them, and its predicted cost. As many for all choices of a kind."""
    return (*map(float, astuple(choice)), *_derived(workload, choice, target), predicted_cost(workload, choice, target))


def predicted_cost(workload: Workload, choice: Choice, target: Target) -> float:
    """What a choice costs by the model that the rule goes by, in its own units; 1 for all where there is none."""
    match workload, choice:
        case ConvWorkload(), ConvChoice():
            return conv_cost(workload, choice, target)
        case DepthwiseWorkload(), DepthwiseChoice():
            return depthwise_cost(workload, choice, target)
        case Int8ConvWorkload(), Int8ConvChoice() if target.has("asimd"):
            return int8_conv_cost(workload, choice, target)
    return 1.0


def _derived(workload: Workload, choice: Choice, target: Target) -> Features:
    match workload, choice:
        case ConvWorkload(), ConvChoice():
            return (
                *_tile(choice.pixels, choice.panel),
                *_rests((workload.width, choice.pixels), (workload.blocks, choice.panel)),
                *_footprints(workload, choice, target),
            )
        case Int8ConvWorkload(), Int8ConvChoice():
            return (
                *_tile(choice.pixels, choice.panel),
                *_rests((workload.width, choice.pixels), (workload.blocks, choice.panel)),
            )
        case ((DepthwiseWorkload() | Int8DepthwiseWorkload()), DepthwiseChoice()):
            return (
                *_window_loads(workload, choice),
                *_rests((workload.width, choice.columns), (workload.height, choice.rows)),
            )
        case DenseWorkload(), DenseChoice():
            chains = choice.accumulators / choice.vectors
            return chains, float(workload.units % (choice.vectors * target.lanes))
    raise TypeError(f"{choice} is not a choice of {workload}")


def _tile(pixels: int, panel: int) -> Features:
    """Accumulators, and vectors that are loaded for each multiply-add."""
    return float(pixels * panel), (pixels + panel) / (pixels * panel)


def _rests(*axes: tuple[int, int]) -> Features:
    """Of sizes that are cut into tiles: what is left of each, how many kernels that makes, and how much they do."""
    rests = tuple(float(size % tile) for size, tile in axes)
    cuts = [cut(size, tile) for size, tile in axes]
    kernels = tiles = 1
    for spans in cuts:
        kernels *= len(spans)
        tiles *= sum(span.count for span in spans)
    return *rests, float(kernels), float(tiles)


def _footprints(workload: ConvWorkload, choice: ConvChoice, target: Target) -> Features:
    """What a tile passes over, as parts of the caches: a panel of weights, and the pixels beside it."""
    l1, l2 = max(1, target.caches.l1d_bytes), max(1, target.caches.l2_bytes)
    panel = workload.channels * choice.panel * target.vector_bytes
    pixels = workload.channels * choice.pixels * 4
    return panel / l1, panel * workload.kernel[0] * workload.kernel[1] / l2, (panel + pixels) / l1


def _window_loads(workload: DepthwiseWorkload | Int8DepthwiseWorkload, choice: DepthwiseChoice) -> Features:
    """Sums, and inputs that are loaded for each multiply-add."""
    (high, wide), (down, right) = workload.kernel, workload.stride
    inputs = ((choice.rows - 1) * down + high) * ((choice.columns - 1) * right + wide)
    sums = choice.rows * choice.columns
    return float(sums), inputs / (sums * high * wide)

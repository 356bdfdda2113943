"""Costs of all choices of a workload, made up: what a search has to find its way in."""

from __future__ import annotations

import math

import numpy as np

from dscompile.plan.choices import Choice, ConvChoice
from dscompile.plan.spaces import rule, space
from dscompile.plan.tiles import conv_tiles, cut
from dscompile.plan.workloads import ConvWorkload
from dscompile.target import Target

Surface = dict[Choice, float]


def valley(workload: ConvWorkload, target: Target, seed: int) -> Surface:
    """Around one choice, which nothing else tells; knobs act together, rests cost extra, and all of it is uneven."""
    dice = np.random.default_rng(seed)
    choices = list(space(workload, target))
    at = np.array([_numbers(choice) for choice in choices])
    bottom = [dice.integers(2, 14), dice.integers(1, 4), dice.integers(0, 4), dice.integers(0, 2), dice.integers(0, 2)]
    slopes = np.array([0.03, 0.12, 0.04, 0.06, 0.05]) * dice.uniform(0.5, 1.5, 5)
    away = np.abs(at - np.array(bottom))
    costs = 1 + away @ slopes + 0.02 * away[:, 0] * away[:, 1] + dice.uniform(0, 0.005, len(choices))
    costs += 0.1 * (workload.width % at[:, 0] > 0)
    return dict(zip(choices, costs.tolist(), strict=True))


def instructions(workload: ConvWorkload, target: Target, seed: int) -> Surface:
    """As if instructions were counted, with prices that the target's model does not know, and spills."""
    dice = np.random.default_rng(seed)
    load, broadcast, output, loop = dice.uniform((0.3, 0.5, 2, 2), (1.2, 1.5, 6, 8))
    weights = workload.channels * workload.blocks * target.vector_bytes

    def cost(choice: ConvChoice) -> float:
        total = 0.0
        for count, tile in conv_tiles(workload, choice):
            sums = tile.pixels * tile.panel
            spilled = max(0.0, sums + tile.panel + choice.unroll_channels / 2 - target.registers + 1)
            inner = sums + load * tile.panel + broadcast * tile.pixels + loop / choice.unroll_channels + 2 * spilled
            total += count * (tile.depth * max(inner, target.fma_latency * target.fma_per_cycle) + sums * output + 20)
        passes = len(cut(workload.width, choice.pixels)) if choice.panel_outer else workload.width / choice.pixels
        fetched = passes * weights * 0.02 * (0.6 if choice.prefetch and weights > 50_000 else 1.0)
        return (workload.height * total + fetched) * (1.01 if choice.prefetch else 1.0)

    return {choice: cost(choice) * (1 + dice.normal() * 0.005) for choice in space(workload, target)}


def part_of_gain(surface: Surface, found: list[Choice], workload: ConvWorkload, target: Target) -> float:
    """What the best one found gains over the choice of the rule, as a part of what the best of all does."""
    default, best = surface[rule(workload, target)], min(surface.values())
    return (default - min(surface[choice] for choice in found)) / (default - best) if default > best else 1.0


def _numbers(choice: Choice) -> tuple[float, ...]:
    assert isinstance(choice, ConvChoice)
    return choice.pixels, choice.panel, math.log2(choice.unroll_channels), choice.panel_outer, choice.prefetch

"""Inferences that threads share, on compiled kernels: the same bits as on one thread, in every order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dscompile.ir.network import Network, NetworkBuilder
from dscompile.ir.ops import Binary, Conv2D, Pool
from dscompile.ir.shapes import same_pads
from dscompile.ir.tensor import Tensor
from dscompile.passes import canonicalize
from dscompile.plan.bands import find_segments
from dscompile.plan.builder import ProgramBuilder
from dscompile.plan.knobs import TileKnobs
from dscompile.plan.phases import plan_phases
from dscompile.plan.rows import plan_sections
from dscompile.run.emulators.qemu_user import PROGRAM
from tests.int8_networks import random_int8_network
from tests.native import ARM, TARGETS, planned, target_here
from tests.networks import random_network
from tests.streaming import random_streaming
from tests.threads import assert_shared_equals_alone, ranged
from tests.towers import banding_target, random_tower

HERE = TARGETS[0]
FAST = 1


def seeds(count: int) -> list[object]:
    """The first of the seeds fast, the others slow."""
    return [seed if seed < FAST else pytest.param(seed, marks=pytest.mark.slow) for seed in range(count)]


def tower_of_even_bands() -> Network:
    """Convolutions of 48 rows, which go by as many bands as two threads can share evenly; too narrow for Winograd's."""
    rng = np.random.default_rng(0)
    builder = NetworkBuilder("even")
    x = builder.input(Tensor("image", (1, 48, 20, 12)))
    for number in range(3):
        pads = same_pads(48, 20, (3, 3), (1, 1), (1, 1))
        groups = 12 if number % 2 else 1
        kernel = rng.normal(size=(3, 3, 12 // groups, 12)).astype(np.float32) / 12
        x = builder.add(f"conv{number}", Conv2D(12, (3, 3), pads=pads, groups=groups), [x], kernel=kernel)
    return builder.build([x])


def tower_with_scaled_weights() -> Network:
    """An image times the factors of its channels, which go into the weights of a band's first layer; its result has
    another reader than the band's own.
    """
    rng = np.random.default_rng(1)
    builder = NetworkBuilder("scaled")

    def pointwise(name: str, x: str, filters: int) -> str:
        channels = builder.tensors[x].shape[3]
        kernel = rng.normal(size=(1, 1, channels, filters)).astype(np.float32) / 4
        return builder.add(name, Conv2D(filters, (1, 1)), [x], kernel=kernel)

    image = builder.input(Tensor("image", (1, 36, 20, 16)))
    gate = pointwise("gate", builder.add("mean", Pool("average", (36, 20)), [image]), 16)
    narrow = pointwise("narrow", builder.add("product", Binary("mul"), [image, gate]), 16)
    wide = pointwise("wide", narrow, 48)
    last = pointwise("last", wide, 16)
    return builder.build([builder.add("sum", Binary("add"), [last, narrow])])


@pytest.mark.parametrize("seed", seeds(12))
def test_random_networks(seed: int) -> None:
    assert_shared_equals_alone(random_network(seed), target_here(HERE))


@pytest.mark.parametrize("seed", seeds(8))
def test_random_int8_networks(seed: int) -> None:
    assert_shared_equals_alone(random_int8_network(seed), target_here(HERE))


@pytest.mark.parametrize("seed", seeds(8))
def test_towers_in_bands_of_rows(seed: int) -> None:
    tower = random_tower(seed)
    assert_shared_equals_alone(tower, banding_target(tower, target_here(HERE)))


@pytest.mark.parametrize("seed", seeds(4))
def test_networks_with_state(seed: int) -> None:
    assert_shared_equals_alone(random_streaming(seed), target_here(HERE))


def test_bands_in_sections() -> None:
    tower = tower_of_even_bands()
    target = banding_target(canonicalize(tower), target_here(HERE))
    program = planned(tower, target)
    assert [len(step.sections.calls) for step in program.steps if step.sections is not None] == [2]
    assert_shared_equals_alone(tower, target)


def test_two_sections_are_one_phase() -> None:
    tower = tower_of_even_bands()
    program, _ = ranged(planned(tower, banding_target(canonicalize(tower), target_here(HERE))))
    longest = [share for phase in plan_phases(program) for share in phase.shares if len(share.calls) > 1]
    assert len(longest) == 2
    assert sum(any(len(share.calls) > 1 for share in phase.shares) for phase in plan_phases(program)) == 1


def test_sections_end_within_a_band_where_bands_do_not_divide() -> None:
    tower = tower_of_even_bands()
    target = banding_target(canonicalize(tower), target_here(HERE))
    (segment,) = [segment for segment in find_segments(canonicalize(tower), target) if segment.rows]
    builder = ProgramBuilder(canonicalize(tower), target, threads=2)
    last = segment.work[-1].result
    rows = {
        size: [
            [band[last].end - band[last].begin for band in part]
            for part in plan_sections(builder, replace(segment, rows=size))
        ]
        for size in (8, 16, 20)
    }
    assert rows == {8: [[8] * 3] * 2, 16: [[16, 8]] * 2, 20: [[20, 4]] * 2}


def test_sections_of_what_others_read_too_and_of_scaled_weights() -> None:
    network = tower_with_scaled_weights()
    target = banding_target(canonicalize(network), target_here(HERE))
    program = planned(network, target)
    (step,) = [step for step in program.steps if step.sections is not None]
    assert {"product", "narrow", "wide"} <= set(step.layers)
    assert [call.symbol.split("_")[-1] for call in step.calls[: step.sections.first]] == ["flat"]
    assert_shared_equals_alone(network, target)


@pytest.mark.parametrize("taps", [(5, 3), (1, 3)], ids=["rows that overlap", "sides that the section above clears"])
def test_sections_do_not_touch_what_others_read_of_an_image_with_more_readers(taps: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    builder = NetworkBuilder("twice")
    kernel = rng.normal(size=(*taps, 16, 16)).astype(np.float32) / 12
    op = Conv2D(16, taps, pads=same_pads(48, 20, taps, (1, 1), (1, 1)))
    first = builder.add("first", op, [builder.input(Tensor("image", (1, 48, 20, 16)))], kernel=kernel)
    network = builder.build([builder.add("second", op, [first], kernel=kernel), first])
    target = banding_target(canonicalize(network), target_here(HERE))
    (step,) = planned(network, target).steps
    assert step.note.startswith("in bands")
    assert step.sections is None
    assert_shared_equals_alone(network, target)


def test_tiles_are_rounds_behind_a_loop_of_one_row_that_prefetches() -> None:
    kernel = np.zeros((1, 1, 480, 112), np.float32)
    builder = NetworkBuilder("narrow")
    image = builder.input(Tensor("image", (1, 14, 14, 480)))
    network = builder.build([builder.add("narrow", Conv2D(112, (1, 1)), [image], kernel=kernel)])
    program, _ = ranged(planned(network, target_here(HERE)))
    extents = [f.extents for f in program.functions if isinstance(f.knobs, TileKnobs) and f.knobs.prefetch]
    assert [len(each) for each in extents[:1]] == [2]
    (panels, tiles) = extents[0]
    assert panels * tiles > 7 * 8


@pytest.mark.slow
def test_arm64_under_an_emulator() -> None:
    assert_shared_equals_alone(random_network(3), target_here(ARM), [PROGRAM])

"""Estimates of instructions and cycles: mixes, wait states, what inspections and manifests show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dscompile import api
from dscompile.emit.describe import layer_infos
from dscompile.frontend.load import load_network
from dscompile.plan.mcu.costs import program_costs, target_isa
from dscompile.plan.mcu.cycles import Part, issue_cycles, part_cycles
from dscompile.plan.mcu.estimates import estimate
from dscompile.plan.mcu.mix import Mix, code
from dscompile.target import Target, find_target
from tests.mcu import planned

DATA = Path(__file__).parents[1] / "data"
STEP = "l c 2w 2p 4p 2w 4p"  # 13 instructions for 16 products


def with_flash(target: Target, **waits: object) -> Target:
    """The target with wait states in the memory of its code and constants."""
    assert target.board is not None
    memories = tuple(replace(memory, **waits) if memory.name == "flash" else memory for memory in target.board.memories)
    return replace(target, board=replace(target.board, memories=memories))


def test_a_run_of_instructions_is_counted_by_kind():
    assert code(STEP) == Mix(plain=10, loads=1, several=2, words=4, constants=1)
    assert code(STEP).instructions == 13
    assert code("l l s 2p j") == Mix(plain=2, loads=2, pipelined=1, stores=1, jumps=1)
    assert (code("2l") + code("d")) * 3 == Mix(loads=6, pipelined=3, divisions=3)


@pytest.mark.parametrize("word", ["x", "2", "p2"])
def test_a_word_that_is_no_instruction(word: str):
    with pytest.raises(ValueError, match=f"'{word}' is no kind of instruction: a letter of plswcjd"):
        code(word)


def test_cycles_of_a_mix_are_those_of_the_manual():
    assert issue_cycles(code("3p")) == 3
    assert issue_cycles(code("l")) == 2
    assert issue_cycles(code("3l")) == 4  # two of them overlap the one before
    assert issue_cycles(code("s")) == 1
    assert issue_cycles(code("5w")) == 6
    assert issue_cycles(code("p j")) == 3
    assert issue_cycles(code("d")) == 7


def test_code_in_a_slow_memory_waits_for_every_line_unless_a_cache_holds_its_loop():
    m4 = find_target("cortex-m4")
    part = Part(Mix(plain=160), loop_bytes=200)
    assert m4.board is not None
    assert part_cycles(part, m4.board) == 160
    slow = with_flash(m4, wait_states=4, line_bytes=16).board
    assert slow is not None
    assert part_cycles(part, slow) == pytest.approx(160 + 36 * 4)  # 160 instructions of 3.6 bytes are 36 lines
    ahead = with_flash(m4, wait_states=4, line_bytes=16, prefetch=True).board
    assert ahead is not None
    assert part_cycles(part, ahead) == pytest.approx(160 + 36 * (4 - (160 / 36 - 1)))
    cached = with_flash(m4, wait_states=4, line_bytes=16, cache_bytes=256).board
    assert cached is not None
    assert part_cycles(part, cached) == 160
    assert part_cycles(replace(part, loop_bytes=300), cached) == pytest.approx(160 + 36 * 4)


def test_constants_in_a_slow_memory_wait_word_by_word_or_line_by_line():
    part = Part(code("8l 8c"), loop_bytes=100)
    words = with_flash(find_target("cortex-m4"), wait_states=2, line_bytes=16).board
    lines = with_flash(find_target("cortex-m4"), wait_states=2, line_bytes=16, cache_bytes=1024).board
    assert words is not None
    assert lines is not None
    fetched = 8 * 3.6 / 16 * 2
    assert part_cycles(part, words) == pytest.approx(9 + fetched + 8 * 2)
    assert part_cycles(part, lines) == pytest.approx(9 + 2 * 2)


def test_every_core_has_rates_of_its_own():
    names = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m55", "rv32imc", "rv64gcv", "c99")
    isas = [target_isa(find_target(name)) for name in names]
    assert isas == ["thumb1", "thumb2", "thumb2", "helium", "rv32", "rv64", "thumb2"]


def test_layers_of_a_step_share_what_it_executes():
    program = planned(load_network(DATA / "kws_ref_model_int8.tflite").network, find_target("cortex-m4"))
    found = estimate(program)
    assert found is not None
    assert len(found.steps) == len(program.steps)
    assert found.layers.keys() >= {"depthwise_conv2d", "conv2d_1", "dense"}
    depthwise, pointwise = found.layers["depthwise_conv2d"], found.layers["conv2d_1"]
    assert depthwise + pointwise == found.steps[1]
    infos = layer_infos(program, {})
    assert [(info.instructions, info.cycles) for info in infos] == [(e.instructions, e.cycles) for e in found.steps]
    assert found.total.instructions == pytest.approx(
        sum(cost.mix.instructions for cost in program_costs(program)), abs=len(program.steps) * 2
    )


def test_nothing_is_estimated_where_nobody_can_say():
    network = load_network(DATA / "kws_ref_model_int8.tflite").network
    assert estimate(planned(network, find_target("c99"))) is None
    on_m3 = estimate(planned(network, find_target("cortex-m3")))
    assert on_m3 is not None
    assert on_m3.total.cycles is None
    floats = load_network(DATA / "vww_96_float.tflite").network
    assert estimate(planned(floats, find_target("cortex-m0plus"))) is None


def test_a_clock_makes_a_time_of_cycles(tmp_path: Path):
    slow = tmp_path / "slow.yaml"
    text = (DATA.parents[1] / "targets" / "cortex-m4.yaml").read_text()
    flash = "{origin: 0x00000000, size: 4 MiB, wait_states: 4, line: 16 B, cache: 1 KiB, prefetch: true}"
    slow.write_text(text.replace("{origin: 0x00000000, size: 4 MiB}", flash) + "clock: 120 MHz\n")
    network = DATA / "kws_ref_model_int8.tflite"
    plain, waiting = api.inspect(network, "cortex-m4"), api.inspect(network, str(slow))
    assert plain.estimate is not None
    assert waiting.estimate is not None
    assert plain.time_us is None
    assert plain.estimate.cycles is not None
    assert waiting.estimate.cycles is not None
    assert waiting.estimate.instructions == plain.estimate.instructions
    assert waiting.estimate.cycles > 1.05 * plain.estimate.cycles
    assert waiting.time_us == pytest.approx(waiting.estimate.cycles / 120)

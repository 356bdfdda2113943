"""Instructions of a Cortex-M4 as arm-none-eabi-as encodes them, and the cycles that the core's manual gives."""

from __future__ import annotations

import struct

import pytest

from dscompile.run.emulators.thumb import Cycles, block_cycles, cost

INSTRUCTIONS = [
    ("ldr r0,[r1]", (0x6808,), "load", 2, 2),
    ("ldr r0,[r1,r2]", (0x5888,), "load", 2, 2),
    ("ldr r0,[pc,#4]", (0x4801,), "load", 2, 2),
    ("ldrb r0,[r1]", (0x7808,), "load", 2, 2),
    ("ldrsh r0,[r1,r2]", (0x5E88,), "load", 2, 2),
    ("ldr r0,[sp,#4]", (0x9801,), "load", 2, 2),
    ("str r0,[r1]", (0x6008,), "store", 1, 2),
    ("strh r0,[r1,r2]", (0x5288,), "store", 1, 2),
    ("str r0,[sp,#4]", (0x9001,), "store", 1, 2),
    ("push {r4,r5,lr}", (0xB530,), "other", 4, 4),
    ("pop {r4,r5,pc}", (0xBD30,), "other", 4, 4),
    ("stmia r0!,{r1,r2}", (0xC006,), "other", 3, 3),
    ("ldmia r0!,{r1,r2,r3}", (0xC80E,), "other", 4, 4),
    (
        "ldr.w r10,[r11],#4",
        (
            0xF85B,
            0xAB04,
        ),
        "load",
        2,
        2,
    ),
    (
        "ldrsb.w r10,[r11,#1]",
        (
            0xF99B,
            0xA001,
        ),
        "load",
        2,
        2,
    ),
    (
        "strb.w r10,[r11,#1]",
        (
            0xF88B,
            0xA001,
        ),
        "store",
        1,
        2,
    ),
    (
        "ldmia.w r8!,{r4,r5,r6,r7}",
        (
            0xE8B8,
            0x00F0,
        ),
        "other",
        5,
        5,
    ),
    (
        "ldrd r2,r3,[r4,#8]",
        (
            0xE9D4,
            0x2302,
        ),
        "other",
        3,
        3,
    ),
    (
        "strd r2,r3,[r4],#8",
        (
            0xE8E4,
            0x2302,
        ),
        "other",
        3,
        3,
    ),
    (
        "tbb [pc,r0]",
        (
            0xE8DF,
            0xF000,
        ),
        "load",
        2,
        2,
    ),
    (
        "smlad r0,r1,r2,r3",
        (
            0xFB21,
            0x3002,
        ),
        "other",
        1,
        1,
    ),
    (
        "smull r0,r1,r2,r3",
        (
            0xFB82,
            0x0103,
        ),
        "other",
        1,
        1,
    ),
    (
        "mla r0,r1,r2,r3",
        (
            0xFB01,
            0x3002,
        ),
        "other",
        1,
        1,
    ),
    (
        "sdiv r0,r1,r2",
        (
            0xFB91,
            0xF0F2,
        ),
        "other",
        2,
        12,
    ),
    (
        "udiv r0,r1,r2",
        (
            0xFBB1,
            0xF0F2,
        ),
        "other",
        2,
        12,
    ),
    (
        "sxtb16 r0,r1,ror #8",
        (
            0xFA2F,
            0xF091,
        ),
        "other",
        1,
        1,
    ),
    (
        "add.w r0,r1,r2,lsl #3",
        (
            0xEB01,
            0x00C2,
        ),
        "other",
        1,
        1,
    ),
    (
        "bl .",
        (
            0xF7FF,
            0xFFFE,
        ),
        "other",
        1,
        1,
    ),
    (
        "b.w .",
        (
            0xF7FF,
            0xBFFE,
        ),
        "other",
        1,
        1,
    ),
    ("cbz r0,.+8", (0xB110,), "other", 1, 1),
    (
        "vldr s0,[r0]",
        (
            0xED90,
            0x0A00,
        ),
        "load",
        2,
        2,
    ),
    (
        "vldr d0,[r0]",
        (
            0xED90,
            0x0B00,
        ),
        "other",
        3,
        3,
    ),
    (
        "vstmia r0!,{s0-s3}",
        (
            0xECA0,
            0x0A04,
        ),
        "other",
        5,
        5,
    ),
    (
        "vpush {d8,d9}",
        (
            0xED2D,
            0x8B04,
        ),
        "other",
        5,
        5,
    ),
    (
        "vadd.f32 s0,s1,s2",
        (
            0xEE30,
            0x0A81,
        ),
        "other",
        1,
        1,
    ),
    (
        "vmla.f32 s0,s1,s2",
        (
            0xEE00,
            0x0A81,
        ),
        "other",
        3,
        3,
    ),
    (
        "vfma.f32 s0,s1,s2",
        (
            0xEEA0,
            0x0A81,
        ),
        "other",
        3,
        3,
    ),
    (
        "vdiv.f32 s0,s1,s2",
        (
            0xEE80,
            0x0A81,
        ),
        "other",
        14,
        14,
    ),
    (
        "vsqrt.f32 s0,s1",
        (
            0xEEB1,
            0x0AE0,
        ),
        "other",
        14,
        14,
    ),
    (
        "vmov r0,s0",
        (
            0xEE10,
            0x0A10,
        ),
        "other",
        1,
        1,
    ),
    (
        "vmov r0,r1,d0",
        (
            0xEC51,
            0x0B10,
        ),
        "other",
        2,
        2,
    ),
    (
        "vcvt.s32.f32 s0,s1",
        (
            0xEEBD,
            0x0AE0,
        ),
        "other",
        1,
        1,
    ),
]


@pytest.mark.parametrize(("text", "words", "kind", "least", "most"), INSTRUCTIONS, ids=lambda value: str(value))
def test_an_instruction_costs_what_the_manual_says(text, words, kind, least, most):
    assert cost(*words) == (kind, Cycles(least, most)), text


def test_a_load_overlaps_the_load_or_store_before_it_at_best():
    load, store, add = 0x6808, 0x6008, 0x1840
    assert block_cycles(struct.pack("<3H", load, load, load)) == Cycles(4, 6)
    assert block_cycles(struct.pack("<2H", store, load)) == Cycles(2, 4)
    assert block_cycles(struct.pack("<3H", load, add, load)) == Cycles(5, 5)


def test_a_block_has_instructions_of_both_lengths():
    add, divide, branch = (0x1840,), (0xFB91, 0xF0F2), (0xE7FE,)
    assert block_cycles(struct.pack("<4H", *add, *divide, *branch)) == Cycles(4, 14)

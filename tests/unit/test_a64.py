"""Classes of A64 instructions, by words that GNU as made of the text beside them."""

from __future__ import annotations

import pytest

from dscompile.run.emulators.a64 import is_vector_on_stack, kind_of

MULTIPLIES = {
    "fmla v0.4s, v1.4s, v2.4s": 0x4E22CC20,
    "fmla v0.4s, v1.4s, v2.s[3]": 0x4FA21820,
    "fmls v31.2s, v1.2s, v2.s[1]": 0x0FA2503F,
    "mla v0.4s, v1.4s, v2.4s": 0x4EA29420,
    "mls v0.8h, v1.8h, v2.h[1]": 0x6F524020,
    "smlal v0.4s, v1.4h, v2.4h": 0x0E628020,
    "smlal2 v0.4s, v1.8h, v2.h[7]": 0x4F722820,
    "umlsl v0.4s, v1.4h, v2.h[7]": 0x2F726820,
    "sqdmlal v0.4s, v1.4h, v2.4h": 0x0E629020,
    "sdot v0.4s, v1.16b, v2.16b": 0x4E829420,
    "sdot v0.4s, v1.16b, v2.4b[2]": 0x4F82E820,
    "udot v0.4s, v1.16b, v2.16b": 0x6E829420,
    "usdot v0.4s, v1.16b, v2.16b": 0x4E829C20,
    "sudot v0.4s, v1.16b, v2.4b[1]": 0x4F22F020,
    "smmla v0.4s, v1.16b, v2.16b": 0x4E82A420,
    "usmmla v0.4s, v1.16b, v2.16b": 0x4E82AC20,
    "sqrdmlah v0.4s, v1.4s, v2.s[1]": 0x6FA2D020,
    "fmadd s0, s1, s2, s3": 0x1F020C20,
}
LOADS = {
    "ldr q0, [x1]": 0x3DC00020,
    "ldr q0, [sp, #32]": 0x3DC00BE0,
    "ldur q0, [x1, #-16]": 0x3CDF0020,
    "ldp q0, q1, [x1], #32": 0xACC10420,
    "ldp q0, q1, [sp, #64]": 0xAD4207E0,
    "ldp d8, d9, [sp, #64]": 0x6D4427E8,
    "ld1 {v0.4s, v1.4s}, [x0]": 0x4C40A800,
    "ld1r {v0.4s}, [x0]": 0x4D40C800,
    "ldr x0, [x1, x2, lsl #3]": 0xF8627820,
    "ldrsb w0, [x1]": 0x39C00020,
    "ldr s0, [x1], #4": 0xBC404420,
    "ldr x0, 12": 0x58000000,
    "ldar w0, [x1]": 0x88DFFC20,
    "ldapr w0, [x1]": 0xB8BFC020,
}
STORES = {
    "str q0, [x1]": 0x3D800020,
    "str q0, [sp, #32]": 0x3D800BE0,
    "stur q0, [sp, #-32]": 0x3C9E03E0,
    "stp q0, q1, [sp, #-32]!": 0xADBF07E0,
    "stp x29, x30, [sp, #-16]!": 0xA9BF7BFD,
    "st1 {v0.16b}, [x0], #16": 0x4C9F7000,
    "strb w0, [x1]": 0x39000020,
    "stlr w0, [x1]": 0x889FFC20,
    "str s0, [sp]": 0xBD0003E0,
}
OTHERS = {
    "prfm pldl2keep, [x0]": 0xF9800002,
    "fmul v0.4s, v1.4s, v2.4s": 0x6E22DC20,
    "fmul v0.4s, v1.4s, v2.s[1]": 0x4FA29020,
    "smull v0.4s, v1.4h, v2.4h": 0x0E62C020,
    "sqrdmulh v0.4s, v1.4s, v2.4s": 0x6EA2B420,
    "fadd v0.4s, v1.4s, v2.4s": 0x4E22D420,
    "fmax v0.4s, v1.4s, v2.4s": 0x4E22F420,
    "movi v0.4s, #0x0": 0x4F000400,
    "madd x0, x1, x2, x3": 0x9B020C20,
    "add x0, x1, #0x40": 0x91010020,
    "b cc": 0x14000000,
    "cbnz x0, d0": 0xB5000000,
    "ret": 0xD65F03C0,
    "dup v0.4s, v1.s[0]": 0x4E040420,
    "zip1 v0.4s, v1.4s, v2.4s": 0x4E823820,
}


@pytest.mark.parametrize(
    ("words", "kind"), [(MULTIPLIES, "multiply"), (LOADS, "load"), (STORES, "store"), (OTHERS, "other")]
)
def test_kinds_of_instructions(words: dict[str, int], kind: str):
    assert {text: kind_of(word) for text, word in words.items()} == dict.fromkeys(words, kind)


def test_vectors_on_the_stack():
    words = {**MULTIPLIES, **LOADS, **STORES, **OTHERS}
    assert [text for text, word in words.items() if is_vector_on_stack(word)] == [
        "ldr q0, [sp, #32]",
        "ldp q0, q1, [sp, #64]",
        "str q0, [sp, #32]",
        "stur q0, [sp, #-32]",
        "stp q0, q1, [sp, #-32]!",
    ]

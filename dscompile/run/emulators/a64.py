"""A64 instructions by what they cost: which of them multiply and accumulate, load, store.

Encodings: Arm Architecture Reference Manual for A-profile, chapter C4. Every instruction is a 32-bit word.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["multiply", "load", "store", "other"]

_STACK_POINTER = 31
# Vector instructions that multiply and accumulate, by group: (mask, value) of the group -> opcodes, as (U, opcode).
_THREE_SAME = (0x9F200400, 0x0E200400)  # opcode in bits 15:11
_THREE_SAME_OPCODES = {(0, 0b11001), (0, 0b10010), (1, 0b10010)}  # FMLA/FMLS, MLA, MLS
_THREE_EXTRA = (0x9F208400, 0x0E008400)  # opcode in bits 14:11
_THREE_EXTRA_OPCODES = {
    *((u, op) for u in (0, 1) for op in (0b0010, 0b0100)),  # SDOT/UDOT, SMMLA/UMMLA
    (0, 0b0011),  # USDOT
    (0, 0b0101),  # USMMLA
    (1, 0b0000),  # SQRDMLAH
    (1, 0b0001),  # SQRDMLSH
}
_THREE_DIFFERENT = (0x9F200C00, 0x0E200000)  # opcode in bits 15:12
_THREE_DIFFERENT_OPCODES = {
    *((u, op) for u in (0, 1) for op in (0b1000, 0b1010)),  # SMLAL/UMLAL, SMLSL/UMLSL
    (0, 0b1001),  # SQDMLAL
    (0, 0b1011),  # SQDMLSL
}
_BY_ELEMENT = (0x9F000400, 0x0F000000)  # opcode in bits 15:12
_BY_ELEMENT_OPCODES = {
    (0, 0b0001),  # FMLA
    (0, 0b0101),  # FMLS
    (1, 0b0000),  # MLA
    (1, 0b0100),  # MLS
    *((u, op) for u in (0, 1) for op in (0b0010, 0b0110, 0b1110)),  # SMLAL, SMLSL, SDOT and their unsigned twins
    (0, 0b0011),  # SQDMLAL
    (0, 0b0111),  # SQDMLSL
    (0, 0b1111),  # SUDOT/USDOT
    (1, 0b1101),  # SQRDMLAH
    (1, 0b1111),  # SQRDMLSH
}


def kind_of(word: int) -> Kind:
    """What an instruction does. Prefetches and address arithmetic (also MADD) are "other".

    "multiply" are vector multiply-accumulates (FMLA, SMLAL, SDOT, SMMLA, ...) and the scalar FMADD family.
    """
    if word >> 25 & 0b0101 == 0b0100:
        return _memory_kind(word)
    return "multiply" if _multiplies(word) else "other"


def is_vector_on_stack(word: int) -> bool:
    """Whether the instruction moves a whole vector register (q) between a register and memory at the stack pointer.

    Such moves inside a loop are spills; what a function saves for its caller are d registers.
    """
    if word >> 5 & 31 != _STACK_POINTER or not word >> 26 & 1:
        return False
    pair = word >> 27 & 0b111 == 0b101 and word >> 30 == 0b10
    single = word >> 27 & 0b111 == 0b111 and word >> 30 == 0 and bool(word >> 23 & 1)
    return pair or single


def _memory_kind(word: int) -> Kind:
    group, opc, is_vector = word >> 27 & 0b111, word >> 22 & 0b11, bool(word >> 26 & 1)
    if group == 0b111:  # one register
        size = word >> 30
        if not is_vector and (size, opc) == (0b11, 0b10):
            return "other"  # PRFM
        if is_vector:
            return "load" if opc & 1 else "store"
        return "store" if opc == 0 else "load"
    if group == 0b011 and not word >> 24 & 1:  # relative to the program counter
        return "other" if not is_vector and word >> 30 == 0b11 else "load"
    if group == 0b011:  # LDAPR, STLR with an offset
        return "store" if opc == 0 else "load"
    return "load" if word >> 22 & 1 else "store"  # pairs, structures, exclusives


def _multiplies(word: int) -> bool:
    if word >> 24 == 0b00011111:  # FMADD, FMSUB, FNMADD, FNMSUB
        return True
    u = word >> 29 & 1
    if word & _BY_ELEMENT[0] == _BY_ELEMENT[1]:
        return (u, word >> 12 & 15) in _BY_ELEMENT_OPCODES
    if word & _THREE_SAME[0] == _THREE_SAME[1]:
        return (u, word >> 11 & 31) in _THREE_SAME_OPCODES
    if word & _THREE_EXTRA[0] == _THREE_EXTRA[1]:
        return (u, word >> 11 & 15) in _THREE_EXTRA_OPCODES
    if word & _THREE_DIFFERENT[0] == _THREE_DIFFERENT[1]:
        return (u, word >> 12 & 15) in _THREE_DIFFERENT_OPCODES
    return False

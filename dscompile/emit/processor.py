"""What a library asks a processor before it chooses a variant: features as bits of a few words.

The words are filled by `templates/native/features_<family>.c`; which bit says what is known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dscompile.errors import UnsupportedError, did_you_mean
from dscompile.target import Target


@dataclass(frozen=True)
class Processor:
    """How to ask the processors of one family.

    `bits` maps a feature to (word, mask) pairs that must all be set. `remembered`: asking takes so long that the answer
    is kept (docs/decisions/choice-of-variants.md). `auxiliary` are the entries of Linux' auxiliary vector that the
    words are, if they come from there.
    """

    words: int
    bits: Mapping[str, tuple[tuple[int, int], ...]]
    remembered: bool
    auxiliary: tuple[int, ...] = ()


# Words of features_x86.c: leaf 1 ECX, leaf 7 EBX, leaf 7 ECX (Intel SDM vol. 2, CPUID), XCR0 (vol. 1, 13.3): the
# operating system must save ymm registers (bits 1 and 2), and for AVX-512 also masks and zmm registers (5, 6 and 7).
# Then leaf 7.1 EAX.
_YMM, _ZMM = (3, 0x06), (3, 0xE6)
_X86 = {
    "fma": ((0, 1 << 12), _YMM),
    "f16c": ((0, 1 << 29), _YMM),
    "bmi1": ((1, 1 << 3),),
    "avx2": ((1, 1 << 5), _YMM),
    "bmi2": ((1, 1 << 8),),
    "avx512f": ((1, 1 << 16), _ZMM),
    "avx512dq": ((1, 1 << 17), _ZMM),
    "avx512cd": ((1, 1 << 28), _ZMM),
    "avx512bw": ((1, 1 << 30), _ZMM),
    "avx512vl": ((1, 1 << 31), _ZMM),
    "avx512_vnni": ((2, 1 << 11), _ZMM),
    "avx512_bf16": ((4, 1 << 5), _ZMM),
}
# Words of features_arm64.c: AT_HWCAP and AT_HWCAP2 (Linux, include/uapi/linux/auxvec.h), whose bits are in
# arch/arm64/include/uapi/asm/hwcap.h.
_HWCAPS = (16, 26)
_ARM64 = {
    "asimd": ((0, 1 << 1),),
    "asimdhp": ((0, 1 << 10),),
    "asimddp": ((0, 1 << 20),),
    "i8mm": ((1, 1 << 13),),
    "bf16": ((1, 1 << 14),),
}
PROCESSORS = {
    "x86": Processor(5, _X86, remembered=True),
    "arm64": Processor(2, _ARM64, remembered=False, auxiliary=_HWCAPS),
}


def processor(target: Target) -> Processor:
    """How to ask the processors that `target` is for. Raises UnsupportedError for a family without an entry."""
    found = PROCESSORS.get(target.family)
    if found is None:
        raise UnsupportedError(
            f"target {target.name}: a library of family {target.family} cannot choose among variants",
            help=f"known families: {', '.join(PROCESSORS)}; build for each variant by itself",
        )
    return found


def needed_words(target: Target) -> tuple[int, ...]:
    """What the words must have set for a variant. Raises UnsupportedError for a feature that is not known here."""
    asked = processor(target)
    words = [0] * asked.words
    for feature in sorted(target.features):
        if feature not in asked.bits:
            raise UnsupportedError(
                f"target {target.name}: a library cannot ask the processor for the feature '{feature}'",
                help=did_you_mean(feature, asked.bits) or f"known: {', '.join(asked.bits)}",
            )
        for word, mask in asked.bits[feature]:
            words[word] |= mask
    return tuple(words)

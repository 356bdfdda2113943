"""Which set of kernels computes a convolution as standalone C: the first of the target's chain that takes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dscompile.ir.fixed_point import Clamp
from dscompile.ir.network import Array
from dscompile.ir.storage import Storage, is_sparse
from dscompile.plan.mcu.epilogues import Epilogue, IntegerEpilogue
from dscompile.plan.mcu.mve import block_of, mve_storage
from dscompile.plan.mcu.products import Variant
from dscompile.plan.mcu.windows import Window
from dscompile.target import Target

MOST_TAPS = 256  # whose sum fits into half of a word
_BLOCK = re.compile(r"block([1-9])x([1-9])")
_NOT_SYMMETRIC = -128  # symmetric weights have no such value; two products with it could leave 16 bits
_FEW_RESULTS = 2  # of a dense layer
_LARGEST_WORD_DEPTH = 2040  # that the assembly of templates/mcu/matrix_m0plus.j2 can count to


@dataclass(frozen=True)
class KernelSet:
    """One word of a target's chain: which templates, and the pixels and channels that they multiply at once.

    `floats`: on a core that rounds float32 products itself, as the rounding `float32` wants it.
    """

    variant: Variant
    group: int
    block: int
    floats: bool = False

    def storage(self, fitting: Storage, depth: int) -> Storage:
        """How weights of sums of `depth` products are stored that fit a storage: plainer where that is smaller."""
        return mve_storage(fitting, depth) if self.variant == "mve" else fitting

    def finishes(self, epilogue: Epilogue) -> bool:
        """Whether its assembly makes results of sums so."""
        in_floats = isinstance(epilogue, IntegerEpilogue) and epilogue.has_scale
        return epilogue.is_searched or (self.floats and in_floats)


PORTABLE = KernelSet("c99", 2, 2)  # 4 sums, 4 operands and the pointers fit into 13 registers
_PACKED = KernelSet("block", 2, 2)  # the same for packed weights, which blocks have side by side
_PACKED_ROW = KernelSet("block", 1, 4)  # of a dense layer
_PAIRS = KernelSet("dsp", 4, 2)  # 8 sums, 2 words of weights, 2 of pixels, 2 pointers
_VECTORS = KernelSet("mve", 4, 2)  # 8 sums, 2 vectors of weights, 6 pointers
_LONG_VECTORS = KernelSet("rvv", 3, 1)  # 24 registers of sums, 6 of weights
_WORDS = KernelSet("m0plus", 4, 8)  # two words of two pixels; the 8 bytes of both make weights of 8 channels neighbors

VECTOR_VARIANTS: tuple[Variant, ...] = ("mve", "rvv")
# Whose depthwise convolutions can make the columns that a matrix product reads.
_COLUMNS_FROM: dict[Variant, tuple[Variant, ...]] = {
    "c99": ("rvv", "block", "c99"),
    "dsp": ("dsp",),
    "mve": ("mve",),
    "m0plus": ("m0plus", "c99"),
    "block": ("block", "c99"),
    "rvv": ("rvv", "c99"),
}


def kernel_sets(target: Target) -> tuple[KernelSet, ...]:
    """The target's chain. Words that are no set of standalone C are left out; portable ones come last in any case."""
    named = {"dsp": _PAIRS, "mve": _VECTORS, "rvv": _LONG_VECTORS}
    named = {name: replace(each, floats=target.has("fpu")) for name, each in named.items()} | {"m0plus": _WORDS}
    sets = [named[name] if name in named else _block_set(name) for name in target.kernels]
    return (*(each for each in sets if each is not None), PORTABLE, _PACKED)


def _block_set(name: str) -> KernelSet | None:
    match = _BLOCK.fullmatch(name)
    return KernelSet("block", int(match[1]), int(match[2])) if match is not None else None


def without_vectors(sets: Sequence[KernelSet]) -> tuple[KernelSet, ...]:
    """A chain without the sets that are written for vectors."""
    return tuple(each for each in sets if each.variant not in VECTOR_VARIANTS)


def vector_variant(sets: Sequence[KernelSet]) -> Variant:
    """The variant of int8 kernels without weights: with vectors where the target has them."""
    return next((each.variant for each in sets if each.variant in VECTOR_VARIANTS), "c99")


def has_pairs(sets: Sequence[KernelSet]) -> bool:
    """Whether the target has kernels for int16 in pairs."""
    return any(each.variant == "dsp" for each in sets)


def mean_variant(sets: Sequence[KernelSet], channels: int) -> Variant:
    """The variant of an int8 mean; sums of whole words need no vectors."""
    found = vector_variant(sets)
    return "dsp" if found == "c99" and channels % 4 == 0 and has_pairs(sets) else found


def pool_variant(
    sets: Sequence[KernelSet], function: Literal["average", "max"], window: Window, clamp: Clamp
) -> Variant:
    """The variant of an int8 pool; a maximum of whole words that is not clamped, and their average, need no vectors."""
    found = mean_variant(sets, window.channels)
    if found != "dsp":
        return found
    is_plain = clamp.low <= -128 and clamp.high >= 127
    fits = is_plain if function == "max" else window.taps <= MOST_TAPS
    return "dsp" if fits else "c99"


def matrix_set(sets: Sequence[KernelSet], epilogue: Epilogue, weights: Array, storage: Storage = "plain") -> KernelSet:
    """The set for a matrix product with weights [depth, C_out], stored so."""
    chosen = next(each for each in sets if _takes_matrix(each, epilogue, weights, storage))
    stepped = isinstance(epilogue, IntegerEpilogue) and epilogue.method == "stepped"
    if chosen.variant == "rvv" and (stepped or is_sparse(storage)):
        return replace(chosen, group=2)  # steps and their mask take the registers of a pixel, as sums of 16 bits do
    return chosen


def dense_set(sets: Sequence[KernelSet], epilogue: Epilogue, weights: Array, storage: Storage = "plain") -> KernelSet:
    """The set for a dense layer with weights [depth, C_out], stored so: vectors, pairs or the portable one.

    Packed weights are in blocks. Pairs take any rounding; weights a and b of which a word holds a + 256 * b are
    symmetric. They compute four results at once, so that one or two are not worth their code.
    """
    for each in sets:
        if each.variant in VECTOR_VARIANTS and _takes_matrix(each, epilogue, weights, storage):
            return matrix_set([each], epilogue, weights, storage)
    if storage != "plain":
        return _PACKED_ROW
    for each in sets:
        symmetric = epilogue.element == "int8" and bool(weights.min() > _NOT_SYMMETRIC)
        if each.variant == "dsp" and symmetric and weights.shape[1] > _FEW_RESULTS:
            return each
    return PORTABLE


def _takes_matrix(each: KernelSet, epilogue: Epilogue, weights: Array, storage: Storage) -> bool:
    match each.variant:
        case "dsp":
            return each.finishes(epilogue) and storage in ("plain", "int4")
        case "mve":
            return each.finishes(epilogue)
        case "rvv":
            # Two products of a sum of 16 bits, with weights that are left of four.
            return each.finishes(epilogue) and (not is_sparse(storage) or bool(weights.min() > _NOT_SYMMETRIC))
        case "m0plus":
            symmetric = epilogue.element == "int8" and bool(weights.min() > _NOT_SYMMETRIC)
            return symmetric and weights.shape[0] <= _LARGEST_WORD_DEPTH and storage in ("plain", "int4")
        case "block":
            return epilogue.element == "int8"
        case "rows" | "turned" | "planes" | "held":  # chosen elsewhere
            return False
        case "c99":
            return storage == "plain"


def depthwise_set(sets: Sequence[KernelSet], epilogue: Epilogue, window: Window, out_channels: int) -> KernelSet:
    """The set for a depthwise convolution."""
    return next(each for each in sets if _takes_depthwise(each, epilogue, window, out_channels))


def _takes_depthwise(each: KernelSet, epilogue: Epilogue, window: Window, out_channels: int) -> bool:
    single = out_channels == window.channels
    match each.variant:
        case "dsp" | "rvv":
            return single and each.finishes(epilogue)
        case "mve":
            return single and each.finishes(epilogue) and block_of(window) is not None
        case "m0plus":  # its assembly wants the taps of a row as far apart as pixels, and at least one of them
            inside = all(axis.taps(o) != (0, 0) for axis in (window.rows, window.columns) for o in range(axis.outputs))
            return epilogue.element == "int8" and single and inside and window.columns.dilation == 1
        case "block":
            return epilogue.element == "int8"
        case "rows" | "turned" | "planes" | "held":  # chosen elsewhere
            return False
        case "c99":
            return True


def combined_sets(
    sets: Sequence[KernelSet],
    depthwise: Epilogue,
    window: Window,
    epilogue: Epilogue,
    weights: Array,
    storage: Storage = "plain",
) -> tuple[KernelSet, KernelSet]:
    """The sets for a depthwise convolution and the pointwise one after it, in one kernel.

    `depthwise` is the epilogue of the first; weights [depth, C_out], `epilogue` and `storage` are of the second.
    """
    channels = weights.shape[0]
    for both in ("mve", "dsp"):  # whose columns no other set makes
        if depthwise_set(sets, depthwise, window, channels).variant != both:
            sets = [each for each in sets if each.variant != both]
    second = matrix_set(sets, epilogue, weights, storage)
    first = [each for each in sets if each.variant in _COLUMNS_FROM[second.variant]]
    return depthwise_set(first, depthwise, window, channels), second

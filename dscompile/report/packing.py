"""What becomes of weights that a network wants stored in less than a byte each."""

from __future__ import annotations

from collections.abc import Iterator

from dscompile.ir.network import Network
from dscompile.plan.mcu.packing import Packed, packed_kernels
from dscompile.plan.mcu.sets import VECTOR_VARIANTS, kernel_sets, vector_variant
from dscompile.plan.program import Program
from dscompile.report.text import plural

_WHY = (
    "some groups of four have more than two weights other than 0, "
    "once channels that hold one value only are left out or groups of channels are multiplied together"
)
_WHY_SHORT = "sums of 16 products or less take fewer bytes so, because vectors go through whole steps of 32"
_WHY_LOOPS = (
    "vectors sum up two products in 16 bits, which weights of -128 would leave; "
    "'storage: plain' gives these layers vectors"
)


def packing_notes(target: str, network: Network, program: Program) -> Iterator[str]:
    """Where a program for `target` stores or multiplies the weights of its network otherwise than expected."""
    asked = [layer for layer in network.layers if layer.storage != "plain"]
    if not asked:
        return
    if not program.target.kernels:
        yield f"{target}: weights have a byte each; 'storage' is for targets of standalone C"
        return
    packed = {name: kernel for name, kernel, _ in packed_kernels(program)}
    sets = kernel_sets(program.target)
    missed: list[str] = []
    short: list[str] = []
    for layer in asked:
        found = packed[layer.name].storage if layer.name in packed else "plain"
        if found != layer.storage and program.network.has_weight(layer, "kernel"):
            kernel = program.network.weight(layer, "kernel")
            is_short = sets[0].storage(layer.storage, kernel.size // kernel.shape[-1]) == found
            (short if is_short else missed).append(f"'{layer.name}' as {found}, not {layer.storage}")
    if missed:
        yield f"{target}: weights are stored otherwise than asked: {', '.join(missed)}; {_WHY}"
    if short:
        yield f"{target}: weights are stored otherwise than asked: {', '.join(short)}; {_WHY_SHORT}"
    has_vectors = vector_variant(sets) != "c99"
    loops = [name for name, kernel in packed.items() if has_vectors and _lacks_vectors(kernel)]
    if loops:
        slow = f"{plural(len(loops), 'layer')} with packed weights {'takes' if len(loops) == 1 else 'take'}"
        yield f"{target}: {slow} several times the instructions: {', '.join(loops)}; {_WHY_LOOPS}"


def _lacks_vectors(kernel: Packed) -> bool:
    """Whether a layer would have vectors if its weights were not packed."""
    return kernel.epilogue.is_searched and kernel.variant not in VECTOR_VARIANTS

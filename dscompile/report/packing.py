"""What becomes of weights that a network wants stored in less than a byte each."""

from __future__ import annotations

from collections.abc import Iterator

from dscompile.ir.network import Network
from dscompile.plan.mcu_packing import packed_weights
from dscompile.plan.mcu_sets import kernel_sets, vector_variant
from dscompile.plan.program import Program
from dscompile.report.text import plural

_WHY = (
    "some groups of four have more than two weights other than 0, "
    "once channels that hold one value only are left out or groups of channels are multiplied together"
)


def packing_notes(target: str, network: Network, program: Program) -> Iterator[str]:
    """Where a program for `target` stores or multiplies the weights of its network otherwise than expected."""
    asked = [layer for layer in network.layers if layer.storage != "plain"]
    if not asked:
        return
    if not program.target.kernels:
        yield f"{target}: weights have a byte each; 'storage' is for targets of standalone C"
        return
    packed = {one.layer: one.storage for one in packed_weights(program)}
    kept = {layer.name for layer in program.network.layers if program.network.has_weight(layer, "kernel")}
    missed = [
        f"'{layer.name}' as {packed.get(layer.name, 'plain')}, not {layer.storage}"
        for layer in asked
        if layer.storage != packed.get(layer.name, "plain") and layer.name in kept
    ]
    if missed:
        yield f"{target}: weights are stored otherwise than asked: {', '.join(missed)}; {_WHY}"
    if packed and vector_variant(kernel_sets(program.target)) != "c99":
        yield (
            f"{target}: {plural(len(packed), 'layer')} with packed weights take several times the instructions, "
            "because its vector kernels want a byte for each weight; 'storage: plain' gives them that"
        )

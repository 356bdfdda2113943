"""The order of the passes."""

from __future__ import annotations

from collections.abc import Callable

from dscompile.errors import Diagnostic, UnsupportedError
from dscompile.ir.network import Network
from dscompile.passes.drop_unused import drop_unused
from dscompile.passes.fold_batch_norm import fold_batch_norm
from dscompile.passes.fold_constants import fold_constants
from dscompile.passes.fold_pads import fold_pads
from dscompile.passes.fuse_activations import fuse_activations
from dscompile.passes.recognize_activations import recognize_activations
from dscompile.passes.remove_identities import remove_identities

PASSES: tuple[Callable[[Network], Network], ...] = (
    remove_identities,
    # Before constants are folded: the 3 of clip(x + 3, 0, 6) must not vanish in the bias of a convolution.
    recognize_activations,
    # Before fusion: layers that lead nowhere still count as readers.
    drop_unused,
    fold_constants,
    fold_batch_norm,
    fold_pads,
    fuse_activations,
    drop_unused,
)


def canonicalize(network: Network) -> Network:
    """The same function of the same inputs and outputs, in few layers; runs all passes until none finds anything.

    `network` is valid and float32, else UnsupportedError. Kernels are folded in float64 and rounded to float32, so
    results agree to float32 rounding.
    """
    problems = [
        Diagnostic(f"only float32 networks are simplified; '{tensor.name}' is {tensor.dtype}")
        for tensor in network.tensors.values()
        if tensor.dtype != "float32"
    ]
    if problems:
        raise UnsupportedError(problems)
    while True:
        before = network
        for run in PASSES:
            network = run(network)
        if network is before:
            return network

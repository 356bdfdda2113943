"""The order of the passes."""

from __future__ import annotations

from collections.abc import Callable

from dscompile.ir.intervals import check_accumulators
from dscompile.ir.network import Network
from dscompile.passes.constant_channels import remove_constant_channels
from dscompile.passes.drop_unused import drop_unused
from dscompile.passes.expand_transposed import expand_transposed
from dscompile.passes.fold_batch_norm import fold_batch_norm
from dscompile.passes.fold_constants import fold_constants
from dscompile.passes.fold_pads import fold_pads
from dscompile.passes.fuse_activations import fuse_activations
from dscompile.passes.keep_rings import keep_rings
from dscompile.passes.recognize_activations import recognize_activations
from dscompile.passes.remove_identities import remove_identities
from dscompile.passes.tabulate import tabulate

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
    tabulate,
    drop_unused,
    keep_rings,
    # Last: pads and activations that became part of a layer decide what its channels can be.
    remove_constant_channels,
)


def canonicalize(network: Network) -> Network:
    """The same function of the same inputs and outputs, in few layers; runs all passes until none finds anything.

    Transposed convolutions become others at the end, when they have taken up what came behind them.

    `network` is valid. Float32 kernels are folded in float64 and rounded to float32, so results agree to float32
    rounding; int8 layers give the same integers. Raises BadInputError for an int8 network with an accumulator that can
    overflow.
    """
    check_accumulators(network)
    network = _until_nothing_changes(network)
    expanded = expand_transposed(network)
    if expanded is network:
        return network
    check_accumulators(expanded)
    return _until_nothing_changes(expanded)


def _until_nothing_changes(network: Network) -> Network:
    while True:
        before = network
        for run in PASSES:
            network = run(network)
        if network is before:
            return network

"""Standard convolutions as sums of separable ones. Nothing here imports tvm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dscompile.api.networks import Source, destination_beside, read_network, require_no_state, source_name
from dscompile.errors import UsageError
from dscompile.report.progress import Event, Progress, silent

if TYPE_CHECKING:
    from dscompile.factorization import Budget, Factorized
    from dscompile.factorization.settings import Price
    from dscompile.ir.network import Network
    from dscompile.quantization.settings import Sample

_RANDOM_SAMPLES = 8


@dataclass(frozen=True)
class FactorizeResult:
    """The factorized network with its report, and the net.yaml that describes it (its weights lie beside it).

    `target` is the target whose roofline gave the layers' cycles.
    """

    factorized: Factorized
    path: Path
    target: str | None = None


def factorize(
    source: Source,
    output: str | Path | None = None,
    *,
    rank: int | None = None,
    max_error: float | None = None,
    max_macs: int | None = None,
    max_cycles: float | None = None,
    even_if_dearer: bool = False,
    target: str | None = None,
    calibrate: str | Path | None = None,
    fit: bool = True,
    weights: str | Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> FactorizeResult:
    """Replaces standard convolutions by sums of separable ones, written as a net.yaml and its weights.

    Give one `rank` for all layers that get cheaper by it, or limits: `max_error` of the outputs' relative change (alone
    it is 0.1), `max_macs` of the whole network, `max_cycles` by the roofline of `target`. `calibrate` is an .npz file
    as `quantize` takes it: changes are measured on it, and (unless `fit` is False) kernels are fitted to it. Without
    one, changes are measured on random inputs of `seed`, and nothing is fitted. `output` is the net.yaml to write
    (default: <net>_factorized.yaml in the current directory).

    Raises UsageError, BadInputError (int8 networks, nothing to factorize), BudgetError with the nearest limits, or
    ToolError.
    """
    from dscompile.factorization import Budget, factorize_network
    from dscompile.frontend.writer import write_netfile

    budget = Budget(rank, max_error, max_macs, max_cycles, even_if_dearer)
    _check(budget, target)
    path = destination_beside(source, output, "factorized")
    progress(Event(f"reading {source_name(source)}"))
    net = read_network(source, weights)
    require_no_state(net.network, "factorized")
    found = factorize_network(
        net.network,
        budget,
        _samples(net.network, calibrate, seed),
        fit=fit and calibrate is not None,
        price=_price(target) if target is not None else None,
        progress=lambda what, done, total: progress(Event(what, done, total)),
    )
    written = write_netfile(found.network, path.parent, path.name, weights_stem=path.stem)
    return FactorizeResult(found, written, target)


def _check(budget: Budget, target: str | None) -> None:
    limits = (budget.max_error, budget.max_macs, budget.max_cycles)
    if budget.rank is not None and any(limit is not None for limit in limits):
        raise UsageError("a rank leaves nothing to choose", help="give a rank for all layers, or limits")
    if budget.rank is None and budget.even_if_dearer:
        raise UsageError("within limits no layer gets dearer", help="'even if dearer' belongs to a rank")
    if budget.max_cycles is not None and target is None:
        raise UsageError("cycles are those of a target's core", help="name it with --target")
    wrong = [
        what
        for what, value in (
            ("rank", budget.rank),
            ("largest error", budget.max_error),
            ("most MAC", budget.max_macs),
            ("most cycles", budget.max_cycles),
        )
        if value is not None and not value > 0
    ]
    if wrong:
        raise UsageError(f"the {wrong[0]} must be above 0")


def _price(target: str) -> Price:
    """The roofline cycles of a layer on a target's core."""
    from dscompile.report.roofline import layer_bound
    from dscompile.target import build_target, representative

    concrete = representative(build_target(target))
    if concrete.kernels or concrete.gpu is not None:
        raise UsageError(
            f"the roofline knows cores with vectors and caches, and {concrete.name} is not one",
            help="x86 and arm64 are; --max-macs limits multiply-accumulates on any machine",
        )
    return lambda network, layer: layer_bound(network, layer, concrete).cycles


def _samples(network: Network, calibrate: str | Path | None, seed: int) -> tuple[Sample, ...]:
    from dscompile.oracle import from_border
    from dscompile.quantization.data import read_samples
    from dscompile.report.vectors import seeded_inputs

    if calibrate is not None:
        return read_samples(Path(calibrate), network)
    inputs = [network.tensor(name) for name in network.inputs]
    drawn = (seeded_inputs(inputs, seed + number) for number in range(_RANDOM_SAMPLES))
    return tuple({name: from_border(network.tensor(name), array) for name, array in one.items()} for one in drawn)

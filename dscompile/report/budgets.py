"""Whether a network keeps the budgets that its net.yaml sets for a target (`targets: {x86: {arena: 2 MiB}}`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dscompile.errors import BudgetError, Diagnostic
from dscompile.frontend.settings import TargetSettings
from dscompile.ir.network import Network
from dscompile.report.inspection import arena_map
from dscompile.report.text import number
from dscompile.target import Target

if TYPE_CHECKING:
    from dscompile.plan.program import Program, RegionUse, WeightUse
    from dscompile.report.timing import BenchResult


def settings_for(settings: Mapping[str, TargetSettings], names: Sequence[str]) -> TargetSettings:
    """The settings of the first of `names` that the net.yaml mentions; of a target it says nothing about, none."""
    return next((settings[name] for name in names if name in settings), TargetSettings())


def setting_notes(target: str, settings: TargetSettings, *, has_threads: bool) -> Iterator[str]:
    """What a net.yaml asks for and a build does not do. `has_threads`: several of them can share an inference there."""
    if settings.threads is not None and settings.threads != 1 and not has_threads:
        yield f"{target}: 'threads: {settings.threads}' has no effect; threads share an inference on x86 and arm64"
    if settings.latency_us is not None:
        yield f"{target}: the latency budget is not checked by a build; 'dscompile bench' measures and checks"


def check_weights(network: Network, target: str, settings: TargetSettings) -> None:
    """Raises BudgetError if the weights alone are larger than the flash budget."""
    weights = sum(array.nbytes for array in network.weights.values())
    if settings.flash_bytes is not None and weights > settings.flash_bytes:
        raise BudgetError(
            f"the weights alone take {number(weights)} B of flash, "
            f"the budget of {target} is {number(settings.flash_bytes)} B",
            position=settings.position,
            help=_largest_weights(network),
        )


def check_program(program: Program, target: str, settings: TargetSettings) -> None:
    """Raises BudgetError if the planned arena or the packed weights exceed the budgets."""
    problems = []
    if settings.arena_bytes is not None and program.arena_bytes > settings.arena_bytes:
        problems.append(
            Diagnostic(
                f"arena needs {number(program.arena_bytes)} B, "
                f"the budget of {target} is {number(settings.arena_bytes)} B",
                position=settings.position,
                layer=arena_map(program).peak_step,
                help=_smaller_arena(program),
            )
        )
    problems.extend(_region_problems(program, target, settings))
    if settings.flash_bytes is not None and program.constant_bytes > settings.flash_bytes:
        problems.append(_flash(program.constant_bytes, "the packed weights take", program.network, target, settings))
    if problems:
        raise BudgetError(problems)


def _smaller_arena(program: Program) -> str:
    """What would make the arena smaller."""
    shrink = "fewer channels or a smaller image at this layer, where the arena peaks, shrink it"
    choice = program.memory
    if choice is None or choice.smallest is None:
        return shrink
    mode, size = choice.smallest
    if size < program.arena_bytes:
        return f"the smallest arena is {number(size)} B, in the memory mode '{mode}'; {shrink}"
    return f"no memory mode has a smaller arena; {shrink}"


def placed(target: Target, settings: TargetSettings) -> Target:
    """The target with the memories that a net.yaml names for it; a single size for the arena means one memory."""
    regions = () if settings.arena_bytes is not None else (settings.regions or target.regions)
    return replace(target, regions=regions, weight_regions=settings.weight_regions or target.weight_regions)


def _region_problems(program: Program, target: str, settings: TargetSettings) -> Iterator[Diagnostic]:
    """Memories that are too small, and by how much."""
    for use in () if program.split is None else program.split.uses:
        if use.lacking_bytes:
            yield Diagnostic(
                _too_small("arena", use, target) + "; the regions before it are full",
                position=settings.position,
                layer=arena_map(program).peak_step,
                help="give it or another region more, or name one more; the arena peaks at this layer",
            )
    for weights in program.weights:
        if weights.lacking_bytes:
            yield Diagnostic(
                _too_small("weights", weights, target),
                position=settings.position,
                help=_largest_weights(program.network),
            )


def _too_small(what: str, use: RegionUse | WeightUse, target: str) -> str:
    return (
        f"region '{use.region.name}' of the {what} needs {number(use.size_bytes)} B, "
        f"{number(use.lacking_bytes)} B more than {target} gives it ({number(use.region.size_bytes)} B)"
    )


def check_flash(program: Program, flash_bytes: int, target: str, settings: TargetSettings) -> None:
    """Raises BudgetError if the finished library (code and weights) exceeds the flash budget."""
    if settings.flash_bytes is not None and flash_bytes > settings.flash_bytes:
        raise BudgetError([_flash(flash_bytes, "the library takes", program.network, target, settings)])


def check_latency(result: BenchResult) -> None:
    """Raises BudgetError if the median of an artifact's latencies exceeds the budget it was built with."""
    budget_us, timing = result.latency_budget_us, result.timing
    if budget_us is not None and timing.median_us > budget_us:
        raise BudgetError(
            f"{result.path}: an inference takes {timing.median_us:.1f} us (median of {timing.repeats}), "
            f"the budget of {result.target} is {budget_us:g} us",
            help="'dscompile bench --layers' shows where the time goes",
        )


def _flash(flash_bytes: int, what: str, network: Network, target: str, settings: TargetSettings) -> Diagnostic:
    assert settings.flash_bytes is not None
    return Diagnostic(
        f"{what} {number(flash_bytes)} B of flash, the budget of {target} is {number(settings.flash_bytes)} B",
        position=settings.position,
        help=_largest_weights(network),
    )


def _largest_weights(network: Network) -> str:
    sizes: dict[str, int] = {}
    for key, array in network.weights.items():
        layer = key.rpartition(".")[0]
        sizes[layer] = sizes.get(layer, 0) + array.nbytes
    if not sizes:
        return "raise the budget"
    name = max(sizes, key=lambda layer: sizes[layer])
    return f"the largest layer is {name} with {number(sizes[name])} B of weights; fewer channels there shrink it"

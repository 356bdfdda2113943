"""Which rank each layer gets.

Squared changes of the outputs are taken to add up over layers, each in proportion to the energy that its rank discards:
w_l * discarded_l(R_l). The weight w_l is measured, with only layer l factorized, at the middle one of its ranks. Then
the choice of one rank for each layer, or none, is a knapsack problem (dscompile.factorization.knapsack), and what it
gives is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dscompile.errors import BudgetError, UsageError
from dscompile.factorization.candidates import Candidate, Cost, Pair
from dscompile.factorization.change import Change
from dscompile.factorization.knapsack import Option, choose
from dscompile.factorization.settings import DEFAULT_MAX_ERROR, Budget
from dscompile.ir.network import Network

Ranks = Mapping[str, int]
"""Layer -> its rank; layers that stay as they are, are not there."""

_ROUNDS = 6
_MOST_CHANGE = 16.0  # of the allowed error, from one round to the next


@dataclass(frozen=True)
class Trial:
    """A network with certain ranks, measured. `fitted` is that its kernels were fitted to the samples."""

    ranks: Ranks
    pairs: Mapping[str, Pair]
    network: Network
    change: Change
    fitted: bool


Try = Callable[[Ranks], Trial]


def choose_ranks(candidates: Sequence[Candidate], fixed: Cost, budget: Budget, attempt: Try, priced: bool) -> Trial:
    """The ranks that suit `budget`, measured. UsageError or BudgetError as for `factorize_network`.

    `fixed` is what layers cost that are no candidates. `priced`: the candidates have prices, which are then saved
    rather than multiply-accumulates where only the error is limited.
    """
    if budget.rank is not None:
        return attempt(_same_rank(candidates, budget.rank, even_if_dearer=budget.even_if_dearer))
    limits = _limits(candidates, fixed, budget)
    choice = _Choice(candidates, attempt, priced)
    if budget.max_macs is None and budget.max_cycles is None:
        return choice.cheapest(DEFAULT_MAX_ERROR if budget.max_error is None else budget.max_error)
    trial = choice.within(limits)
    if budget.max_error is not None and trial.change.error > budget.max_error:
        raise BudgetError(
            f"the outputs change by {trial.change.error:.3g}, more than {budget.max_error:g}, within the other limits",
            help="allow more of one of them; without --max-error this is the nearest that the others allow",
        )
    return trial


def _same_rank(candidates: Sequence[Candidate], rank: int, *, even_if_dearer: bool) -> Ranks:
    ranks = {}
    for candidate in candidates:
        own = min(rank, candidate.spectrum.full_rank)
        if even_if_dearer or own in candidate.cheaper_ranks():
            ranks[candidate.layer.name] = own
    if not ranks:
        highest = {candidate.layer.name: len(candidate.cheaper_ranks()) for candidate in candidates}
        told = ", ".join(f"{name} {most}" for name, most in highest.items() if most)
        raise UsageError(
            f"rank {rank} makes no layer cheaper",
            help=f"the highest ranks that do: {told or 'none'}; with --even-if-dearer all layers are factorized",
        )
    return ranks


def _limits(candidates: Sequence[Candidate], fixed: Cost, budget: Budget) -> tuple[float, float]:
    """What the candidates may cost in MAC and in cycles. BudgetError if they cost more with any ranks."""
    choices = [(c.cost, *c.costs) for c in candidates]
    least_macs = fixed.macs + sum(min(cost.macs for cost in choice) for choice in choices)
    least_price = fixed.price + sum(min(cost.price for cost in choice) for choice in choices)
    macs, price = math.inf, math.inf
    if budget.max_macs is not None:
        macs = budget.max_macs - fixed.macs
        if least_macs > budget.max_macs:
            raise BudgetError(
                f"the lowest ranks leave {least_macs} MAC, more than the {budget.max_macs} allowed",
                help=f"the nearest is --max-macs {least_macs}",
            )
    if budget.max_cycles is not None:
        price = budget.max_cycles - fixed.price
        if least_price > budget.max_cycles:
            raise BudgetError(
                f"the lowest ranks leave {least_price:.0f} cycles, more than the {budget.max_cycles:.0f} allowed",
                help=f"the nearest is --max-cycles {math.ceil(least_price)}",
            )
    return macs, price


class _Choice:
    """The knapsack: for each candidate option 0 is to stay, the others are its ranks that are cheaper in some unit."""

    def __init__(self, candidates: Sequence[Candidate], attempt: Try, priced: bool) -> None:
        self._candidates = candidates
        self._attempt = attempt
        self._priced = priced
        self._ranks = [_worthwhile(candidate) for candidate in candidates]
        self._errors = [self._squared_errors(*pair) for pair in zip(candidates, self._ranks, strict=True)]

    def _squared_errors(self, candidate: Candidate, ranks: Sequence[int]) -> list[float]:
        """The squared relative change of the outputs that each option is expected to make."""
        weight = 0.0
        middle = ranks[len(ranks) // 2] if ranks else candidate.spectrum.full_rank
        if candidate.spectrum.discarded(middle) > 0:
            alone = self._attempt({candidate.layer.name: middle})
            weight = alone.change.error**2 / candidate.spectrum.discarded(middle)
        return [0.0, *(weight * candidate.spectrum.discarded(rank) for rank in ranks)]

    def within(self, limits: tuple[float, float]) -> Trial:
        """The least expected error whose cost keeps to limits of MAC and cycles."""
        groups = [
            [Option(error, (cost.macs, cost.price)) for error, cost in zip(errors, self._costs(number), strict=True)]
            for number, errors in enumerate(self._errors)
        ]
        chosen = choose(groups, limits)
        if chosen is None:
            raise BudgetError(
                "no ranks keep to the limits of MAC and of cycles together, though some do to each",
                help="leave one of them out to see what the other costs",
            )
        return self._attempt(self._named(chosen))

    def cheapest(self, max_error: float) -> Trial:
        """The least cost whose measured error is at most `max_error`; the expected one is adjusted to it in rounds.

        BudgetError if no layer can be factorized.
        """
        groups = [
            [
                Option(cost.price if self._priced else cost.macs, (error,))
                for error, cost in zip(errors, self._costs(number), strict=True)
            ]
            for number, errors in enumerate(self._errors)
        ]
        best, lowest, allowed = None, math.inf, max_error**2
        seen: set[tuple[int, ...]] = set()
        for _ in range(_ROUNDS):
            chosen = choose(groups, (allowed,))
            assert chosen is not None  # all may stay
            if chosen in seen or not any(chosen):
                break
            seen.add(chosen)
            trial = self._attempt(self._named(chosen))
            cost = sum(group[index].loss for group, index in zip(groups, chosen, strict=True))
            if trial.change.error <= max_error and cost < lowest:
                best, lowest = trial, cost
            factor = (max_error / trial.change.error) ** 2 if trial.change.error > 0 else _MOST_CHANGE
            allowed *= min(max(factor, 1 / _MOST_CHANGE), _MOST_CHANGE)
        return best or self._least_of_all(max_error)

    def _least_of_all(self, max_error: float) -> Trial:
        """The single layer with the least expected error: if its measured one is still too large, the BudgetError."""
        names = [candidate.layer.name for candidate in self._candidates]
        single = [
            (errors[index], name, rank)
            for name, errors, ranks in zip(names, self._errors, self._ranks, strict=True)
            for index, rank in enumerate(ranks, 1)
        ]
        if not single:
            raise BudgetError("no layer gets cheaper by any rank", help="--rank with --even-if-dearer factorizes them")
        _, name, rank = min(single)
        trial = self._attempt({name: rank})
        if trial.change.error > max_error:
            raise BudgetError(
                f"no layer gets cheaper within a relative change of {max_error:g} of the outputs",
                help=f"the nearest is rank {rank} of {name}, with {trial.change.error:.3g}",
            )
        return trial

    def _costs(self, number: int) -> list[Cost]:
        candidate = self._candidates[number]
        return [candidate.cost, *(candidate.costs[rank - 1] for rank in self._ranks[number])]

    def _named(self, chosen: Sequence[int]) -> Ranks:
        return {
            candidate.layer.name: ranks[index - 1]
            for candidate, ranks, index in zip(self._candidates, self._ranks, chosen, strict=True)
            if index
        }


def _worthwhile(candidate: Candidate) -> list[int]:
    before = candidate.cost
    return [
        rank for rank, cost in enumerate(candidate.costs, 1) if cost.macs < before.macs or cost.price < before.price
    ]

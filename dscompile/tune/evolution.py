"""Evolution: a search that learns from each answer which choices to measure next, for spaces too large to sweep."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice

from dscompile.plan.choices import Choice
from dscompile.plan.spaces import rule, space
from dscompile.plan.workloads import Workload
from dscompile.target import Target
from dscompile.tune.features import features, predicted_cost
from dscompile.tune.generations import Generations
from dscompile.tune.search import spread

BATCH = 8  # proposals between two trainings of the model
OPENING = 16  # proposals before the first, the choice of the rule among them
STRAYS = 1  # of a batch: as far as can be from all others, whatever the model says


class Evolution:
    """Proposes what MetaSchedule's evolutionary search finds best by its model, and now and then something else."""

    def __init__(self, workload: Workload, target: Target, *, seed: int) -> None:
        self._space = space(workload, target)
        order = spread(self._space, rule(workload, target))
        predicted = {choice: predicted_cost(workload, choice, target) for choice in order}
        self._left = dict.fromkeys(order)
        self._queue = deque(_opening(order, predicted))
        self._news: dict[Choice, float | None] = {}
        least = min(predicted.values())
        points = {self._space.indices(choice): choice for choice in order}
        self._generations = Generations(
            self._space,
            target,
            {point: features(workload, choice, target) for point, choice in points.items()},
            {point: least / predicted[choice] for point, choice in points.items()},
            seed,
        )
        self._points = points

    @property
    def exhausted(self) -> bool:
        """Whether every choice was proposed or told."""
        return not self._left

    def propose(self, count: int) -> list[Choice]:
        """First the opening, then batches that the model finds best."""
        chosen: list[Choice] = []
        while len(chosen) < count and self._left:
            if not self._queue:
                self._queue.extend(self._batch())
            choice = self._queue.popleft()
            if choice in self._left:  # and not told meanwhile
                del self._left[choice]
                chosen.append(choice)
        return chosen

    def tell(self, choice: Choice, cost: float | None) -> None:
        """What the next batch learns from. Raises ValueError for a choice that is not in the space."""
        self._space.indices(choice)
        self._left.pop(choice, None)
        self._news[choice] = cost

    def _batch(self) -> list[Choice]:
        """At least one choice that is left."""
        if self._news:
            self._generations.learn({self._space.indices(choice): cost for choice, cost in self._news.items()})
            self._news = {}
        measured = len(self._space) - len(self._left)
        evolved = (self._points[point] for point in self._generations.best(measured + BATCH))
        best = list(islice((choice for choice in evolved if choice in self._left), BATCH - STRAYS))
        strays = islice((choice for choice in self._left if choice not in best), BATCH - len(best))
        return [*best, *strays]


def _opening(order: Sequence[Choice], predicted: Mapping[Choice, float]) -> list[Choice]:
    """The choice of the rule, which is the first; then in turns one that is predicted to be cheap, and any other."""
    cheap = sorted(order, key=lambda choice: predicted[choice])
    turns = (choice for pair in zip(cheap, order, strict=True) for choice in pair)
    return list(islice(dict.fromkeys((order[0], *turns)), OPENING))

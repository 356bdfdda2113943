"""Evolution: a search that learns from each answer which choices to measure next, for spaces too large to sweep."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from dscompile.plan.choices import Choice
from dscompile.plan.spaces import rule, space
from dscompile.plan.workloads import Workload
from dscompile.target import Target
from dscompile.tuner.features import features, predicted_cost
from dscompile.tuner.generations import Generations
from dscompile.tuner.spreading import spread

BATCH = 8  # proposals between two trainings of the model
OPENING = 16  # proposals before the first, the choice of the rule among them
ALIKE = 2  # of a batch, with the same value of the main axis: the others learn of the other axes from them
NOVEL = 2  # of a batch, the best with values of the main axis that were not tried yet
POOL = 32  # choices that are asked of the model for a batch
STRAYS = 1  # of a batch: as far as can be from all others, whatever the model says


class Evolution:
    """Proposes what MetaSchedule's evolutionary search finds best by its model, and now and then something else."""

    def __init__(self, workload: Workload, target: Target, *, seed: int) -> None:
        self._space = space(workload, target)
        order = spread(self._space, rule(workload, target))
        predicted = {choice: predicted_cost(workload, choice, target) for choice in order}
        self._left = dict.fromkeys(order)
        self._axis = max(self._space.axes, key=lambda axis: len(axis.values))
        self._queue = deque(_opening(order, predicted, self._main))
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
        points = self._generations.best(measured + POOL)
        ranked = [choice for point in points if (choice := self._points[point]) in self._left]
        tried = {self._main(choice) for choice in self._points.values() if choice not in self._left}
        novel = few_alike((choice for choice in ranked if self._main(choice) not in tried), self._main, 1)
        best = few_alike(ranked, self._main, ALIKE)
        chosen = dict.fromkeys((*islice(best, BATCH - NOVEL - STRAYS), *islice(novel, NOVEL)))
        strays = islice((choice for choice in self._left if choice not in chosen), BATCH - len(chosen))
        return [*chosen, *strays]

    def _main(self, choice: Choice) -> tuple[int, ...]:
        """The value of the axis with most values, which are tiles."""
        return tuple(getattr(choice, field) for field in self._axis.fields)


def few_alike(choices: Iterable[Choice], key: Callable[[Choice], object], most: int) -> Iterator[Choice]:
    """The choices in their order, `most` with the same key."""
    seen: Counter[object] = Counter()
    for choice in choices:
        seen[key(choice)] += 1
        if seen[key(choice)] <= most:
            yield choice


def _opening(
    order: Sequence[Choice], predicted: Mapping[Choice, float], key: Callable[[Choice], object]
) -> list[Choice]:
    """The choice of the rule, which is the first; then in turns one that is predicted to be cheap, and any other."""
    cheap = few_alike(sorted(order, key=lambda choice: predicted[choice]), key, 1)
    turns = (choice for pair in zip(cheap, order, strict=False) for choice in pair)
    return list(islice(dict.fromkeys((order[0], *turns)), OPENING))

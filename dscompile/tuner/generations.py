"""Generations: MetaSchedule's evolutionary search and its trees, in a space that is a product of axes.

A trace samples an index for each axis; any combination is a choice, so that no mutation is invalid.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tvm
import xgboost
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from dscompile.plan.spaces import Axis, Space
from dscompile.schedule.native import llvm_target
from dscompile.target import Target
from dscompile.tuner.features import Features
from dscompile.tuner.metaschedule import block_of, stand_in, without_intrinsics
from dscompile.tuner.spreading import ranks

POPULATION, ITERATIONS = 64, 3
ELSEWHERE = 0.2  # of mutations go anywhere, the others near
NEAR = 6  # values of an axis that are near
DEPTH, RATE, PATIENCE = 6, 0.2, 20  # of the trees, of their learning, and rounds without progress before it stops
_SAMPLE = "SampleCategorical"

Indices = tuple[int, ...]


class Generations:
    """What was measured in one space, and what evolves from it.

    `table` gives the features of each point; `prior` what is thought of it while nothing was measured, at most 1.
    """

    def __init__(
        self, space: Space, target: Target, table: Mapping[Indices, Features], prior: Mapping[Indices, float], seed: int
    ) -> None:
        self._module, machine = stand_in(space.kind), llvm_target(target)
        sizes = [len(axis.values) for axis in space.axes]
        self._context = _context(self._module, machine, sizes, _Nearby([neighbors(a) for a in space.axes], seed), seed)
        (self._design,) = self._context.generate_design_space()
        self._database = ms.database.MemoryDatabase()
        self._token = self._database.commit_workload(self._module)
        self._model = _Model(table, prior, seed)

    def learn(self, costs: Mapping[Indices, float | None]) -> None:
        """Train the model by these too. Those that failed (None) are no parents."""
        candidates, results = [], []
        for point, cost in costs.items():
            candidate = self._candidate(point)
            seconds = None if cost is None else [cost]
            candidates.append(candidate)
            results.append(ms.runner.RunnerResult(seconds, None if seconds else "failed"))
            if seconds:
                self._database.commit_tuning_record(
                    ms.database.TuningRecord(candidate.sch.trace, self._token, seconds, self._context.target, [])
                )
        with _one_thread():
            self._model.update(self._context, candidates, results)

    def best(self, count: int) -> list[Indices]:
        """Up to `count` different points, best first by the model; those that were measured among them."""
        self._context.pre_tuning(count, count, [self._design], self._database, self._model)
        try:
            with _one_thread():
                found = self._context.generate_measure_candidates() or []
            return [_point(candidate.sch.trace) for candidate in found]
        finally:
            self._context.post_tuning()

    def _candidate(self, point: Indices) -> Any:
        trace = self._design.trace
        for instruction, index in zip(_samples(trace), point, strict=True):
            trace = _decided(trace, instruction, index)
        schedule = Schedule(self._module)
        trace.apply_to_schedule(schedule, remove_postproc=False)
        return ms.MeasureCandidate(schedule, [])


def neighbors(axis: Axis) -> list[list[int]]:
    """For each value of an axis the indices of all others, nearest first."""
    places = ranks(np.array(axis.values, int))
    distances = np.abs(places[:, None] - places[None]).sum(axis=2)
    np.fill_diagonal(distances, -1)  # itself comes first
    return [[int(other) for other in order[1:]] for order in distances.argsort(axis=1, kind="stable")]


def _context(module: Any, target: Any, sizes: Sequence[int], mutator: Any, seed: int) -> Any:
    def sample(schedule: Schedule) -> None:
        for axis, size in enumerate(sizes):
            index = schedule.sample_categorical(list(range(size)), [1 / size] * size)
            schedule.annotate(block_of(schedule), f"dscompile.axis{axis}", index)

    generator = ms.space_generator.ScheduleFn(sample, sch_rules=[], postprocs=[], mutator_probs={mutator: 1.0})
    strategy = ms.search_strategy.EvolutionarySearch(
        population_size=POPULATION, init_min_unmeasured=1, genetic_num_iters=ITERATIONS, eps_greedy=0.0
    )
    with without_intrinsics():
        return ms.TuneContext(
            module,
            target=target,
            space_generator=generator,
            search_strategy=strategy,
            num_threads=1,
            rand_state=1 + seed % (2**31 - 2),
        )


def _one_thread() -> Any:
    """More would wait for each other on a machine that is busy with candidates, and for longer than the work takes."""
    return xgboost.config_context(nthread=1)


def _samples(trace: Any) -> list[Any]:
    return [instruction for instruction in trace.insts if instruction.kind.name == _SAMPLE]


def _decided(trace: Any, instruction: Any, index: int) -> Any:
    return trace.with_decision(instruction, index, remove_postproc=True)


def _point(trace: Any) -> Indices:
    return tuple(int(trace.decisions[instruction]) for instruction in _samples(trace))


@derived_object
class _Nearby(ms.mutator.PyMutator):  # type: ignore[misc]
    """Moves along one axis."""

    def __init__(self, near: Sequence[list[list[int]]], seed: int) -> None:
        self._near, self._random = near, random.Random(seed)

    def _initialize_with_tune_context(self, context: Any) -> None:
        """Nothing is needed of it."""

    def apply(self, trace: Any, _: int) -> Any:
        """Another trace; None where the axis has but one value."""
        axis = self._random.randrange(len(self._near))
        instruction = _samples(trace)[axis]
        others = self._near[axis][int(trace.decisions[instruction])]
        if not others:
            return None
        reach = len(others) if self._random.random() < ELSEWHERE else NEAR
        return _decided(trace, instruction, self._random.choice(others[:reach]))


@derived_object
class _Lookup(ms.feature_extractor.PyFeatureExtractor):  # type: ignore[misc]
    """Features from a table."""

    def __init__(self, table: Mapping[Indices, Features]) -> None:
        self._rows = {at: tvm.runtime.tensor(np.array([row], "float32")) for at, row in table.items()}

    def extract_from(self, context: Any, candidates: Iterable[Any]) -> list[Any]:
        """A row for each candidate."""
        return [self._rows[_point(candidate.sch.trace)] for candidate in candidates]


@derived_object
class _Model(ms.cost_model.XGBModel._cls):  # type: ignore[misc]
    """MetaSchedule's trees; before their first training they know what was thought before, instead of nothing."""

    def __init__(self, table: Mapping[Indices, Features], prior: Mapping[Indices, float], seed: int) -> None:
        super().__init__(
            extractor=_Lookup(table),
            config=ms.cost_model.xgb_model.XGBConfig(max_depth=DEPTH, eta=RATE, seed=seed, nthread=1),
            num_warmup_samples=0,
            early_stopping_rounds=PATIENCE,
            adaptive_training=False,
        )
        self._prior = prior

    def predict(self, context: Any, candidates: Sequence[Any]) -> Any:
        """Speed, as a part of the best."""
        if self.booster is None:
            return np.array([self._prior[_point(candidate.sch.trace)] for candidate in candidates])
        return super().predict(context, candidates)

"""Ranking inside the network: the best few choices of every layer, timed where they will run.

A kernel that wins in a loop of its own may lose in its network, where its weights are cold and its buffers shared. So a
network is run with the best choice of every layer, the second best, and so on, in turns, and every step is timed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dscompile.errors import CheckFailedError
from dscompile.ir.network import Network
from dscompile.plan.choices import Choice
from dscompile.plan.lowering import plan_program
from dscompile.plan.program import Function, Program
from dscompile.plan.tuning import UNTUNED, Tuning
from dscompile.plan.workloads import Workload
from dscompile.target import Target
from dscompile.tuner.devices import Devices
from dscompile.tuner.runnable import Memory, Runnable, link, prototype, source_of
from dscompile.tuner.state import TaskState

CONTENDERS = 3  # choices of a layer beside that of the rule
WORK_MACS = 4e9  # of all runs of one trial
MIN_ROUNDS, MAX_ROUNDS = 5, 200
LEAST_GAIN = 0.01  # what a choice must gain inside the network to be taken instead of the rule's


@dataclass(frozen=True)
class Ranking:
    """What came of it: the choices to take, and seconds of the whole network by rule and with them.

    `gains` are the shares of time that each choice gained in the steps that have it.
    """

    chosen: Mapping[Workload, Choice]
    rule_s: float
    tuned_s: float
    gains: Mapping[Workload, float]


def rank_in_network(network: Network, target: Target, states: Sequence[TaskState], devices: Devices) -> Ranking:
    """Chooses between the best few of every task by the time of the network's steps, and compares with the rule.

    Raises CheckFailedError if the device does not run the network.
    """
    contenders = {state.task.workload: _contenders(state) for state in states}
    count = max(map(len, contenders.values()), default=0)
    variants = [UNTUNED] + [
        Tuning({workload: choices[min(rank, len(choices) - 1)] for workload, choices in contenders.items() if choices})
        for rank in range(count)
    ]
    programs = [plan_program(network, target, variant) for variant in variants]
    times = measure_steps(network, programs, devices)
    chosen: dict[Workload, Choice] = {}
    gains: dict[Workload, float] = {}
    for workload, choices in contenders.items():
        if not choices:
            continue
        steps = sorted({entry.step for entry in programs[0].chosen if entry.workload == workload})
        by_variant = times[:, steps].sum(axis=1)
        best = int(np.argmin(by_variant))
        gain = 1 - float(by_variant[best] / by_variant[0])
        if gain >= LEAST_GAIN:
            chosen[workload], gains[workload] = variants[best].best[workload], gain
    final = measure_steps(network, [programs[0], plan_program(network, target, Tuning(chosen))], devices)
    rule_s, tuned_s = (float(total) / 1e9 for total in final.sum(axis=1))
    return Ranking(chosen, rule_s, tuned_s, gains)


def _contenders(state: TaskState) -> tuple[Choice, ...]:
    least = state.rule_cost
    better = (choice for choice in state.ranked() if least is None or state.costs[choice] < least)
    return tuple(choice for choice in better if choice != state.task.rule)[:CONTENDERS]


def measure_steps(network: Network, programs: Sequence[Program], devices: Devices) -> np.ndarray:
    """Fewest nanoseconds of every step: [programs, steps]. Raises CheckFailedError if the device does not run them."""
    trial = network_trial(network, programs)
    measurement = devices.submit(trial).result()
    if measurement.error:
        raise CheckFailedError(f"the whole network on {devices.name}: {measurement.error}")
    return np.frombuffer(measurement.output, np.int64).reshape(len(programs), len(programs[0].steps)).astype(float)


def network_trial(network: Network, programs: Sequence[Program]) -> Runnable:
    """Programs of one network as one library, whose main() times the steps of all, in turns."""
    symbols: dict[tuple[object, object], str] = {}
    functions: dict[str, Function] = {}
    variants = []
    rounds = int(np.clip(WORK_MACS / max(1, programs[0].macs * len(programs)), MIN_ROUNDS, MAX_ROUNDS))
    steps = len(programs[0].steps)
    memory = Memory(programs, _inputs(network), 8 * len(programs) * steps)
    for variant, program in enumerate(programs):
        own: dict[str, str] = {}
        for function in program.functions:
            symbol = symbols.setdefault((function.kernel, function.knobs), f"k{len(symbols)}")
            functions.setdefault(symbol, Function(symbol, function.kernel, function.parameters, function.knobs))
            own[function.symbol] = symbol
        variants.append(
            [[memory.call(call, own[call.symbol], variant) for call in step.calls] for step in program.steps]
        )
    source = source_of(
        "network.c.j2",
        memory,
        prototypes=[prototype(function, symbol) for symbol, function in functions.items()],
        variants=variants,
        rounds=rounds,
        output_offset=memory.output_offset,
    )
    from dscompile.schedule.native import compile_functions

    target = programs[0].target
    objects = [compile_functions(list(functions.values()), target)]
    limit_s = 20.0 + 6 * WORK_MACS / 1e9
    code = link(source, objects, memory, target, "library")
    return memory.runnable(code, limit_s=limit_s, times_itself=True)


def _inputs(network: Network) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    result = {}
    for name in network.inputs:
        tensor = network.tensor(name)
        if tensor.dtype == "float32":
            result[name] = rng.uniform(-1, 1, tensor.elements).astype(np.float32).tobytes()
        else:
            result[name] = rng.integers(0, 128, tensor.elements).astype(np.dtype(tensor.dtype)).tobytes()
    return result

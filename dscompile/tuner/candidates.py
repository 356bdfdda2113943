"""Candidates: a layer with one choice of tiles, compiled so that a device can run, check and time it.

All kernels are those that a build makes for the same choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dscompile.ir.network import Array
from dscompile.plan.choices import Choice
from dscompile.plan.int8_kernels import Int8ConvKernel, Int8DenseKernel, Int8DepthwiseKernel
from dscompile.plan.kernels import ConvKernel, DenseKernel, DepthwiseKernel
from dscompile.plan.program import Call, Function, Program
from dscompile.plan.workloads import Workload
from dscompile.target import Target
from dscompile.tuner.harness import harness
from dscompile.tuner.runnable import Form, Memory, Runnable, link, prototype, source_of

_TUNED = (ConvKernel, DepthwiseKernel, DenseKernel, Int8ConvKernel, Int8DepthwiseKernel, Int8DenseKernel)


@dataclass(frozen=True)
class Job:
    """A candidate to build, in the form that a device takes."""

    workload: Workload
    choice: Choice
    target: Target
    form: Form = "library"


@dataclass(frozen=True)
class Candidate:
    """A built candidate. Its output is that of the layer."""

    workload: Workload
    choice: Choice
    runnable: Runnable


def build_candidate(job: Job) -> Candidate:
    """Builds a candidate; runs in a process of its own or on another machine.

    Raises ToolError without a compiler for the target, ValueError for a choice that its schedule does not take.
    """
    net = harness(job.workload, job.target)
    program = net.program(job.workload, job.choice, job.target)
    memory = Memory([program], {program.network.inputs[0]: net.input().tobytes()})
    parts = _parts(program)
    source = source_of(
        "candidate.c.j2",
        memory,
        prototypes=[prototype(function, function.symbol) for function in program.functions],
        parts=[
            {"name": name, "calls": [memory.call(call, call.symbol) for call in calls]} for name, calls in parts.items()
        ],
    )
    timed = tuple(dict.fromkeys(call.symbol for call in parts["main"]))
    groups = [tuple(f for f in program.functions if (f.symbol in timed) == wanted) for wanted in (True, False)]
    objects = [_object(functions, job.target) for functions in groups if functions]
    code = link(source, objects, memory, job.target, job.form)
    return Candidate(job.workload, job.choice, memory.runnable(code, timed))


def output_of(candidate: Candidate, content: bytes, target: Target) -> Array:
    """The output of a candidate as an array of the layer's shape and type."""
    tensor = harness(candidate.workload, target).output
    return np.frombuffer(content, np.dtype(tensor.dtype), tensor.elements).reshape(tensor.shape)


def _parts(program: Program) -> Mapping[str, Sequence[Call]]:
    """The calls before the tuned kernels, these, and those behind them."""
    kernels = {function.symbol: function.kernel for function in program.functions}
    calls = [call for step in program.steps for call in step.calls]
    tuned = [index for index, call in enumerate(calls) if isinstance(kernels[call.symbol], _TUNED)]
    first, end = tuned[0], tuned[-1] + 1
    return {"prepare": calls[:first], "main": calls[first:end], "finish": calls[end:]}


@lru_cache(maxsize=64)
def _object(functions: tuple[Function, ...], target: Target) -> bytes:
    """Compiled kernels. What packs and unpacks is the same for most choices of a workload, hence the cache."""
    from dscompile.schedule.native import compile_functions

    return compile_functions(functions, target)

"""Whole networks for GPUs: their artifacts without golden vectors, which take the oracle longer than all the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from dscompile.api.networks import read_network
from dscompile.artifact import Artifact
from dscompile.emit.cuda import write_artifact
from dscompile.emit.cuda_driver import renamed
from dscompile.emit.selftest import selftest_input
from dscompile.ir.network import Network
from dscompile.passes import canonicalize
from dscompile.plan.gpu.costs import module_cost
from dscompile.plan.gpu.kernels import ModuleKernel
from dscompile.plan.gpu.lowering import plan_gpu_program
from dscompile.plan.knobs import ModuleKnobs
from dscompile.plan.program import Program
from dscompile.run.cuda_report import ShimReport
from dscompile.schedule.cuda_source import KernelSource, compile_functions
from dscompile.target import find_target


@lru_cache(maxsize=2)
def network_of(path: Path) -> Network:
    """The network in a model file, canonical."""
    return canonicalize(read_network(path, None).network)


def program_of(path: Path, target: str, *, fuse: bool = True) -> Program:
    """The program of a model file for a GPU."""
    return plan_gpu_program(network_of(path), find_target(target), fuse=fuse)


def sources_of(program: Program, destination: Path) -> Artifact:
    """The artifact of a program without a library, its self-test expecting zeros."""

    def kernels(symbols: Mapping[str, str]) -> Sequence[KernelSource]:
        return compile_functions(renamed(program.functions, symbols), program.target)

    network = program.network
    zeros = {name: np.zeros(network.tensor(name).border_shape, network.tensor(name).dtype) for name in network.outputs}
    return write_artifact(program, kernels, None, selftest_input(network), zeros, destination, origin="net.yaml")


def planned_bytes(program: Program) -> dict[str, int]:
    """Bytes of activations that each module of a program is to move, over all its calls, by its symbol."""
    gpu = program.target.gpu
    assert gpu is not None
    calls = [call.symbol for step in program.steps for call in step.calls]
    planned = {}
    for function in program.functions:
        if isinstance(function.kernel, ModuleKernel) and isinstance(function.knobs, ModuleKnobs):
            cost = module_cost(function.kernel, function.knobs, gpu)
            assert cost is not None
            planned[function.symbol] = cost.activation_bytes * calls.count(function.symbol)
    return planned


def counted_bytes(report: ShimReport) -> dict[str, int]:
    """Bytes of activations that each kernel loaded and stored, by its symbol."""
    return {
        kernel.name: sum(
            traffic.load_bytes + traffic.store_bytes for traffic in map(kernel.traffic, ("input", "output", "arena"))
        )
        for kernel in report.kernels
    }

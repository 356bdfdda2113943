"""The program of a network for any target: which planner a target takes."""

from __future__ import annotations

from dscompile.errors import UnsupportedError
from dscompile.ir.memory import MemoryMode
from dscompile.ir.network import Network
from dscompile.ir.tensor import Precision
from dscompile.plan.program import Program
from dscompile.plan.tuning import UNTUNED, Tuning
from dscompile.target import Target, precision_advice


def plan(
    network: Network,
    target: Target,
    precision: Precision = "float32",
    tuning: Tuning = UNTUNED,
    threads: int | None = None,
    memory: MemoryMode = "fast",
    arena_bytes: int | None = None,
) -> Program:
    """The program of a canonical network: standalone C for targets with sets of C kernels, else kernels through TVM.

    `precision` is what float32 networks multiply where that pays, `tuning` what was measured for CPUs, `threads` are
    what an inference on a CPU is meant for (default: as plan_program has it), `memory` and `arena_bytes` the mode and
    the budget of standalone C (plan/mcu/memory.py). Raises UnsupportedError for what has no kernel on the target, among
    it a precision that it does not multiply.
    """
    if precision not in target.precisions:
        raise UnsupportedError(f"{target.name} does not multiply {precision}", help=precision_advice(precision))
    if target.gpu is not None:
        if network.states:
            raise UnsupportedError(
                f"the network keeps state from one inference to the next, which {target.name} does not support",
                help="targets with C kernels, x86 and arm64 do",
            )
        from dscompile.plan.gpu.lowering import plan_gpu_program

        return plan_gpu_program(network, target, precision=precision)
    from dscompile.plan.states import plan_with_states

    if target.kernels:
        from dscompile.plan.mcu.memory import plan_mcu_program

        return plan_with_states(
            network, lambda each: plan_mcu_program(each, target, memory=memory, arena_bytes=arena_bytes)
        )
    from dscompile.plan.lowering import USUAL_THREADS, plan_program

    wanted = USUAL_THREADS if threads is None else threads
    return plan_with_states(
        network, lambda each: plan_program(each, target, tuning, threads=wanted, precision=precision)
    )

"""The program of a network for any target: which planner a target takes."""

from __future__ import annotations

from dscompile.ir.network import Network
from dscompile.plan.program import Program
from dscompile.target import Target


def plan(network: Network, target: Target) -> Program:
    """The program of a canonical network: standalone C for targets with sets of C kernels, else kernels through TVM.

    Raises UnsupportedError for what has no kernel on the target.
    """
    if target.kernels:
        from dscompile.plan.mcu_lowering import plan_mcu_program

        return plan_mcu_program(network, target)
    if target.gpu is not None:
        from dscompile.plan.gpu_lowering import plan_gpu_program

        return plan_gpu_program(network, target)
    from dscompile.plan.lowering import plan_program

    return plan_program(network, target)

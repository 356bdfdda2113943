"""From scheduled kernels to CUDA C++: one `__global__` function each, its pointers in the order of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx

from dscompile.plan.kernels import Parameter
from dscompile.plan.mcu.kernels import McuKernel
from dscompile.plan.program import Function
from dscompile.schedule.cuda_intrinsics import lower_intrinsics
from dscompile.schedule.cuda_text import tidied
from dscompile.schedule.native import bind_views, with_pointers
from dscompile.schedule.thread_code import OWN_BARRIERS
from dscompile.schedule.wmma import HEAD
from dscompile.target import Target

PrimFunc = Any
Progress = Callable[[int, int, str], None]

DEVICE_KERNEL = 2  # tvm::CallingConv::kDeviceKernelLaunch


@dataclass(frozen=True)
class KernelSource:
    """The text of a kernel, and how it is launched: blocks along x and y, threads along x and y."""

    symbol: str
    text: str
    grid: tuple[int, int]
    block: tuple[int, int]

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.block[0] * self.block[1]


def kernel_source(prim: PrimFunc, parameters: Sequence[Parameter], symbol: str, target: Target) -> KernelSource:
    """The CUDA C++ of one scheduled PrimFunc as the kernel `symbol`; `parameters` are those of what it computes."""
    machine = cuda_target(target)
    prim = bind_views(prim, parameters)
    module = tvm.IRModule({symbol: prim.with_attr("global_symbol", symbol)})
    module = tirx.transform.BindTarget(machine)(module)
    with tvm.transform.PassContext(config={"tirx.UnrollLoop": {"explicit_unroll": False}}):
        module = (_lowering_of_code() if OWN_BARRIERS in prim.attrs else _lowering())(module)
    plain = with_pointers(module[symbol], symbol, returns=False)
    extents = _extents(plain.body)
    plain = plain.with_body(lower_intrinsics(plain.body))
    device = plain.with_attr({"calling_conv": DEVICE_KERNEL, "target": machine})
    with machine:
        module = tirx.transform.LowerIntrin()(tvm.IRModule({symbol: device}))
    text = tidied(_source(module, machine), symbol)
    if OWN_BARRIERS in prim.attrs:
        text = f"{HEAD}\n{text}"
    return KernelSource(
        symbol,
        text,
        (extents.get("blockIdx.x", 1), extents.get("blockIdx.y", 1)),
        (extents.get("threadIdx.x", 1), extents.get("threadIdx.y", 1)),
    )


def cuda_target(target: Target) -> Any:
    """TVM's description of `target`."""
    gpu = target.gpu
    if gpu is None:
        raise ValueError(f"target {target.name} is no GPU")
    return tvm.target.Target(
        {
            "kind": "cuda",
            "arch": gpu.arch,
            "max_threads_per_block": gpu.threads_per_block,
            "max_shared_memory_per_block": gpu.shared_per_block_bytes,
            "thread_warp_size": gpu.warp_threads,
        }
    )


def _lowering() -> Any:
    """The passes between a scheduled PrimFunc and flat loops over threads: TVM's, without what makes host code."""
    return tvm.ir.transform.Sequential(
        [
            s_tir.transform.CanonicalizeLoop(),
            s_tir.transform.LowerCrossThreadReduction(),
            s_tir.transform.LowerInitBlock(),
            s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
            s_tir.transform.ConvertBlocksToOpaque(),
            s_tir.transform.LiftThreadBinding(),
            s_tir.transform.CompactBufferAllocation(),
            s_tir.transform.UnifyThreadBinding(),
            s_tir.transform.LowerMatchBuffer(),
            s_tir.transform.StmtSimplify(),
            s_tir.transform.LowerOpaqueBlock(),
            tirx.transform.FlattenBuffer(),
            tirx.transform.NarrowDataType(32),
            tirx.transform.VectorizeLoop(True),
            tirx.transform.StorageRewrite(),
            s_tir.transform.HoistIfThenElse(),
            tirx.transform.UnrollLoop(),
            s_tir.transform.RenormalizeSplitPattern(),
            tirx.transform.StmtSimplify(),
            tirx.transform.RemoveNoOp(),
            s_tir.transform.RewriteUnsafeSelect(),
            s_tir.transform.ThreadSync("shared"),
            s_tir.transform.LowerThreadAllreduce(),
        ]
    )


def _lowering_of_code() -> Any:
    """The passes for functions of schedule/thread_code.py: no array takes the place of another, no barrier is added.

    RemoveNoOp is not among them: it takes loads of fragments for pure, and removes them.
    """
    return tvm.ir.transform.Sequential(
        [
            tirx.transform.FlattenBuffer(),
            tirx.transform.NarrowDataType(32),
            tirx.transform.VectorizeLoop(True),
            tirx.transform.UnrollLoop(),
            tirx.transform.StmtSimplify(),
            s_tir.transform.RewriteUnsafeSelect(),
            s_tir.transform.InferFragment(),
        ]
    )


def _extents(body: Any) -> Mapping[str, int]:
    """Extent of every thread axis that a body binds."""
    found: dict[str, int] = {}

    def visit(attribute: Any) -> None:
        if attribute.attr_key == "thread_extent":
            found[str(attribute.node.thread_tag)] = int(attribute.value)

    tvm_ffi.structural_walk(body, (tirx.AttrStmt, visit))
    return found


def _source(module: Any, machine: Any) -> str:
    """What TVM writes for a module of device functions; no compiler is asked."""
    return str(tvm.get_global_func("target.build.cuda")(module, machine).inspect_source())


def compile_functions(
    functions: Sequence[Function], target: Target, progress: Progress | None = None
) -> tuple[KernelSource, ...]:
    """The sources of all `functions`; `progress(done, total, symbol)` is called before each."""
    from dscompile.schedule import scheduled

    sources = []
    for index, function in enumerate(functions):
        if progress is not None:
            progress(index, len(functions), function.symbol)
        if isinstance(function.kernel, McuKernel):
            raise ValueError(f"{function.symbol} is a kernel of the standalone C backend")
        prim = scheduled(function.kernel, function.knobs, target)
        sources.append(kernel_source(prim, function.parameters, function.symbol, target))
    return tuple(sources)

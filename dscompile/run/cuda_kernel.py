"""One CUDA kernel by itself, on this machine's CPU under the shim: called on NumPy buffers, its traffic counted."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dscompile.data import data_directory
from dscompile.errors import CheckFailedError
from dscompile.plan.gpu.kernels import QUAD, ModuleKernel
from dscompile.plan.knobs import Knobs
from dscompile.run.cuda import ShimLauncher
from dscompile.run.cuda_build import compile_cuda, link_cuda
from dscompile.run.cuda_report import KernelTraffic, read_report
from dscompile.run.operands import At, Operand, Signature
from dscompile.target import Target

if TYPE_CHECKING:
    from dscompile.plan.program import NativeKernel

SYMBOL = "dscompile_kernel"


class ShimKernel:
    """A kernel as a function on NumPy arrays: its CUDA C++, compiled for the CPU with every access checked.

    Operands are those of `dscompile.run.kernel.CompiledKernel`. A call returns what the kernel moved.
    """

    def __init__(self, kernel: NativeKernel, knobs: Knobs | None, target: Target) -> None:
        """Schedules and compiles `kernel`. Raises ToolError without g++, ValueError for knobs that do not divide."""
        from dscompile import compute
        from dscompile.schedule import scheduled
        from dscompile.schedule.cuda_source import kernel_source

        self.parameters = kernel.parameters
        self.source = kernel_source(scheduled(kernel, knobs, target), kernel.parameters, SYMBOL, target)
        self._signature = _within_image(Signature.of(compute.define(kernel), kernel.parameters), kernel)
        self._scratch = tempfile.TemporaryDirectory(prefix="dscompile-")  # removed with this object
        self._program = self._build(Path(self._scratch.name))

    def __call__(self, *operands: Operand) -> KernelTraffic:
        """Launches the kernel once.

        Raises UsageError as `CompiledKernel` does, CheckFailedError for what the shim finds wrong.
        """
        views = self._signature.check(operands)
        launcher = ShimLauncher(self._program.parent / "report.json", checked=True)
        done = launcher.execute(
            self._program,
            [_description(view, p.written) for view, p in zip(views, self.parameters, strict=True)],
            b"".join(view.array.tobytes() for view in views),
        )
        if done.status:
            raise CheckFailedError(f"the kernel ended with {done.ending}: {done.stderr.decode('utf-8', 'replace')}")
        report = read_report(launcher.report_file)
        if report.errors:
            raise CheckFailedError("; ".join(report.errors))
        start = 0
        for view, parameter in zip(views, self.parameters, strict=True):
            if parameter.written:
                array = view.array
                array[:] = np.frombuffer(done.stdout, array.dtype, array.size, start)
                start += array.nbytes
        return report.kernel(SYMBOL)

    def _build(self, directory: Path) -> Path:
        from dscompile.schedule.cuda_text import PREAMBLE

        (grid_x, grid_y), (block_x, block_y) = self.source.grid, self.source.block
        launch = f"#define KERNEL {SYMBOL}\n#define GRID ({grid_x}, {grid_y})\n#define BLOCK ({block_x}, {block_y})\n"
        main = (data_directory("templates") / "run" / "cuda_kernel_main.cu").read_text(encoding="utf-8")
        source = directory / "kernel.cu"
        source.write_text(f"{PREAMBLE}\n{self.source.text}\n{launch}{main}", encoding="utf-8")
        compile_cuda(source, directory / "kernel.o", checked=True)
        link_cuda([directory / "kernel.o"], directory / "kernel")
        return directory / "kernel"


def _within_image(signature: Signature, kernel: NativeKernel) -> Signature:
    """The views of a module's result reach to the image's last element, though its last tiles reach further."""
    if not isinstance(kernel, ModuleKernel):
        return signature
    views, reach = {"y": kernel.y, "residual": kernel.residual}, list(signature.reach)
    for index, parameter in enumerate(signature.parameters):
        view = views.get(parameter.name)
        if view is not None:
            (height, width), quads = kernel.size, kernel.stages[-1].quads
            last = (quads - 1) * view.block + (height - 1) * view.row + (width - 1) * view.pixel
            reach[index] = last + QUAD
    return replace(signature, reach=tuple(reach))


def _description(view: At, written: bool) -> str:
    """An argument of templates/run/cuda_kernel_main.cu."""
    return f"{view.array.nbytes},{view.offset * view.array.itemsize},{int(written)}"

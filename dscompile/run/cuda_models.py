"""CUDA artifacts ready to run: on this machine's GPU if it has one, otherwise on its CPU, under the shim."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dscompile.artifact import Artifact
from dscompile.cuda_toolkit import Nvcc, find_nvcc
from dscompile.data import data_directory
from dscompile.errors import ToolError
from dscompile.run.cuda import ShimLauncher, ShimModel, build_shim_program, cuda_glue
from dscompile.run.cuda_build import compile_cuda, link_cuda
from dscompile.run.program import Executed, ProgramModel
from dscompile.run.selftest import SelftestResult
from dscompile.toolchain import run_tool

_TIMEOUT_S = 600.0
_NAME_BYTES = 256
CHOICE = "DSCOMPILE_CUDA"
"""An environment variable; with the value "cpu" a GPU is left alone."""


@functools.cache
def _first_device() -> str | None:
    """What the driver says the first GPU is; None if there is no driver or no GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count, device, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value < 1:
        return None
    if driver.cuDeviceGet(ctypes.byref(device), 0) != 0 or driver.cuDeviceGetName(name, _NAME_BYTES, device) != 0:
        return None
    return name.value.decode("utf-8", "replace")


def device_name() -> str | None:
    """The GPU that artifacts run on; None if there is none, or DSCOMPILE_CUDA=cpu asks for the CPU."""
    return None if os.environ.get(CHOICE) == "cpu" else _first_device()


class CpuModel(ShimModel):
    """An artifact on the CPU, in a directory of its own."""

    def __init__(self, artifact: Artifact, *, checked: bool = False) -> None:
        self.scratch = tempfile.TemporaryDirectory(prefix="dscompile-")  # removed with this object
        super().__init__(artifact, Path(self.scratch.name), checked)
        self.runner = "CUDA on the CPU"


class DeviceModel(ProgramModel):
    """An artifact on a GPU, compiled by nvcc into a program of its own."""

    def __init__(self, artifact: Artifact, device: str) -> None:
        self._nvcc = find_nvcc()
        self.scratch = tempfile.TemporaryDirectory(prefix="dscompile-")  # removed with this object
        super().__init__(artifact, _HereLauncher(device), Path(self.scratch.name))

    def build(self, scratch: Path, only_variant: int | None) -> Path:
        """The artifact in a program of its own, as `scratch`/network."""
        (scratch / "network.h").write_text(cuda_glue(self.artifact.manifest), encoding="utf-8")
        main = data_directory("templates") / "run" / "cuda_main.cu"
        return build_device_program(self._nvcc, self.artifact, main, scratch, "network")


class _HereLauncher:
    """Runs programs of this machine, which use its GPU."""

    def __init__(self, device: str) -> None:
        self.name = device

    def execute(self, program: Path, arguments: Sequence[str] = (), stdin: bytes = b"") -> Executed:
        """Runs a program to its end. Raises ToolError if it does not end."""
        try:
            done = subprocess.run(
                [str(program.resolve()), *arguments], input=stdin, capture_output=True, check=False, timeout=_TIMEOUT_S
            )
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"{program.name} did not end in {_TIMEOUT_S:g} s on the {self.name}") from error
        return Executed(done.returncode, done.stdout, done.stderr)


def open_cuda(artifact: Artifact) -> CpuModel | DeviceModel:
    """The artifact on the GPU of this machine, or on its CPU. Raises ToolError without a compiler for it."""
    device = device_name()
    return CpuModel(artifact) if device is None else DeviceModel(artifact, device)


def build_device_program(nvcc: Nvcc, artifact: Artifact, main: Path, directory: Path, name: str) -> Path:
    """A .cu file with a `main` and the artifact's sources, as `directory`/`name`. Raises ToolError."""
    gpu, folder = artifact.manifest.target.gpu, artifact.directory.resolve()
    assert gpu is not None
    source, *weights = (folder / file.name for file in artifact.sources)
    objects = []
    for file in weights:
        objects.append(f"{file.stem}.o")
        run_tool(["gcc", f"-I{folder}", "-c", str(file), "-o", objects[-1]], directory, f"assembling {file.name}")
    command = [str(nvcc.path), f"-arch={gpu.arch}", f"-I{folder}", f"-I{directory.resolve()}", str(main), str(source)]
    run_tool([*command, *objects, "-o", name], directory, f"compiling {main.name} and {source.name}")
    return directory / name


def run_selftest_on(model: CpuModel | DeviceModel) -> SelftestResult:
    """The artifact's selftest.cu as a program of its own, where `model` runs. Raises ToolError."""
    artifact = model.artifact
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        directory = Path(scratch)
        if isinstance(model, DeviceModel):
            program = build_device_program(find_nvcc(), artifact, artifact.selftest.resolve(), directory, "selftest")
            done = model.launcher.execute(program)
        else:
            done = ShimLauncher(directory / "report.json", checked=False).execute(_shim_selftest(artifact, directory))
    said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
    if done.status < 0:
        said = f"{said}\nended by {done.ending}".strip()
    return SelftestResult(done.status == 0, said)


def _shim_selftest(artifact: Artifact, directory: Path) -> Path:
    """selftest.cu linked with the objects of the network and the shim."""
    build_shim_program(artifact, directory, checked=False)
    folder, name = artifact.directory.resolve(), artifact.manifest.c_name
    compile_cuda(artifact.selftest, directory / "selftest.o", checked=False, include=[folder])
    objects = [directory / f"{name}.o", *directory.glob(f"{name}_weights.o"), directory / "selftest.o"]
    link_cuda(objects, directory / "selftest")
    return directory / "selftest"

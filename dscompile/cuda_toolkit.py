"""NVIDIA's CUDA toolkit: finding nvcc, what it makes of kernels, and what the kernels need of a multiprocessor.

No GPU and no driver are needed to compile. What nvcc makes of the same sources is the same, byte for byte.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dscompile.errors import ToolError
from dscompile.toolchain import finish_tool, run_tool

CUDA_ADVICE = "pip install 'dscompile[cuda]' (nvcc for Linux), or set CUDA_HOME to a CUDA toolkit"

_PYPI_FOLDER = "cu13"  # where the nvidia-cuda-* packages of version 13 put their files, inside the package `nvidia`
_HOST_FLAGS = ("-O2", "-fPIC", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics")
"""For g++: without exceptions and guards a library needs no libstdc++, only the C library."""
_LINKER_FLAGS = ("--as-needed", "--no-undefined", "--build-id=none", "-z", "relro", "-z", "now", "--strip-all")
"""For ld; the symbols that --strip-all removes have names of nvcc's temporary files."""

_ENTRY = re.compile(r"Compiling entry function '([^']+)' for 'sm_\w+'\n(.*?)(?=Compiling entry function|\Z)", re.DOTALL)
_FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers(.*)")
_STACK = re.compile(r"(\d+) bytes cumulative stack size")
_SHARED = re.compile(r"(\d+) bytes smem")
_CONSTANT = re.compile(r"(\d+) bytes cmem")


@dataclass(frozen=True)
class KernelResources:
    """What a kernel takes of a multiprocessor, as ptxas assigned it: registers, stack and spills per thread, shared
    memory (static) per block.

    Spills include those of functions that are not inlined. `constant_bytes` is constant memory, parameters among it,
    where ptxas tells (not for sm_90).
    """

    symbol: str
    registers: int
    stack_bytes: int
    spill_store_bytes: int
    spill_load_bytes: int
    shared_bytes: int
    constant_bytes: int

    @property
    def spills(self) -> bool:
        """Whether registers did not suffice, so that threads keep values in memory."""
        return self.spill_store_bytes > 0 or self.spill_load_bytes > 0


@dataclass(frozen=True)
class Cubin:
    """Machine code for one architecture, and the resources of its kernels, sorted by symbol."""

    path: Path
    arch: str
    kernels: tuple[KernelResources, ...]

    def kernel(self, symbol: str) -> KernelResources:
        """The resources of the kernel called `symbol`. Raises ValueError if there is none."""
        for kernel in self.kernels:
            if kernel.symbol == symbol:
                return kernel
        raise ValueError(f"there is no kernel '{symbol}' in {self.path.name}")


@dataclass(frozen=True)
class Nvcc:
    """NVIDIA's compiler, and with it the rest of the toolkit that it lies in."""

    path: Path

    @property
    def version(self) -> str:
        """The version, as "13.0.88"; "unknown" if it says none. Raises ToolError if it does not run."""
        said = run_tool([str(self.path), "--version"], Path.cwd(), "asking nvcc for its version")
        match = re.search(r", V(\d+(?:\.\d+)+)", said)
        return match[1] if match else "unknown"

    def compile_cubin(self, source: Path, arch: str, directory: Path) -> Cubin:
        """Compiles the kernels of a .cu file for `arch` ("sm_80") to <stem>.<arch>.cubin in `directory`.

        A relative `source` is looked for in `directory`. Raises ToolError with nvcc's first lines if it refuses.
        """
        output = directory / f"{source.stem}.{arch}.cubin"
        command = [str(self.path), "-cubin", f"-arch={arch}", "-Xptxas", "-v", "-o", output.name, str(source)]
        said = finish_tool(command, directory, f"compiling {source.name} for {arch}").stderr
        return Cubin(output, arch, parse_resources(said))

    def assemble(self, source: Path, directory: Path) -> Path:
        """Assembles a .S file to <stem>.o in `directory` with the host compiler that nvcc takes. Raises ToolError."""
        output = directory / f"{source.stem}.o"
        compiler = os.environ.get("NVCC_CCBIN") or "gcc"
        run_tool([compiler, "-c", str(source), "-o", output.name], directory, f"assembling {source.name}")
        return output

    def link_shared(
        self,
        sources: Sequence[Path],
        objects: Sequence[Path],
        archs: Sequence[str],
        output: Path,
        *,
        exports: Path | None = None,
    ) -> None:
        """Makes a shared library of .cu files and (position-independent) objects, with code for `archs`, at least one.

        The CUDA runtime is linked in, so that the library needs the C library and, to run, the driver. For later
        architectures it holds PTX of the last of `archs`, which the driver compiles. `exports` is a version script
        of the symbols that can be seen (default: all). Relative paths are looked for in the output's directory. Raises
        ToolError with nvcc's first lines if it refuses, and if the toolkit has no runtime to link.
        """
        generate = [f"-gencode=arch=compute_{arch[3:]},code={arch}" for arch in archs]
        generate.append(f"-gencode=arch=compute_{archs[-1][3:]},code=compute_{archs[-1][3:]}")
        linker_flags = (*_LINKER_FLAGS, *(() if exports is None else (f"--version-script={exports}",)))
        command = [str(self.path), "-shared", "--cudart", "static", *generate]
        command += ["-Xcompiler", ",".join(_HOST_FLAGS), "-Xlinker", ",".join(linker_flags), "-o", output.name]
        try:
            run_tool([*command, *map(str, sources), *map(str, objects)], output.parent, f"linking {output.name}")
        except ToolError as error:
            if re.search(r"-lcudart_static|cuda_runtime\.h", str(error)):
                raise ToolError(
                    f"linking {output.name} needs the CUDA runtime (cuda_runtime.h and libcudart_static.a), which the "
                    f"toolkit of {self.path} lacks",
                    help=CUDA_ADVICE,
                ) from error
            raise


def find_nvcc() -> Nvcc:
    """The nvcc of this machine. Raises ToolError (exit 5) saying what to install if there is none."""
    nvcc = installed_nvcc()
    if nvcc is None:
        raise ToolError("compiling for a GPU needs nvcc, which is not installed", help=CUDA_ADVICE)
    return nvcc


def installed_nvcc() -> Nvcc | None:
    """The nvcc in $CUDA_HOME/bin, otherwise on the PATH, otherwise of pip's packages; None if there is none."""
    home = os.environ.get("CUDA_HOME")
    places = [Path(home, "bin", "nvcc")] if home else []
    found = shutil.which("nvcc")
    places += [Path(found)] if found else []
    package = importlib.util.find_spec("nvidia")
    for folder in (package.submodule_search_locations or ()) if package else ():
        places.append(Path(folder, _PYPI_FOLDER, "bin", "nvcc"))
    return next((Nvcc(place) for place in places if os.access(place, os.X_OK)), None)


def parse_resources(said: str) -> tuple[KernelResources, ...]:
    """What `ptxas -v` says of each kernel, sorted by symbol. Raises ToolError if it says it in words unknown here."""
    return tuple(sorted((_resources(*entry.groups()) for entry in _ENTRY.finditer(said)), key=lambda one: one.symbol))


def _resources(symbol: str, said: str) -> KernelResources:
    frames, used = [tuple(map(int, frame)) for frame in _FRAME.findall(said)], _USED.search(said)
    if not frames or used is None:
        lines = "".join(f"\n    {line.strip()}" for line in said.strip().splitlines())
        raise ToolError(f"cannot read what ptxas says of the kernel {symbol}:{lines}")
    stack, shared = _STACK.search(used[2]), _SHARED.search(used[2])
    return KernelResources(
        symbol,
        registers=int(used[1]),
        stack_bytes=int(stack[1]) if stack else frames[0][0],
        spill_store_bytes=sum(stores for _, stores, _ in frames),
        spill_load_bytes=sum(loads for _, _, loads in frames),
        shared_bytes=int(shared[1]) if shared else 0,
        constant_bytes=sum(map(int, _CONSTANT.findall(used[2]))),
    )

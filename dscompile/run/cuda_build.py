"""Compiling CUDA C++ for this machine's CPU, with the headers and the runtime of templates/cuda/shim."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dscompile.data import data_directory
from dscompile.errors import ToolError
from dscompile.run.emulators.counting import cache_directory
from dscompile.toolchain import run_tool

COMPILER = "g++"
# Kernels may look at memory as other types, as nvcc lets them; a multiplication and an addition become one, as in nvcc.
_DEVICE_FLAGS = ("-std=c++17", "-O2", "-g1", "-march=native", "-ffp-contract=fast", "-fno-strict-aliasing", "-fno-pie")
# Accesses stay as the source has them: none are joined into vectors or calls.
_AS_WRITTEN = (
    "-fno-tree-vectorize",
    "-fno-store-merging",
    "-fno-tree-loop-distribute-patterns",
    "-fno-extern-tls-init",
    "-Wno-unknown-pragmas",
)
_CHECKED_FLAGS = ("-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0")
_RUNTIME_FLAGS = ("-std=c++20", "-O3", "-march=native", "-g1", "-fno-pie", "-Wno-psabi")
_GAP_BYTES = 256  # between shared arrays, so that running over the end of one does not reach the next
_DYNAMIC = "shim_dynamic_shared"


def require_compiler() -> str:
    """The C++ compiler. Raises ToolError (exit 5) saying what to install if it is missing."""
    if shutil.which(COMPILER) is None:
        raise ToolError(
            f"running CUDA code on this machine's CPU needs '{COMPILER}', which is not installed",
            help="on Debian and Ubuntu: apt install g++",
        )
    return COMPILER


def compile_cuda(source: Path, result: Path, *, checked: bool, include: Sequence[Path] = ()) -> None:
    """Compiles a .cu file into the object file `result`.

    `checked`: each access to memory calls the shim, which checks and counts it. Before the source comes
    cuda_runtime.h, as with nvcc. Raises ToolError.
    """
    folders = [f"-I{folder.resolve()}" for folder in (_shim(), *include)]
    options = [*_source_flags(checked), "-include", str(precompiled_header(checked)), *folders]
    assembly = result.with_suffix(".s")
    task = f"compiling {source.name} for this machine"
    command = [require_compiler(), *options, "-x", "c++", "-S", str(source.resolve()), "-o", assembly.name]
    run_tool(command, result.parent, task)
    text = assembly.read_text(encoding="utf-8")
    text = place_shared_arrays(text, dynamic_names(source.read_text(encoding="utf-8")))
    assembly.write_text(text, encoding="utf-8")
    run_tool([COMPILER, "-c", assembly.name, "-o", result.name], result.parent, task)


def link_cuda(objects: Sequence[Path], program: Path) -> None:
    """Links object files with the shim's runtime. Raises ToolError."""
    files = [str(file.resolve()) for file in (*objects, runtime_object())]
    run_tool([require_compiler(), "-no-pie", *files, "-o", program.name], program.parent, f"linking {program.name}")


def dynamic_names(source: str) -> tuple[str, ...]:
    """The names under which a .cu file declares dynamic shared memory."""
    found = re.findall(r"\bextern\s+__shared__\b[^;{}]*?\b(\w+)\s*\[\s*\]\s*;", source)
    return tuple(sorted(set(found)))


def place_shared_arrays(assembly: str, dynamic: Sequence[str]) -> str:
    """g++'s assembly with a gap after each zeroed array, and with one name for all dynamic shared memory."""
    for name in dynamic:
        assembly = re.sub(rf"(?<![\w$.]){re.escape(name)}(?=@|\b(?![\w$.]))", _DYNAMIC, assembly)
    return re.sub(r"(?m)^(\w+):\n(\t\.zero\t\d+\n)", rf"\1:\n\2\t.zero\t{_GAP_BYTES}\n", assembly)


@functools.cache
def runtime_object() -> Path:
    """The shim's runtime as one object file, compiled at first use and kept in the user's cache. Raises ToolError."""
    compiler = require_compiler()
    sources = sorted((_shim() / "runtime").glob("*.cpp"))
    file = f"cuda-shim-{_checksum(_RUNTIME_FLAGS, sources)}.o"
    cache = cache_directory()
    if not (cache / file).is_file():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            task = "compiling the CUDA shim"
            run_tool([compiler, *_RUNTIME_FLAGS, "-c", *map(str, sources)], Path(scratch), task)
            parts = [f"{source.stem}.o" for source in sources]
            run_tool([compiler, "-r", "-nostdlib", "-no-pie", *parts, "-o", file], Path(scratch), task)
            os.replace(Path(scratch, file), cache / file)  # whole or not at all, also with several processes
    return cache / file


@functools.cache
def precompiled_header(checked: bool) -> Path:
    """A header for `-include` that stands for cuda_runtime.h; g++ reads what it made of it, which lies beside it.

    Reading cuda_runtime.h and the C++ library behind it is most of what compiling a short .cu file takes. Made at first
    use and kept in the user's cache, like the runtime. Raises ToolError.
    """
    compiler, flags = require_compiler(), _source_flags(checked)
    header = cache_directory() / f"cuda-shim-{_checksum(flags, ())}.h"
    precompiled = header.with_name(f"{header.name}.gch")
    if not precompiled.is_file():
        with tempfile.TemporaryDirectory(dir=header.parent) as scratch:
            Path(scratch, header.name).write_text("#include <cuda_runtime.h>\n", encoding="utf-8")
            command = [compiler, *flags, f"-I{_shim()}", "-x", "c++-header", header.name, "-o", precompiled.name]
            run_tool(command, Path(scratch), "compiling the headers of the CUDA shim")
            for made in (header, precompiled):  # g++ reads the text wherever the other does not fit
                os.replace(Path(scratch, made.name), made)
    return header


def _shim() -> Path:
    return data_directory("templates") / "cuda" / "shim"


def _source_flags(checked: bool) -> tuple[str, ...]:
    """Flags of .cu files."""
    return (*_DEVICE_FLAGS, *_AS_WRITTEN, *(_CHECKED_FLAGS if checked else ()))


def _checksum(flags: Sequence[str], sources: Sequence[Path]) -> str:
    """Of all that decides what the compiler makes of sources with the shim's headers."""
    compiler = require_compiler()
    said = [run_tool([compiler, *question], Path.cwd(), f"asking {compiler} what it is") for question in _QUESTIONS]
    content = repr((tuple(flags), said)).encode()
    files = (*sources, *sorted(_shim().rglob("*.h")))
    return hashlib.sha256(content + b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


# The compiler's version, and what -march=native stands for here.
_QUESTIONS = (("--version",), ("-march=native", "-Q", "--help=target"))

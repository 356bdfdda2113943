"""Running a CUDA artifact on this machine's CPU, under the shim of templates/cuda/shim (docs/cuda-shim.md)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dscompile.artifact import Artifact, Manifest
from dscompile.data import data_directory
from dscompile.errors import CheckFailedError, ToolError, UsageError
from dscompile.run.cuda_build import COMPILER, compile_cuda, link_cuda, require_compiler
from dscompile.run.cuda_report import ShimReport, read_report
from dscompile.run.program import Executed, ProgramModel, border_pointers
from dscompile.toolchain import run_tool

_TIMEOUT_S = 3600.0


class ShimLauncher:
    """Runs programs that were linked with the shim. `report_file` is written anew by each run."""

    def __init__(self, report_file: Path, checked: bool) -> None:
        self.report_file = report_file
        self.name = f"CUDA shim, {'checked' if checked else 'plain'}"

    def execute(self, program: Path, arguments: Sequence[str] = (), stdin: bytes = b"") -> Executed:
        """Runs a program to its end. Raises ToolError if it does not end."""
        self.report_file.unlink(missing_ok=True)
        environment = {**os.environ, "DSCOMPILE_CUDA_REPORT": str(self.report_file.resolve())}
        command = [str(program.resolve()), *arguments]
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, check=False, timeout=_TIMEOUT_S, env=environment
            )
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"{program.name} did not end in {_TIMEOUT_S:g} s on the {self.name}") from error
        return Executed(done.returncode, done.stdout, done.stderr)


class ShimModel(ProgramModel):
    """A CUDA artifact on the CPU.

    `checked`: every access to memory is checked and counted, some ten times slower; otherwise only what a device would
    notice, and writes around allocations. Times are those of this CPU and say nothing about a GPU.
    """

    def __init__(self, artifact: Artifact, scratch: Path, checked: bool) -> None:
        """Compiles the program into the directory `scratch`. Raises ToolError without g++."""
        self.checked = checked
        self._shim = ShimLauncher(scratch / "report.json", checked)
        super().__init__(artifact, self._shim, scratch)

    def build(self, scratch: Path, only_variant: int | None) -> Path:
        """The artifact in a program of its own, as `scratch`/network."""
        return build_shim_program(self.artifact, scratch, checked=self.checked)

    def execute(self, arguments: Sequence[str], stdin: bytes) -> Executed:
        """Runs the program. Raises CheckFailedError if it does not end with 0, or the shim found something wrong."""
        done = super().execute(arguments, stdin)
        errors = self.report().errors
        if errors:
            raise CheckFailedError(f"{self.manifest.c_name} on {self.runner}: {'; '.join(errors)}")
        return done

    def report(self) -> ShimReport:
        """What the latest run counted (in plain mode: only launches). Raises UsageError if nothing has run."""
        if not self._shim.report_file.is_file():
            raise UsageError(f"{self.manifest.c_name} has not run on the {self.runner} yet: there is no report")
        return read_report(self._shim.report_file)


def build_shim_program(artifact: Artifact, directory: Path, *, checked: bool) -> Path:
    """The artifact's `<net>.cu` and weights with templates/run/cuda_main.cu, as `directory`/network.

    Raises ToolError.
    """
    require_compiler()
    name, sources = artifact.manifest.c_name, artifact.directory.resolve()
    (directory / "network.h").write_text(cuda_glue(artifact.manifest), encoding="utf-8")
    objects = []
    for source in (sources / f"{name}.cu", data_directory("templates") / "run" / "cuda_main.cu"):
        objects.append(directory / f"{source.stem}.o")
        compile_cuda(source, objects[-1], checked=checked, include=[directory, sources])
    weights = sources / f"{name}_weights.S"
    if weights.is_file():
        objects.append(directory / f"{weights.stem}.o")
        command = [COMPILER, f"-I{sources}", "-c", str(weights), "-o", objects[-1].name]
        run_tool(command, directory, f"assembling {weights.name}")
    program = directory / "network"
    link_cuda(objects, program)
    return program


def cuda_glue(manifest: Manifest) -> str:
    """network.h: the network as templates/run/cuda_main.cu calls it."""
    name, macro = manifest.c_name, manifest.c_name.upper()
    pointers, input_bytes, output_bytes = border_pointers(manifest)
    border = f"{name}_context *context, unsigned char *inputs, unsigned char *outputs, struct CUstream_st *stream"
    return f"""#include "{name}.h"
typedef {name}_context network_context;
enum {{ INPUT_BYTES = {input_bytes}, OUTPUT_BYTES = {output_bytes}, STEPS = {macro}_LAYER_COUNT }};
static const unsigned long ARENA_BYTES = {macro}_ARENA_SIZE, WEIGHTS_BYTES = {macro}_WEIGHTS_SIZE;
static int network_create({name}_context **context)
{{
    return (int){name}_create(context);
}}
static int network_run({border})
{{
    return (int){name}_run(context, {pointers}, stream);
}}
static int network_profile({border}, {name}_hook hook, void *user)
{{
    return (int){name}_run_profiled(context, {pointers}, stream, hook, user);
}}
static void *network_arena({name}_context *context)
{{
    return {name}_arena(context);
}}
static const void *network_weights({name}_context *context)
{{
    return {name}_weights(context);
}}
static void network_destroy({name}_context *context)
{{
    {name}_destroy(context);
}}
"""

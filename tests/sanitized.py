"""Standalone C under AddressSanitizer and UndefinedBehaviorSanitizer, on inputs of the test's choice."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dscompile.artifact import Artifact
from dscompile.ir.network import Array
from dscompile.run.selftest import SANITIZERS
from tests.tools import require_sanitizers

# Reads of what was never written, as far as a branch, an address or an output depends on it. Only clang has it.
MEMORY_SANITIZER = ("-g", "-fsanitize=memory", "-fno-sanitize-recover=all", "-DUNINITIALIZED")
STATE = "    static {prefix}_state state;\n"
RESET = "    failed |= {prefix}_reset(&state);\n"
MAIN = """\
#include "{prefix}.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of each border tensor, where it lies in the arena, and how far from a multiple of 8 the user puts it. */
static const struct {{ size_t bytes, home, odd; }} borders[] = {{
{borders}
}};
enum {{ INPUTS = {inputs}, BORDERS = sizeof borders / sizeof borders[0] }};

static unsigned char *room(size_t align, size_t bytes)
{{
    void *memory = NULL;
    if (posix_memalign(&memory, align < sizeof memory ? sizeof memory : align, bytes) != 0) {{
        abort();
    }}
#ifndef UNINITIALIZED
    memset(memory, 0xff, bytes);
#endif
    return memory;
}}

/* All inputs from stdin, all outputs to stdout; with an argument, both in the arena. */
int main(int argc, char **argv)
{{
    {prefix}_arena *const arena = (void *)room({macro}_ARENA_ALIGN, {macro}_ARENA_SIZE);
    unsigned char *own[BORDERS], *places[BORDERS];
{state}    int i, failed = 0;
    (void)argv;
    for (i = 0; i < BORDERS; ++i) {{
        own[i] = room(8, borders[i].bytes + borders[i].odd);
        places[i] = argc > 1 ? arena->bytes + borders[i].home : own[i] + borders[i].odd;
        failed |= i < INPUTS && fread(places[i], 1, borders[i].bytes, stdin) != borders[i].bytes;
    }}
{reset}    failed |= {prefix}_run(arena, {arguments}) != {macro}_OK;
    for (i = 0; i < BORDERS; ++i) {{
        failed |= i >= INPUTS && fwrite(places[i], 1, borders[i].bytes, stdout) != borders[i].bytes;
        free(own[i]);
    }}
    free(arena);
    return failed;
}}
"""


class SanitizedModel:
    """The artifact's sources as a program with sanitizers; whatever they report fails the run, and so the test.

    Of a network with state it makes the first inference of a stream.

    The arena and every border are allocations of exactly their sizes, so that nothing beside them is read or written
    unnoticed. They hold 0xff before, or, under MEMORY_SANITIZER, nothing that may be read; the user's int8 buffers
    begin at odd addresses, as they may.
    """

    def __init__(
        self, artifact: Artifact, compiler: str, directory: Path, sanitizers: Sequence[str] = SANITIZERS
    ) -> None:
        require_sanitizers(compiler, tuple(sanitizers))
        self._manifest = manifest = artifact.manifest
        self._program = directory / f"sanitized-{compiler}"
        main = directory / "sanitized.c"
        tensors = (*manifest.inputs, *manifest.outputs)
        homes = {buffer.name: buffer.offset_bytes for buffer in manifest.arena.buffers}
        roles = ["input"] * len(manifest.inputs) + ["output"] * len(manifest.outputs)
        main.write_text(
            MAIN.format(
                prefix=manifest.c_name,
                macro=manifest.c_name.upper(),
                inputs=len(manifest.inputs),
                borders="\n".join(
                    f"    {{{t.size_bytes}, {homes.get(f'{role}:{t.name}', 0)}, {int(t.dtype in ('int8', 'uint8'))}}},"
                    for role, t in zip(roles, tensors, strict=True)
                ),
                state=STATE.format(prefix=manifest.c_name) if manifest.slots else "",
                reset=RESET.format(prefix=manifest.c_name) if manifest.slots else "",
                arguments=", ".join(
                    [*(["&state"] if manifest.slots else []), *(f"(void *)places[{i}]" for i in range(len(tensors)))]
                ),
            )
        )
        command = [compiler, "-O1", *sanitizers, f"-I{artifact.directory}", str(main), *map(str, artifact.sources)]
        done = subprocess.run([*command, "-o", str(self._program)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._call(inputs)

    def run_in_place(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._call(inputs, "in place")

    def _call(self, inputs: Mapping[str, Array], *arguments: str) -> dict[str, Array]:
        given = b"".join(np.ascontiguousarray(inputs[t.name]).tobytes() for t in self._manifest.inputs)
        done = subprocess.run(
            [str(self._program), *arguments],
            input=given,
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace") or f"ended with {done.returncode}"
        outputs, start = {}, 0
        for t in self._manifest.outputs:
            flat = np.frombuffer(done.stdout, np.dtype(t.dtype), t.elements, start)
            outputs[t.name] = flat.reshape(t.border_shape)
            start += t.size_bytes
        return outputs

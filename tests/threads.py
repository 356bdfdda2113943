"""Programs that threads share: each phase done by them in one order and in the other, and by a pool."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dscompile.api.reference import oracle_outputs
from dscompile.artifact import Artifact
from dscompile.emit.interface import network_interface
from dscompile.emit.native import write_artifact
from dscompile.emit.selftest import selftest_input
from dscompile.ir.network import Network
from dscompile.ir.state import state_bytes
from dscompile.passes import canonicalize
from dscompile.plan.planning import plan
from dscompile.plan.program import Program
from dscompile.run.arrays import fresh_state
from dscompile.run.program import _glue, _padded, border_pointers
from dscompile.target import Target, runs_here
from dscompile.toolchain import find_toolchain

# Whoever does phases in another order than they were written, one thread after the other, finds what is missing where
# threads would find it only by chance.
HARNESS = """
#include "NET_parallel.c"
#include "network.h"
#include <stdio.h>

static network_arena arena, own;
static unsigned char given[INPUT_BYTES + 1];
static _Alignas(64) unsigned char inputs[INPUT_BYTES + 1], expected[OUTPUT_BYTES + 1], outputs[OUTPUT_BYTES + 1];
static NET_pool pool;

static int differs(const char *what, uint32_t threads)
{
    int wrong;
    STATE
    wrong = memcmp(outputs, expected, OUTPUT_BYTES) != 0;
    if (wrong) {
        printf("%s, %u threads: other outputs\\n", what, threads);
    }
    memset(outputs, 0xff, OUTPUT_BYTES);
    memset(&own, 0xff, sizeof own);
    memcpy(inputs, given, INPUT_BYTES);
    return wrong;
}

int main(int count, char **names)
{
    int wrong = 0;
    struct job job;
    FILE *const file = count == 2 ? fopen(names[1], "rb") : NULL;
    if (file == NULL || fread(given, 1, INPUT_BYTES, file) != INPUT_BYTES) {
        return 5;
    }
    memcpy(inputs, given, INPUT_BYTES);
    memset(&arena, 0xff, sizeof arena);
    memset(expected, 0xff, OUTPUT_BYTES);
    if (network_run(&arena, inputs, expected) != 0) {
        return 2;
    }
    memset(outputs, 0xff, OUTPUT_BYTES);
    memcpy(inputs, given, INPUT_BYTES);
    JOB
    for (uint32_t threads = 1u; threads <= 5u; ++threads) {
        for (uint32_t order = 0u; order < 2u; ++order) {
            for (uint32_t index = 0u; index < programs[0].count; ++index) {
                for (uint32_t turn = 0u; turn < threads; ++turn) {
                    const struct seat seat = {order ? threads - 1u - turn : turn, threads};
                    if (seat.self == 0u || !programs[0].phases[index].alone) {
                        programs[0].phases[index].run(&job, seat);
                    }
                }
            }
            wrong += differs(order ? "last thread first" : "first thread first", threads);
        }
    }
    for (uint32_t threads = 1u; threads <= 4u; ++threads) {
        if (NET_pool_start(&pool, threads) != 0) {
            return 3;
        }
        for (int repeat = 0; repeat < 3; ++repeat) {
            if (NET_run_parallel(JOINED, &pool) != 0) {
                return 4;
            }
            wrong += differs("pool", threads);
        }
        NET_pool_stop(&pool);
    }
    return wrong != 0;
}
"""


def ranged(program: Program) -> tuple[Program, bytes]:
    """A program with kernels that threads can share, and these."""
    from dscompile.schedule.native import compile_ranged

    compiled = compile_ranged(program.functions, program.target)
    return replace(program, functions=compiled.functions), compiled.content


def written(network: Network, target: Target, directory: Path) -> Artifact:
    """The artifact of a network, with such kernels."""
    inputs = selftest_input(network)
    program, kernels = ranged(plan(canonicalize(network), target))
    return write_artifact(program, kernels, inputs, oracle_outputs(network, inputs), directory, origin="test")


def assert_shared_equals_alone(network: Network, target: Target, launcher: Sequence[str] = ()) -> None:
    """What threads share equals what one of them computes, bit for bit."""
    with tempfile.TemporaryDirectory(prefix="dscompile-") as scratch:
        artifact = written(network, target, Path(scratch) / "artifact")
        program = harness(artifact, network, Path(scratch))
        places = [*selftest_input(network).values(), fresh_state(artifact.manifest.slots)]
        (Path(scratch) / "inputs").write_bytes(b"".join(_padded(array.tobytes()) for array in places))
        command = [*launcher, program, Path(scratch) / "inputs"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def harness(artifact: Artifact, network: Network, directory: Path) -> Path:
    """The program that compares, compiled."""
    manifest = artifact.manifest
    (directory / "network.h").write_text(_glue(manifest))
    pointers, input_bytes, output_bytes = border_pointers(manifest)
    kept = state_bytes(manifest.slots)
    state = f"memcpy(outputs + {output_bytes}, inputs + {input_bytes}, {kept});" if kept else ""
    arguments = network_interface(network, has_threads=True).arguments
    values = ["&own", *([f"({manifest.c_name}_state *)(inputs + {input_bytes})"] if manifest.slots else [])]
    values += pointers.split(", ")
    job = " ".join(f"job.{name} = {value};" for name, value in zip(arguments, values, strict=True))
    text = HARNESS.replace("JOINED", ", ".join(values)).replace("JOB", job).replace("STATE", state)
    source = directory / "harness.c"
    source.write_text(text.replace("NET_", f"{manifest.c_name}_"))
    flags = ["-std=gnu11", "-O1", f"-I{artifact.directory}", f"-I{directory}"]
    inputs = ["harness.c", str(artifact.static_library), "-lm", "-lpthread", "-o", "harness"]
    toolchain = find_toolchain(artifact.manifest.target)
    compile_it = toolchain.compile if runs_here(artifact.manifest.target) else toolchain.link_static
    compile_it([*flags, *inputs], directory, "compiling the comparison")
    return directory / "harness"

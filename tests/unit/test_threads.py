"""A pool of threads on small programs in C, which ThreadSanitizer sees through: driver, pool and kernels."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from dscompile.artifact import Artifact
from dscompile.plan import phases
from tests.tiny_programs import Tiny, compiled, single

COUNT = 40  # elements, each a round
KERNELS = """
#include <stdint.h>
int32_t tiny_copy(const float *a, float *y, int32_t first, int32_t end)
{
    for (; first < end; ++first) y[first] = a[first];
    return 0;
}
int32_t tiny_add(const float *a, const float *b, float *y, int32_t first, int32_t end)
{
    for (; first < end; ++first) y[first] = a[first] + b[first];
    return 0;
}
"""
APP = """
#include "tiny.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static tiny_pool pools[8], shared;
static tiny_arena arenas[8];

/* Runs of one thread of the program; 0 if all were right. */
static int runs(tiny_pool *pool, tiny_arena *arena, unsigned rounds, unsigned first)
{
    static const struct timespec pause = {0, 400000};
    float in[TINY_INPUT_SIZE], out[TINY_OUTPUT_SIZE];
    for (unsigned round = 0; round < rounds; ++round) {
        if (round % 100u == 99u) nanosleep(&pause, NULL); /* workers fall asleep */
        for (unsigned i = 0; i < TINY_INPUT_SIZE; ++i) in[i] = (float)((first * 1000u + round * 7u + i) % 5003u);
        memset(out, 0xff, sizeof out);
        if (tiny_run_parallel(arena, in, out, pool) != TINY_OK) return 1;
        for (unsigned i = 0; i < TINY_OUTPUT_SIZE; ++i) {
            if (out[i] != 2.0f * in[i] + (float)(i + 1u) / 8.0f) return 2;
        }
    }
    return 0;
}

static void *work(void *user)
{
    const unsigned id = *(const unsigned *)user;
    int wrong = 1;
    if (tiny_pool_start(&pools[id], 1u + id % 3u) == TINY_OK) {
        wrong = runs(&pools[id], &arenas[id], ROUNDS / 20u, id) + runs(&shared, &arenas[id], ROUNDS / 200u, id);
        tiny_pool_stop(&pools[id]);
    }
    return wrong ? user : NULL;
}
"""
ONE_AFTER_ANOTHER = """
int main(void)
{
    int wrong = 0;
    for (unsigned threads = 1u; threads <= 4u; ++threads) {
        wrong += tiny_pool_start(&shared, threads) != TINY_OK;
        wrong += runs(&shared, &arenas[0], ROUNDS / 4u, threads);
        tiny_pool_stop(&shared);
    }
    (void)work;
    return wrong;
}
"""
AT_ONCE = """
int main(void)
{
    static const unsigned ids[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    pthread_t threads[8];
    int wrong = tiny_pool_start(&shared, 2u) != TINY_OK;
    for (int i = 0; i < 8; ++i) pthread_create(&threads[i], NULL, work, (void *)&ids[i]);
    for (int i = 0; i < 8; ++i) {
        void *bad;
        pthread_join(threads[i], &bad);
        wrong += bad != NULL;
    }
    tiny_pool_stop(&shared);
    return wrong;
}
"""
ALONE_AT_ONCE = """
/* Inferences of a thread that shares nothing with others. */
static void *alone(void *user)
{
    const unsigned id = *(const unsigned *)user;
    float in[TINY_INPUT_SIZE], out[TINY_OUTPUT_SIZE];
    for (unsigned round = 0; round < ROUNDS / 8u; ++round) {
        for (unsigned i = 0; i < TINY_INPUT_SIZE; ++i) in[i] = (float)((id * 1000u + round * 7u + i) % 5003u);
        memset(out, 0xff, sizeof out);
        if (tiny_run(&arenas[id], in, out) != TINY_OK) return user;
        for (unsigned i = 0; i < TINY_OUTPUT_SIZE; ++i) {
            if (out[i] != 2.0f * in[i] + (float)(i + 1u) / 8.0f) return user;
        }
    }
    return NULL;
}

int main(void)
{
    static const unsigned ids[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    pthread_t threads[8];
    int wrong = 0;
    for (int i = 0; i < 8; ++i) pthread_create(&threads[i], NULL, alone, (void *)&ids[i]);
    for (int i = 0; i < 8; ++i) {
        void *bad;
        pthread_join(threads[i], &bad);
        wrong += bad != NULL;
    }
    (void)work;
    return wrong;
}
"""
FORKED = """
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
/* How a child ends: its exit code, or minus the signal. */
static int ending(pid_t child)
{
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int main(void)
{
    float in[TINY_INPUT_SIZE] = {0}, out[TINY_OUTPUT_SIZE];
    pid_t child;
    (void)work;
    if (tiny_pool_start(&shared, 3u) != TINY_OK || runs(&shared, &arenas[0], ROUNDS, 1u)) return 1;
    child = fork();
    if (child == 0) { /* an arena and a pool of its own */
        int wrong = tiny_run(&arenas[1], in, out) != TINY_OK || out[0] != 0.125f;
        wrong |= tiny_pool_start(&pools[1], 2u) != TINY_OK || runs(&pools[1], &arenas[1], ROUNDS, 2u);
        tiny_pool_stop(&pools[1]);
        _exit(wrong);
    }
    if (ending(child) != 0) return 2;
    child = fork();
    if (child == 0) { /* its parent's pool, of whose workers it has none: it waits for ever */
        alarm(1);
        tiny_run_parallel(&arenas[1], in, out, &shared);
        _exit(0);
    }
    if (ending(child) != -SIGALRM) return 3;
    if (runs(&shared, &arenas[0], ROUNDS, 3u)) return 4; /* the parent does not notice */
    tiny_pool_stop(&shared);
    return 0;
}
"""
STATUSES = """
#include <assert.h>
#include <stdint.h>
int main(void)
{
    float in[TINY_INPUT_SIZE] = {0}, out[TINY_OUTPUT_SIZE] = {0};
    tiny_pool *const askew = (tiny_pool *)(void *)((char *)&shared + 4);
    assert(tiny_run_parallel(&arenas[0], in, out, &shared) == TINY_ERROR_THREADS); /* zeros: not started */
    assert(tiny_pool_start(NULL, 2u) == TINY_ERROR_NULL);
    assert(tiny_pool_start(askew, 2u) == TINY_ERROR_ALIGNMENT);
    assert(tiny_pool_start(&shared, 0u) == TINY_ERROR_THREADS);
    assert(tiny_pool_start(&shared, TINY_MAX_THREADS + 1u) == TINY_ERROR_THREADS);
    tiny_pool_stop(&shared);
    tiny_pool_stop(NULL);
    assert(tiny_pool_start(&shared, TINY_MAX_THREADS) == TINY_OK);
    assert(tiny_run_parallel(&arenas[0], in, out, &shared) == TINY_OK && out[0] == 0.125f);
    assert(tiny_run_parallel(NULL, in, out, &shared) == TINY_ERROR_NULL);
    assert(tiny_run_parallel(&arenas[0], in, out, NULL) == TINY_ERROR_NULL);
    assert(tiny_run_parallel(&arenas[0], in, out, askew) == TINY_ERROR_ALIGNMENT);
    tiny_pool_stop(&shared);
    tiny_pool_stop(&shared);
    assert(tiny_run_parallel(&arenas[0], in, out, &shared) == TINY_ERROR_THREADS);
    return 0;
}
"""

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


def tiny() -> Tiny:
    """`single` with kernels that can be cut anywhere."""
    plain = single(shape=(1, 2, 5, 4), labels=False).program
    functions = tuple(replace(function, extents=(COUNT,)) for function in plain.functions)
    return Tiny(replace(plain, functions=functions), compiled(KERNELS))


@pytest.fixture
def artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """Every call is a phase of its own, however small."""
    monkeypatch.setattr(phases, "ALONE_CYCLES", 0)
    return tiny().write(tmp_path / "tiny")


def run(artifact: Artifact, directory: Path, program: str, flags: str, rounds: int, kernels: bool = False) -> None:
    """Compiles and runs a program with the library; with `kernels`, these and all of the artifact's C are compiled."""
    (directory / "app.c").write_text(APP + program)
    (directory / "kernels.c").write_text(KERNELS)
    sources = [artifact.driver, artifact.parallel, directory / "kernels.c"] if kernels else []
    names = " ".join(map(str, [*sources, artifact.static_library]))
    command = f"gcc -std=gnu99 {flags} -DROUNDS={rounds}u -I{artifact.directory} app.c {names} -lm -lpthread -o app"
    subprocess.run(command, shell=True, cwd=directory, check=True)
    done = subprocess.run([directory / "app"], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


def test_calls_of_a_chain_are_phases_that_follow_each_other() -> None:
    planned = phases.plan_phases(tiny().program)
    assert [phase.alone for phase in planned] == [True]  # all of it is less than a barrier
    assert [[share.rounds for share in phase.shares] for phase in planned] == [[COUNT] * 3]


def test_no_wakeup_is_lost_in_many_small_inferences(artifact: Artifact, tmp_path: Path) -> None:
    run(artifact, tmp_path, ONE_AFTER_ANOTHER, "-O2", rounds=1_000)


@pytest.mark.slow
def test_no_wakeup_is_lost_in_thousands_of_them(artifact: Artifact, tmp_path: Path) -> None:
    run(artifact, tmp_path, ONE_AFTER_ANOTHER, "-O2", rounds=20_000)


def test_eight_threads_with_pools_of_their_own_and_one_they_share(artifact: Artifact, tmp_path: Path) -> None:
    run(artifact, tmp_path, AT_ONCE, "-O2", rounds=4_000)


def test_thread_sanitizer_finds_nothing(artifact: Artifact, tmp_path: Path) -> None:
    run(artifact, tmp_path, ONE_AFTER_ANOTHER, "-g -O1 -fsanitize=thread", rounds=2_000, kernels=True)
    run(artifact, tmp_path, AT_ONCE, "-g -O1 -fsanitize=thread", rounds=2_000, kernels=True)


def test_eight_threads_with_arenas_of_their_own_do_a_hundred_thousand_inferences(
    artifact: Artifact, tmp_path: Path
) -> None:
    run(artifact, tmp_path, ALONE_AT_ONCE, "-O2", rounds=100_000)


def test_thread_sanitizer_finds_nothing_between_arenas(artifact: Artifact, tmp_path: Path) -> None:
    run(artifact, tmp_path, ALONE_AT_ONCE, "-g -O1 -fsanitize=thread", rounds=8_000, kernels=True)


def test_a_forked_child_infers_with_an_arena_and_a_pool_of_its_own(artifact: Artifact, tmp_path: Path) -> None:
    run(artifact, tmp_path, FORKED, "-O2", rounds=100)


def test_what_may_be_wrong_has_a_status(artifact: Artifact, tmp_path: Path) -> None:
    run(artifact, tmp_path, STATUSES, "-O1 -fsanitize=undefined -fno-sanitize=alignment", rounds=1)


def test_a_program_that_shares_nothing_needs_no_threads(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "app.c").write_text(
        '#include "tiny.h"\nint main(void) { return tiny_run(0, 0, 0) != TINY_ERROR_NULL; }\n'
    )
    command = f"gcc -I{artifact.directory} app.c {artifact.static_library} -o app && nm app"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "pthread" not in done.stdout
    assert "tiny_run_parallel" not in done.stdout


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_source_compiles_without_warnings(artifact: Artifact, tmp_path: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    flags = "-std=c99 -O2 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
    subprocess.run([compiler, *flags.split(), "-c", str(artifact.parallel), "-o", "x.o"], cwd=tmp_path, check=True)

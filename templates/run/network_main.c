/* A network as a program of its own, for an emulator or another machine: tensors come from stdin, results go to stdout.
 *
 * It is compiled with network.h, which dscompile/run/program.py writes, and says
 *     network_arena, network_run(arena, inputs, outputs), network_profile(..., hook), network_variant()
 *     INPUT_BYTES, OUTPUT_BYTES         of all tensors, one after the other
 *     STEPS                             rows of the layer table
 *
 *     program run CALLS                 for each set of inputs: that many calls, then the outputs
 *     program time WARM_UP CALLS        for one set of inputs: nanoseconds of each call, as 64-bit numbers
 *     program steps CALLS               for one set of inputs: nanoseconds of each step in each call; 0: not run
 *     program variant                   the name of the variant that runs here
 *
 * Exit code 0; 2 for wrong arguments or input; 3 if the network returns an error, which stderr then names.
 */
#define _POSIX_C_SOURCE 200809L
#include "network.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static network_arena arena;
static _Alignas(64) unsigned char inputs[INPUT_BYTES];
static _Alignas(64) unsigned char outputs[OUTPUT_BYTES];

static void call(void)
{
    const int status = network_run(&arena, inputs, outputs);
    if (status != 0) {
        fprintf(stderr, "the network returned %d\n", status);
        exit(3);
    }
}

static int run(long calls)
{
    while (fread(inputs, 1, INPUT_BYTES, stdin) == INPUT_BYTES) {
        memset(outputs, 0xff, OUTPUT_BYTES); /* what was never written shows: NaNs */
        for (long index = 0; index < calls; ++index) {
            call();
        }
        if (fwrite(outputs, 1, OUTPUT_BYTES, stdout) != OUTPUT_BYTES) {
            return 2;
        }
    }
    return fflush(stdout) == 0 ? 0 : 2;
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int measure(long warm_up, long calls)
{
    if (fread(inputs, 1, INPUT_BYTES, stdin) != INPUT_BYTES) {
        return 2;
    }
    for (long index = 0; index < warm_up; ++index) {
        call();
    }
    for (long index = 0; index < calls; ++index) {
        const int64_t start = now();
        call();
        const int64_t elapsed = now() - start;
        fwrite(&elapsed, sizeof elapsed, 1, stdout);
    }
    return fflush(stdout) == 0 ? 0 : 2;
}

static int64_t step_ns[STEPS], resumed;

static void after_step(void *user, uint32_t step, const void *result)
{
    (void)user;
    (void)result;
    step_ns[step] = now() - resumed;
    resumed = now();
}

static int measure_steps(long calls)
{
    if (fread(inputs, 1, INPUT_BYTES, stdin) != INPUT_BYTES) {
        return 2;
    }
    call();
    for (long index = 0; index < calls; ++index) {
        resumed = now();
        if (network_profile(&arena, inputs, outputs, after_step) != 0) {
            return 3;
        }
        fwrite(step_ns, sizeof step_ns, 1, stdout);
    }
    return fflush(stdout) == 0 ? 0 : 2;
}

int main(int argc, char **argv)
{
    memset(&arena, 0xff, sizeof arena); /* it need not be cleared */
    if (argc == 3 && strcmp(argv[1], "run") == 0) {
        return run(atol(argv[2]));
    }
    if (argc == 4 && strcmp(argv[1], "time") == 0) {
        return measure(atol(argv[2]), atol(argv[3]));
    }
    if (argc == 3 && strcmp(argv[1], "steps") == 0) {
        return measure_steps(atol(argv[2]));
    }
    if (argc == 2 && strcmp(argv[1], "variant") == 0) {
        const char *const name = network_variant();
        puts(name == NULL ? "none" : name);
        return 0;
    }
    return 2;
}

/* When every thread begins and ends its part of every phase, in inferences that threads share.
 *
 * Compile with -DPARALLEL='"<net>_parallel.c"' and the artifact's library.
 */
#define _GNU_SOURCE
#include <sched.h>

#include PARALLEL

#define MOST_PHASES 16384u

static struct crew crew;
static const struct phase *originals;
static const int32_t *cores; /* where each thread stays */
static uint32_t next_phase[MAX_WORKERS + 1u]; /* of every thread */
static int64_t *times; /* of the inference that runs: [phases, threads, 2] */

static void stay_on(int32_t core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    sched_setaffinity(0, sizeof set, &set);
}

/* Takes the place of every phase: the crew's barriers stay what they are. */
static void timed(const struct job *job, struct seat seat)
{
    const uint32_t index = next_phase[seat.self]++;
    int64_t *const mine = times + 2u * ((size_t)index * seat.threads + seat.self);
    if (index == 0u) {
        stay_on(cores[seat.self]);
    }
    mine[0] = clock_ns();
    if (seat.self == 0u || !originals[index].alone) {
        originals[index].run(job, seat);
    }
    mine[1] = clock_ns();
}

uint32_t count_phases(uint32_t variant)
{
    return programs[variant].count;
}

/* `pointers` are what an inference takes, in the order of its parameters, `threads_on` the core of every thread;
 * `samples` is [repeats, phases, threads, 2] in nanoseconds. 0 if all went well. */
int time_phases(uint32_t variant, void *const *pointers, uint32_t threads, const int32_t *threads_on, uint32_t repeats,
                int64_t *samples)
{
    static struct phase wrapped[MOST_PHASES];
    const struct program program = {wrapped, programs[variant].count};
    struct job job;
    uint32_t index, repeat;
    if (program.count > MOST_PHASES || !start(&crew, threads)) {
        return 1;
    }
    originals = programs[variant].phases;
    cores = threads_on;
    for (index = 0u; index < program.count; ++index) {
        wrapped[index].run = timed;
        wrapped[index].alone = 0;
    }
    memcpy(&job, pointers, sizeof job);
    for (repeat = 0u; repeat < repeats; ++repeat) {
        memset(next_phase, 0, sizeof next_phase);
        times = samples + 2u * (size_t)repeat * program.count * threads;
        run(&crew, &program, &job);
    }
    stop(&crew);
    return 0;
}

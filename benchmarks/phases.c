/* When every thread begins and ends its part of every phase, in inferences that they share.
 *
 * Compile with -DPARALLEL='"<net>_parallel.c"' and the artifact's library; `job` are the pointers that the inference
 * takes, in the order of its parameters.
 */
#include PARALLEL

static struct crew crew;
static const struct phase *originals; /* of the inference that runs */
static uint32_t next_phase[MAX_WORKERS + 1u]; /* of every thread */
static int64_t *times; /* of the inference that runs: [phases, threads, 2] */

static void timed(const struct job *job, struct seat seat)
{
    const uint32_t index = next_phase[seat.self]++;
    int64_t *const mine = times + 2u * ((size_t)index * seat.threads + seat.self);
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

/* `samples` is [repeats, phases, threads, 2] in nanoseconds, `wrapped` has room for as many phases as there are.
 * 0 if all went well. */
int time_phases(uint32_t variant, void *const *pointers, uint32_t threads, uint32_t repeats, int64_t *samples)
{
    static struct phase wrapped[1u << 14];
    struct program program = {wrapped, programs[variant].count};
    struct job job;
    uint32_t index, repeat;
    originals = programs[variant].phases;

    if (program.count > sizeof wrapped / sizeof wrapped[0] || !start(&crew, threads)) {
        return 1;
    }
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

/* Counting executed instructions, block by block: shared by the QEMU plugin and the hook for unicorn.
 *
 * A block is a straight run of instructions that an emulator translates at once. Counting begins with the block at
 * `start` and ends before the one at `stop`: between them lies the call of one function.
 */
#ifndef DSCOMPILE_COUNTING_H
#define DSCOMPILE_COUNTING_H

#include <stdint.h>

#define MARKS 65536

/* dscompile/run/emulators/counting.py has the same structure. */
typedef struct counters {
    uint64_t start;        /* address where counting begins */
    uint64_t stop;         /* address where it ends */
    uint64_t fault;        /* the handler of faults: it ends there, too */
    uint64_t limit;        /* instructions after which a run is hopeless */
    uint64_t mark;         /* a function whose calls are recorded; 0: none */
    uint64_t instructions; /* executed since `start` */
    uint64_t running;      /* 1 between `start` and `stop` */
    uint64_t expired;      /* 1: the limit was exceeded */
    uint64_t last;         /* address of the last block that was counted */
    uint64_t marks;        /* how often `mark` was called */
    uint64_t mark_counts[MARKS]; /* instructions before each of its first calls */
} counters;

/* Returns 1 when the run must end. */
static int count_block(counters *count, uint64_t address, uint64_t instructions)
{
    if (!count->running && address == count->start) {
        count->running = 1;
        count->start = UINT64_MAX; /* a function that calls itself is counted from its first call */
    }
    if (!count->running)
        return 0;
    if (address == count->stop || address == count->fault) {
        count->running = 0;
        return 0;
    }
    count->last = address;
    if (address == count->mark) {
        if (count->marks < MARKS)
            count->mark_counts[count->marks] = count->instructions;
        ++count->marks;
    }
    count->instructions += instructions;
    if (count->instructions > count->limit)
        count->expired = 1;
    return (int)count->expired;
}

#endif

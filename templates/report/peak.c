/* FMA peak of one core: 12 independent chains of fused multiply-adds on vectors of VECTOR_BYTES.
 *
 * Twelve chains cover 2 FMAs per cycle of latency 5 and fit into 16 registers with the two constants.
 * Compile with the target's flags, -O2 and -ffp-contract=fast; without FMA instructions it measures nothing useful.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <time.h>

typedef float vector __attribute__((vector_size(VECTOR_BYTES)));

enum { CHAINS = 12, LANES = VECTOR_BYTES / 4 };

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* GFLOP/s over `rounds` rounds; one FMA is two operations. `sink` keeps the work from being optimized away. */
double dscompile_peak_gflops(int64_t rounds, float *sink)
{
    vector chain[CHAINS];
    vector scale, offset;
    for (int lane = 0; lane < LANES; ++lane) {
        scale[lane] = 0.999f;
        offset[lane] = 1e-3f;
        for (int index = 0; index < CHAINS; ++index) {
            chain[index][lane] = (float)index;
        }
    }
    const double start = seconds();
    for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
        for (int index = 0; index < CHAINS; ++index) {
            chain[index] = chain[index] * scale + offset;
        }
    }
    const double elapsed = seconds() - start;
    float sum = 0.0f;
    for (int index = 0; index < CHAINS; ++index) {
        sum += chain[index][0];
    }
    *sink = sum;
    return 2.0 * (double)CHAINS * (double)LANES * (double)rounds / elapsed * 1e-9;
}

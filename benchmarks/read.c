/* Bytes per nanosecond (GB/s) of reading `size` bytes again and again: eight independent sums of vectors.
 *
 * Compile with the target's flags and -O2. `data` is aligned to VECTOR_BYTES, `size` a multiple of 8 vectors.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <time.h>

typedef float vector __attribute__((vector_size(VECTOR_BYTES)));

enum { SUMS = 8 };

static double nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}

double read_rate(const vector *data, int64_t size, int64_t rounds, float *sink)
{
    vector sums[SUMS] = {0};
    const int64_t count = size / VECTOR_BYTES;
    const double start = nanoseconds();
    for (int64_t round = 0; round < rounds; ++round) {
        for (int64_t index = 0; index < count; index += SUMS) {
#pragma GCC unroll 8
            for (int sum = 0; sum < SUMS; ++sum) {
                sums[sum] += data[index + sum];
            }
        }
    }
    const double elapsed = nanoseconds() - start;
    for (int sum = 0; sum < SUMS; ++sum) {
        *sink += sums[sum][0];
    }
    return (double)size * (double)rounds / elapsed;
}

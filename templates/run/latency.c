/* Time of a kernel: a loop around its call, so that kernels of a few microseconds can be timed.
 *
 * Compiled with -DKERNEL=symbol -DPARAMETERS="void *, ..." -DARGUMENTS="p[0], ...", one of each per operand.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <time.h>

int32_t KERNEL(PARAMETERS);

/* Nanoseconds that `calls` calls on the operands p[0], p[1], ... take. */
int64_t dscompile_kernel_ns(void *const p[], int64_t calls)
{
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int64_t call = 0; call < calls; ++call) {
        KERNEL(ARGUMENTS);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (int64_t)(end.tv_sec - start.tv_sec) * 1000000000 + (end.tv_nsec - start.tv_nsec);
}

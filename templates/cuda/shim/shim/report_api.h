/* What only the shim has; programs that also run on a device call it under #ifdef DSCOMPILE_CUDA_SHIM. */
#pragma once
#include <cstddef>
#include <cstdio>

extern "C" {
/* Traffic with these `bytes` of a device allocation is counted under `name`, which is copied. A range begins at a
 * multiple of 256 bytes of its allocation; the program ends if it does not. */
void shim_name_range(const void *pointer, size_t bytes, const char *name);
/* Writes what was counted so far, as JSON. With DSCOMPILE_CUDA_REPORT=path it is also written there at exit. */
void shim_report(FILE *file);
}

/* CUDA's words around declarations, as g++ takes them. */
#pragma once

/* The standard headers come before alignas is redefined. */
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <tuple>
#include <type_traits>

#define __host__
#define __device__
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

/* A section of their own tells kernels from the device functions that they call (runtime/symbols.cpp). */
#define __global__ __attribute__((section("shim_kernels"), noinline, noclone))

/* One block runs at a time, so one copy will do. `thread_local` is static in a function, and may also be `extern`, which
 * is how dynamic shared memory is declared; and its segment lies apart from all other data. */
#define __shared__ thread_local
#define __constant__ static

/* C++ takes alignas only before the whole declaration, nvcc also after __shared__. */
#define alignas(n) __attribute__((aligned(n)))

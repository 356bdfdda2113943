/* Who a thread is, and how it waits for others. The fibers behind it are in runtime/block.cpp. */
#pragma once
#include <cstring>

#include "vector_types.h"

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
static constexpr int warpSize = 32;

namespace shim
{
/* All threads of a block meet; `line` is where, for errors and to tell barriers apart. */
void synchronize(int line);
/* The lanes of `mask` meet. */
void synchronize_warp(unsigned mask, int line);
/* Lanes of `mask` lay down 64 bits each; the result is what `lane` of the same warp laid down. */
unsigned long long exchange(unsigned mask, unsigned long long value, int lane, int line);
/* The lane of the current thread, 0..31. */
int lane();

template <class T>
T shuffle(unsigned mask, T value, int source, bool stays, int line)
{
    static_assert(sizeof(T) <= 8, "shuffles move 4 or 8 bytes");
    unsigned long long bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = exchange(mask, bits, stays ? lane() : source, line);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <class T>
T shuffle_index(unsigned mask, T value, int source, int width, int line)
{
    return shuffle(mask, value, (lane() & ~(width - 1)) + (source & (width - 1)), false, line);
}

template <class T>
T shuffle_up(unsigned mask, T value, unsigned delta, int width, int line)
{
    const int from = lane() - (int)delta;
    return shuffle(mask, value, from, from < (lane() & ~(width - 1)), line);
}

template <class T>
T shuffle_down(unsigned mask, T value, unsigned delta, int width, int line)
{
    const int from = lane() + (int)delta;
    return shuffle(mask, value, from, from > (lane() | (width - 1)), line);
}

template <class T>
T shuffle_xor(unsigned mask, T value, int bits, int width, int line)
{
    const int from = lane() ^ bits;
    return shuffle(mask, value, from, from > (lane() | (width - 1)), line);
}

inline int width_of(int width = 32) { return width; }
inline unsigned mask_of(unsigned mask = 0xffffffffu) { return mask; }
} // namespace shim

/* Macros, since the line of the call is what errors name. */
#define __syncthreads() ::shim::synchronize(__LINE__)
#define __syncwarp(...) ::shim::synchronize_warp(::shim::mask_of(__VA_ARGS__), __LINE__)
#define __shfl_sync(mask, value, source, ...) \
    ::shim::shuffle_index(mask, value, source, ::shim::width_of(__VA_ARGS__), __LINE__)
#define __shfl_up_sync(mask, value, delta, ...) \
    ::shim::shuffle_up(mask, value, delta, ::shim::width_of(__VA_ARGS__), __LINE__)
#define __shfl_down_sync(mask, value, delta, ...) \
    ::shim::shuffle_down(mask, value, delta, ::shim::width_of(__VA_ARGS__), __LINE__)
#define __shfl_xor_sync(mask, value, bits, ...) \
    ::shim::shuffle_xor(mask, value, bits, ::shim::width_of(__VA_ARGS__), __LINE__)

/* Stands in for CUDA's header of this name: tiles of 16x16x16 with half factors.
 *
 * On a device the lanes of a warp share a tile. Here each lane holds all of it and computes all of it, so no lane waits
 * for another; loops over num_elements see every element. Memory traffic is counted as if each lane moved its 32nd
 * part, one run of 8 elements. */
#pragma once
#include "cuda_fp16.h"

namespace shim
{
void load_tile(float *tile, const void *from, unsigned stride, bool halves, bool transposed, const void *pc);
void store_tile(void *to, const float *tile, unsigned stride, bool halves, bool transposed, const void *pc);
void multiply_tiles(float *d, const float *a, const float *b, const float *c);
} // namespace shim

namespace nvcuda
{
namespace wmma
{
struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major,
                mem_col_major };

template <class Use, int M, int N, int K, class T, class Layout = void>
struct fragment {
    static_assert(M == 16 && N == 16 && K == 16, "the shim knows tiles of 16x16x16");
    static constexpr int num_elements = 256;
    float x[256]; /* row by row; halves are exact in float */
};

template <class Use, int M, int N, int K, class T, class L, class Value>
inline void fill_fragment(fragment<Use, M, N, K, T, L> &to, Value value)
{
    for (float &element : to.x) {
        element = (float)value;
    }
}

template <class Use, int M, int N, int K, class T, class L>
__attribute__((noinline)) void load_matrix_sync(fragment<Use, M, N, K, T, L> &to, const T *from, unsigned stride)
{
    shim::load_tile(to.x, from, stride, sizeof(T) == 2, std::is_same_v<L, col_major>, __builtin_return_address(0));
}

template <int M, int N, int K, class T>
__attribute__((noinline)) void load_matrix_sync(fragment<accumulator, M, N, K, T> &to, const T *from, unsigned stride, layout_t layout)
{
    shim::load_tile(to.x, from, stride, sizeof(T) == 2, layout == mem_col_major, __builtin_return_address(0));
}

template <int M, int N, int K, class T>
__attribute__((noinline)) void store_matrix_sync(T *to, const fragment<accumulator, M, N, K, T> &from, unsigned stride, layout_t layout)
{
    shim::store_tile(to, from.x, stride, sizeof(T) == 2, layout == mem_col_major, __builtin_return_address(0));
}

template <int M, int N, int K, class T, class LA, class LB>
inline void mma_sync(fragment<accumulator, M, N, K, T> &d, const fragment<matrix_a, M, N, K, half, LA> &a, const fragment<matrix_b, M, N, K, half, LB> &b, const fragment<accumulator, M, N, K, T> &c)
{
    shim::multiply_tiles(d.x, a.x, b.x, c.x);
    if (sizeof(T) == 2) {
        for (float &element : d.x) {
            element = (float)(half)element;
        }
    }
}
} // namespace wmma
} // namespace nvcuda

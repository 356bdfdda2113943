/* Tiles of wmma: see mma.h. */
#include <cstdint>

#include "../cuda_fp16.h"
#include "../mma.h"
#include "block.h"
#include "traffic.h"

namespace
{
constexpr unsigned SIDE = 16, RUN = 8; /* elements of a row that one lane moves */

void note_share(uintptr_t tile, unsigned stride, unsigned element_bytes, bool is_store, const void *pc)
{
    if (!shim::is_checked()) {
        return;
    }
    const auto lane = (unsigned)shim::lane();
    const unsigned bytes = RUN * element_bytes;
    const uintptr_t from = tile + (uintptr_t)(lane / 2 * stride + lane % 2 * RUN) * element_bytes;
    for (unsigned at = 0; at < bytes; at += 16) {
        shim::note_access(from + at, 16, is_store, true, reinterpret_cast<uintptr_t>(pc) + at);
    }
}

template <class T>
void load(float *tile, const T *from, unsigned stride, bool transposed)
{
    for (unsigned row = 0; row < SIDE; ++row) {
        for (unsigned column = 0; column < SIDE; ++column) {
            tile[transposed ? column * SIDE + row : row * SIDE + column] = (float)from[row * stride + column];
        }
    }
}

/* The lane that runs stores only its share: lanes would overwrite one another with equal values. */
template <class T>
void store(T *to, const float *tile, unsigned stride, bool transposed)
{
    const auto lane = (unsigned)shim::lane();
    const unsigned row = lane / 2;
    for (unsigned column = lane % 2 * RUN; column < lane % 2 * RUN + RUN; ++column) {
        to[row * stride + column] = (T)tile[transposed ? column * SIDE + row : row * SIDE + column];
    }
}
} // namespace

void shim::load_tile(float *tile, const void *from, unsigned stride, bool halves, bool transposed, const void *pc)
{
    note_share(reinterpret_cast<uintptr_t>(from), stride, halves ? 2 : 4, false, pc);
    if (halves) {
        load(tile, static_cast<const half *>(from), stride, transposed);
    } else {
        load(tile, static_cast<const float *>(from), stride, transposed);
    }
}

void shim::store_tile(void *to, const float *tile, unsigned stride, bool halves, bool transposed, const void *pc)
{
    note_share(reinterpret_cast<uintptr_t>(to), stride, halves ? 2 : 4, true, pc);
    if (halves) {
        store(static_cast<half *>(to), tile, stride, transposed);
    } else {
        store(static_cast<float *>(to), tile, stride, transposed);
    }
}

void shim::multiply_tiles(float *d, const float *a, const float *b, const float *c)
{
    for (unsigned row = 0; row < SIDE; ++row) {
        float sums[SIDE];
        for (unsigned column = 0; column < SIDE; ++column) {
            sums[column] = c[row * SIDE + column];
        }
        for (unsigned k = 0; k < SIDE; ++k) {
            for (unsigned column = 0; column < SIDE; ++column) {
                sums[column] += a[row * SIDE + k] * b[k * SIDE + column];
            }
        }
        for (unsigned column = 0; column < SIDE; ++column) {
            d[row * SIDE + column] = sums[column];
        }
    }
}

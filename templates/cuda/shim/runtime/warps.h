/* How the accesses of a warp meet memory: sectors of global memory, banks of shared memory. */
#pragma once
#include <cstdint>
#include <vector>

#include "traffic.h"

namespace shim
{
/* One access of one thread. */
struct Logged {
    uintptr_t pc, address;
    uint16_t bytes;
    bool is_store, is_shared;
};

/* Adds the requests of one warp: `threads` logs, each in the order of its thread. The n-th execution of the same
 * instruction by each is one request. */
void analyze_warp(const std::vector<Logged> *logs, unsigned threads, Sampled &sum);
} // namespace shim

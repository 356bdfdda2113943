/* Running a kernel: blocks one after the other, the threads of a block as fibers. */
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "../shim/runtime_api.h"
#include "symbols.h"

namespace shim
{
constexpr unsigned MAX_THREADS = 1024, WARP = 32;

/* The launch that is being run. An epoch is what lies between two barriers of a block; epochs are counted on through
 * blocks and launches, so that an older one is never taken for the present. */
struct Running {
    const Launch *launch;
    std::string name;
    std::vector<SharedArray> arrays; /* with dynamic shared memory, if there is any */
    uint64_t block = 0, blocks = 0, barriers = 0;
    unsigned thread = 0, threads = 0;
    uint32_t epoch = 0, block_epoch = 0, launch_epoch = 0;
    uint16_t warp_stamps[MAX_THREADS / WARP]; /* how often each warp synchronized in this epoch */
    bool is_sampled = false; /* this block's accesses are kept for analysis */
};

/* nullptr while host code runs. */
extern Running *running;

/* Runs all blocks. */
cudaError_t run_launch(const Launch &launch);
/* Ends the launch that runs: the message is printed and kept for the report. Does not return to the kernel. In host
 * code it only prints and keeps the message. */
void stop_launch(cudaError_t error, const std::string &message);
/* "(3,0,0)" for a thread of the block that runs. */
std::string describe_thread(unsigned thread);
/* What was wrong so far. */
std::vector<std::string> &messages();
/* The bytes of static shared memory that a kernel declares. */
size_t static_shared_bytes(uintptr_t kernel);
} // namespace shim

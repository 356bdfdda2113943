/* Counting what kernels move, and checking that they may. */
#pragma once
#include <cstdint>
#include <map>
#include <string>

namespace shim
{
constexpr unsigned SECTOR = 32; /* bytes: the unit in which global memory is moved */

/* Accesses are those of single threads. `block_sectors`: sectors that a block touched, each once, over all blocks; what a
 * block that caches perfectly would move. */
struct Tally {
    uint64_t accesses = 0, bytes = 0, block_sectors = 0;
};

/* Traffic with memory of one class, over all launches; `footprint_sectors`: each once per launch. */
struct ClassTally {
    Tally loads, stores;
    uint64_t footprint_sectors = 0;
};

/* Of sampled blocks, by warps: what a warp does in one instruction is a request. `distinct_bytes` are those that a
 * request names, each once; it is uncoalesced if it touches more sectors than hold that many bytes. */
struct Sampled {
    uint64_t blocks = 0;
    uint64_t requests = 0, sectors = 0, ideal_sectors = 0, distinct_bytes = 0, uncoalesced = 0;
    uint64_t shared_requests = 0, shared_wavefronts = 0, shared_ideal_wavefronts = 0;
};

struct KernelTally {
    uint64_t launches = 0, blocks = 0, threads = 0, barriers = 0, shared_bytes = 0;
    std::map<std::string, ClassTally> classes;
    Sampled sampled;
};

/* By kernel, in the order of their names. */
std::map<std::string, KernelTally> &tallies();
/* Whether kernels are instrumented at all. */
bool is_checked();

/* Called around what runs (block.cpp). */
void begin_launch();
void begin_block();
void end_block();
void end_launch();

/* One access of the thread that runs, at a place in the program. `is_natural`: must lie at a multiple of its size. */
void note_access(uintptr_t address, unsigned bytes, bool is_store, bool is_natural, uintptr_t pc);
} // namespace shim

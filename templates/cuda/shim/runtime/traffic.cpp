#include "traffic.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <vector>

#include "block.h"
#include "device.h"
#include "races.h"
#include "warps.h"

namespace
{
uintptr_t shared_begin = uintptr_t(1) << 63; /* until the first launch */
size_t shared_size = 0;
enum : uint8_t { FORBIDDEN,
                 USABLE,
                 IGNORED };
std::vector<uint8_t> usable; /* by byte of shared memory: whether the kernel that runs may touch it */
shim::Races shared_races, global_races;

/* By sector: the block that touched it last. Blocks are counted from 1 over all launches. */
uint32_t *loaded_by = nullptr, *stored_by = nullptr;
uint32_t block_serial = 0, launch_serial = 0;

shim::KernelTally *tally = nullptr; /* of the launch that runs */
std::vector<shim::ClassTally *> class_tally; /* by region */
shim::ClassTally *shared_tally = nullptr;

constexpr uint64_t DEFAULT_SAMPLE = 8;
uint64_t sample; /* blocks of a launch */
std::vector<shim::Logged> logs[shim::MAX_THREADS];

void *reserve(size_t bytes)
{
    void *const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("shim: no memory to count traffic");
        abort();
    }
    return memory;
}

void set_up()
{
    shared_begin = shim::shared_segment().begin;
    shared_size = shim::shared_segment().size;
    usable.assign(shared_size + 16, 0);
    shared_races.watch(shared_begin, shared_size);
    loaded_by = static_cast<uint32_t *>(reserve(shim::HEAP_BYTES / shim::SECTOR * sizeof *loaded_by));
    stored_by = static_cast<uint32_t *>(reserve(shim::HEAP_BYTES / shim::SECTOR * sizeof *stored_by));
    const char *const wanted = getenv("DSCOMPILE_CUDA_SAMPLE");
    sample = wanted == nullptr ? DEFAULT_SAMPLE : strtoull(wanted, nullptr, 10);
    const char *const races = getenv("DSCOMPILE_CUDA_GLOBAL_RACES");
    if (races != nullptr && strcmp(races, "1") == 0) {
        global_races.watch(shim::heap_begin, shim::HEAP_BYTES);
    }
}

/* The first blocks of a launch, and as many spread over the rest. */
bool is_in_sample(uint64_t block, uint64_t blocks)
{
    if (blocks <= sample) {
        return true;
    }
    const uint64_t leading = (sample + 1) / 2, spread = sample / 2;
    return block < leading || (spread > 0 && (block - leading) % ((blocks - leading + spread - 1) / spread) == 0);
}

std::string access_text(bool is_store, unsigned bytes)
{
    return std::string(is_store ? "write" : "read") + " of " + std::to_string(bytes) + " bytes";
}

std::string place(uintptr_t pc)
{
    const std::string line = shim::source_line(pc);
    return line.empty() ? "" : " (" + line + ")";
}

void stop_at(const std::string &what, uintptr_t pc)
{
    shim::stop_launch(cudaErrorIllegalAddress, "thread " + shim::describe_thread(shim::running->thread) + ": " + what + place(pc));
}

std::string describe_shared(uint32_t offset)
{
    std::string nearest = "the block has no shared memory";
    uint32_t distance = UINT32_MAX;
    for (const shim::SharedArray &array : shim::running->arrays) {
        const bool is_before = offset < array.offset;
        const bool is_inside = !is_before && offset - array.offset < array.size;
        const uint32_t away = is_inside ? 0 : is_before ? array.offset - offset
                                                        : offset - array.offset - array.size + 1;
        if (away >= distance) {
            continue;
        }
        distance = away;
        const std::string name = "'" + array.name + "' (" + std::to_string(array.size) + " bytes)";
        nearest = is_inside ? "byte " + std::to_string(offset - array.offset) + " of " + name
                            : std::to_string(is_before ? away : away - 1) + " bytes " + (is_before ? "before " : "after the end of ") + name;
    }
    return nearest;
}

void stop_for_race(const std::string &where, const shim::Access &earlier, bool earlier_wrote, bool is_store, uintptr_t pc)
{
    std::string other;
    if (earlier.epoch < shim::running->block_epoch) {
        other = "a thread of another block";
    } else if (earlier.who == shim::SEVERAL_WARPS) {
        other = "threads of several warps";
    } else if (earlier.who & shim::SEVERAL_OF_A_WARP) {
        other = "threads of warp " + std::to_string(earlier.who & 31);
    } else {
        other = "thread " + shim::describe_thread(earlier.who);
    }
    stop_at(std::string(is_store ? "writes " : "reads ") + where + ", which " + other + (earlier_wrote ? " wrote" : " read") +
                " with no barrier between: a race",
            pc);
}

inline void count(shim::Tally &sum, unsigned bytes)
{
    ++sum.accesses;
    sum.bytes += bytes;
}

void log_access(uintptr_t address, unsigned bytes, bool is_store, bool is_shared, uintptr_t pc)
{
    logs[shim::running->thread].push_back({pc, address, (uint16_t)bytes, is_store, is_shared});
}

void note_global(uintptr_t address, unsigned bytes, bool is_store, uintptr_t pc)
{
    const unsigned region = shim::region_of(address);
    if (region == 0 || address + bytes > shim::regions()[region].end) {
        stop_at("out-of-bounds " + access_text(is_store, bytes) + " of global memory, " + shim::describe_address(region == 0 ? address : address + bytes - 1), pc);
    }
    shim::ClassTally &sum = *class_tally[region];
    shim::Tally &side = is_store ? sum.stores : sum.loads;
    count(side, bytes);
    uint32_t *const touched = is_store ? stored_by : loaded_by;
    const size_t first = (address - shim::heap_begin) / shim::SECTOR, last = (address - shim::heap_begin + bytes - 1) / shim::SECTOR;
    for (size_t sector = first; sector <= last; ++sector) {
        if (touched[sector] != block_serial) {
            side.block_sectors += 1;
            sum.footprint_sectors += loaded_by[sector] < launch_serial && stored_by[sector] < launch_serial;
            touched[sector] = block_serial;
        }
    }
    if (global_races.is_watching()) {
        bool earlier_wrote = false;
        const shim::Access *const other = global_races.note(address, bytes, is_store, shim::running->launch_epoch, earlier_wrote);
        if (other != nullptr) {
            stop_for_race("global memory, " + shim::describe_address(address), *other, earlier_wrote, is_store, pc);
        }
    }
    if (shim::running->is_sampled) {
        log_access(address, bytes, is_store, false, pc);
    }
}

void note_shared(uintptr_t address, unsigned bytes, bool is_store, uintptr_t pc)
{
    const size_t offset = address - shared_begin;
    if (usable[offset] == IGNORED) {
        return;
    }
    if (!usable[offset] || !usable[offset + bytes - 1]) {
        const size_t bad = usable[offset] ? offset + bytes - 1 : offset;
        stop_at("out-of-bounds " + access_text(is_store, bytes) + " of shared memory, " + describe_shared((uint32_t)bad), pc);
    }
    count(is_store ? shared_tally->stores : shared_tally->loads, bytes);
    bool earlier_wrote = false;
    const shim::Access *const other = shared_races.note(address, bytes, is_store, shim::running->block_epoch, earlier_wrote);
    if (other != nullptr) {
        stop_for_race("shared memory, " + describe_shared((uint32_t)offset), *other, earlier_wrote, is_store, pc);
    }
    if (shim::running->is_sampled) {
        log_access(address, bytes, is_store, true, pc);
    }
}
} // namespace

std::map<std::string, shim::KernelTally> &shim::tallies()
{
    static std::map<std::string, KernelTally> result;
    return result;
}

void shim::begin_launch()
{
    if (loaded_by == nullptr) {
        set_up();
    }
    Running &now = *running;
    tally = &tallies()[now.name];
    class_tally.clear();
    for (const Region &region : regions()) {
        class_tally.push_back(region.is_live ? &tally->classes[region.name] : nullptr);
    }
    shared_tally = &tally->classes["shared"];
    std::fill(usable.begin(), usable.end(), FORBIDDEN);
    uint64_t shared_bytes = 0;
    for (const SharedArray &array : now.arrays) {
        memset(&usable[array.offset], USABLE, array.size);
        shared_bytes += array.size;
    }
    for (const SharedArray &guard : shared_guards()) {
        memset(&usable[guard.offset], IGNORED, guard.size);
        memset(reinterpret_cast<void *>(shared_begin + guard.offset), 1, guard.size); /* constructed: threads only read it */
    }
    tally->launches += 1;
    tally->blocks += now.blocks;
    tally->threads += now.blocks * now.threads;
    tally->shared_bytes = std::max(tally->shared_bytes, shared_bytes);
    launch_serial = block_serial + 1;
}

void shim::begin_block()
{
    ++block_serial;
    running->is_sampled = is_checked() && is_in_sample(running->block, running->blocks);
}

void shim::end_block()
{
    if (!running->is_sampled) {
        return;
    }
    tally->sampled.blocks += 1;
    for (unsigned first = 0; first < running->threads; first += WARP) {
        analyze_warp(&logs[first], std::min(WARP, running->threads - first), tally->sampled);
    }
    for (unsigned thread = 0; thread < running->threads; ++thread) {
        logs[thread].clear();
    }
}

void shim::end_launch()
{
    tally->barriers += running->barriers;
    for (unsigned thread = 0; thread < running->threads; ++thread) {
        logs[thread].clear(); /* of a block that was stopped */
    }
}

void shim::note_access(uintptr_t address, unsigned bytes, bool is_store, bool is_natural, uintptr_t pc)
{
    const bool is_global = address - heap_begin < HEAP_BYTES;
    if (!is_global && address - shared_begin >= shared_size) {
        return; /* locals, arguments, constants */
    }
    if (running == nullptr) {
        if (is_global) {
            stop_launch(cudaErrorIllegalAddress, "host code has no access to device memory: " + access_text(is_store, bytes) + place(pc));
        }
        return;
    }
    if (is_natural && address % bytes != 0) {
        stop_at("misaligned " + access_text(is_store, bytes), pc);
    }
    if (is_global) {
        note_global(address, bytes, is_store, pc);
    } else {
        note_shared(address, bytes, is_store, pc);
    }
}

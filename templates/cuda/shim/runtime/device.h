/* The device's memory: one range of addresses, so that a compare tells global memory from all other. */
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace shim
{
constexpr size_t GRANULE = 256; /* allocations and ranges begin at its multiples, as the device's do */
constexpr size_t RED_ZONE = 4096; /* bytes before and after an allocation that belong to nobody */
constexpr size_t HEAP_BYTES = size_t(8) << 30; /* of addresses; memory is taken when it is touched */

/* A part of an allocation whose traffic is counted together. */
struct Region {
    uintptr_t begin, end;
    std::string name;
    bool is_live;
};

/* Where the range begins. */
extern uintptr_t heap_begin;
/* By granule: an index into regions(), or 0 for memory that was never given out. */
extern uint16_t *granules;
std::vector<Region> &regions();

/* Poisoned memory; nullptr if no addresses are left. They are never given out again. */
void *device_allocate(size_t bytes);
/* False if no live allocation begins there. */
bool device_free(void *pointer);
/* Whether these bytes lie in one live allocation. */
bool is_device_memory(const void *pointer, size_t bytes);
bool points_to_heap(const void *pointer);
/* The index of the live region that an address belongs to, or 0. */
inline unsigned region_of(uintptr_t address)
{
    return granules[(address - heap_begin) / GRANULE];
}
/* Describes an address for an error: "3 bytes after allocation 'arena' (1024 bytes)". */
std::string describe_address(uintptr_t address);
/* The description of the first red zone in which somebody wrote, or "". */
std::string damaged_red_zone();
} // namespace shim

#include "device.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

#include "../shim/report_api.h"

namespace shim
{
uintptr_t heap_begin = uintptr_t(1) << 63; /* no address of a program is near it */
uint16_t *granules = nullptr;
} // namespace shim

namespace
{
constexpr int POISON = 0xff; /* NaNs in float32 and float16 */
constexpr int RED_PATTERN = 0xfd; /* -4.2e37 */

struct Allocation {
    uintptr_t begin;
    size_t bytes;
    bool is_live;
};
std::vector<Allocation> &allocations = *new std::vector<Allocation>; /* never destroyed: looked at when all ends */
size_t used_bytes = 0;

void *reserve(size_t bytes)
{
    void *const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("shim: cannot reserve addresses for the device's memory");
        abort();
    }
    return memory;
}

size_t rounded_up(size_t bytes)
{
    return (bytes + shim::GRANULE - 1) / shim::GRANULE * shim::GRANULE;
}

void mark(uintptr_t begin, size_t bytes, uint16_t region)
{
    const size_t first = (begin - shim::heap_begin) / shim::GRANULE;
    std::fill_n(shim::granules + first, rounded_up(bytes) / shim::GRANULE, region);
}

Allocation *allocation_at(uintptr_t address)
{
    for (Allocation &allocation : allocations) {
        if (address >= allocation.begin && address < allocation.begin + allocation.bytes) {
            return &allocation;
        }
    }
    return nullptr;
}

bool is_untouched(uintptr_t begin, uintptr_t end)
{
    for (uintptr_t at = begin; at < end; ++at) {
        if (*reinterpret_cast<const unsigned char *>(at) != RED_PATTERN) {
            return false;
        }
    }
    return true;
}
} // namespace

std::vector<shim::Region> &shim::regions()
{
    static std::vector<Region> result = {{0, 0, "", false}};
    return result;
}

void *shim::device_allocate(size_t bytes)
{
    if (granules == nullptr) {
        heap_begin = reinterpret_cast<uintptr_t>(reserve(HEAP_BYTES));
        granules = static_cast<uint16_t *>(reserve(HEAP_BYTES / GRANULE * sizeof *granules));
    }
    const size_t room = rounded_up(bytes) + 2 * RED_ZONE;
    if (bytes > HEAP_BYTES || room > HEAP_BYTES - used_bytes || regions().size() > UINT16_MAX) {
        return nullptr;
    }
    const uintptr_t begin = heap_begin + used_bytes + RED_ZONE;
    memset(reinterpret_cast<void *>(begin - RED_ZONE), RED_PATTERN, room);
    memset(reinterpret_cast<void *>(begin), POISON, bytes);
    used_bytes += room;
    mark(begin, bytes, (uint16_t)regions().size());
    regions().push_back({begin, begin + bytes, "other", true});
    allocations.push_back({begin, bytes, true});
    return reinterpret_cast<void *>(begin);
}

bool shim::device_free(void *pointer)
{
    Allocation *const allocation = allocation_at(reinterpret_cast<uintptr_t>(pointer));
    if (allocation == nullptr || !allocation->is_live || allocation->begin != reinterpret_cast<uintptr_t>(pointer)) {
        return false;
    }
    allocation->is_live = false;
    for (Region &region : regions()) {
        if (region.begin >= allocation->begin && region.end <= allocation->begin + allocation->bytes) {
            region.is_live = false;
        }
    }
    mark(allocation->begin, allocation->bytes, 0);
    const uintptr_t first_page = (allocation->begin + 4095) / 4096 * 4096;
    const uintptr_t last_page = (allocation->begin + allocation->bytes) / 4096 * 4096;
    if (last_page > first_page) {
        madvise(reinterpret_cast<void *>(first_page), last_page - first_page, MADV_DONTNEED);
    }
    return true;
}

bool shim::points_to_heap(const void *pointer)
{
    return reinterpret_cast<uintptr_t>(pointer) - heap_begin < HEAP_BYTES;
}

bool shim::is_device_memory(const void *pointer, size_t bytes)
{
    const Allocation *const allocation = allocation_at(reinterpret_cast<uintptr_t>(pointer));
    return allocation != nullptr && allocation->is_live &&
           reinterpret_cast<uintptr_t>(pointer) + bytes <= allocation->begin + allocation->bytes;
}

std::string shim::describe_address(uintptr_t address)
{
    const Allocation *nearest = nullptr;
    size_t distance = SIZE_MAX;
    for (const Allocation &one : allocations) {
        const size_t away = address < one.begin ? one.begin - address : address - (one.begin + one.bytes) + 1;
        const bool is_inside = address >= one.begin && address < one.begin + one.bytes;
        if (is_inside || away < distance) {
            nearest = &one;
            distance = is_inside ? 0 : away;
        }
    }
    if (nearest == nullptr) {
        return "there are no allocations";
    }
    std::string names;
    for (const Region &region : regions()) {
        if (region.begin >= nearest->begin && region.end <= nearest->begin + nearest->bytes && region.name != "other") {
            names += (names.empty() ? " '" : "', '") + region.name;
        }
    }
    char text[160];
    const char *const life = nearest->is_live ? "" : "freed ";
    if (distance == 0) {
        snprintf(text, sizeof text, "byte %zu of the %sallocation", address - nearest->begin, life);
    } else if (address < nearest->begin) {
        snprintf(text, sizeof text, "%zu bytes before the %sallocation", distance, life);
    } else {
        snprintf(text, sizeof text, "%zu bytes after the end of the %sallocation", distance - 1, life);
    }
    return text + (names.empty() ? "" : names + "'") + " of " + std::to_string(nearest->bytes) + " bytes";
}

std::string shim::damaged_red_zone()
{
    for (const Allocation &one : allocations) {
        const uintptr_t end = one.begin + one.bytes;
        if (!is_untouched(one.begin - RED_ZONE, one.begin)) {
            return "somebody wrote before the allocation: " + describe_address(one.begin - 1);
        }
        if (!is_untouched(end, end + RED_ZONE)) {
            return "somebody wrote after the allocation: " + describe_address(end);
        }
    }
    return "";
}

extern "C" void shim_name_range(const void *pointer, size_t bytes, const char *name)
{
    using namespace shim;
    const auto begin = reinterpret_cast<uintptr_t>(pointer);
    if (bytes == 0) {
        return;
    }
    if (!is_device_memory(pointer, bytes) || (begin - allocation_at(begin)->begin) % GRANULE != 0) {
        fprintf(stderr, "shim: range '%s' does not begin at a multiple of %zu in an allocation that holds it\n", name, GRANULE);
        exit(2);
    }
    const uintptr_t allocation_end = allocation_at(begin)->begin + allocation_at(begin)->bytes;
    const uintptr_t end = std::min(begin + rounded_up(bytes), allocation_end);
    mark(begin, end - begin, (uint16_t)regions().size());
    regions().push_back({begin, end, name, true});
}

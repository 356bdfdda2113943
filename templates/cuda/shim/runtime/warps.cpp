#include "warps.h"

#include <algorithm>
#include <unordered_map>

namespace
{
constexpr unsigned BANKS = 32, BANK_BYTES = 4, LANES = 32;

struct Ordered {
    uintptr_t pc;
    uint32_t execution;
    uint16_t lane;
    const shim::Logged *access;
};

/* Bytes and sectors that a request names, each once. */
void add_global(const Ordered *request, size_t count, shim::Sampled &sum)
{
    struct Span {
        uintptr_t begin, end;
    };
    static std::vector<Span> spans;
    spans.clear();
    for (size_t index = 0; index < count; ++index) {
        const shim::Logged &access = *request[index].access;
        spans.push_back({access.address, access.address + access.bytes});
    }
    std::sort(spans.begin(), spans.end(), [](const Span &a, const Span &b) { return a.begin < b.begin; });
    uint64_t bytes = 0, sectors = 0;
    uintptr_t covered = 0, next_sector = 0;
    for (const Span &span : spans) {
        const uintptr_t begin = std::max(span.begin, covered);
        bytes += span.end > begin ? span.end - begin : 0;
        covered = std::max(covered, span.end);
        const uintptr_t first = std::max(span.begin / shim::SECTOR, next_sector), last = (span.end - 1) / shim::SECTOR;
        sectors += last + 1 > first ? last + 1 - first : 0;
        next_sector = std::max(next_sector, last + 1);
    }
    const uint64_t ideal = (bytes + shim::SECTOR - 1) / shim::SECTOR;
    ++sum.requests;
    sum.sectors += sectors;
    sum.ideal_sectors += ideal;
    sum.distinct_bytes += bytes;
    sum.uncoalesced += sectors > ideal;
}

/* Different words by bank: at most two words of a lane's access are in one bank. */
struct Banks {
    uintptr_t words[BANKS][LANES * 2];
    unsigned counts[BANKS] = {};
    unsigned most = 0;

    void add(uintptr_t word)
    {
        const unsigned bank = word % BANKS;
        uintptr_t *const end = words[bank] + counts[bank];
        if (std::find(words[bank], end, word) == end) {
            *end = word;
            most = std::max(most, ++counts[bank]);
        }
    }
};

/* Accesses of 8 bytes are served by half warps, of 16 bytes by quarter warps. A bank gives one word at a time, to any
 * number of lanes. */
void add_shared(const Ordered *request, size_t count, shim::Sampled &sum)
{
    const unsigned bytes = request[0].access->bytes;
    const unsigned group = bytes > 8 ? LANES / 4 : bytes > 4 ? LANES / 2
                                                             : LANES;
    ++sum.shared_requests;
    for (size_t first = 0; first < count;) {
        Banks banks;
        const unsigned phase = request[first].lane / group;
        for (; first < count && request[first].lane / group == phase; ++first) {
            const shim::Logged &access = *request[first].access;
            for (uintptr_t word = access.address / BANK_BYTES; word <= (access.address + access.bytes - 1) / BANK_BYTES; ++word) {
                banks.add(word);
            }
        }
        sum.shared_wavefronts += banks.most;
        ++sum.shared_ideal_wavefronts;
    }
}

void add_request(const Ordered *request, size_t count, shim::Sampled &sum)
{
    (request[0].access->is_shared ? add_shared : add_global)(request, count, sum);
}

/* Whether all lanes executed the same instructions in the same order, as they mostly do. */
bool is_uniform(const std::vector<shim::Logged> *logs, unsigned threads)
{
    for (unsigned lane = 1; lane < threads; ++lane) {
        const bool is_same = std::equal(logs[0].begin(), logs[0].end(), logs[lane].begin(), logs[lane].end(),
                                        [](const shim::Logged &a, const shim::Logged &b) { return a.pc == b.pc; });
        if (!is_same) {
            return false;
        }
    }
    return true;
}
} // namespace

void shim::analyze_warp(const std::vector<Logged> *logs, unsigned threads, Sampled &sum)
{
    static std::vector<Ordered> all;
    all.clear();
    if (is_uniform(logs, threads)) {
        Ordered request[LANES];
        for (size_t index = 0; index < logs[0].size(); ++index) {
            for (unsigned lane = 0; lane < threads; ++lane) {
                request[lane] = {0, 0, (uint16_t)lane, &logs[lane][index]};
            }
            add_request(request, threads, sum);
        }
        return;
    }
    std::unordered_map<uintptr_t, uint32_t> executions;
    for (unsigned lane = 0; lane < threads; ++lane) {
        executions.clear();
        for (const Logged &access : logs[lane]) {
            all.push_back({access.pc, executions[access.pc]++, (uint16_t)lane, &access});
        }
    }
    std::sort(all.begin(), all.end(), [](const Ordered &a, const Ordered &b) {
        return a.pc != b.pc ? a.pc < b.pc : a.execution != b.execution ? a.execution < b.execution
                                                                       : a.lane < b.lane;
    });
    for (size_t first = 0; first < all.size();) {
        size_t end = first + 1;
        while (end < all.size() && all[end].pc == all[first].pc && all[end].execution == all[first].execution) {
            ++end;
        }
        add_request(&all[first], end - first, sum);
        first = end;
    }
}

#include "races.h"

#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>

namespace
{
void *reserve(size_t bytes)
{
    void *const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("shim: no memory to look for races");
        abort();
    }
    return memory;
}

unsigned warp_of(uint16_t who)
{
    return who & shim::SEVERAL_OF_A_WARP ? who & 31u : who / shim::WARP;
}

/* Whether two accesses of different threads have no order. */
bool is_unordered(const shim::Access &earlier, uint32_t first)
{
    const shim::Running &now = *shim::running;
    if (earlier.epoch < first || (earlier.epoch != now.epoch && earlier.epoch >= now.block_epoch)) {
        return false;
    }
    if (earlier.epoch != now.epoch || earlier.who == shim::SEVERAL_WARPS) {
        return true;
    }
    const unsigned warp = now.thread / shim::WARP;
    return earlier.who != now.thread && (warp_of(earlier.who) != warp || earlier.stamp >= now.warp_stamps[warp]);
}

void note_reader(shim::Access &reader)
{
    const shim::Running &now = *shim::running;
    const unsigned warp = now.thread / shim::WARP;
    uint16_t who = (uint16_t)now.thread;
    if (reader.epoch == now.epoch && reader.who != who) {
        const bool is_same_warp = reader.who != shim::SEVERAL_WARPS && warp_of(reader.who) == warp;
        who = is_same_warp ? (uint16_t)(shim::SEVERAL_OF_A_WARP | warp) : shim::SEVERAL_WARPS;
    }
    reader = {now.epoch, who, now.warp_stamps[warp]};
}
} // namespace

void shim::Races::watch(uintptr_t begin, size_t bytes)
{
    begin_ = begin;
    const size_t words = bytes / 4 + 8;
    words_ = static_cast<Word *>(reserve(words * sizeof *words_));
    bytes_ = static_cast<Word *>(reserve(4 * words * sizeof *bytes_));
    split_ = static_cast<uint32_t *>(reserve(words * sizeof *split_));
}

const shim::Access *shim::Races::conflict(const Word &word, bool is_store, uint32_t first, bool &earlier_wrote) const
{
    if (is_unordered(word.writer, first)) {
        earlier_wrote = true;
        return &word.writer;
    }
    if (is_store && is_unordered(word.reader, first)) {
        earlier_wrote = false;
        return &word.reader;
    }
    return nullptr;
}

const shim::Access *shim::Races::note_word(Word &word, bool is_store, uint32_t first, bool &earlier_wrote)
{
    const Access *const other = conflict(word, is_store, first, earlier_wrote);
    if (other != nullptr) {
        return other;
    }
    if (is_store) {
        const Running &now = *running;
        word.writer = {now.epoch, (uint16_t)now.thread, now.warp_stamps[now.thread / WARP]};
    } else {
        note_reader(word.reader);
    }
    return nullptr;
}

const shim::Access *shim::Races::note(uintptr_t address, unsigned bytes, bool is_store, uint32_t first, bool &earlier_wrote)
{
    const size_t offset = address - begin_;
    if (bytes % 4 != 0 || offset % 4 != 0) {
        for (size_t at = offset; at < offset + bytes; ++at) {
            const Access *other = conflict(words_[at / 4], is_store, first, earlier_wrote);
            other = other != nullptr ? other : note_word(bytes_[at], is_store, first, earlier_wrote);
            if (other != nullptr) {
                return other;
            }
            split_[at / 4] = running->epoch;
        }
        return nullptr;
    }
    for (size_t word = offset / 4; word < (offset + bytes) / 4; ++word) {
        const Access *other = note_word(words_[word], is_store, first, earlier_wrote);
        for (size_t at = 4 * word; split_[word] >= first && split_[word] != 0 && other == nullptr && at < 4 * word + 4; ++at) {
            other = conflict(bytes_[at], is_store, first, earlier_wrote);
        }
        if (other != nullptr) {
            return other;
        }
    }
    return nullptr;
}

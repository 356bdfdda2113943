/* Finding accesses of two threads to the same bytes that no barrier orders. */
#pragma once
#include <cstdint>

#include "block.h"

namespace shim
{
constexpr uint16_t SEVERAL_OF_A_WARP = 0x8000, SEVERAL_WARPS = 0xffff;

/* The latest access to a word: by a thread, by several of a warp (0x8000 + warp), or of several warps. */
struct Access {
    uint32_t epoch;
    uint16_t who, stamp; /* stamp: how often its warp had synchronized in that epoch */
};

struct Word {
    Access writer, reader;
};

/* Shadow of memory from `begin` on: a Word for each 4 bytes, and one for each byte where single bytes are accessed. */
class Races
{
  public:
    /* `bytes` of addresses are taken for the shadow; memory when it is touched. */
    void watch(uintptr_t begin, size_t bytes);
    bool is_watching() const { return words_ != nullptr; }
    /* Notes an access; what it conflicts with, or nullptr. Accesses from epoch `first` on count; those of earlier blocks
     * conflict always. `earlier_wrote` says what the other one was. */
    const Access *note(uintptr_t address, unsigned bytes, bool is_store, uint32_t first, bool &earlier_wrote);

  private:
    const Access *note_word(Word &word, bool is_store, uint32_t first, bool &earlier_wrote);
    const Access *conflict(const Word &word, bool is_store, uint32_t first, bool &earlier_wrote) const;

    uintptr_t begin_ = 0;
    Word *words_ = nullptr, *bytes_ = nullptr;
    uint32_t *split_ = nullptr; /* by word: the latest epoch in which single bytes of it were accessed */
};
} // namespace shim

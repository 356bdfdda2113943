/* The lower 16 bits of a word, signed. */
static inline int32_t low_half(uint32_t halves)
{
    return (int32_t)((halves & 0xffffu) ^ 0x8000u) - 0x8000;
}

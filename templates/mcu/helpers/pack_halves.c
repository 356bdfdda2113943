/* Two small integers as the halves of a word. */
static inline uint32_t pack_halves(int32_t low, int32_t high)
{
    return ((uint32_t)low & 0xffffu) | (uint32_t)high << 16;
}

/* The lower four bits, which have a sign. */
static inline int32_t low_nibble(int32_t byte)
{
    return (int32_t)((uint32_t)byte << 28) >> 28;
}

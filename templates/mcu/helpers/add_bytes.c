/* sum + all four bytes of a word. */
static inline uint32_t add_bytes(uint32_t sum, uint32_t word)
{
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
    uint32_t result;
    __asm("usada8 %0, %1, %2, %3"
          : "=r"(result)
          : "r"(word), "r"(0), "r"(sum));
    return result;
#else
    return sum + (word & 0xffu) + (word >> 8 & 0xffu) + (word >> 16 & 0xffu) + (word >> 24);
#endif
}

/* Both halves of sums, plus the signed bytes 0 and 2 of a word. */
static inline uint32_t add_widened_even(uint32_t sums, uint32_t word)
{
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
    uint32_t result;
    __asm("sxtab16 %0, %1, %2"
          : "=r"(result)
          : "r"(sums), "r"(word));
    return result;
#else
    const uint32_t more = widen_even(word);
    return ((sums + more) & 0xffffu) | ((sums >> 16) + (more >> 16)) << 16;
#endif
}

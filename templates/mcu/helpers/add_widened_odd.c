/* Both halves of sums, plus the signed bytes 1 and 3 of a word. */
static inline uint32_t add_widened_odd(uint32_t sums, uint32_t word)
{
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
    uint32_t result;
    __asm("sxtab16 %0, %1, %2, ror #8"
          : "=r"(result)
          : "r"(sums), "r"(word));
    return result;
#else
    return add_widened_even(sums, word >> 8);
#endif
}

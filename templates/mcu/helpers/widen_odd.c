/* Bytes 1 and 3 of a word, each as a signed 16-bit half. */
static inline uint32_t widen_odd(uint32_t word)
{
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
    uint32_t halves;
    __asm("sxtb16 %0, %1, ror #8"
          : "=r"(halves)
          : "r"(word));
    return halves;
#else
    return widen_even(word >> 8);
#endif
}

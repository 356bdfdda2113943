/* Bytes 0 and 2 of a word, each as a signed 16-bit half. */
static inline uint32_t widen_even(uint32_t word)
{
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
    uint32_t halves;
    __asm("sxtb16 %0, %1"
          : "=r"(halves)
          : "r"(word));
    return halves;
#else
    const uint32_t low = (((word & 0xffu) ^ 0x80u) - 0x80u) & 0xffffu;
    const uint32_t high = ((word >> 16 & 0xffu) ^ 0x80u) - 0x80u;
    return low | high << 16;
#endif
}

/* Bytes 1 and 3 of a word, each as a signed 16-bit half, plus the halves of `offset`. */
static inline uint32_t odd_bytes(uint32_t offset, uint32_t word)
{
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
    uint32_t halves;
    __asm("sxtab16 %0, %1, %2, ror #8"
          : "=r"(halves)
          : "r"(offset), "r"(word));
    return halves;
#else
    return even_bytes(offset, word >> 8);
#endif
}

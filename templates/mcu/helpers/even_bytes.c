/* Bytes 0 and 2 of a word, each as a signed 16-bit half, plus the halves of `offset`. */
static inline uint32_t even_bytes(uint32_t offset, uint32_t word)
{
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
    uint32_t halves;
    __asm("sxtab16 %0, %1, %2"
          : "=r"(halves)
          : "r"(offset), "r"(word));
    return halves;
#else
    const uint32_t low = (offset + (((word & 0xffu) ^ 0x80u) - 0x80u)) & 0xffffu;
    const uint32_t high = (offset >> 16) + ((((word >> 16) & 0xffu) ^ 0x80u) - 0x80u);
    return low | high << 16;
#endif
}

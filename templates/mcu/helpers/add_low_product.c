/* sum + a * b of the lower halves. */
static inline int32_t add_low_product(int32_t sum, uint32_t a, uint32_t b)
{
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
    int32_t result;
    __asm("smlabb %0, %1, %2, %3"
          : "=r"(result)
          : "r"(a), "r"(b), "r"(sum));
    return result;
#else
    return sum + low_half(a) * low_half(b);
#endif
}

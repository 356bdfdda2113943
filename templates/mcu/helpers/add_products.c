/* sum + the products of both halves. */
static inline int32_t add_products(int32_t sum, uint32_t a, uint32_t b)
{
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
    int32_t result;
    __asm("smlad %0, %1, %2, %3"
          : "=r"(result)
          : "r"(a), "r"(b), "r"(sum));
    return result;
#else
    return sum + low_half(a) * low_half(b) + low_half(a >> 16) * low_half(b >> 16);
#endif
}

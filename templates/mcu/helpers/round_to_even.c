/* The nearest integer, halves to even, within +-1024. */
static inline int32_t round_to_even(float x)
{
#if defined(__ARM_FP) && defined(__ARM_FEATURE_SAT) && defined(__thumb2__) && defined(__GNUC__)
    float rounded;
    int32_t integer;
    __asm("vcvtr.s32.f32 %0, %1"
          : "=t"(rounded)
          : "t"(x));
    __asm("vmov %0, %1\n\t"
          "ssat %0, #11, %0"
          : "=r"(integer)
          : "t"(rounded));
    return integer;
#else
    const volatile float stored = x; /* so that no fused multiply-add skips its rounding */
    const float limited = clip(stored, -1024.0f, 1024.0f);
    const volatile float shifted = limited + 12582912.0f; /* 1.5 * 2^23: units are its last bit */
    return (int32_t)(shifted - 12582912.0f);
#endif
}

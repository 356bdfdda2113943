static inline int8_t saturate_int8(int32_t value)
{
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
    int32_t result;
    __asm("ssat %0, #8, %1"
          : "=r"(result)
          : "r"(value));
    return (int8_t)result;
#else
    const int32_t raised = value < -128 ? -128 : value;
    return (int8_t)(raised > 127 ? 127 : raised);
#endif
}

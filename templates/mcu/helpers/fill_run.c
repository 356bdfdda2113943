/* `count` bytes of one value. */
static inline void fill_run(int8_t *to, int32_t value, int32_t count)
{
#if defined(__ARM_FEATURE_MVE) && defined(__GNUC__)
    __asm volatile(
        "vdup.8 q0, %2\n"
        "wlstp.8 lr, %1, 2f\n"
        "1:\n"
        "vstrb.8 q0, [%0], #16\n"
        "letp lr, 1b\n"
        "2:\n"
        : "+&r"(to)
        : "r"(count), "r"(value)
        : "lr", "d0", "d1", "memory");
#else
    for (int32_t i = 0; i < count; ++i) {
        to[i] = (int8_t)value;
    }
#endif
}

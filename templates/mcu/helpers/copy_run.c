/* `count` bytes from one place to another. */
static inline void copy_run(const int8_t *from, int8_t *to, int32_t count)
{
#if defined(__ARM_FEATURE_MVE) && defined(__GNUC__)
    __asm volatile(
        "wlstp.8 lr, %2, 2f\n"
        "1:\n"
        "vldrb.8 q0, [%0], #16\n"
        "vstrb.8 q0, [%1], #16\n"
        "letp lr, 1b\n"
        "2:\n"
        : "+&r"(from), "+&r"(to)
        : "r"(count)
        : "lr", "d0", "d1", "memory");
#elif defined(__riscv_vector) && defined(__GNUC__)
    while (count > 0) {
        long size;
        __asm volatile(
            "vsetvli %0, %3, e8, m8, ta, ma\n"
            "vle8.v v0, (%1)\n"
            "vse8.v v0, (%2)\n"
            : "=&r"(size)
            : "r"(from), "r"(to), "r"((long)count)
            : VECTOR_STATE "memory");
        from += size;
        to += size;
        count -= (int32_t)size;
    }
#else
    for (int32_t i = 0; i < count; ++i) {
        to[i] = from[i];
    }
#endif
}

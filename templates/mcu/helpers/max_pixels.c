/* The largest of `best` and of `pixels` pixels, `step` bytes apart, for up to sixteen channels. */
static inline void max_pixels(const int8_t *x, int32_t step, int32_t pixels, int32_t channels, int8_t *best)
{
#if defined(__ARM_FEATURE_MVE) && defined(__GNUC__)
    __asm volatile(
        "vctp.8 %4\n"
        "vldrb.8 q0, [%2]\n"
        "wls lr, %3, 2f\n"
        "1:\n"
        "vpstt\n"
        "vldrbt.8 q1, [%0]\n"
        "vmaxt.s8 q0, q0, q1\n"
        "add %0, %1\n"
        "le lr, 1b\n"
        "2:\n"
        "vstrb.8 q0, [%2]\n"
        : "+&r"(x)
        : "r"(step), "r"(best), "r"(pixels), "r"(channels)
        : "lr", "d0", "d1", "d2", "d3", "memory");
#elif defined(__riscv_vector) && defined(__GNUC__)
    __asm volatile(
        "vsetvli zero, %4, e8, m1, ta, ma\n"
        "vle8.v v0, (%2)\n"
        "1:\n"
        "blez %1, 2f\n"
        "vle8.v v1, (%0)\n"
        "add %0, %0, %3\n"
        "addi %1, %1, -1\n"
        "vmax.vv v0, v0, v1\n"
        "j 1b\n"
        "2:\n"
        "vse8.v v0, (%2)\n"
        : "+&r"(x), "+&r"(pixels)
        : "r"(best), "r"((long)step), "r"((long)channels)
        : VECTOR_STATE "memory");
#else
    for (int32_t pixel = 0; pixel < pixels; ++pixel) {
        for (int32_t channel = 0; channel < channels; ++channel) {
            best[channel] = x[pixel * step + channel] > best[channel] ? x[pixel * step + channel] : best[channel];
        }
    }
#endif
}

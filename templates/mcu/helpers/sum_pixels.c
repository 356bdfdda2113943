/* Adds `pixels` pixels, `step` bytes apart, to the sums of up to four channels. */
static inline void sum_pixels(const int8_t *x, int32_t step, int32_t pixels, int32_t channels, int32_t *sums)
{
#if defined(__ARM_FEATURE_MVE) && defined(__GNUC__)
    __asm volatile(
        "vctp.32 %4\n"
        "vldrw.32 q0, [%2]\n"
        "wls lr, %3, 2f\n"
        "1:\n"
        "vpst\n"
        "vldrbt.s32 q1, [%0]\n"
        "add %0, %1\n"
        "vadd.i32 q0, q0, q1\n"
        "le lr, 1b\n"
        "2:\n"
        "vstrw.32 q0, [%2]\n"
        : "+&l"(x)
        : "r"(step), "r"(sums), "r"(pixels), "r"(channels)
        : "lr", "d0", "d1", "d2", "d3", "memory");
#elif defined(__riscv_vector) && defined(__GNUC__)
    __asm volatile(
        "vsetvli zero, %4, e32, m1, ta, ma\n"
        "vle32.v v0, (%2)\n"
        "1:\n"
        "blez %1, 2f\n"
        "vle8.v v1, (%0)\n"
        "add %0, %0, %3\n"
        "addi %1, %1, -1\n"
        "vsext.vf4 v2, v1\n"
        "vadd.vv v0, v0, v2\n"
        "j 1b\n"
        "2:\n"
        "vse32.v v0, (%2)\n"
        : "+&r"(x), "+&r"(pixels)
        : "r"(sums), "r"((long)step), "r"((long)channels)
        : VECTOR_STATE "memory");
#else
    for (int32_t pixel = 0; pixel < pixels; ++pixel) {
        for (int32_t channel = 0; channel < channels; ++channel) {
            sums[channel] += x[pixel * step + channel];
        }
    }
#endif
}

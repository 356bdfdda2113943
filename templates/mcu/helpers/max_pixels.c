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
        : "+r"(x)
        : "r"(step), "r"(best), "r"(pixels), "r"(channels)
        : "lr", "d0", "d1", "d2", "d3", "memory");
#else
    for (int32_t pixel = 0; pixel < pixels; ++pixel) {
        for (int32_t channel = 0; channel < channels; ++channel) {
            best[channel] = x[pixel * step + channel] > best[channel] ? x[pixel * step + channel] : best[channel];
        }
    }
#endif
}

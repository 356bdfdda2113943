/* Pixels of a row, `x_step` bytes apart, to `cells` of every channel: channels are `pitch` bytes apart, pixels `step`. The
 * last channels are filled up to eight. */
static void interleave_row(const int8_t *x, int32_t x_step, int32_t pixels, int32_t channels, int8_t *cells, int32_t pitch, int32_t step)
{
#if defined(__ARM_FEATURE_MVE) && defined(__GNUC__)
    while (channels > 0) {
        const int32_t size = channels >= 16 ? 16 : 8;
        const int8_t *from = x;
        int8_t *to = cells;
        register int32_t zero __asm("r4") = 0;
        if (channels >= 16) {
            __asm volatile(
                "vidup.u16 q1, %2, #1\n"
                "vmul.i16 q1, q1, %3\n"
                "vadd.i16 q2, q1, %7\n"
                "wls lr, %4, 2f\n"
                "1:\n"
                "vldrb.u16 q0, [%0]\n"
                "vldrb.u16 q3, [%0, #8]\n"
                "add %0, %5\n"
                "vstrb.16 q0, [%1, q1]\n"
                "vstrb.16 q3, [%1, q2]\n"
                "add %1, %6\n"
                "le lr, 1b\n"
                "2:\n"
                : "+&l"(from), "+&r"(to), "+&r"(zero)
                : "r"(pitch), "r"(pixels), "r"(x_step), "r"(step), "r"(8 * pitch)
                : "lr", "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "memory");
        } else {
            __asm volatile(
                "vidup.u16 q1, %2, #1\n"
                "vmul.i16 q1, q1, %3\n"
                "vctp.16 %7\n"
                "wls lr, %4, 2f\n"
                "1:\n"
                "vpst\n"
                "vldrbt.u16 q0, [%0]\n"
                "add %0, %5\n"
                "vstrb.16 q0, [%1, q1]\n"
                "add %1, %6\n"
                "le lr, 1b\n"
                "2:\n"
                : "+&l"(from), "+&r"(to), "+&r"(zero)
                : "r"(pitch), "r"(pixels), "r"(x_step), "r"(step), "r"(channels)
                : "lr", "d0", "d1", "d2", "d3", "memory");
        }
        x += size;
        cells += size * pitch;
        channels -= size;
    }
#else
    for (int32_t channel = 0; channel < channels; ++channel) {
        for (int32_t pixel = 0; pixel < pixels; ++pixel) {
            cells[channel * pitch + pixel * step] = x[pixel * x_step + channel];
        }
    }
#endif
}

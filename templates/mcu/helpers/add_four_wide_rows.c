/* As add_four_rows, of values that are int16 already: of each four, words of values 0 and 2, then 1 and 3. */
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__GNUC__)
/* 14 instructions for 16 products: sums of a in r3 and r9, of words in r8 and lr; the first pass begins where
 * those after it are whole. */
__attribute__((naked, noinline)) static void add_four_wide_rows(const int8_t *columns __attribute__((unused)), const int8_t *weights __attribute__((unused)), int32_t count __attribute__((unused)), int32_t *sums __attribute__((unused)))
{
    __asm volatile(
        "push {r3-r11, lr}\n"
        "movs r3, #0\n"
        "mov r8, r3\n"
        "mov r9, r3\n"
        "mov lr, r3\n"
        "rsb r4, r2, #0\n"
        "ubfx r4, r4, #2, #3\n"
        "mov r5, #54\n" /* bytes of a four */
        "adr r6, 1f\n"
        "mla r4, r4, r5, r6\n"
        "mov pc, r4\n"
        ".p2align 2\n"
        "1:\n"
        ".rept 8\n"
        "ldrd r10, r11, [r0], #8\n"
        "ldm r1!, {r4-r7}\n"
        "smlad r8, r10, r4, r8\n"
        "sxtb16 r4, r4\n"
        "smlad r3, r10, r4, r3\n"
        "smlad r8, r11, r5, r8\n"
        "sxtb16 r5, r5\n"
        "smlad r3, r11, r5, r3\n"
        "smlad lr, r10, r6, lr\n"
        "sxtb16 r6, r6\n"
        "smlad r9, r10, r6, r9\n"
        "smlad lr, r11, r7, lr\n"
        "sxtb16 r7, r7\n"
        "smlad r9, r11, r7, r9\n"
        ".endr\n"
        "subs r2, #32\n"
        "bgt 1b\n"
        "sub r8, r3\n"
        "sub lr, r9\n"
        "ldr r10, [sp]\n"
        "ldm r10, {r4-r7}\n"
        "add r4, r3\n"
        "add r5, r5, r8, asr #8\n"
        "add r6, r9\n"
        "add r7, r7, lr, asr #8\n"
        "stm r10, {r4-r7}\n"
        "pop {r3-r11, pc}\n");
}
#else
static void add_four_wide_rows(const int8_t *columns, const int8_t *weights, int32_t count, int32_t *sums)
{
    for (int32_t row = 0; row < 4; row += 2) {
        int32_t first = 0, both = 0;
        for (int32_t i = 0; i < count; i += 4) {
            const uint32_t even_values = load_word(columns + 2 * i), odd_values = load_word(columns + 2 * i + 4);
            const uint32_t even = load_word(weights + 4 * (i + row)), odd = load_word(weights + 4 * (i + row) + 4);
            both = add_products(add_products(both, even_values, even), odd_values, odd);
            first = add_products(first, even_values, widen_even(even));
            first = add_products(first, odd_values, widen_even(odd));
        }
        sums[row] += first;
        sums[row + 1] += (both - first) >> 8;
    }
}
#endif

/* Adds to four sums the products of `count` values, at most 512 and a multiple of four, with four rows of weights.
 * For each four values there are four words: values 0 and 2, then 1 and 3, of rows 0 and 1; the same of rows 2 and 3. Both
 * halves of a word are a + 256 * b, with the weights a and b of two rows: less the sum of a, its products are 256 * b. */
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__GNUC__)
/* 18 instructions for 16 products: sums of a in r3 and r9, of words in r8 and lr. */
__attribute__((naked, noinline)) static void add_four_rows(const int8_t *x __attribute__((unused)), const int8_t *weights __attribute__((unused)), int32_t count __attribute__((unused)), int32_t *sums __attribute__((unused)))
{
    __asm volatile(
        "push {r3-r11, lr}\n"
        "movs r3, #0\n"
        "mov r8, r3\n"
        "mov r9, r3\n"
        "mov lr, r3\n"
        "1:\n"
        "ldr r11, [r0], #4\n"
        "ldm r1!, {r4-r7}\n"
        "sxtb16 r10, r11\n"
        "sxtb16 r11, r11, ror #8\n"
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
        "subs r2, #4\n"
        "bne 1b\n"
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
static void add_four_rows(const int8_t *x, const int8_t *weights, int32_t count, int32_t *sums)
{
    for (int32_t row = 0; row < 4; row += 2) {
        int32_t first = 0, both = 0;
        for (int32_t i = 0; i < count; i += 4) {
            const uint32_t values = load_word(x + i);
            const uint32_t even = load_word(weights + 4 * (i + row)), odd = load_word(weights + 4 * (i + row) + 4);
            both = add_products(add_products(both, widen_even(values), even), widen_odd(values), odd);
            first = add_products(first, widen_even(values), widen_even(even));
            first = add_products(first, widen_odd(values), widen_even(odd));
        }
        sums[row] += first;
        sums[row + 1] += (both - first) >> 8;
    }
}
#endif

/* x * multiplier * 2^(shift - 31), rounded twice with halves up. */
static inline int32_t requantize_half_up(int32_t x, int32_t multiplier, int32_t shift)
{
    const int32_t product = doubling_high_product(shift > 0 ? shift_up(x, shift) : x, multiplier);
    return shift < 0 ? (int32_t)(((int64_t)product + ((int64_t)1 << (-shift - 1))) >> -shift) : product;
}

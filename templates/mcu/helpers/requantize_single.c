/* x * multiplier * 2^(shift - 31), rounded once with halves up. */
static inline int32_t requantize_single(int32_t x, int32_t multiplier, int32_t shift)
{
    return (int32_t)(((int64_t)x * multiplier + ((int64_t)1 << (30 - shift))) >> (31 - shift));
}

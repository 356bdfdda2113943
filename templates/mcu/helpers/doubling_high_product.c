/* a * b / 2^31, halves rounded up; a and b are not both INT32_MIN. */
static inline int32_t doubling_high_product(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

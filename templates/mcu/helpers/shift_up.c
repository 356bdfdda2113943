/* x * 2^shift, saturated. */
static inline int32_t shift_up(int32_t x, int32_t shift)
{
    const int64_t wide = (int64_t)x * ((int64_t)1 << shift);
    if (wide > INT32_MAX) {
        return INT32_MAX;
    }
    return wide < INT32_MIN ? INT32_MIN : (int32_t)wide;
}

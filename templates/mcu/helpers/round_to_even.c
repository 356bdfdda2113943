/* The nearest integer, halves to even, within +-1024. Stored first, so that no fused multiply-add skips its rounding. */
static inline int32_t round_to_even(float x)
{
    const volatile float stored = x;
    const float limited = clip(stored, -1024.0f, 1024.0f);
    const volatile float shifted = limited + 12582912.0f; /* 1.5 * 2^23: units are its last bit */
    return (int32_t)(shifted - 12582912.0f);
}

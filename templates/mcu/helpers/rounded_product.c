/* x * y, stored, so that no fused multiply-add skips its rounding. */
static inline float rounded_product(float x, float y)
{
    const volatile float product = x * y;
    return product;
}

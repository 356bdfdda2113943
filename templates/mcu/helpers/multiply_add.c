/* x * y + z, rounded once. */
static inline float multiply_add(float x, float y, float z)
{
#if defined(__ARM_FEATURE_FMA) && defined(__GNUC__)
    return __builtin_fmaf(x, y, z);
#else
    return (float)((double)x * (double)y + (double)z); /* exact in double, for a ratio and small integers */
#endif
}

/* x * y + z, rounded once: in double the product and the sum of a ratio and small integers are exact. */
static inline float multiply_add(float x, float y, float z)
{
    return (float)((double)x * (double)y + (double)z);
}

static inline int32_t clamp_range(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : (value > high ? high : value);
}

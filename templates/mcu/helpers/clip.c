static inline float clip(float x, float low, float high)
{
    const float raised = x < low ? low : x;
    return raised > high ? high : raised;
}

static float sigmoid(float x)
{
    const float small = exponential(x < 0.0f ? x : -x);
    return (x < 0.0f ? small : 1.0f) / (1.0f + small);
}

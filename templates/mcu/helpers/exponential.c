/* exp(x) to about 1e-7: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]. NaN stays NaN, and never becomes an integer. */
static float exponential(float x)
{
    const float raised = x > -87.0f ? x : -87.0f;
    const float limited = raised > 88.0f ? 88.0f : raised;
    const float scaled = limited * 1.44269504f;
    const int32_t n = (int32_t)(scaled + (scaled < 0.0f ? -0.5f : 0.5f));
    const float r = (limited - (float)n * 0.693359375f) + (float)n * 2.12194440e-4f;
    const float series = 1.0f + r * (1.0f + r * (0.5f + r * (1.66666667e-1f + r * (4.16666667e-2f + r * (8.33333333e-3f + r * 1.38888889e-3f)))));
    const uint32_t bits = (uint32_t)(n + 127) << 23;
    float power;
    (void)COPY_BYTES(&power, &bits, sizeof power);
    if (x >= -87.0f) {
        return series * power;
    }
    return x < -87.0f ? 0.0f : x;
}

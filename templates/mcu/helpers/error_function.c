/* erf(x) to 2e-7 (Abramowitz and Stegun, 7.1.26): odd, 1 - polynomial of 1 / (1 + p x) times exp(-x^2). */
static float error_function(float x)
{
    const float size = x < 0.0f ? -x : x;
    const float t = 1.0f / (1.0f + 0.3275911f * size);
    const float series = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
    const float result = 1.0f - series * exponential(-size * size);
    return x < 0.0f ? -result : result;
}

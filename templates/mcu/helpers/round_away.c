/* The nearest integer, halves away from zero, within +-1024. */
static inline int32_t round_away(float x)
{
    const float limited = clip(x, -1024.0f, 1024.0f);
    const int32_t whole = (int32_t)limited;
    const float rest = limited - (float)whole;
    if (rest >= 0.5f) {
        return whole + 1;
    }
    return rest <= -0.5f ? whole - 1 : whole;
}

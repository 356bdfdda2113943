/* 1 / (1 + a) for a in [0, 1) as Q0.31, below 1: Newton's method in three steps. */
static int32_t reciprocal_of_one_plus(int32_t a)
{
    const int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) >> 1);
    int32_t x = 1515870810 + product_q31(half, -1010580540); /* Q2.29 */
    for (int32_t i = 0; i < 3; ++i) {
        const int32_t error = (1 << 29) - product_q31(half, x);
        x += product_q31(x, error) * 4;
    }
    return x < 1 << 30 ? x * 2 : INT32_MAX;
}

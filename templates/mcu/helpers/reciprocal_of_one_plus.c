/* 1 / (1 + a) for a in [0, 1) as Q0.31: Newton's method in three steps. */
static int32_t reciprocal_of_one_plus(int32_t a)
{
    const int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) >> 1);
    int32_t x = 1515870810 + doubling_high_product(half, -1010580540);
    for (int32_t i = 0; i < 3; ++i) {
        const int32_t error = (1 << 29) - doubling_high_product(half, x);
        x += shift_up(doubling_high_product(x, error), 2);
    }
    return shift_up(x, 1);
}

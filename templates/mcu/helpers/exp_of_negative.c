/* exp(a) for a <= 0 in Q5.26 -> Q0.31: a polynomial on [-1/4, 0), then a factor for every set bit above. */
static int32_t exp_of_negative(int32_t a)
{
    static const int32_t factors[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
    const int32_t near_zero = (a & 0xffffff) - (1 << 24);
    const int32_t x = near_zero * 32 + (1 << 28);
    const int32_t square = product_q31(x, x);
    const int32_t cube = product_q31(square, x);
    const int32_t fourth = product_q31(square, square);
    const int32_t higher = product_q31(divide_by_power(fourth, 2) + cube, 715827883) + square;
    const int32_t series = product_q31(x + divide_by_power(higher, 1), 1895147668);
    const int32_t whole = near_zero - a;
    int32_t result = 1895147668 + series;
    for (int32_t i = 0; i < 7; ++i) {
        if (((uint32_t)whole & (1u << (24 + i))) != 0u) {
            result = product_q31(result, factors[i]);
        }
    }
    return a == 0 ? INT32_MAX : result;
}

/* a * b / 2^31, halves rounded up; a and b are not both INT32_MIN. A function of its own: a softmax calls it often. */
#if defined(__GNUC__)
__attribute__((noinline)) /* its code is longer than a call */
#endif
static int32_t product_q31(int32_t a, int32_t b)
{
    return doubling_high_product(a, b);
}

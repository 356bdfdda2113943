/* x * multiplier * 2^(shift - 31), rounded twice as TFLite's reference kernels do. */
static inline int32_t requantize_tflite(int32_t x, int32_t multiplier, int32_t shift)
{
    const int32_t product = doubling_high_product(shift > 0 ? shift_up(x, shift) : x, multiplier);
    return shift < 0 ? divide_by_power(product, -shift) : product;
}

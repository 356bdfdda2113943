static inline float float_of_bits(int32_t bits)
{
    float value;
    (void)COPY_BYTES(&value, &bits, sizeof value);
    return value;
}

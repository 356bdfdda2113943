static inline void store_half(int8_t *bytes, int32_t value)
{
    const int16_t half = (int16_t)value;
    (void)COPY_BYTES(bytes, &half, sizeof half);
}

static inline void store_word(int8_t *bytes, uint32_t word)
{
    (void)COPY_BYTES(bytes, &word, sizeof word);
}

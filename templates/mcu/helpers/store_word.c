static inline void store_word(int8_t *bytes, uint32_t word)
{
    memcpy(bytes, &word, sizeof word);
}

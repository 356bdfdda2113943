/* Four bytes, the first in the lowest bits. */
static inline uint32_t load_word(const int8_t *bytes)
{
    uint32_t word;
    (void)COPY_BYTES(&word, bytes, sizeof word);
    return word;
}

/* The larger of both signed bytes in each of four places. */
static inline uint32_t larger_bytes(uint32_t a, uint32_t b)
{
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
    uint32_t larger;
    __asm("ssub8 %0, %1, %2\n"
          "sel %0, %1, %2"
          : "=&r"(larger)
          : "r"(a), "r"(b)
          : "cc");
    return larger;
#else
    uint32_t larger = 0;
    for (uint32_t place = 0xffu; place != 0; place <<= 8) {
        const uint32_t sign = place & 0x80808080u;
        larger |= ((a & place) ^ sign) > ((b & place) ^ sign) ? a & place : b & place;
    }
    return larger;
#endif
}

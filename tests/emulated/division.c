/* What needs the compiler's own library on small cores. */
#include <stdint.h>

int32_t quotient(int32_t dividend, int32_t divisor)
{
    return dividend / divisor;
}

uint32_t scaled_by_pi(uint32_t value)
{
    return (uint32_t)((float)value * 3.14159274f);
}

uint32_t high_word(uint32_t one, uint32_t other)
{
    return (uint32_t)((uint64_t)one * other >> 32);
}

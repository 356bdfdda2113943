/* memcpy, memmove, memset and memcmp by words: the same instructions whichever C library a compiler would bring. */
#include <stdint.h>
#include <string.h>

typedef uint32_t __attribute__((may_alias)) word; /* memory that holds objects of any type */

#define WORD sizeof(word)
#define ALIGNED(pointer) ((uintptr_t)(pointer) % WORD == 0)

/* From the lowest address up; `to` may overlap `from` if it lies below. */
static inline void copy_up(unsigned char *to, const unsigned char *from, size_t count)
{
    if (((uintptr_t)to ^ (uintptr_t)from) % WORD == 0) {
        for (; count > 0 && !ALIGNED(to); --count)
            *to++ = *from++;
        for (; count >= 4 * WORD; count -= 4 * WORD, to += 4 * WORD, from += 4 * WORD) {
            const word first = ((const word *)from)[0], second = ((const word *)from)[1];
            const word third = ((const word *)from)[2], fourth = ((const word *)from)[3];
            ((word *)to)[0] = first;
            ((word *)to)[1] = second;
            ((word *)to)[2] = third;
            ((word *)to)[3] = fourth;
        }
        for (; count >= WORD; count -= WORD, to += WORD, from += WORD)
            *(word *)to = *(const word *)from;
    }
    for (; count > 0; --count)
        *to++ = *from++;
}

void *memcpy(void *restrict destination, const void *restrict source, size_t count)
{
    copy_up(destination, source, count);
    return destination;
}

void *memmove(void *destination, const void *source, size_t count)
{
    unsigned char *to = destination;
    const unsigned char *from = source;
    if ((uintptr_t)to - (uintptr_t)from >= count) { /* unsigned: also true where `to` lies below */
        copy_up(to, from, count);
        return destination;
    }
    to += count;
    from += count;
    if (((uintptr_t)to ^ (uintptr_t)from) % WORD == 0) {
        for (; count > 0 && !ALIGNED(to); --count)
            *--to = *--from;
        for (; count >= WORD; count -= WORD) {
            to -= WORD;
            from -= WORD;
            *(word *)to = *(const word *)from;
        }
    }
    for (; count > 0; --count)
        *--to = *--from;
    return destination;
}

void *memset(void *destination, int value, size_t count)
{
    unsigned char *to = destination;
    const word pattern = (unsigned char)value * UINT32_C(0x01010101);
    for (; count > 0 && !ALIGNED(to); --count)
        *to++ = (unsigned char)value;
    for (; count >= WORD; count -= WORD, to += WORD)
        *(word *)to = pattern;
    for (; count > 0; --count)
        *to++ = (unsigned char)value;
    return destination;
}

int memcmp(const void *left, const void *right, size_t count)
{
    const unsigned char *one = left, *other = right;
    for (; count > 0; --count, ++one, ++other)
        if (*one != *other)
            return *one < *other ? -1 : 1;
    return 0;
}

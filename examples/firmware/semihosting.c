/* Semihosting: BKPT 0xAB with an operation in r0 and its parameter in r1 (Arm, "Semihosting for AArch32 and AArch64"). */
#include "semihosting.h"

#include <stdint.h>

#define SYS_WRITE0 0x04u
#define SYS_EXIT 0x18u
#define APPLICATION_EXIT 0x20026u /* the program ended by itself */
#define RUN_TIME_ERROR 0x20023u

static void call(uint32_t operation, uint32_t parameter)
{
    register uint32_t r0 __asm__("r0") = operation;
    register uint32_t r1 __asm__("r1") = parameter;
    __asm__ volatile("bkpt 0xAB"
                     : "+r"(r0)
                     : "r"(r1)
                     : "memory");
}

void print(const char *text)
{
    call(SYS_WRITE0, (uint32_t)text);
}

void print_number(unsigned number)
{
    char digits[11];
    char *first = digits + sizeof digits - 1;
    *first = '\0';
    do {
        *--first = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    print(first);
}

void leave(int status)
{
    call(SYS_EXIT, status == 0 ? APPLICATION_EXIT : RUN_TIME_ERROR);
    for (;;) {
    }
}

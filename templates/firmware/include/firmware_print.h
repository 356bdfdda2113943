/* Text from a program to whoever runs it in an emulator or under a debugger: semihosting.
 * Source: Arm, "Semihosting for AArch32 and AArch64", 2.0; "RISC-V Semihosting", 0.2. */
#ifndef DSCOMPILE_FIRMWARE_PRINT_H
#define DSCOMPILE_FIRMWARE_PRINT_H

#include <stdint.h>

enum { SEMIHOSTING_WRITE0 = 0x04, SEMIHOSTING_EXIT_EXTENDED = 0x20 };

static inline void firmware_semihost(uintptr_t operation, const void *argument)
{
#if defined(__arm__)
    register uintptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
#elif defined(__riscv)
    register uintptr_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;
    /* The three instructions must lie in one page and must not be compressed. */
    __asm__ volatile(".option push\n\t"
                     ".option norvc\n\t"
                     ".p2align 4\n\t"
                     "slli zero, zero, 0x1f\n\t"
                     "ebreak\n\t"
                     "srai zero, zero, 7\n\t"
                     ".option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
#else
#error "semihosting is known for Arm and RISC-V"
#endif
}

/* Prints a text up to its zero. */
static inline void firmware_print(const char *text)
{
    firmware_semihost(SEMIHOSTING_WRITE0, text);
}

/* Ends the emulator with an exit code; for programs with a start-up code of their own. */
static inline void firmware_exit(int code)
{
    const uintptr_t application_exit[2] = {0x20026u, (uintptr_t)code};
    firmware_semihost(SEMIHOSTING_EXIT_EXTENDED, application_exit);
}

#endif

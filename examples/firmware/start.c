/* From reset to main(): the vector table, the floating-point unit, initialized and zeroed variables. */
#include "semihosting.h"

#include <stdint.h>

#define CPACR (*(volatile uint32_t *)0xE000ED88u) /* coprocessor access control register */
#define FULL_ACCESS_TO_FPU (0xFu << 20)

/* Addresses that firmware.ld defines; only &symbol means something. */
extern uint32_t stack_top, data_start, data_end, data_load, bss_start, bss_end;

int main(void);
void reset(void);

static void fault(void)
{
    print("fault\n");
    leave(1);
}

void reset(void)
{
    const uint32_t *from = &data_load;
    uint32_t *to;
    CPACR |= FULL_ACCESS_TO_FPU;
    __asm__ volatile("dsb\n\tisb");
    for (to = &data_start; to < &data_end; ++to) {
        *to = *from++;
    }
    for (to = &bss_start; to < &bss_end; ++to) {
        *to = 0;
    }
    leave(main());
}

typedef struct vectors {
    uint32_t *stack;
    void (*handlers[15])(void);
} vectors;

/* The core reads the first two words at reset: the stack pointer and where to begin. No interrupt is used. */
__attribute__((section(".vectors"), used)) static const vectors table = {
    &stack_top,
    {reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, fault}};

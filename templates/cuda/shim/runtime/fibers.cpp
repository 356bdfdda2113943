#include "fibers.h"

#include <cstdint>

#if (defined(__x86_64__) || defined(__aarch64__)) && !defined(SHIM_UCONTEXT)

extern "C" void shim_switch(void **from, void *to);

#if defined(__x86_64__)
/* The registers that a call preserves are pushed, and the stack pointer is exchanged. */
asm(R"(
    .text
    .globl shim_switch
    .type shim_switch, @function
shim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size shim_switch, . - shim_switch
)");

static void *first_context(uintptr_t top, void (*body)())
{
    void **stack = reinterpret_cast<void **>(top & ~uintptr_t(15));
    *--stack = nullptr; /* what the body would return to; also aligns the stack as a call does */
    *--stack = reinterpret_cast<void *>(body);
    for (int index = 0; index < 6; ++index) {
        *--stack = nullptr;
    }
    return stack;
}
#else
asm(R"(
    .text
    .globl shim_switch
    .type shim_switch, %function
shim_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size shim_switch, . - shim_switch
)");

static void *first_context(uintptr_t top, void (*body)())
{
    void **stack = reinterpret_cast<void **>(top & ~uintptr_t(15)) - 20;
    for (int index = 0; index < 20; ++index) {
        stack[index] = nullptr;
    }
    stack[11] = reinterpret_cast<void *>(body); /* x30 */
    return stack;
}
#endif

void shim::switch_fibers(Fiber &from, Fiber &to)
{
    shim_switch(&from.context, to.context);
}

void shim::start_anew(Fiber &fiber, void (*body)())
{
    fiber.context = first_context(reinterpret_cast<uintptr_t>(fiber.stack) + fiber.stack_bytes, body);
}

#else /* any other machine; slower, since each switch is a system call */

#include <ucontext.h>

static ucontext_t *context_of(shim::Fiber &fiber)
{
    if (fiber.context == nullptr) {
        fiber.context = new ucontext_t;
    }
    return static_cast<ucontext_t *>(fiber.context);
}

void shim::switch_fibers(Fiber &from, Fiber &to)
{
    swapcontext(context_of(from), context_of(to));
}

void shim::start_anew(Fiber &fiber, void (*body)())
{
    ucontext_t *const context = context_of(fiber);
    getcontext(context);
    context->uc_stack.ss_sp = fiber.stack;
    context->uc_stack.ss_size = fiber.stack_bytes;
    context->uc_link = nullptr;
    makecontext(context, body, 0);
}
#endif

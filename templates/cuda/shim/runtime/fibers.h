/* Contexts of execution on stacks of their own, switched by hand: no system call, some ten instructions. */
#pragma once
#include <cstddef>

namespace shim
{
struct Fiber {
    void *context = nullptr; /* where it goes on; kept while it does not run */
    char *stack = nullptr;
    size_t stack_bytes = 0;
};

/* Saves the caller in `from` and goes on in `to`. Returns when somebody switches back. */
void switch_fibers(Fiber &from, Fiber &to);
/* Makes `fiber` start anew with `body`, which must never return, on the memory that its `stack` names. */
void start_anew(Fiber &fiber, void (*body)());
} // namespace shim

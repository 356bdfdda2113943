/* What code compiled with -fsanitize=thread calls at each access to memory. The sanitizer's own library is not linked. */
#include "traffic.h"

namespace
{
bool is_instrumented = false;
}

bool shim::is_checked()
{
    return is_instrumented;
}

#define SHIM_ACCESS(name, bytes, is_store, is_natural)                                       \
    extern "C" void __tsan_##name(void *address)                                             \
    {                                                                                        \
        shim::note_access(reinterpret_cast<uintptr_t>(address), bytes, is_store, is_natural, \
                          reinterpret_cast<uintptr_t>(__builtin_return_address(0)));         \
    }
#define SHIM_ACCESSES(bytes)                              \
    SHIM_ACCESS(read##bytes, bytes, false, true)          \
    SHIM_ACCESS(write##bytes, bytes, true, true)          \
    SHIM_ACCESS(volatile_read##bytes, bytes, false, true) \
    SHIM_ACCESS(volatile_write##bytes, bytes, true, true)
#define SHIM_UNALIGNED(bytes)                               \
    SHIM_ACCESS(unaligned_read##bytes, bytes, false, false) \
    SHIM_ACCESS(unaligned_write##bytes, bytes, true, false)

SHIM_ACCESSES(1)
SHIM_ACCESSES(2)
SHIM_ACCESSES(4)
SHIM_ACCESSES(8)
SHIM_ACCESSES(16)
SHIM_UNALIGNED(2)
SHIM_UNALIGNED(4)
SHIM_UNALIGNED(8)
SHIM_UNALIGNED(16)

namespace
{
/* A structure that has no power of two as its size: word by word, as the device copies it. */
void note_range(uintptr_t address, uintptr_t bytes, bool is_store, uintptr_t pc)
{
    for (uintptr_t at = 0; at < bytes; at += 4) {
        shim::note_access(address + at, bytes - at < 4 ? (unsigned)(bytes - at) : 4, is_store, false, pc + at);
    }
}
} // namespace

extern "C" {
void __tsan_init(void) { is_instrumented = true; }
void __tsan_func_entry(void *) {}
void __tsan_func_exit(void) {}
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}

void __tsan_read_range(void *address, uintptr_t bytes)
{
    note_range(reinterpret_cast<uintptr_t>(address), bytes, false, reinterpret_cast<uintptr_t>(__builtin_return_address(0)));
}

void __tsan_write_range(void *address, uintptr_t bytes)
{
    note_range(reinterpret_cast<uintptr_t>(address), bytes, true, reinterpret_cast<uintptr_t>(__builtin_return_address(0)));
}
}

/* Atomic operations of host code (of the C++ library, in reference counts): done, and neither checked nor counted. */
#define SHIM_ATOMIC(bits, type)                                                         \
    extern "C" type __tsan_atomic##bits##_fetch_add(volatile type *at, type value, int) \
    {                                                                                   \
        return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST);                         \
    }                                                                                   \
    extern "C" type __tsan_atomic##bits##_fetch_sub(volatile type *at, type value, int) \
    {                                                                                   \
        return __atomic_fetch_sub(at, value, __ATOMIC_SEQ_CST);                         \
    }                                                                                   \
    extern "C" type __tsan_atomic##bits##_load(const volatile type *at, int)            \
    {                                                                                   \
        return __atomic_load_n(at, __ATOMIC_SEQ_CST);                                   \
    }                                                                                   \
    extern "C" void __tsan_atomic##bits##_store(volatile type *at, type value, int)     \
    {                                                                                   \
        __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                  \
    }
SHIM_ATOMIC(8, uint8_t)
SHIM_ATOMIC(32, uint32_t)
SHIM_ATOMIC(64, uint64_t)

/* A hook for unicorn's blocks that counts executed instructions; in C, as a Python function per block would cost more
 * than the emulation. unicorn says how many bytes a block has, so its instructions are counted by their lengths. */
#include "counting.h"

#include <stddef.h>

#define LARGEST 4096

/* dscompile/run/emulators/unicorn.py has the same structure. */
typedef struct unicorn_counting {
    counters *count;
    int (*stop)(void *engine);
    int (*read)(void *engine, uint64_t address, void *bytes, size_t size);
    int (*read_register)(void *engine, int number, void *value);
    const uint8_t *code; /* a copy of the memory with the code */
    uint64_t code_address, code_size;
    uint64_t is_arm;
    uint64_t pc_register;
    uint64_t misaligned;         /* 1: an access was not at a multiple of its size */
    uint64_t misaligned_address; /* of the first one */
    uint64_t misaligned_pc;
} unicorn_counting;

static unsigned length(const uint8_t *code, int is_arm)
{
    if (is_arm) /* Arm v7-M, A5.1: the first halfword of 32-bit instructions begins with 11101, 11110 or 11111 */
        return code[1] >> 3 >= 0x1d ? 4 : 2;
    return (code[0] & 3) == 3 ? 4 : 2; /* RISC-V, volume 1, 1.5 */
}

#define EXPORTED __attribute__((visibility("default")))

EXPORTED void on_block(void *engine, uint64_t address, uint32_t size, void *argument)
{
    const unicorn_counting *const counting = argument;
    uint8_t copy[LARGEST];
    const uint8_t *code = copy;
    uint64_t instructions = 0;
    if (address - counting->code_address <= counting->code_size - size && size <= counting->code_size)
        code = counting->code + (address - counting->code_address);
    else if (size > LARGEST || counting->read(engine, address, copy, size) != 0)
        size = 0; /* nothing is there: the fault that follows is reported */
    for (uint32_t at = 0; at + 1 < size; at += length(code + at, (int)counting->is_arm))
        ++instructions;
    if (count_block(counting->count, address, instructions))
        counting->stop(engine);
}

/* For cores on which an access that is not aligned is a fault; unicorn lets it pass. */
EXPORTED void on_access(void *engine, int kind, uint64_t address, int size, int64_t value, void *argument)
{
    unicorn_counting *const counting = argument;
    uint32_t pc = 0;
    (void)kind;
    (void)value;
    if (address % (uint64_t)size == 0 || counting->misaligned)
        return;
    counting->read_register(engine, (int)counting->pc_register, &pc);
    counting->misaligned = 1;
    counting->misaligned_address = address;
    counting->misaligned_pc = pc;
    counting->stop(engine);
}

/* A range of addresses and the bytes that loads and stores moved in it while instructions were counted. */
typedef struct watched_range {
    uint64_t start, end; /* dscompile/run/emulators/unicorn.py has the same structure */
    uint64_t loaded, stored;
} watched_range;

typedef struct watching {
    const counters *count;
    watched_range *ranges;
    uint64_t range_count;
} watching;

EXPORTED void on_watched(void *engine, int kind, uint64_t address, int size, int64_t value, void *argument)
{
    const watching *const watch = argument;
    (void)engine;
    (void)value;
    if (!watch->count->running)
        return;
    for (uint64_t i = 0; i < watch->range_count; ++i) {
        watched_range *const range = &watch->ranges[i];
        if (address >= range->start && address < range->end) {
            *(kind == 16 ? &range->loaded : &range->stored) += (uint64_t)size; /* UC_MEM_READ is 16 */
            return;
        }
    }
}

/* How often every block was executed, and left by a jump, in each step: `count->marks` is the number of the step. */
typedef struct stepping {
    const counters *count;
    uint64_t code_address, halfwords, steps; /* dscompile/run/emulators/unicorn.py has the same structure */
    uint32_t *sizes;                         /* of the block at a halfword, in bytes */
    uint64_t *executed, *jumped;             /* [steps][halfwords] */
    uint64_t *left;                          /* where the block before is counted if it was left by a jump; or NULL */
    uint64_t end;                            /* of the block before */
} stepping;

EXPORTED void on_stepped(void *engine, uint64_t address, uint32_t size, void *argument)
{
    stepping *const steps = argument;
    const uint64_t at = (address - steps->code_address) / 2;
    (void)engine;
    if (!steps->count->running)
        return;
    if (steps->left != 0 && address != steps->end)
        ++*steps->left;
    steps->left = 0;
    if (at >= steps->halfwords || steps->count->marks >= steps->steps)
        return;
    const uint64_t index = steps->count->marks * steps->halfwords + at;
    steps->sizes[at] = size;
    ++steps->executed[index];
    steps->left = &steps->jumped[index];
    steps->end = address + size;
}

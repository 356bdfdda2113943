/* Frames and calls for the static bound of the stack. */
#include <stdint.h>

typedef void (*callback)(uint32_t);
void outside(uint32_t *);
uint32_t table[100] = {1};
uint32_t zeros[50];
static const uint8_t weights[321] = {3};

__attribute__((noinline)) static uint32_t leaf(uint32_t value)
{
    volatile uint32_t room[25];
    for (uint32_t index = 0; index < 25; ++index)
        room[index] = value;
    return room[value % 8u];
}

uint32_t nested(uint32_t value)
{
    volatile uint32_t room[50];
    for (uint32_t index = 0; index < 50; ++index)
        room[index] = leaf(value + index);
    return room[3] + leaf(room[4]) + table[value % 4u] + weights[value % 256u] + zeros[value % 32u];
}

void through_a_pointer(callback function)
{
    volatile uint32_t room[10] = {0};
    function(room[0]);
    room[1] = 2;
}

uint32_t recursive(uint32_t depth)
{
    volatile uint32_t here = depth;
    return depth == 0 ? 0 : recursive(depth - 1) + here;
}

uint32_t elsewhere(void)
{
    uint32_t room[4];
    outside(room);
    return room[0];
}

void outside(uint32_t *room)
{
    __asm__ volatile("" : : "r"(room) : "memory");
}

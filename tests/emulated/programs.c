/* Small functions with known results, for every emulated core. */
#include <stdint.h>
#include <string.h>

#include <firmware_print.h>

int32_t values[64];
int8_t left[64], right[64];
float samples[16], scaled[16];
uint8_t bytes[300] __attribute__((aligned(4))), copy[300] __attribute__((aligned(4)));
uint32_t loaded;
int32_t initialized[3] = {5, -7, 11};
const int32_t constant[2] = {1000000, 7};
volatile uint32_t ticks;

__attribute__((noinline)) int32_t sum(void)
{
    int32_t total = 0;
    for (int index = 0; index < 64; ++index)
        total += values[index];
    return total;
}

int32_t initial_values(void)
{
    return initialized[0] * initialized[1] * initialized[2] + constant[0] + constant[1] + values[0];
}

int32_t four_arguments(const int32_t *array, int32_t second, int32_t third, int32_t fourth)
{
    return array[0] + 10 * second + 100 * third + 1000 * fourth;
}

/* Two products at a time where the core has SMLAD; the portable twin gives the same. */
static int32_t two_products(uint32_t one, uint32_t other, int32_t total)
{
#if defined(__ARM_FEATURE_DSP)
    int32_t result;
    __asm__("smlad %0, %1, %2, %3" : "=r"(result) : "r"(one), "r"(other), "r"(total));
    return result;
#else
    return total + (int16_t)one * (int16_t)other + (int16_t)(one >> 16) * (int16_t)(other >> 16);
#endif
}

int32_t dot(void)
{
    int32_t total = 0;
    for (int index = 0; index < 64; index += 2) {
        const uint32_t one = (uint16_t)left[index] | (uint32_t)(uint16_t)left[index + 1] << 16;
        const uint32_t other = (uint16_t)right[index] | (uint32_t)(uint16_t)right[index + 1] << 16;
        total = two_products(one, other, total);
    }
    return total;
}

#if defined(__ARM_FP)
void scale(void)
{
    for (int index = 0; index < 16; ++index)
        scaled[index] = samples[index] * 1.5f + 0.25f;
}
#endif

#define FOUR(x) x x x x
#define EVERY_STEP FOUR(FOUR(FOUR(FOUR(state ^= state << 13; state ^= state >> 17; state ^= state << 5; ticks = state;))))

/* Thousands of instructions without a branch: more than an emulator puts into one block. */
uint32_t straight(uint32_t state)
{
    EVERY_STEP return state;
}

uint32_t fill_stack(uint32_t size)
{
    volatile uint8_t room[1000];
    for (uint32_t index = 0; index < sizeof room; ++index)
        room[index] = (uint8_t)(index + size);
    return room[size];
}

void overflow(uint32_t depth)
{
    volatile uint8_t room[512];
    for (uint32_t index = 0; index < sizeof room; ++index)
        room[index] = (uint8_t)depth;
    if (depth > 1)
        overflow(depth - 1);
    room[0] = 0;
}

__attribute__((noinline)) void tick(void)
{
    ++ticks;
}

void three_ticks(void)
{
    for (int index = 0; index < 3; ++index) {
        values[0] = sum();
        tick();
    }
}

void move_up(uint32_t distance)
{
    memmove(bytes + distance, bytes, 100);
}

void move_down(uint32_t distance)
{
    memmove(bytes, bytes + distance, 100);
}

void copy_from(uint32_t offset, uint32_t to, uint32_t count)
{
    memcpy(copy + to, bytes + offset, count);
}

void set_bytes(uint32_t start, uint32_t value, uint32_t count)
{
    memset(bytes + start, (int)value, count);
}

int32_t compare(uint32_t count)
{
    return memcmp(bytes, copy, count);
}

void load(const volatile uint32_t *word)
{
    loaded = *word;
}

uint32_t bad_load(void)
{
    return *(volatile uint32_t *)0x90000000u;
}

void bad_store(void)
{
    *(volatile uint32_t *)0x90000004u = 1;
}

void undefined(void)
{
#if defined(__arm__)
    __asm__ volatile(".short 0xde00");
#else
    __asm__ volatile(".word 0");
#endif
}

void jump_nowhere(void)
{
    ((void (*)(void))(uintptr_t)0x90000001u)();
}

void hang(void)
{
    for (;;)
        ++ticks;
}

int32_t greet(void)
{
    firmware_print("first line\n");
    firmware_print("");
    firmware_print("second line\n");
    return 7;
}

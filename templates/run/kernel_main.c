/* One call of a kernel as a program of its own, for an emulator: operands come from stdin, results go to stdout.
 *
 * Compiled with -DKERNEL=symbol -DPARAMETERS="void *, ..." -DARGUMENTS="p[0], ...", one of each per operand. An
 * argument of main() describes an operand: `size,misalignment,offset,written`. Its array has `size` bytes, begins
 * `misalignment` bytes behind a multiple of ALIGNMENT, and the kernel gets the address `offset` bytes into it. stdin is
 * all arrays one after the other, stdout those that are written.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define ALIGNMENT 64
#define MOST 8

int32_t KERNEL(PARAMETERS);

int main(int argc, char **argv)
{
    char *array[MOST];
    void *p[MOST];
    size_t size[MOST];
    int written[MOST];
    const int count = argc - 1;
    if (count > MOST)
        return 2;
    for (int index = 0; index < count; ++index) {
        size_t misalignment, offset;
        if (sscanf(argv[index + 1], "%zu,%zu,%zu,%d", &size[index], &misalignment, &offset, &written[index]) != 4)
            return 2;
        char *const room = malloc(size[index] + 2 * ALIGNMENT);
        if (room == NULL)
            return 2;
        array[index] = room + (ALIGNMENT - (uintptr_t)room % ALIGNMENT) + misalignment;
        p[index] = array[index] + offset;
        if (fread(array[index], 1, size[index], stdin) != size[index])
            return 2;
    }
    const int32_t status = KERNEL(ARGUMENTS);
    for (int index = 0; index < count; ++index)
        if (written[index] && fwrite(array[index], 1, size[index], stdout) != size[index])
            return 2;
    return status != 0;
}

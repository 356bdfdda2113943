/* A candidate as a program of its own, for an emulator: its memory comes from stdin, its output goes to stdout.
 *
 * Compiled with -DMEMORY_BYTES, -DIMAGE_BYTES (what of it comes from stdin; the rest is poisoned), -DOUTPUT_OFFSET and
 * -DOUTPUT_BYTES. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int candidate_prepare(uint8_t *memory);
int candidate_main(uint8_t *memory);
int candidate_finish(uint8_t *memory);

static _Alignas(64) uint8_t memory[MEMORY_BYTES];

int main(void)
{
    memset(memory, 0xff, sizeof memory);
    if (fread(memory, 1, IMAGE_BYTES, stdin) != IMAGE_BYTES) {
        return 2;
    }
    if (candidate_prepare(memory) || candidate_main(memory) || candidate_finish(memory)) {
        return 3;
    }
    return fwrite(memory + OUTPUT_OFFSET, 1, OUTPUT_BYTES, stdout) == OUTPUT_BYTES ? 0 : 4;
}

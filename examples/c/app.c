/* Classifies raw images from C, the way an application would.
 *
 *     make ARTIFACT=../../build/vww_96_float-x86-avx2
 *     ./app image.f32 [more.f32 ...]
 *
 * An input file holds the network's input as it lies in memory: VWW_96_FLOAT_INPUT_SIZE float32 values, little-endian.
 * From Python: image.astype("<f4").tofile("image.f32"). For another network, change the header and the prefix.
 */
#include "vww_96_float.h"

#include <stdio.h>
#include <string.h>

#define TOP 3

/* All the memory that an inference needs. Static, so that it counts at link time and not on the stack. */
static vww_96_float_arena arena;

/* Reads one input straight to where the network wants it. Returns 0 on success. */
static int read_input(const char *path, float *input)
{
    FILE *const file = fopen(path, "rb");
    size_t count;
    if (file == NULL) {
        perror(path);
        return -1;
    }
    count = fread(input, sizeof *input, VWW_96_FLOAT_INPUT_SIZE, file);
    if (count == VWW_96_FLOAT_INPUT_SIZE && fgetc(file) != EOF) {
        ++count;
    }
    fclose(file);
    if (count != VWW_96_FLOAT_INPUT_SIZE) {
        fprintf(stderr, "%s: must hold exactly %u float32 values\n", path, VWW_96_FLOAT_INPUT_SIZE);
        return -1;
    }
    return 0;
}

/* Prints the largest outputs, the largest first. */
static void print_best(const char *path, const float *output)
{
    char used[VWW_96_FLOAT_OUTPUT_SIZE];
    unsigned rank, i;
    memset(used, 0, sizeof used);
    printf("%s:", path);
    for (rank = 0; rank < TOP && rank < VWW_96_FLOAT_OUTPUT_SIZE; ++rank) {
        unsigned best = VWW_96_FLOAT_OUTPUT_SIZE;
        for (i = 0; i < VWW_96_FLOAT_OUTPUT_SIZE; ++i) {
            if (!used[i] && (best == VWW_96_FLOAT_OUTPUT_SIZE || output[i] > output[best])) {
                best = i;
            }
        }
        used[best] = 1;
        printf(" %u (%.4f)", best, (double)output[best]);
    }
    putchar('\n');
}

int main(int argc, char **argv)
{
    int i;
    if (argc < 2) {
        fprintf(stderr, "usage: %s image.f32 [more.f32 ...]\n", argv[0]);
        return 2;
    }
    if (vww_96_float_fingerprint != VWW_96_FLOAT_FINGERPRINT) {
        fputs("vww_96_float.h and the library come from different builds\n", stderr);
        return 1;
    }
    for (i = 1; i < argc; ++i) {
        /* Input and output live in the arena: nothing is copied, and no memory is needed beside it. */
        float *const input = vww_96_float_input(&arena);
        float *const output = vww_96_float_output(&arena);
        if (read_input(argv[i], input) != 0) {
            return 1;
        }
        if (vww_96_float_run(&arena, input, output) != VWW_96_FLOAT_OK) {
            fputs("inference failed\n", stderr);
            return 1;
        }
        print_best(argv[i], output);
    }
    return 0;
}

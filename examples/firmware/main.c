/* Keyword spotting on a Cortex-M4 without an operating system: one inference, and what the network heard. */
#include "input.h"
#include "kws.h"
#include "semihosting.h"

/* What the outputs stand for, in the order in which the network was trained (MLPerf Tiny, keyword spotting). A net.yaml
 * with `labels:` puts them into the header as kws_labels; the .tflite file has none. */
static const char *const labels[KWS_OUTPUT_SIZE] = {
    "down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "unknown"};

/* All the memory that an inference needs. Static, so that the linker counts it. */
static kws_arena arena;

/* The output is a probability: value = KWS_OUTPUT_SCALE * (q - KWS_OUTPUT_ZERO_POINT), here in percent, rounded. */
static unsigned percent(int8_t q)
{
    return (unsigned)(100.0f * KWS_OUTPUT_SCALE * (float)(q - KWS_OUTPUT_ZERO_POINT) + 0.5f);
}

int main(void)
{
    /* Input and output live in the arena: nothing is copied inside kws_run. */
    int8_t *const input = kws_input(&arena);
    int8_t *const output = kws_output(&arena);
    unsigned i, best = 0;
    if (kws_fingerprint != KWS_FINGERPRINT) {
        print("kws.h and kws.c come from different builds\n");
        return 1;
    }
    for (i = 0; i < KWS_INPUT_SIZE; ++i) {
        input[i] = example_input[i];
    }
    if (kws_run(&arena, input, output) != KWS_OK) {
        print("inference failed\n");
        return 1;
    }
    for (i = 0; i < KWS_OUTPUT_SIZE; ++i) {
        print(labels[i]);
        print(" ");
        print_number(percent(output[i]));
        print(" %\n");
        if (output[i] > output[best]) {
            best = i;
        }
    }
    print("heard: ");
    print(labels[best]);
    print("\n");
    return 0;
}

/* Two fibers that take turns, with values in registers that a switch must keep. */
#include "fibers.h"

#include <cstdio>
#include <cstdlib>

static shim::Fiber home, other;
static volatile double last;

static void body()
{
    double x = 1.0, y = 2.0;
    for (long turn = 1;; ++turn) {
        x += 0.5;
        y *= turn % 2 == 0 ? 2.0 : 0.5;
        last = x + y + (double)turn;
        shim::switch_fibers(other, home);
    }
}

int main()
{
    const size_t bytes = 1 << 16;
    other.stack = static_cast<char *>(malloc(bytes));
    other.stack_bytes = bytes;
    double sum = 0.25;
    for (int start = 0; start < 2; ++start) { /* a fiber can start anew */
        shim::start_anew(other, body);
        for (int turn = 0; turn < 1000; ++turn) {
            shim::switch_fibers(home, other);
            sum += last;
        }
    }
    printf("%.2f\n", sum);
    return 0;
}

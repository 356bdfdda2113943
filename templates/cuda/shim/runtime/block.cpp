#include "block.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

#include "../shim/threads.h"
#include "fibers.h"
#include "limits.h"
#include "traffic.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

/* All dynamic shared arrays, whatever their names: the build gives them this one (dscompile/run/cuda.py). */
alignas(1024) thread_local unsigned char shim_dynamic_shared[shim::MAX_DYNAMIC_SHARED];

namespace
{
constexpr size_t STACK_BYTES = 128 * 1024, GUARD_BYTES = 4096;
constexpr int POISON = 0xff; /* NaNs in float32 and float16 */

enum class Wait : uint8_t { NOTHING,
                            BARRIER,
                            WARP };

struct Thread {
    shim::Fiber *fiber; /* while it waits */
    uint3 index;
    int line;
    unsigned mask; /* lanes it waits for */
    Wait waits;
    bool is_done;
    uint8_t parity;
    unsigned long long given[2]; /* to exchange; two, since a lane may be one exchange ahead */
};

Thread threads[shim::MAX_THREADS];
shim::Fiber home;
std::vector<shim::Fiber *> fibers, idle;
shim::Fiber *current = &home;
unsigned next_thread, done, arrived;

/* Threads that may go on, in the order in which they will: at most all of them. */
unsigned short ready[shim::MAX_THREADS];
unsigned ready_first, ready_count;

cudaError_t outcome;
uint32_t epochs = 0;

void make_ready(unsigned thread)
{
    threads[thread].waits = Wait::NOTHING;
    ready[(ready_first + ready_count++) % shim::MAX_THREADS] = (unsigned short)thread;
}

void become(unsigned thread)
{
    shim::running->thread = thread;
    threadIdx = threads[thread].index;
}

[[noreturn]] void run_threads();

shim::Fiber *fresh_fiber()
{
    if (idle.empty()) {
        /* Tops of stacks differ in their cache sets. */
        const size_t stagger = fibers.size() % 29 * 192;
        void *const memory = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
            perror("shim: no memory for the stack of a thread");
            abort();
        }
        mprotect(memory, GUARD_BYTES, PROT_NONE);
        shim::Fiber *const fiber = new shim::Fiber;
        fiber->stack = static_cast<char *>(memory) + GUARD_BYTES;
        fiber->stack_bytes = STACK_BYTES - GUARD_BYTES - stagger;
        fibers.push_back(fiber);
        shim::start_anew(*fiber, run_threads);
        idle.push_back(fiber);
    }
    shim::Fiber *const fiber = idle.back();
    idle.pop_back();
    return fiber;
}

std::string describe_waiting()
{
    std::string text;
    unsigned told = 0;
    for (unsigned index = 0; index < shim::running->threads && told < 2; ++index) {
        const Thread &thread = threads[index];
        if (thread.waits != Wait::NOTHING && (told == 0 || thread.line != threads[index - 1].line)) {
            text += (told++ == 0 ? "thread " : ", thread ") + shim::describe_thread(index) + " waits " +
                    (thread.waits == Wait::BARRIER ? "at __syncthreads" : "for its warp") + " in line " + std::to_string(thread.line);
        }
    }
    for (unsigned index = 0; index < shim::running->threads; ++index) {
        if (threads[index].is_done) {
            return text + ", thread " + shim::describe_thread(index) + " has finished";
        }
    }
    return text;
}

/* Goes on with whoever may run; returns when `self` may. */
void leave(shim::Fiber *self)
{
    shim::Fiber *next = nullptr;
    if (ready_count > 0) {
        const unsigned thread = ready[ready_first];
        ready_first = (ready_first + 1) % shim::MAX_THREADS;
        --ready_count;
        become(thread);
        next = threads[thread].fiber;
    } else if (next_thread < shim::running->threads) {
        next = fresh_fiber();
    } else if (done == shim::running->threads) {
        next = &home;
    } else {
        shim::stop_launch(cudaErrorLaunchFailure, "divergent barrier: " + describe_waiting());
    }
    if (next != self) {
        current = next;
        shim::switch_fibers(*self, *next);
    }
}

/* The body of every fiber: threads that were not started yet. One that never waits is followed by the next without a
 * switch, so a kernel without barriers runs on a single fiber. */
void run_threads()
{
    shim::Fiber *const self = current;
    for (;;) {
        while (next_thread < shim::running->threads && ready_count == 0) {
            const unsigned thread = next_thread++;
            become(thread);
            const shim::Launch &launch = *shim::running->launch;
            launch.invoke(launch.kernel, launch.arguments.get());
            threads[shim::running->thread].is_done = true;
            ++done;
        }
        idle.push_back(self);
        leave(self);
    }
}

void wait(unsigned thread, Wait what, int line)
{
    threads[thread].waits = what;
    threads[thread].line = line;
    threads[thread].fiber = current;
}

/* Fibers that were left in the middle of a kernel start anew. */
void abandon_fibers()
{
    idle.clear();
    for (shim::Fiber *fiber : fibers) {
        shim::start_anew(*fiber, run_threads);
        idle.push_back(fiber);
    }
}

void poison_shared()
{
    for (const shim::SharedArray &array : shim::running->arrays) {
        memset(reinterpret_cast<void *>(shim::shared_segment().begin + array.offset), POISON, array.size);
    }
}

void run_block()
{
    shim::Running &now = *shim::running;
    now.block_epoch = now.epoch = ++epochs;
    memset(now.warp_stamps, 0, sizeof now.warp_stamps);
    for (unsigned index = 0; index < now.threads; ++index) {
        threads[index].is_done = false;
        threads[index].waits = Wait::NOTHING;
    }
    next_thread = done = arrived = ready_first = ready_count = 0;
    poison_shared();
    shim::begin_block();
    shim::Fiber *const first = fresh_fiber();
    current = first;
    shim::switch_fibers(home, *first);
    current = &home;
}
} // namespace

namespace shim
{
Running *running = nullptr;
}

std::vector<std::string> &shim::messages()
{
    static std::vector<std::string> result;
    return result;
}

std::string shim::describe_thread(unsigned thread)
{
    const uint3 index = threads[thread].index;
    return "(" + std::to_string(index.x) + "," + std::to_string(index.y) + "," + std::to_string(index.z) + ")";
}

void shim::stop_launch(cudaError_t error, const std::string &message)
{
    std::string text = message;
    if (running != nullptr) {
        text = "kernel '" + running->name + "', block (" + std::to_string(blockIdx.x) + "," + std::to_string(blockIdx.y) + "," +
               std::to_string(blockIdx.z) + "): " + message;
    }
    fprintf(stderr, "cuda shim: %s\n", text.c_str());
    messages().push_back(text);
    outcome = error;
    if (current != &home) {
        Fiber lost; /* nobody comes back here */
        current = &home;
        switch_fibers(lost, home);
        abort();
    }
}

void shim::synchronize(int line)
{
    Running &now = *running;
    const unsigned thread = now.thread;
    wait(thread, Wait::BARRIER, line);
    for (unsigned other = 0; arrived > 0 && other <= thread; ++other) {
        if (threads[other].waits == Wait::BARRIER) {
            if (threads[other].line != line) {
                stop_launch(cudaErrorLaunchFailure, "divergent barrier: " + describe_waiting());
            }
            break; /* those that wait wait in the same line */
        }
    }
    if (++arrived == now.threads) {
        arrived = 0;
        ++now.barriers;
        now.epoch = ++epochs;
        memset(now.warp_stamps, 0, sizeof now.warp_stamps);
        for (unsigned index = 0; index < now.threads; ++index) {
            make_ready(index);
        }
    }
    leave(current);
}

int shim::lane()
{
    return (int)(running->thread % WARP);
}

void shim::synchronize_warp(unsigned mask, int line)
{
    Running &now = *running;
    const unsigned thread = now.thread, first = thread / WARP * WARP;
    if ((mask >> (thread - first) & 1) == 0) {
        stop_launch(cudaErrorLaunchFailure, "thread " + describe_thread(thread) + " is not in the mask of its own warp operation in line " + std::to_string(line));
    }
    wait(thread, Wait::WARP, line);
    threads[thread].mask = mask;
    unsigned lanes = 0;
    for (unsigned lane = 0; lane < WARP && first + lane < now.threads; ++lane) {
        if ((mask >> lane & 1) == 0) {
            continue;
        }
        const Thread &other = threads[first + lane];
        if (other.waits != Wait::WARP || other.line != line || other.mask != mask) {
            leave(current);
            return;
        }
        lanes |= 1u << lane;
    }
    ++now.warp_stamps[thread / WARP];
    for (unsigned lane = 0; lane < WARP; ++lane) {
        if ((lanes >> lane & 1) != 0) {
            make_ready(first + lane);
        }
    }
    leave(current);
}

unsigned long long shim::exchange(unsigned mask, unsigned long long value, int lane, int line)
{
    const unsigned thread = running->thread, source = thread / WARP * WARP + (unsigned)lane;
    const uint8_t parity = threads[thread].parity ^= 1;
    threads[thread].given[parity] = value;
    synchronize_warp(mask, line);
    if (source >= running->threads || (mask >> lane & 1) == 0) {
        return value; /* undefined on a device */
    }
    return threads[source].given[parity];
}

size_t shim::static_shared_bytes(uintptr_t kernel)
{
    size_t bytes = 0;
    for (const SharedArray &array : shared_arrays(kernel)) {
        bytes += array.size;
    }
    return bytes;
}

cudaError_t shim::run_launch(const Launch &launch)
{
    Running now;
    now.launch = &launch;
    const auto kernel = reinterpret_cast<uintptr_t>(launch.kernel);
    now.name = kernel_name(kernel);
    now.arrays = shared_arrays(kernel);
    if (launch.dynamic_bytes > 0) {
        const auto offset = reinterpret_cast<uintptr_t>(shim_dynamic_shared) - shared_segment().begin;
        now.arrays.push_back({"dynamic shared memory", (uint32_t)offset, (uint32_t)launch.dynamic_bytes});
    }
    now.threads = launch.block.x * launch.block.y * launch.block.z;
    now.blocks = (uint64_t)launch.grid.x * launch.grid.y * launch.grid.z;
    now.launch_epoch = epochs + 1;
    for (unsigned index = 0; index < now.threads; ++index) {
        threads[index].index = {index % launch.block.x, index / launch.block.x % launch.block.y, index / launch.block.x / launch.block.y};
        threads[index].parity = 0;
    }
    blockDim = launch.block;
    gridDim = launch.grid;
    running = &now;
    outcome = cudaSuccess;
    begin_launch();
    for (now.block = 0; now.block < now.blocks && outcome == cudaSuccess; ++now.block) {
        blockIdx = {(unsigned)(now.block % launch.grid.x), (unsigned)(now.block / launch.grid.x % launch.grid.y),
                    (unsigned)(now.block / launch.grid.x / launch.grid.y)};
        run_block();
        if (outcome == cudaSuccess) {
            end_block();
        }
    }
    end_launch();
    running = nullptr;
    if (outcome != cudaSuccess) {
        abandon_fibers();
    }
    return outcome;
}

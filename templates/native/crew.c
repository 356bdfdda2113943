#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ __volatile__("yield")
#else
#define PAUSE() ((void)0)
#endif

#define APART 128u /* bytes between what different threads write at the same time */
#define SPIN_NS 100000 /* how long a thread waits at work before it goes to sleep */
#define POLLS 64u /* looks at what it waits for between two looks at the clock */
#define STACK_BYTES (4u << 20) /* of a thread; the default of some C libraries is too small */

/* Threads that share inferences: the caller of run(), who is thread 0, and workers.
 *
 * `jobs` counts inferences that were begun, `arrivals` how often a thread came to the end of a phase; both only grow, and
 * nobody writes them in vain. Who waits for one of them looks for a while, and then sleeps until `wake`. */
struct crew {
    uint32_t threads; /* with the caller; 0: not started */
    uint32_t seated; /* workers that have taken their numbers */
    uint32_t stopping;
    uint32_t base; /* arrivals before the current job */
    const struct program *program;
    struct job job;
    pthread_mutex_t in_use; /* one inference at a time */
    pthread_mutex_t lock; /* of sleepers */
    pthread_cond_t wake;
    pthread_t workers[MAX_WORKERS];
    uint8_t apart_0[APART];
    uint32_t sleepers;
    uint8_t apart_1[APART - sizeof(uint32_t)];
    uint32_t jobs;
    uint8_t apart_2[APART - sizeof(uint32_t)];
    uint32_t arrivals;
    uint8_t apart_3[APART - sizeof(uint32_t)];
};

static int has_come(const uint32_t *count, uint32_t wanted)
{
    return (int32_t)(__atomic_load_n(count, __ATOMIC_SEQ_CST) - wanted) >= 0;
}

/* A sleeper counts itself before it looks for the last time, and whoever counts on looks for sleepers after that: in any
 * order of the two, one sees the other. */
static void sleep_until(struct crew *crew, const uint32_t *count, uint32_t wanted)
{
    pthread_mutex_lock(&crew->lock);
    __atomic_fetch_add(&crew->sleepers, 1u, __ATOMIC_SEQ_CST);
    while (!has_come(count, wanted)) {
        pthread_cond_wait(&crew->wake, &crew->lock);
    }
    __atomic_fetch_sub(&crew->sleepers, 1u, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&crew->lock);
}

/* Counts on; the one that completes `wanted` wakes those who sleep. */
static void count_on(struct crew *crew, uint32_t *count, uint32_t wanted)
{
    if (__atomic_add_fetch(count, 1u, __ATOMIC_SEQ_CST) == wanted &&
        __atomic_load_n(&crew->sleepers, __ATOMIC_SEQ_CST) != 0u) {
        pthread_mutex_lock(&crew->lock);
        pthread_cond_broadcast(&crew->wake);
        pthread_mutex_unlock(&crew->lock);
    }
}

static int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void wait_for(struct crew *crew, const uint32_t *count, uint32_t wanted)
{
    int64_t limit = 0;
    uint32_t polls = 0u;
    while (!has_come(count, wanted)) {
        PAUSE();
        if (++polls % POLLS != 0u) {
            continue;
        }
        if (limit == 0) {
            limit = clock_ns() + SPIN_NS;
        } else if (clock_ns() > limit) {
            sleep_until(crew, count, wanted);
            return;
        }
    }
}

/* All phases, as thread `self`. Workers do not wait for the end of the last one: only the caller does. */
static void do_job(struct crew *crew, uint32_t self)
{
    const struct program *const program = crew->program;
    const uint32_t threads = crew->threads;
    const struct seat seat = {self, threads};
    uint32_t wanted = crew->base;
    uint32_t index;
    for (index = 0u; index < program->count; ++index) {
        const struct phase *const phase = &program->phases[index];
        if (self == 0u || !phase->alone) {
            phase->run(&crew->job, seat);
        }
        wanted += threads;
        count_on(crew, &crew->arrivals, wanted);
        if (self == 0u || index + 1u < program->count) {
            wait_for(crew, &crew->arrivals, wanted);
        }
    }
}

static void *work(void *argument)
{
    struct crew *const crew = argument;
    const uint32_t self = __atomic_add_fetch(&crew->seated, 1u, __ATOMIC_RELAXED);
    uint32_t wanted;
    for (wanted = 1u;; ++wanted) {
        wait_for(crew, &crew->jobs, wanted);
        if (crew->stopping) {
            return NULL;
        }
        do_job(crew, self);
    }
}

static void run(struct crew *crew, const struct program *program, const struct job *job)
{
    pthread_mutex_lock(&crew->in_use);
    crew->program = program;
    crew->job = *job;
    crew->base = __atomic_load_n(&crew->arrivals, __ATOMIC_RELAXED);
    count_on(crew, &crew->jobs, crew->jobs + 1u);
    do_job(crew, 0u);
    pthread_mutex_unlock(&crew->in_use);
}

/* Ends the workers that were started, and the crew. */
static void stop(struct crew *crew)
{
    uint32_t index;
    pthread_mutex_lock(&crew->in_use);
    crew->stopping = 1u;
    count_on(crew, &crew->jobs, crew->jobs + 1u);
    for (index = 1u; index < crew->threads; ++index) {
        pthread_join(crew->workers[index - 1u], NULL);
    }
    pthread_mutex_unlock(&crew->in_use);
    pthread_cond_destroy(&crew->wake);
    pthread_mutex_destroy(&crew->lock);
    pthread_mutex_destroy(&crew->in_use);
    crew->threads = 0u;
}

/* Starts threads - 1 workers, which leave signals to the program's own threads. 0 if the system refuses any. */
static int start(struct crew *crew, uint32_t threads)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int refused;
    memset(crew, 0, sizeof *crew);
    refused = pthread_mutex_init(&crew->in_use, NULL) | pthread_mutex_init(&crew->lock, NULL) |
              pthread_cond_init(&crew->wake, NULL) | pthread_attr_init(&attributes);
    if (refused != 0) {
        return 0;
    }
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (crew->threads = 1u; crew->threads < threads; ++crew->threads) {
        if (pthread_create(&crew->workers[crew->threads - 1u], &attributes, work, crew) != 0) {
            break;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (crew->threads < threads) {
        stop(crew);
        return 0;
    }
    return 1;
}

/* Rounds `at` to `stop` of a call are left to do; `first` to `end` of its major [0] and its minor loop [1] come next. */
struct rounds {
    int32_t first[2], end[2];
    uint32_t at, stop, minor;
};

#define LEANS 64u

/* The first of the rounds of a call that a thread does; that of the next thread is the end. All threads have as many but
 * for one, which the first ones have the more the call leans to them: to LEANS - 1 from 0. */
static uint32_t first_round(uint32_t thread, uint32_t threads, uint32_t count, uint32_t lean)
{
    return (uint32_t)(((uint64_t)LEANS * count * thread + threads * lean) / ((uint64_t)LEANS * threads));
}

/* A thread's rounds of a call. */
static struct rounds rounds_of(struct seat seat, uint32_t major, uint32_t minor, uint32_t lean)
{
    struct rounds todo;
    memset(&todo, 0, sizeof todo);
    todo.at = first_round(seat.self, seat.threads, major * minor, lean);
    todo.stop = first_round(seat.self + 1u, seat.threads, major * minor, lean);
    todo.minor = minor;
    return todo;
}

/* The next rounds that one call can do: whole rounds of the major loop, or what lies within one. 0 if none is left. */
static int take(struct rounds *todo)
{
    const uint32_t left = todo->stop - todo->at, minor = todo->minor;
    const uint32_t row = todo->at / minor, column = todo->at % minor;
    uint32_t rows = 1u, columns = minor - column < left ? minor - column : left;
    if (left == 0u) {
        return 0;
    }
    if (column == 0u && left > minor) {
        rows = left / minor;
        columns = minor;
    }
    todo->first[0] = (int32_t)row;
    todo->end[0] = (int32_t)(row + rows);
    todo->first[1] = (int32_t)column;
    todo->end[1] = (int32_t)(column + columns);
    todo->at += rows * columns;
    return 1;
}

/* The calls of a phase are one line of work, whose length is their cost; every thread has a part of it. */
struct line {
    uint64_t begin, end;
};

static struct line part_of(struct seat seat, uint64_t length)
{
    struct line part;
    part.begin = length * seat.self / seat.threads;
    part.end = length * (seat.self + 1u) / seat.threads;
    return part;
}

/* Rounds `at` to `stop` of a call are left to do; `first` to `end` of its major [0] and its minor loop [1] come next. */
struct rounds {
    int32_t first[2], end[2];
    uint32_t at, stop, minor;
};

/* The round of a call that begins at a place of the line, or the nearest one. */
static uint32_t round_at(uint64_t place, uint64_t before, uint32_t cost, uint32_t count)
{
    const uint64_t nearest = place <= before ? 0u : (place - before + cost / 2u) / cost;
    return nearest < count ? (uint32_t)nearest : count;
}

/* A thread's rounds of a call that begins at `before` on the line; each costs `cost`. */
static struct rounds rounds_of(struct line part, uint64_t before, uint32_t cost, uint32_t major, uint32_t minor)
{
    struct rounds todo;
    memset(&todo, 0, sizeof todo);
    todo.at = round_at(part.begin, before, cost, major * minor);
    todo.stop = round_at(part.end, before, cost, major * minor);
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

/* Due reviews: one number per partition. A batch of a due partition takes up to
 * PIPELINE_MAX_PATIENTS of its patients and says when the next is due, which may be at once. */
#include "daemon/schedule.h"

#include <stdlib.h>

struct schedule {
    size_t count;
    int64_t due_ms[];
};

schedule *schedule_new(size_t count)
{
    schedule *s = calloc(1, sizeof *s + count * sizeof(int64_t));
    if (s != NULL)
        s->count = count;
    return s;
}

void schedule_free(schedule *s)
{
    free(s);
}

void schedule_set(schedule *s, size_t partition, int64_t due_ms)
{
    if (partition < s->count)
        s->due_ms[partition] = due_ms;
}

bool schedule_is_due(const schedule *s, size_t partition, int64_t now_ms)
{
    return partition < s->count && s->due_ms[partition] != 0 && s->due_ms[partition] <= now_ms;
}

int64_t schedule_next(const schedule *s)
{
    int64_t next = 0;
    for (size_t i = 0; i < s->count; i++)
        if (s->due_ms[i] != 0 && (next == 0 || s->due_ms[i] < next))
            next = s->due_ms[i];
    return next;
}

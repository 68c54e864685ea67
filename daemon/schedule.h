/* When which partition has a review due. The reviews themselves stand in the stores' timer index,
 * sorted; this keeps the first of each partition in memory, so that a tick of the clock costs no
 * read. */
#ifndef OG_DAEMON_SCHEDULE_H
#define OG_DAEMON_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

typedef struct schedule schedule;

/* For partitions 0..count-1, none with a review. NULL: no memory. */
schedule *schedule_new(size_t count);
void schedule_free(schedule *s); /* accepts NULL */
/* The partition's next review is at due_ms; 0: it has none. */
void schedule_set(schedule *s, size_t partition, int64_t due_ms);
bool schedule_is_due(const schedule *s, size_t partition, int64_t now_ms);
/* The first review of all; 0: there is none. */
int64_t schedule_next(const schedule *s);

#endif

/* How often a log says the same: a fault that comes with every message must not fill the disk, and
 * must not hide the other lines.
 *
 * Time is given by the caller, in milliseconds of a steady clock. Not for several threads at once.
 */
#ifndef OG_DAEMON_LOG_LIMIT_H
#define OG_DAEMON_LOG_LIMIT_H

#include "fhir/base/text.h"

#define LOG_LIMIT_KINDS     64    /* watched at a time; lines of further ones are all written */
#define LOG_LIMIT_LINES     20    /* of one kind, within */
#define LOG_LIMIT_WINDOW_MS 60000 /* from its first line on */
#define LOG_LIMIT_TEXT      256

typedef struct log_limit_kind {
    uint64_t hash;
    int64_t since_ms;
    uint64_t lines; /* 0: free */
    int level;
    char last[LOG_LIMIT_TEXT]; /* the message that was left out last, cut */
} log_limit_kind;

/* Zeroed: nothing was said yet. */
typedef struct log_limit {
    log_limit_kind kinds[LOG_LIMIT_KINDS];
} log_limit;

/* True when a line is to be written, false when it is left out. hash tells its kind; message is
 * copied. */
bool log_limit_take(log_limit *l, uint64_t hash, int level, const char *message, int64_t now_ms);

/* Forgets a kind whose window has ended and of which lines were left out: ret is it, true. False
 * when there is none (any more). */
bool log_limit_ended(log_limit *l, int64_t now_ms, log_limit_kind *ret);

#endif

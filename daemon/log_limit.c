#include "daemon/log_limit.h"

#include <stdio.h>

static bool is_over(const log_limit_kind *k, int64_t now_ms)
{
    return now_ms - k->since_ms >= LOG_LIMIT_WINDOW_MS;
}

bool log_limit_take(log_limit *l, uint64_t hash, int level, const char *message, int64_t now_ms)
{
    log_limit_kind *free_one = NULL;
    for (size_t i = 0; i < LOG_LIMIT_KINDS; i++) {
        log_limit_kind *k = &l->kinds[i];
        if (k->lines > 0 && k->hash == hash) {
            if (++k->lines <= LOG_LIMIT_LINES)
                return true;
            snprintf(k->last, sizeof k->last, "%s", message);
            return false;
        }
        /* One that left lines out is kept until log_limit_ended has told of them. */
        if (k->lines == 0 || (k->lines <= LOG_LIMIT_LINES && is_over(k, now_ms)))
            free_one = k;
    }
    if (free_one != NULL)
        *free_one = (log_limit_kind){.hash = hash, .since_ms = now_ms, .lines = 1, .level = level};
    return true;
}

bool log_limit_ended(log_limit *l, int64_t now_ms, log_limit_kind *ret)
{
    for (size_t i = 0; i < LOG_LIMIT_KINDS; i++) {
        log_limit_kind *k = &l->kinds[i];
        if (k->lines == 0 || !is_over(k, now_ms))
            continue;
        *ret = *k;
        k->lines = 0;
        if (ret->lines > LOG_LIMIT_LINES)
            return true;
    }
    return false;
}

#include "daemon/source.h"

#include "daemon/number.h"

#define NUMBERS 11

size_t source_most(const record *r)
{
    return (size_t)NUMBERS * NUMBER_MOST + r->topic.n + r->via.n;
}

static size_t put_bytes(char *to, og_str s)
{
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    return s.n;
}

size_t source_put(char *to, const record *r)
{
    const record_order *o = &r->order;
    const int64_t numbers[NUMBERS] = {(int64_t)r->topic.n, (int64_t)r->via.n, o->round,  o->epoch,
                                      o->time_us,          o->partition,      o->offset, o->entry,
                                      r->timestamp_ms,     r->entry,          r->of};
    size_t n = numbers_put(to, numbers, NUMBERS);
    n += put_bytes(to + n, r->topic);
    return n + put_bytes(to + n, r->via);
}

static bool take_bytes(og_str *s, int64_t n, og_str *ret)
{
    if (n < 0 || (uint64_t)n > s->n)
        return false;
    *ret = (og_str){s->p, (size_t)n};
    *s = og_str_from(*s, (size_t)n);
    return true;
}

bool source_take(og_str *s, record *ret)
{
    int64_t n[NUMBERS];
    if (!numbers_take(s, n, NUMBERS) || !take_bytes(s, n[0], &ret->topic) ||
        !take_bytes(s, n[1], &ret->via))
        return false;
    ret->order = (record_order){.round = n[2],
                                .epoch = (uint32_t)n[3],
                                .time_us = n[4],
                                .topic = og_crc32c(0, ret->topic.p, ret->topic.n),
                                .partition = (int32_t)n[5],
                                .offset = n[6],
                                .entry = (uint32_t)n[7]};
    ret->timestamp_ms = n[8];
    ret->entry = (uint32_t)n[9];
    ret->of = (uint32_t)n[10];
    return true;
}

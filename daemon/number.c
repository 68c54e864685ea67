#include "daemon/number.h"

size_t number_put(char *to, int64_t n)
{
    uint64_t rest = (uint64_t)n << 1 ^ (n < 0 ? UINT64_MAX : 0);
    size_t at = 0;
    for (; rest >= 0x80; rest >>= 7)
        to[at++] = (char)(unsigned char)(rest | 0x80);
    to[at++] = (char)(unsigned char)rest;
    return at;
}

bool number_take(og_str *s, int64_t *ret)
{
    uint64_t all = 0;
    for (size_t i = 0; i < s->n && i < NUMBER_MOST; i++) {
        unsigned char byte = (unsigned char)s->p[i];
        all |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte >= 0x80)
            continue;
        *s = og_str_from(*s, i + 1);
        *ret = (int64_t)(all >> 1 ^ (all & 1 ? UINT64_MAX : 0));
        return true;
    }
    return false;
}

size_t numbers_put(char *to, const int64_t *n, size_t count)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++)
        at += number_put(to + at, n[i]);
    return at;
}

bool numbers_take(og_str *s, int64_t *ret, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!number_take(s, &ret[i]))
            return false;
    return true;
}

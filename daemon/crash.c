/* See crash.h. */
#include "daemon/crash.h"

#ifdef OG_CRASH_POINTS

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {
#define X(id, name) name,
    CRASH_MAP(X)
#undef X
};

void crash_point(crash_place place)
{
    static atomic_long passes;
    const char *at = getenv("CRASH_AT");
    size_t n = strlen(names[place]);
    if (at == NULL || strncmp(at, names[place], n) != 0 || (at[n] != '\0' && at[n] != ':'))
        return;
    long wanted = at[n] == ':' ? strtol(at + n + 1, NULL, 10) : 1;
    if (atomic_fetch_add(&passes, 1) + 1 == wanted)
        _exit(CRASH_STATUS);
}

#else
typedef int crash_is_off; /* C wants a declaration */
#endif

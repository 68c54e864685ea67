/* Time sources. The C library does the zone arithmetic (localtime_r on the TZ that clock_set_zone
 * has set); what it does not do is complain about an unknown zone, so the file is looked for first.
 */
#include "daemon/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int64_t microseconds(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_wall_ms(void)
{
    return microseconds(CLOCK_REALTIME) / 1000;
}

int64_t clock_monotonic_us(void)
{
    return microseconds(CLOCK_MONOTONIC);
}

int64_t clock_monotonic_ms(void)
{
    return clock_monotonic_us() / 1000;
}

void clock_real(og_clock *c)
{
    memset(c, 0, sizeof *c);
}

void clock_simulate(og_clock *c, int64_t start_ms, int64_t speed_per_1000)
{
    memset(c, 0, sizeof *c);
    c->simulated = true;
    c->start_ms = start_ms;
    c->started_us = clock_monotonic_us();
    c->speed_per_1000 = speed_per_1000;
}

int64_t clock_now(const og_clock *c)
{
    if (c->fixed != NULL)
        return c->fixed(c->ctx);
    if (!c->simulated)
        return clock_wall_ms();
    /* split so that a year at thousandfold speed does not overflow */
    int64_t elapsed_ms = (clock_monotonic_us() - c->started_us) / 1000;
    return c->start_ms + elapsed_ms / 1000 * c->speed_per_1000 +
           elapsed_ms % 1000 * c->speed_per_1000 / 1000;
}

static bool zone_name_valid(const char *iana)
{
    if (iana[0] == '\0' || iana[0] == '/' || strstr(iana, "..") != NULL || strlen(iana) > 64)
        return false;
    for (const char *c = iana; *c != '\0'; c++)
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/", *c) ==
            NULL)
            return false;
    return true;
}

og_status clock_set_zone(const char *iana, og_error *err)
{
    char path[256];
    const char *dir = getenv("TZDIR");
    if (!zone_name_valid(iana))
        return og_fail(err, OG_INVALID,
                       "\"%s\" is not the name of a time zone, for example Europe/Berlin", iana);
    snprintf(path, sizeof path, "%s/%s", dir != NULL ? dir : "/usr/share/zoneinfo", iana);
    if (strcmp(iana, "UTC") != 0 && access(path, R_OK) != 0)
        return og_fail(err, OG_NOTFOUND, "time zone %s is not in the zone database (%s: %s)", iana,
                       path, strerror(errno));
    if (setenv("TZ", iana, 1) != 0)
        return og_fail(err, OG_NOMEM, "cannot set the time zone");
    tzset();
    return OG_OK;
}

int clock_offset_min(int64_t ms)
{
    time_t seconds = (time_t)(ms >= 0 ? ms / 1000 : (ms - 999) / 1000);
    struct tm tm;
    if (localtime_r(&seconds, &tm) == NULL)
        return 0;
    return (int)(tm.tm_gmtoff / 60);
}

int64_t clock_review_ms(int64_t review_ms, int64_t now_ms, int (*offset_at)(int64_t ms))
{
    if (review_ms <= now_ms)
        return review_ms;
    int64_t ahead = ((int64_t)offset_at(review_ms) - offset_at(now_ms)) * 60000;
    return ahead > 0 && review_ms - ahead > now_ms ? review_ms - ahead : review_ms;
}

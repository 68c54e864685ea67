/* The daemon's clock: real, or simulated for demonstrations, shadow runs and tests.
 *
 * All decisions about patients (as-of time of an evaluation, due reviews) ask this clock and no
 * other; what is agreed with other machines (back-off, Retry-After) goes by the real one. A
 * simulated clock starts at a given instant and runs `speed` times as fast as the real one. The
 * site's time zone is IANA; its offset is asked for per instant, because it changes twice a year.
 */
#ifndef OG_DAEMON_CLOCK_H
#define OG_DAEMON_CLOCK_H

#include "fhir/base/text.h"

typedef struct og_clock {
    bool simulated;
    int64_t start_ms;            /* simulated: what the clock showed when it was set */
    int64_t started_us;          /* simulated: monotonic time when it was set */
    int64_t speed_per_1000;      /* simulated: 1000 is real time */
    int64_t (*fixed)(void *ctx); /* tests: the time in ms, instead of everything above */
    void *ctx;
} og_clock;

/* The real clock. */
void clock_real(og_clock *c);
/* A clock that shows start_ms now and runs at speed_per_1000 / 1000 (0: it stands still). */
void clock_simulate(og_clock *c, int64_t start_ms, int64_t speed_per_1000);
/* Milliseconds since 1970-01-01T00:00Z on this clock. */
int64_t clock_now(const og_clock *c);

/* Real and monotonic time, for measuring only. */
int64_t clock_wall_ms(void);
int64_t clock_monotonic_us(void);
int64_t clock_monotonic_ms(void);

/* Sets the process' time zone (once, at start). OG_NOTFOUND when the zone is not in the zone
 * database: a missing database must not become UTC silently. */
OG_MUSTCHECK og_status clock_set_zone(const char *iana, og_error *err);
/* Minutes east of UTC in that zone at an instant. */
int clock_offset_min(int64_t ms);
/* When to look again: review_ms was reckoned at now_ms with the offset of that time. Where clocks
 * go forward before it, the local midnight that it may mean comes earlier by as much; an instant
 * that is meant as such is then looked at once too early, which does no harm, and so is a midnight
 * before which clocks go back. offset_at: the site's offset at an instant (clock_offset_min). */
int64_t clock_review_ms(int64_t review_ms, int64_t now_ms, int (*offset_at)(int64_t ms));

#endif

/* Records that are gone (pipeline_lost.c), and how all instances come to know it.
 *
 * Who finds a loss has partitions of the records, and a share of the sources; what is lost came
 * through anybody's share, and others' patients may lack as much without showing it. So a loss is
 * everybody's. It has a name, the time when it was seen, and the heartbeats carry three things:
 *
 *   lost                the sender waits for what was lost then
 *   read_from, again    for that loss it has begun these partitions of the sources anew, and has
 *                       read each to an end that came later: all of that is in the records topic
 *   filled              where it looks, all sources were read again for this loss or a later one
 *
 * Who hears of a loss reads its own share again, withholds as the finder does, and says so. A
 * partition is refilled when beats in it, and on the shared topic, have told of all partitions of
 * the sources, or when anybody's there say `filled`: each is written behind the records that it
 * speaks of. Partitions count, not members: a share that changes hands is begun anew by its next
 * reader, and what a dead one had read stays read.
 *
 * Names are only compared: nothing of this asks whose clock is right. A version that says nothing
 * of losses fills none: until it is replaced everybody waits. */
#include "daemon/serve_private.h"

#include <inttypes.h>
#include <stdlib.h>

#define LAST_MS 253402300799999 /* the end of the year 9999: what is named later is nonsense */

/* ---- what was read again ---- */

static bool is_complete(const serve *s, const serve_partition *p)
{
    if (p->again == NULL || (int64_t)p->again_bits != serve__source_partitions(s))
        return false;
    for (size_t i = 0; i < p->again_bits; i++)
        if ((p->again[i / 8] & 1U << i % 8) == 0)
            return false;
    return true;
}

static int64_t filled_at(const serve *s, const serve_partition *p)
{
    int64_t filled = p->filled_ms;
    if (p->again_ms > filled && is_complete(s, p))
        filled = p->again_ms;
    for (size_t i = 0; i < SERVE_BEATS; i++)
        if (p->beats[i].filled_ms > filled)
            filled = p->beats[i].filled_ms;
    return filled;
}

int64_t serve__filled(const serve *s, int partition)
{
    int64_t here = filled_at(s, &s->partitions[partition]);
    int64_t shared = filled_at(s, SERVE_SHARED(s));
    return here < shared ? here : shared;
}

/* Of those that were not over when they were spoken of. */
static int64_t heard_at(const serve *s, const serve_partition *p)
{
    int64_t lost = 0, filled = filled_at(s, p);
    for (size_t i = 0; i < SERVE_BEATS; i++)
        if (p->beats[i].lost_ms > lost && p->beats[i].lost_ms > filled)
            lost = p->beats[i].lost_ms;
    return lost;
}

/* By any clock it is newer than all that were heard of. */
static int64_t new_loss(const serve *s, int64_t lost_ms)
{
    int64_t now_ms = clock_wall_ms(), newest = s->filled_ms;
    newest = s->read_from_ms > newest ? s->read_from_ms : newest;
    newest = lost_ms > newest ? lost_ms : newest;
    return now_ms > newest ? now_ms : newest + 1;
}

pipeline_losses serve__losses(void *ctx, int partition)
{
    const serve *s = ctx;
    int64_t heard = heard_at(s, &s->partitions[partition]);
    int64_t lost = heard > s->lost_ms ? heard : s->lost_ms;
    return (pipeline_losses){lost, serve__filled(s, partition), new_loss(s, lost)};
}

/* ---- in a beat ---- */

static void add_again(const serve *s, og_buf *out)
{
    if (s->share_from_ms == 0 || !s->share_through)
        return;
    og_buf_addf(out, ",\"read_from\":%" PRId64 ",\"again\":", s->share_from_ms);
    serve__add_share(s, out);
}

void serve__say_loss(const serve *s, og_buf *out)
{
    if (s->lost_ms != 0) {
        og_buf_addf(out, ",\"lost\":%" PRId64, s->lost_ms);
        add_again(s, out);
    }
    if (s->filled_ms != 0)
        og_buf_addf(out, ",\"filled\":%" PRId64, s->filled_ms);
}

/* 0: there is none, or nonsense. */
static int64_t loss_in(fhir_elem said, const char *name)
{
    int64_t n;
    return fhir_int(fhir_get(said, name), 1, LAST_MS, &n) ? n : 0;
}

/* Of another loss than those before: none is read again yet. */
static bool begin_again(serve_partition *p, int64_t loss_ms, size_t bits)
{
    if (p->again_ms == loss_ms && p->again_bits == bits && p->again != NULL)
        return true;
    free(p->again);
    p->again = calloc(bits / 8 + 1, 1);
    p->again_ms = loss_ms;
    p->again_bits = p->again != NULL ? bits : 0;
    return p->again != NULL;
}

static void note_again(const serve *s, serve_partition *p, int64_t loss_ms, fhir_elem again)
{
    int64_t bits = serve__source_partitions(s);
    if (loss_ms == 0 || loss_ms < p->again_ms || bits <= 0 || fhir_kind_of(again) != FHIR_OBJECT ||
        !begin_again(p, loss_ms, (size_t)bits))
        return;
    serve__hear_share(s, again, p->again);
}

void serve__hear_loss(const serve *s, serve_partition *p, fhir_elem said, serve_beat *b)
{
    b->lost_ms = loss_in(said, "lost");
    b->filled_ms = loss_in(said, "filled");
    note_again(s, p, loss_in(said, "read_from"), fhir_get(said, "again"));
}

/* ---- what follows ---- */

static void log_lost(const serve *s, int partition, pipeline_loss what)
{
    static const char then[] =
        "nothing is withdrawn for that, and the source topics are read again from the beginning; "
        "what they do not hold any more has to be sent again";
    if (what == PIPELINE_LOST_UNREAD)
        log_error("nobody has read %s[%d] for more than %d days: newer versions that came before "
                  "older ones may be gone by compaction; %s",
                  s->config->kafka_records, partition, STORE_KEPT_MS / 86400000, then);
    else if (what == PIPELINE_LOST_SHARED)
        log_error("records are gone from %s[0]: %s", s->config->kafka_shared, then);
    else if (what == PIPELINE_LOST_ELSEWHERE)
        log_warn("another instance misses records that were there: the source topics are read "
                 "again from the beginning, and until all have done so nothing is withdrawn and "
                 "nothing counts as overdue");
    else
        log_error("records are gone from %s[%d]: %s", s->config->kafka_records, partition, then);
}

static void take_up(serve *s, int64_t loss_ms)
{
    s->lost_ms = loss_ms;
    if (s->read_from_ms < loss_ms) {
        s->read_from_ms = loss_ms;
        serve__restart_sources(s, true);
    }
    owner_wake_all(s->owner); /* so that each store notes it */
    serve__beat(s);
}

void serve__on_lost(void *ctx, int partition, pipeline_loss what, int64_t since_ms)
{
    serve *s = ctx;
    if (serve__stopping(s) || since_ms <= s->lost_ms || since_ms <= s->filled_ms)
        return; /* known, or over: beats that come here will tell */
    log_lost(s, partition, what);
    take_up(s, since_ms);
}

/* The newest that others speak of. What was said long ago is heard when a partition is read from
 * its beginning: only at its end it is known what became of it. */
static int64_t heard(const serve *s)
{
    int64_t lost = 0;
    for (int i = 0; i <= s->count; i++) {
        owner_state state = owner_get(s->owner, i == s->count ? OWNER_SHARED : i);
        int64_t here = state.assigned && state.restored ? heard_at(s, &s->partitions[i]) : 0;
        lost = here > lost ? here : lost;
    }
    return lost;
}

/* Partitions that still wait, or may. */
static int waiting(serve *s)
{
    int n = filled_at(s, SERVE_SHARED(s)) < s->lost_ms;
    for (int i = 0; i < s->count; i++) {
        owner_state state = owner_get(s->owner, i);
        bool filled = serve__filled(s, i) >= s->lost_ms;
        if (!state.assigned)
            continue;
        n += state.lost || !filled;
        if (state.lost && filled)
            owner_wake(s->owner, i);
    }
    return n;
}

void serve__tend_lost(serve *s)
{
    int64_t others = s->step == SERVE_WORKING ? heard(s) : 0;
    if (others > s->lost_ms && others > s->filled_ms) {
        log_lost(s, 0, PIPELINE_LOST_ELSEWHERE);
        take_up(s, others);
    }
    if (waiting(s) > 0 || s->lost_ms == 0)
        return;
    s->filled_ms = SERVE_SHARED(s)->filled_ms = s->lost_ms;
    s->lost_ms = 0;
    s->reread_all = s->wants_pending;
    log_info("the source topics have been read again: what does not hold any more is withdrawn, "
             "but for patients of whom there is still no record");
    serve__beat(s);
}

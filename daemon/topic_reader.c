/* Reads what a topic holds. A scan assigns every partition from its low to its high watermark; a
 * fetch visits one partition after the other and jumps where the next wanted message is far away.
 *
 * Invariant: `left` counts the partitions of the present assignment that have not reached their
 * end; a call waits until it is 0, or until nothing has come for PATIENCE_MS. */
#include "daemon/topic_reader.h"

#include <stdlib.h>
#include <string.h>

enum {
    PATIENCE_MS = 30000, /* without a sign of the brokers */
    ASK_MS = 10000,      /* for watermarks */
    MAX_PARTITIONS = 65536,
    JUMP = 2000 /* offsets to the next wanted message from which on a new assignment pays */
};

typedef struct stretch { /* of one partition */
    int64_t low, high;
    bool known, ended;
} stretch;

struct topic_reader {
    uv_loop_t *loop;
    uv_timer_t patience;
    const kafka_property *properties;
    size_t property_count;
    kafka_source *source;
    stretch *stretches;
    int32_t count, left, asked;
    int32_t first; /* partition of stretches[0] */
    const char *topic;
    topic_reader_fn *fn;
    void *ctx;
    bool enough, late, closed;
    char trouble[256]; /* what the brokers said last */
};

/* ---- what the source says ---- */

static void note_trouble(topic_reader *r, const kafka_error *e)
{
    snprintf(r->trouble, sizeof r->trouble, "%s: %s", e->name != NULL ? e->name : "error",
             e->text != NULL ? e->text : "");
}

static void on_error(void *ctx, const kafka_error *e)
{
    note_trouble(ctx, e);
}

static stretch *stretch_of(topic_reader *r, const char *topic, int32_t partition)
{
    if (r->topic == NULL || strcmp(topic, r->topic) != 0 || partition < r->first ||
        partition - r->first >= r->count)
        return NULL;
    return &r->stretches[partition - r->first];
}

static void end_stretch(topic_reader *r, stretch *s)
{
    if (s->ended)
        return;
    s->ended = true;
    r->left--;
}

static void sign_of_life(topic_reader *r)
{
    uv_timer_again(&r->patience);
}

static void on_message(void *ctx, const conn_message *m)
{
    topic_reader *r = ctx;
    stretch *s = stretch_of(r, m->origin.topic, m->origin.partition);
    sign_of_life(r);
    if (s == NULL || s->ended || r->enough)
        return;
    if (m->origin.offset < s->high && !r->fn(r->ctx, m))
        r->enough = true;
    if (m->origin.offset + 1 >= s->high)
        end_stretch(r, s);
}

/* The last messages before the end may be compacted away. */
static void on_end(void *ctx, const char *topic, int32_t partition, int64_t offset)
{
    topic_reader *r = ctx;
    stretch *s = stretch_of(r, topic, partition);
    sign_of_life(r);
    if (s != NULL && offset >= s->high)
        end_stretch(r, s);
}

static void on_watermarks(void *ctx, const char *topic, int32_t partition, int64_t low,
                          int64_t high, const kafka_error *error)
{
    topic_reader *r = ctx;
    stretch *s = stretch_of(r, topic, partition);
    sign_of_life(r);
    r->asked--;
    if (error != NULL) {
        note_trouble(r, error);
        return;
    }
    if (s == NULL)
        return;
    *s = (stretch){.low = low, .high = high, .known = true};
}

static void on_patience(uv_timer_t *t)
{
    topic_reader *r = t->data;
    r->late = true;
}

static void on_closed(void *ctx)
{
    topic_reader *r = ctx;
    r->closed = true;
}

/* ---- life ---- */

og_status topic_reader_new(uv_loop_t *loop, const kafka_property *properties, size_t count,
                           topic_reader **ret, og_error *err)
{
    topic_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    r->loop = loop;
    r->properties = properties;
    r->property_count = count;
    kafka_source_options options = {.mode = KAFKA_SOURCE_READER,
                                    .group = "osteoguard-command",
                                    .properties = properties,
                                    .property_count = count,
                                    .ctx = r,
                                    .on_message = on_message,
                                    .on_end = on_end,
                                    .on_error = on_error};
    og_status status = kafka_source_new(loop, &options, &r->source, err);
    if (status != OG_OK) {
        free(r);
        return status;
    }
    uv_timer_init(loop, &r->patience);
    r->patience.data = r;
    *ret = r;
    return OG_OK;
}

static void on_timer_closed(uv_handle_t *h)
{
    topic_reader *r = h->data;
    r->late = true; /* the loop is let go */
}

void topic_reader_free(topic_reader *r)
{
    if (r == NULL)
        return;
    kafka_source_close(r->source, 0, on_closed, r);
    while (!r->closed)
        uv_run(r->loop, UV_RUN_ONCE);
    r->late = false;
    uv_close((uv_handle_t *)&r->patience, on_timer_closed);
    while (!r->late)
        uv_run(r->loop, UV_RUN_ONCE);
    free(r->stretches);
    free(r);
}

/* ---- waiting ---- */

static og_status wait_for(topic_reader *r, const int32_t *count, const char *what, og_error *err)
{
    r->late = false;
    uv_timer_start(&r->patience, on_patience, PATIENCE_MS, PATIENCE_MS);
    while (*count > 0 && !r->enough && !r->late)
        uv_run(r->loop, UV_RUN_ONCE);
    uv_timer_stop(&r->patience);
    if (!r->late)
        return OG_OK;
    return og_fail(err, OG_IO, "%s: no answer for %d s%s%s", what, PATIENCE_MS / 1000,
                   r->trouble[0] != '\0' ? "; last heard: " : "", r->trouble);
}

/* Watermarks of partitions first to first + count - 1. */
static og_status measure(topic_reader *r, const char *topic, int32_t first, int32_t count,
                         og_error *err)
{
    stretch *fresh = realloc(r->stretches, ((size_t)count + 1) * sizeof *fresh);
    if (fresh == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    memset(fresh, 0, (size_t)count * sizeof *fresh);
    r->stretches = fresh;
    r->topic = topic;
    r->first = first;
    r->count = count;
    r->asked = 0;
    for (int32_t p = 0; p < count; p++) {
        og_status status =
            kafka_source_query(r->source, topic, first + p, ASK_MS, on_watermarks, r, err);
        if (status != OG_OK)
            return status;
        r->asked++;
    }
    og_status status = wait_for(r, &r->asked, topic, err);
    for (int32_t p = 0; status == OG_OK && p < count; p++)
        if (!fresh[p].known)
            status = og_fail(err, OG_IO, "%s[%d]: %s", topic, (int)(first + p), r->trouble);
    return status;
}

/* Reads the stretches that are not empty, from `from` on (-1: from their beginning). */
static og_status run_through(topic_reader *r, int64_t from, og_error *err)
{
    kafka_partition *list = calloc((size_t)r->count, sizeof *list);
    size_t n = 0;
    if (list == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    r->left = 0;
    for (int32_t p = 0; p < r->count; p++) {
        stretch *s = &r->stretches[p];
        int64_t start = from > s->low ? from : s->low;
        s->ended = start >= s->high;
        if (s->ended)
            continue;
        list[n++] = (kafka_partition){r->topic, r->first + p, start};
        r->left++;
    }
    og_status status = kafka_source_assign(r->source, list, n, err);
    free(list);
    if (status == OG_OK)
        status = wait_for(r, &r->left, r->topic, err);
    return status;
}

/* ---- the two ways to read ---- */

/* How many partitions a topic has. */
static og_status partitions_of(topic_reader *r, const char *topic, int32_t *ret, og_error *err)
{
    kafka_topic_spec spec = {.name = topic};
    kafka_topic_state state = {0};
    og_status status =
        kafka_topics_ensure(r->properties, r->property_count, &spec, 1, PATIENCE_MS, &state, err);
    if (status != OG_OK)
        return status;
    if (state.partitions < 1 || state.partitions > MAX_PARTITIONS)
        return og_fail(err, OG_NOTFOUND, "there is no topic %s", topic);
    *ret = state.partitions;
    return OG_OK;
}

og_status topic_reader_scan(topic_reader *r, const char *topic, topic_reader_fn *fn, void *ctx,
                            og_error *err)
{
    int32_t count = 0;
    og_status status = partitions_of(r, topic, &count, err);
    r->fn = fn;
    r->ctx = ctx;
    r->enough = false;
    if (status == OG_OK)
        status = measure(r, topic, 0, count, err);
    return status == OG_OK ? run_through(r, -1, err) : status;
}

static int compare_places(const void *a, const void *b)
{
    const topic_place *p = a, *q = b;
    int c = strcmp(p->topic, q->topic);
    if (c != 0)
        return c;
    if (p->partition != q->partition)
        return p->partition < q->partition ? -1 : 1;
    return p->offset < q->offset ? -1 : p->offset > q->offset;
}

typedef struct hunt { /* through one partition */
    topic_place *at, *end;
    void (*fn)(void *ctx, const topic_place *place, const conn_message *message);
    void *ctx;
} hunt;

/* Stops the run when the next wanted message is far ahead, or when there is none. */
static bool hunt_message(void *ctx, const conn_message *m)
{
    hunt *h = ctx;
    while (h->at < h->end && h->at->offset < m->origin.offset)
        h->at++; /* gone */
    for (; h->at < h->end && h->at->offset == m->origin.offset; h->at++) {
        h->at->found = true;
        h->fn(h->ctx, h->at, m);
    }
    return h->at < h->end && h->at->offset - m->origin.offset < JUMP;
}

static og_status hunt_partition(topic_reader *r, hunt *h, og_error *err)
{
    og_status status = measure(r, h->at->topic, h->at->partition, 1, err);
    int64_t high = status == OG_OK ? r->stretches[0].high : 0;
    r->fn = hunt_message;
    r->ctx = h;
    while (status == OG_OK && h->at < h->end && h->at->offset < high) {
        r->enough = false;
        status = run_through(r, h->at->offset, err);
        if (!r->enough)
            break; /* the end */
    }
    r->enough = false;
    return status;
}

og_status topic_reader_fetch(topic_reader *r, topic_place *places, size_t count,
                             void (*fn)(void *ctx, const topic_place *place,
                                        const conn_message *message),
                             void *ctx, og_error *err)
{
    qsort(places, count, sizeof *places, compare_places);
    for (size_t i = 0, next; i < count; i = next) {
        hunt h = {.at = &places[i], .fn = fn, .ctx = ctx};
        int32_t partitions = 0;
        for (next = i; next < count && strcmp(places[next].topic, places[i].topic) == 0 &&
                       places[next].partition == places[i].partition;
             next++)
            places[next].found = false;
        h.end = &places[next];
        og_error why;
        og_error_init(&why);
        og_status status = partitions_of(r, places[i].topic, &partitions, &why);
        if (status == OG_NOTFOUND || (status == OG_OK && places[i].partition >= partitions))
            continue;
        if (status == OG_OK)
            status = hunt_partition(r, &h, &why);
        if (status != OG_OK)
            return og_fail(err, status, "%s", why.text);
    }
    return OG_OK;
}

/* The alerts topic: claims, what other owners have said, and what we say ourselves (said.h).
 *
 *   assigned ─► claim written ─► topic read up to the claim ─► what others said is taken over
 *            ─► every patient touched is evaluated ─► settled: deliveries begin
 *
 * The claim is the fence. Its place in the log orders the owners of a partition, whatever the group
 * believes: who reads a newer claim than his own stops at once, and what he still wrote does not
 * count. A process that was stopped for a while cannot know what it has missed: it claims anew
 * before it does anything else, and reads whether another one has come in between. */
#include "daemon/said.h"

#include <inttypes.h>
#include <stdlib.h>

#include "daemon/crash.h"
#include "daemon/metrics.h"
#include "daemon/serve_private.h"

#define SESSION_MS   45000 /* librdkafka's default */
#define RECLAIM_MS   3000  /* after another one's claim, or when the brokers refused ours */
#define CALL_ROOM_MS 1000
#define AGAIN_MS     1000 /* after a word that the brokers did not take */

/* ---- our own words ---- */

/* A record on its way to the alerts topic, in a list until it is there. */
typedef struct serve_saying {
    struct serve_saying *next, **link;
    serve *s;
    int partition;
    bool sent, claim, forgotten;
    size_t key_n, value_n;
    bool has_value;
    char bytes[];
} saying;

static saying *saying_new(serve *s, int partition, og_str key, og_str value)
{
    size_t value_n = value.p != NULL ? value.n : 0;
    saying *it = malloc(sizeof *it + key.n + value_n);
    if (it == NULL)
        return NULL;
    *it = (saying){.s = s,
                   .partition = partition,
                   .key_n = key.n,
                   .value_n = value_n,
                   .has_value = value.p != NULL};
    memcpy(it->bytes, key.p, key.n);
    if (value_n > 0)
        memcpy(it->bytes + key.n, value.p, value_n);
    if (s->sayings_end == NULL)
        s->sayings_end = &s->sayings;
    it->link = s->sayings_end; /* at the end: words about one thing keep their order */
    it->next = NULL;
    *s->sayings_end = it;
    s->sayings_end = &it->next;
    s->partitions[partition].publishing++;
    return it;
}

static void saying_free(saying *it)
{
    *it->link = it->next;
    if (it->next != NULL)
        it->next->link = it->link;
    else
        it->s->sayings_end = it->link;
    it->s->partitions[it->partition].publishing--;
    free(it);
}

void serve__said_record(serve *s, int partition, og_str key, og_str value, serve_record *ret)
{
    const serve_partition *p = &s->partitions[partition];
    snprintf(ret->epoch, sizeof ret->epoch, "%" PRId64, p->epoch);
    ret->headers[0] = (conn_header){SAID_EPOCH, og_str_of(ret->epoch)};
    ret->headers[1] = (conn_header){SAID_STORE, og_str_of(p->id)};
    ret->headers[2] = (conn_header){SAID_NONCE, og_str_of(p->nonce)};
    ret->record = (kafka_record){.topic = s->config->kafka_alerts,
                                 .partition = partition,
                                 .key = key,
                                 .value = value,
                                 .headers = ret->headers,
                                 .header_count = 2};
}

static void claim_later(serve *s, int number)
{
    s->partitions[number].claim_at_ms = clock_monotonic_ms() + RECLAIM_MS;
}

static void on_said(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                    const kafka_error *error)
{
    saying *it = ctx;
    (void)partition;
    (void)offset;
    it->sent = false; /* CONN_AGAIN: serve__tend_said sends it once more */
    if (verdict == CONN_NEVER)
        log_error("the brokers refuse a record of the alerts topic: %s",
                  error != NULL ? error->text : "");
    if (verdict == CONN_AGAIN)
        it->s->said_again_ms = clock_monotonic_ms() + AGAIN_MS;
    if (verdict == CONN_NEVER && it->claim && !it->forgotten)
        claim_later(it->s, it->partition);
    if (verdict != CONN_AGAIN || it->forgotten || it->s->sink == NULL)
        saying_free(it);
}

static void send_saying(serve *s, saying *it)
{
    serve_record r;
    og_error err;
    og_str key = {it->bytes, it->key_n};
    og_str value = {it->has_value ? it->bytes + it->key_n : NULL, it->value_n};
    og_error_init(&err);
    if (it->claim && !s->partitions[it->partition].assigned) { /* it would stop the new owner */
        if (!it->sent)
            saying_free(it);
        return;
    }
    if (it->sent || s->sink == NULL || clock_monotonic_ms() < s->said_again_ms ||
        (s->partitions[it->partition].epoch < 0 && !it->claim))
        return;
    serve__said_record(s, it->partition, key, value, &r);
    if (it->claim) {
        r.headers[0] = r.headers[2];
        r.record.header_count = 2;
    }
    it->sent = true;
    conn_verdict verdict = kafka_sink_send(s->sink, &r.record, on_said, it, &err);
    if (verdict == CONN_DONE)
        return;
    it->sent = false;
    if (verdict == CONN_NEVER) {
        log_failure(LOG_LEVEL_ERROR, "a record of the alerts topic cannot be written", &err);
        if (it->claim)
            claim_later(s, it->partition);
        saying_free(it);
    }
}

enum { CLAIMS = 1, WORDS = 2 };

/* What of these kinds was to be said for the partition is not said. */
static void forget_sayings(serve *s, int partition, int kinds)
{
    for (saying *it = s->sayings, *next; it != NULL; it = next) {
        next = it->next;
        if (it->partition != partition || (kinds & (it->claim ? CLAIMS : WORDS)) == 0)
            continue;
        it->forgotten = true; /* what is under way is not repeated */
        if (!it->sent)
            saying_free(it);
    }
}

void serve__say(serve *s, int partition, og_str key, og_str value)
{
    saying *it = saying_new(s, partition, key, value);
    if (it == NULL)
        log_error("out of memory while noting a receipt; after a take-over it may be said again");
    else
        send_saying(s, it);
}

void serve__on_saying(void *ctx, int partition, const pipeline_saying *saying)
{
    const serve *s = ctx;
    crash_point(CRASH_RECEIPT);
    /* A partition that was lost: others read it, and nobody would send or forget the words. */
    if (s->partitions[partition].assigned || s->partitions[partition].epoch >= 0)
        serve__say(ctx, partition, saying->key, saying->value);
}

/* ---- claims ---- */

static void send_claim(serve *s, int number)
{
    serve_partition *p = &s->partitions[number];
    char text[128];
    int n = snprintf(text, sizeof text, "{\"osteoguard\":1,\"store\":\"%s\"}", p->id);
    uuid_random(p->nonce);
    saying *it = saying_new(s, number, OG_STR(SAID_CLAIM), (og_str){text, (size_t)n});
    if (it == NULL)
        return; /* claim_at_ms stays: the next turn tries again */
    p->claim_at_ms = 0;
    it->claim = true;
    send_saying(s, it);
}

/* Nothing is evaluated, sent or said for it any more until a claim is read back. */
static void let_go(serve *s, int number, int kinds)
{
    serve_partition *p = &s->partitions[number];
    p->epoch = -1;
    p->claim_at_ms = 0;
    p->nonce[0] = '\0';
    owner_unclaim(s->owner, number);
    outbox_forget_partition(s->outbox, number);
    forget_sayings(s, number, kinds);
}

void serve__claim(serve *s, int number)
{
    /* What we still have to say is said behind the claim, unless another's stands before it. */
    let_go(s, number, CLAIMS);
    s->partitions[number].claim_at_ms = 1; /* at once */
    send_claim(s, number);
}

void serve__lost(serve *s, int number)
{
    let_go(s, number, CLAIMS | WORDS);
}

static void fenced(serve *s, int number)
{
    log_warn("partition %d has another owner now; this one stops", number);
    metric_add(METRIC_FENCED, 1);
    let_go(s, number, CLAIMS | WORDS);
    claim_later(s, number); /* if we still have it then, the other one was late, not we */
}

bool serve__may_act(serve *s, int number)
{
    serve__breathe(s);
    return s->partitions[number].assigned && s->partitions[number].epoch >= 0;
}

/* How long this process may stand still before it has to ask whether it still owns anything. */
static int64_t longest_gap(const serve *s)
{
    const config_map *maps[] = {&s->config->kafka_properties,
                                &s->config->kafka_consumer_properties};
    int64_t session = SESSION_MS;
    for (size_t m = 0; m < 2; m++)
        for (size_t i = 0; i < maps[m]->count; i++)
            if (strcmp(maps[m]->at[i].name, "session.timeout.ms") == 0)
                session = strtoll(maps[m]->at[i].value, NULL, 10);
    return session / 2;
}

void serve__breathe(serve *s)
{
    int64_t now = clock_monotonic_ms(), stood = now - s->breath_ms;
    bool gap = s->breath_ms != 0 && stood > longest_gap(s);
    s->breath_ms = now;
    if (!gap || serve__stopping(s))
        return;
    log_warn(
        "this process stood still for %lld ms; it claims its partitions anew before it goes on",
        (long long)stood);
    for (int i = 0; i < s->count; i++)
        if (s->partitions[i].assigned)
            serve__claim(s, i);
}

/* ---- reading ---- */

static int64_t call_timeout(const serve *s, og_str endpoint)
{
    for (size_t i = 0; i < s->config->endpoint_count; i++)
        if (og_str_is(endpoint, s->config->endpoints[i].name))
            return s->config->endpoints[i].timeout_ms + CALL_ROOM_MS;
    return 0;
}

static void on_claim(serve *s, int number, const conn_message *m)
{
    serve_partition *p = &s->partitions[number];
    og_str nonce = {NULL, 0}, store = {NULL, 0};
    bool ours =
        kafka_message_header(m, SAID_NONCE, &nonce) && nonce.n > 0 && og_str_is(nonce, p->nonce);
    p->said_claim = m->origin.offset;
    owner_said_nothing(s->owner, number, m->origin.offset + 1, p->said_claim);
    if (ours) {
        p->epoch = m->origin.offset;
        owner_claimed(s->owner, number);
    } else if (p->epoch >= 0) {
        fenced(s, number);
    } else if (!kafka_message_header(m, SAID_STORE, &store) || !og_str_is(store, p->id)) {
        forget_sayings(s, number, WORDS); /* the other one knows more by now */
    }
}

static int64_t epoch_of(const conn_message *m)
{
    og_str text;
    int64_t epoch;
    bool there = kafka_message_header(m, SAID_EPOCH, &text) &&
                 og_str_int(text, INT64_MIN, INT64_MAX, &epoch);
    return there ? epoch : INT64_MAX;
}

static void on_word(serve *s, int number, const conn_message *m)
{
    serve_partition *p = &s->partitions[number];
    int64_t next = m->origin.offset + 1;
    og_str store;
    said_key key = {.endpoint = {NULL, 0}};
    bool outdated = epoch_of(m) < p->said_claim;
    bool own = kafka_message_header(m, SAID_STORE, &store) && og_str_is(store, p->id);
    if ((own && !outdated) || m->key.p == NULL) { /* our store knows it */
        owner_said_nothing(s->owner, number, next, p->said_claim);
        return;
    }
    said_message said = {.key = m->key, .value = m->value, .outdated = outdated};
    if (said_read_key(m->key, &key) && key.endpoint.n > 0)
        said.not_before_ms = m->origin.timestamp_ms + call_timeout(s, key.endpoint);
    owner_said(s->owner, number, &said, next, p->said_claim);
}

static void on_message(void *ctx, const conn_message *m)
{
    serve *s = ctx;
    int number = m->origin.partition;
    if (number >= s->count || !s->partitions[number].assigned)
        return;
    s->partitions[number].said_next = m->origin.offset + 1;
    if (m->key.p != NULL && og_str_is(m->key, SAID_CLAIM))
        on_claim(s, number, m);
    else
        on_word(s, number, m);
}

static void on_error(void *ctx, const kafka_error *e)
{
    serve__said_error(ctx, e);
}

void serve__follow_said(serve *s)
{
    og_error err;
    size_t count = 0;
    og_error_init(&err);
    if (serve__stopping(s) || s->partitions == NULL)
        return;
    if (s->said == NULL && serve__open_said(s, on_message, on_error, &err) != OG_OK) {
        serve__failed(s, "cannot read the alerts topic", &err);
        return;
    }
    kafka_partition *list = calloc((size_t)s->count, sizeof *list);
    if (list == NULL) {
        (void)og_fail(&err, OG_NOMEM, "no memory for a list of partitions");
        serve__failed(s, "cannot read the alerts topic", &err);
        return;
    }
    for (int i = 0; i < s->count; i++) {
        const serve_partition *p = &s->partitions[i];
        if (p->assigned)
            list[count++] =
                (kafka_partition){s->config->kafka_alerts, i,
                                  p->said_next > 0 ? p->said_next : KAFKA_OFFSET_BEGINNING};
    }
    if (kafka_source_assign(s->said, list, count, &err) != OG_OK)
        serve__failed(s, "cannot read the alerts topic", &err);
    free(list);
}

void serve__on_said_pause(void *ctx, int partition, bool pause)
{
    serve *s = ctx;
    if (s->said == NULL)
        return;
    if (pause)
        kafka_source_pause(s->said, s->config->kafka_alerts, partition);
    else
        kafka_source_resume(s->said, s->config->kafka_alerts, partition);
}

void serve__tend_said(serve *s)
{
    int64_t now = clock_monotonic_ms();
    for (saying *it = s->sayings, *next; it != NULL; it = next) {
        next = it->next;
        send_saying(s, it);
    }
    for (int i = 0; i < s->count && !serve__stopping(s); i++) {
        const serve_partition *p = &s->partitions[i];
        if (p->assigned && p->claim_at_ms != 0 && p->claim_at_ms <= now)
            send_claim(s, i);
    }
}

void serve__free_sayings(serve *s)
{
    for (saying *it = s->sayings, *next; it != NULL; it = next) {
        next = it->next;
        saying_free(it);
    }
}

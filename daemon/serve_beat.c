/* Heartbeats: is what we know the present? (STREAM 3.8)
 *
 * Every instance writes one to each partition of the records topic, behind the records that it has
 * gathered: "of my share of the sources, these partitions, everything is there that had come by
 * this time". The owner of a partition that has read such beats of all partitions, none of them
 * old, knows that what is not in its store is not there. Otherwise lag, an outage or a rebuild
 * would look like a dose that never came: reviews by the clock wait, and alerts that rest on
 * absence are not opened. */
#include <inttypes.h>
#include <stdlib.h>

#include "daemon/metrics.h"
#include "daemon/serve_private.h"
#include "daemon/wants.h"

#define BEAT_MS       10000   /* or a third of what is still fresh */
#define JUMP_MS       2000    /* between the real and the monotonic clock, from tick to tick */
#define FAR_MS        3600000 /* a jump ahead by more is believed late */
#define HOLD_MS       60000
#define TELL_AGAIN_MS 600000
#define AHEAD_MS      5000 /* clocks of instances may differ by */
#define ENDS_TIMEOUT  5000
#define ASKED_IN_VAIN 2 /* times, and it is told */
#define FAR_HOLD_MS   600000

/* ---- ours ---- */

/* How many partitions of the sources are ours. Fills at, if there is one, with up to SERVE_MARKS.
 */
static size_t positions(const serve *s, kafka_position *at)
{
    return s->sources != NULL ? kafka_source_positions(s->sources, at, at != NULL ? SERVE_MARKS : 0)
                              : 0;
}

/* The offset up to which everything of the partition is finished; -1: not known. */
static int64_t finished(const kafka_position *p)
{
    return p->waiting == 0 ? p->next : p->done;
}

static bool is_reached(const serve *s, const kafka_position *at)
{
    for (size_t i = 0; i < s->mark_count; i++)
        if (finished(&at[i]) < s->mark[i])
            return false;
    return true;
}

/* Every third heartbeat is still fresh. */
static int64_t interval(const serve *s)
{
    int64_t fresh = s->config->freshness_ms;
    return fresh > 0 && fresh < 3 * BEAT_MS ? fresh / 3 : BEAT_MS;
}

/* A leader that changes is no fault; where nobody asks what is overdue it is none at all. */
static void tell_ends_unknown(serve *s, const kafka_error *e)
{
    if (++s->asked_in_vain == ASKED_IN_VAIN && s->config->freshness_ms > 0)
        serve__log_kafka(LOG_LEVEL_WARN,
                         "the brokers do not say where the source topics end; until they do "
                         "nothing counts as overdue",
                         e);
}

/* Where the log ends before the place that we have come to, it is another one, or cut off. */
static bool fits(const serve *s, const int64_t *ends, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ends[i] < s->asked_at[i])
            return false;
    return true;
}

static void on_ends(void *ctx, const int64_t *ends, size_t count, const kafka_error *error)
{
    serve *s = ctx;
    int64_t asked_ms = s->asked_ms;
    s->asking_ends = false;
    s->asked_ms = 0;
    if (asked_ms == 0)
        return; /* of a share that is not ours any more */
    if (error != NULL) {
        tell_ends_unknown(s, error);
        return;
    }
    if (s->asked_in_vain >= ASKED_IN_VAIN && s->config->freshness_ms > 0)
        log_info("the brokers say again where the source topics end");
    s->asked_in_vain = 0;
    if (!fits(s, ends, count))
        return; /* the next fetch tells, and the source says that it cannot go on */
    bool again = s->mark_ms != 0; /* asked while a mark waits: the log may have become shorter */
    for (size_t i = 0; i < count; i++)
        s->mark[i] = again && s->mark[i] < ends[i] ? s->mark[i] : ends[i];
    s->mark_count = count;
    s->mark_ms = again ? s->mark_ms : asked_ms;
}

/* What the fetches have told is not enough: of a broker that does not answer any more it would be
 * the end for ever. */
static void ask_ends(serve *s, const kafka_position *at, size_t n)
{
    static kafka_partition parts[SERVE_MARKS];
    for (size_t i = 0; i < n; i++) {
        parts[i] = (kafka_partition){at[i].topic, at[i].partition, 0};
        s->asked_at[i] = at[i].next;
    }
    s->ask_next_ms = clock_monotonic_ms() + interval(s) / 2;
    s->asked_ms = clock_wall_ms();
    if (n == 0) {
        on_ends(s, NULL, 0, NULL);
        return;
    }
    s->asking_ends =
        kafka_source_ends(s->shared, parts, n, ENDS_TIMEOUT, on_ends, s, NULL) == OG_OK;
}

void serve__forget_ends(serve *s)
{
    s->known_ms = s->mark_ms = s->asked_ms = s->ask_next_ms = 0;
    s->share_unread = true;
}

void serve__set_wants(serve *s, bool covered)
{
    int64_t before = s->wants;
    s->wants = wants_digest(s->content);
    for (size_t i = 0; covered && i < s->read_by_count; i++)
        if (s->read_by[i].wants == before) /* what it has read is enough */
            s->read_by[i].wants = s->wants;
    s->told_wants = false;
    for (int i = 0; s->partitions != NULL && i < s->count; i++)
        s->partitions[i].read_known = false;
}

/* The place of a partition among those of all sources; -1: it was not there when they were asked
 * for. */
static int64_t place_of_source(const serve *s, const char *topic, int32_t partition)
{
    int64_t first = 0;
    for (size_t i = 0; i < s->config->kafka_sources.count; i++) {
        int64_t n = serve__partitions_of_source(s, i);
        if (strcmp(s->config->kafka_sources.at[i], topic) == 0)
            return partition < n ? first + partition : -1;
        first += n;
    }
    return -1;
}

/* False: no memory. */
static bool has_read_by(serve *s)
{
    size_t count = (size_t)serve__source_partitions(s);
    if (s->read_by_count != count) {
        free(s->read_by);
        s->read_by = calloc(count, sizeof *s->read_by);
        s->read_by_count = s->read_by != NULL ? count : 0;
    }
    return s->read_by != NULL;
}

/* What was said before is no news, though it is read again: beats stand in many partitions. */
static void note_read(serve *s, size_t place, int64_t wants, int64_t at_ms)
{
    if (at_ms >= s->read_by[place].at_ms)
        s->read_by[place] = (serve_read){wants, at_ms};
}

void serve__note_read(serve *s, const char *topic, int32_t partition, int64_t at_ms)
{
    int64_t place = place_of_source(s, topic, partition);
    if (place >= 0 && has_read_by(s))
        note_read(s, (size_t)place, s->wants, at_ms);
}

bool serve__is_read_otherwise(const serve *s, const char *topic, int32_t partition)
{
    int64_t at = place_of_source(s, topic, partition);
    return at >= 0 && (size_t)at < s->read_by_count && s->read_by[at].wants != 0 && s->wants != 0 &&
           s->read_by[at].wants != s->wants;
}

/* The ends were reached that the sources had at mark_ms. */
static void take_news(serve *s, const kafka_position *at)
{
    for (size_t i = 0; i < s->mark_count; i++)
        serve__note_read(s, at[i].topic, at[i].partition, s->mark_ms);
    s->known_ms = s->mark_ms;
    s->mark_ms = 0;
    s->share_unread = false;
    if (s->share_from_ms != 0 && !s->share_through)
        s->beat_at_ms = 0; /* news */
    s->share_through = true;
}

/* What others have said of our share may come behind it, as when it is restored. */
static void reread_if_otherwise(serve *s, const kafka_position *at, size_t n)
{
    size_t i = 0;
    while (i < n && i < SERVE_MARKS && !serve__is_read_otherwise(s, at[i].topic, at[i].partition))
        i++;
    if (s->reread_all || s->share_away || i == n || i == SERVE_MARKS)
        return;
    log_info("an instance with other content has read %s[%d]: the sources are read again from the "
             "beginning",
             at[i].topic, (int)at[i].partition);
    serve__want_reread(s);
    serve__restart_sources(s, true);
}

/* The brokers are asked from time to time where the sources end; when all of it is finished,
 * everything is known that was there when they were asked, however much has come since. */
static void follow_sources(serve *s)
{
    static kafka_position at[SERVE_MARKS];
    size_t n = positions(s, at);
    reread_if_otherwise(s, at, n);
    if (s->sources == NULL || !s->gathering || s->share_away || n > SERVE_MARKS ||
        (s->mark_ms != 0 && s->mark_count != n)) {
        s->asked_ms = s->mark_ms = 0;
        return;
    }
    if (s->mark_ms != 0 && is_reached(s, at))
        take_news(s, at);
    if (s->shared != NULL && !s->asking_ends && clock_monotonic_ms() >= s->ask_next_ms)
        ask_ends(s, at, n);
}

int64_t serve__partitions_of_source(const serve *s, size_t source)
{
    for (size_t i = 0; i < s->topic_count; i++)
        if (strcmp(s->topic_specs[i].name, s->config->kafka_sources.at[source]) == 0)
            return s->topic_states[i].partitions;
    return 0;
}

int64_t serve__source_partitions(const serve *s)
{
    int64_t sum = 0;
    for (size_t i = 0; i < s->config->kafka_sources.count; i++)
        sum += serve__partitions_of_source(s, i);
    return sum;
}

/* ---- a share of the sources, as heartbeats name it ---- */

static void add_partitions(const kafka_position *at, size_t count, const char *topic, og_buf *out)
{
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(at[i].topic, topic) != 0)
            continue;
        og_buf_addf(out, "%s%d", first ? "" : ",", (int)at[i].partition);
        first = false;
    }
}

void serve__add_share(const serve *s, og_buf *out)
{
    static kafka_position at[SERVE_MARKS];
    size_t n = positions(s, at);
    og_buf_addc(out, '{');
    for (size_t i = 0; i < s->config->kafka_sources.count; i++) {
        const char *topic = s->config->kafka_sources.at[i];
        og_buf_addf(out, "%s\"%s\":[", i == 0 ? "" : ",", topic);
        add_partitions(at, n <= SERVE_MARKS ? n : 0, topic, out);
        og_buf_addc(out, ']');
    }
    og_buf_addc(out, '}');
}

void serve__hear_share(const serve *s, fhir_elem named, unsigned char *bits)
{
    int64_t first = 0, k;
    for (size_t i = 0; i < s->config->kafka_sources.count; i++) {
        int64_t n = serve__partitions_of_source(s, i);
        fhir_elem list = fhir_get(named, s->config->kafka_sources.at[i]);
        if (n > 0 && fhir_kind_of(list) == FHIR_ARRAY)
            for (fhir_elem e = fhir_first(list); fhir_exists(e); e = fhir_next(list, e))
                if (fhir_int(e, 0, n - 1, &k))
                    bits[(first + k) / 8] |= (unsigned char)(1U << (first + k) % 8);
        first += n;
    }
}

/* ---- a heartbeat ---- */

static void on_beat(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                    const kafka_error *error)
{
    serve *s = ctx;
    (void)partition;
    (void)offset;
    (void)error;
    if (verdict == CONN_DONE)
        s->beat_there_ms = clock_monotonic_ms();
}

static bool send_beat(serve *s, const char *topic, int partition, og_str key, og_str value)
{
    og_error err;
    kafka_record r = {.topic = topic, .partition = partition, .key = key, .value = value};
    og_error_init(&err);
    return s->sink != NULL && kafka_sink_send(s->sink, &r, on_beat, s, &err) == CONN_DONE;
}

/* Who has no partition of the records hears of losses by the shared topic. */
static bool send_beats(serve *s, og_str key, og_str value, bool loss)
{
    for (int i = 0; i < s->count; i++)
        if (!send_beat(s, s->config->kafka_records, i, key, value))
            return false;
    return !loss || send_beat(s, s->config->kafka_shared, 0, key, value);
}

void serve__beat(serve *s)
{
    og_buf key, value, loss;
    og_buf_init(&key, SERVE_BEAT_BYTES);
    og_buf_init(&value, SERVE_BEAT_BYTES);
    og_buf_init(&loss, SERVE_BEAT_BYTES);
    serve__say_loss(s, &loss);
    og_buf_addf(&key, RECORD_BEAT "%s", SERVE_SHARED(s)->id);
    og_buf_addf(&value,
                "{\"osteoguard\":1,\"at\":%" PRId64 ",\"partitions\":%zu,\"of\":%" PRId64
                ",\"wants\":%" PRId64 ",\"read\":",
                s->known_ms, positions(s, NULL), serve__source_partitions(s), s->wants);
    serve__add_share(s, &value);
    serve__say_heard(s, &value);
    og_buf_addf(&value, "%.*s}", OG_STR_ARG(og_buf_str(&loss)));
    if (s->beat_ms == 0) /* the brokers have as long for it as for every other one */
        s->beat_there_ms = clock_monotonic_ms();
    s->beat_ms = clock_monotonic_ms();
    s->beat_at_ms = s->known_ms;
    if (og_buf_failed(&key) || og_buf_failed(&value) || og_buf_failed(&loss) ||
        !send_beats(s, og_buf_str(&key), og_buf_str(&value), og_buf_str(&loss).n > 0))
        s->beat_ms -= BEAT_MS; /* at the next tick again */
    og_buf_done(&key);
    og_buf_done(&value);
    og_buf_done(&loss);
}

/* ---- the clock ---- */

/* Now the real clock has moved by `wall` while `steady` passed: for how long nothing is believed to
 * be overdue. */
int64_t serve__hold_after_step(int64_t wall_ms, int64_t passed_ms)
{
    int64_t jump = wall_ms - passed_ms;
    if (jump > FAR_MS)
        return FAR_HOLD_MS;
    return jump > JUMP_MS || jump < -JUMP_MS ? HOLD_MS : 0;
}

/* Far ahead the clock may be right (the machine slept) or wrong: others' clocks tell, by the times
 * of their messages and heartbeats. One that goes back as far is mended. */
static void doubt_clock(serve *s, int64_t jump_ms)
{
    if (jump_ms > FAR_MS && !s->clock_doubted)
        log_error("the clock of this machine has jumped by more than an hour: nothing counts as "
                  "overdue, and nothing deleted is forgotten, until a message on a source topic or "
                  "another instance's heartbeat bears a time like ours; if the clock is right, a "
                  "restart will do as well");
    if (jump_ms > FAR_MS || jump_ms < -FAR_MS)
        s->clock_doubted = jump_ms > 0;
}

void serve__compare_clock(serve *s, int64_t theirs_ms)
{
    if (!s->clock_doubted || theirs_ms < clock_wall_ms() - FAR_MS)
        return;
    s->clock_doubted = false;
    log_info("the clock of this machine is like those of others");
}

/* A hold that runs is never cut short by a smaller jump, as when time is mended in steps. */
void serve__watch_clock(serve *s, int64_t wall_ms, int64_t steady_ms)
{
    if (s->tick_steady_ms != 0) {
        int64_t passed = steady_ms - s->tick_steady_ms;
        int64_t hold = serve__hold_after_step(wall_ms - s->tick_wall_ms, passed);
        if (hold > 0)
            log_warn("the clock of this machine has jumped by %lld ms; nothing counts as overdue "
                     "for %lld s",
                     (long long)(wall_ms - s->tick_wall_ms - passed), (long long)hold / 1000);
        if (hold > 0 && steady_ms + hold > s->clock_hold_until_ms)
            s->clock_hold_until_ms = steady_ms + hold;
        doubt_clock(s, wall_ms - s->tick_wall_ms - passed);
    }
    s->tick_wall_ms = wall_ms;
    s->tick_steady_ms = steady_ms;
}

void serve__tend_beat(serve *s)
{
    serve__watch_clock(s, clock_wall_ms(), clock_monotonic_ms());
    if (s->step != SERVE_WORKING && (s->step != SERVE_RESTORE || s->beat_ms == 0))
        return;
    if (s->wants == 0 && s->content != NULL)
        serve__set_wants(s, true); /* there was no memory for it */
    if (s->step == SERVE_WORKING) {
        serve__tend_silence(s);
        follow_sources(s); /* also where nobody asks what is overdue: lost records wait for it */
    }
    bool news = clock_wall_ms() - s->beat_at_ms > 2 * interval(s) && s->known_ms > s->beat_at_ms;
    if (s->beat_ms == 0 || clock_monotonic_ms() - s->beat_ms >= interval(s) || news)
        serve__beat(s);
}

/* ---- those of others, and ours when they come back ---- */

static int64_t number(fhir_elem o, const char *name)
{
    int64_t n;
    return fhir_int(fhir_get(o, name), INT64_MIN, INT64_MAX, &n) ? n : 0;
}

/* The place of this instance's beat; a new one takes that of the one who was silent longest: with
 * more instances than places, or many that are gone for good. */
static serve_beat *place_of(serve_partition *p, og_str id)
{
    serve_beat *silent = &p->beats[0];
    for (size_t i = 0; i < SERVE_BEATS; i++) {
        if (p->beats[i].heard != 0 && og_str_is(id, p->beats[i].id))
            return &p->beats[i];
        if (p->beats[i].heard < silent->heard)
            silent = &p->beats[i];
    }
    return silent;
}

/* Nothing is known of a time to come: somebody's clock is wrong, and would be believed until then,
 * also when whoever said it is gone. */
static bool is_ahead(serve *s, const serve_beat *b)
{
    int64_t ahead_ms = b->at_ms - clock_wall_ms(), now_ms = clock_monotonic_ms();
    if (ahead_ms <= AHEAD_MS)
        return false;
    if (s->told_ahead_ms != 0 && now_ms - s->told_ahead_ms < TELL_AGAIN_MS)
        return true;
    s->told_ahead_ms = now_ms;
    log_warn("the clock of the instance %s is ahead of ours by %lld s, or ours is behind: what it "
             "says of the sources does not count",
             b->id, (long long)ahead_ms / 1000);
    return true;
}

/* Of each partition that is named: with what content it was read. What we said with other content
 * may come back behind it, and is no news. */
static void note_wants(serve *s, const serve_beat *b)
{
    bool same = b->wants == s->wants;
    if (!same && og_str_is(og_str_of(b->id), SERVE_SHARED(s)->id))
        return;
    for (size_t i = 0; has_read_by(s) && i < s->read_by_count; i++)
        if ((b->read[i / 8] & 1U << i % 8) != 0)
            note_read(s, i, b->wants, b->at_ms);
    if (!same && !s->told_wants && b->at_ms > clock_wall_ms() - s->config->freshness_ms) {
        s->told_wants = true;
        log_warn("another instance has content that asks for other data than ours: nothing counts "
                 "as overdue until all have the same");
    }
}

/* A version that only counts its partitions has read none that can be told from those of others. */
static void hear_read(serve *s, fhir_elem said, serve_beat *b)
{
    int64_t bits = serve__source_partitions(s);
    fhir_elem read = fhir_get(said, "read");
    b->at_ms = number(said, "at");
    b->of = number(said, "of");
    b->wants = number(said, "wants");
    if (b->at_ms <= 0 || bits <= 0 || fhir_kind_of(read) != FHIR_OBJECT || is_ahead(s, b))
        return;
    b->read = calloc((size_t)bits / 8 + 1, 1);
    if (b->read == NULL)
        return;
    serve__hear_share(s, read, b->read);
    note_wants(s, b);
}

bool serve__take_beat(serve *s, int partition, const conn_message *m)
{
    fhir_doc doc;
    og_str id;
    if (!record_is_beat(m->key))
        return false;
    id = og_str_from(m->key, strlen(RECORD_BEAT));
    if (m->value.p == NULL || id.n >= UUID_TEXT || s->beat_arena == NULL)
        return true;
    og_arena_reset(s->beat_arena);
    if (fhir_decode(s->beat_arena, m->value, NULL, &doc, NULL) != OG_OK)
        return true;
    serve_beat *b = place_of(&s->partitions[partition], id);
    free(b->read);
    memset(b, 0, sizeof *b);
    memcpy(b->id, id.p, id.n);
    b->heard = ++s->beats_heard;
    s->partitions[partition].read_known = false;
    hear_read(s, fhir_root(&doc), b);
    serve__hear_heard(s, fhir_root(&doc));
    if (!og_str_is(id, SERVE_SHARED(s)->id))
        serve__compare_clock(s, m->origin.timestamp_ms);
    serve__hear_loss(s, &s->partitions[partition], fhir_root(&doc), b);
    return true;
}

void serve__forget_beats(serve_partition *p)
{
    for (size_t i = 0; i < SERVE_BEATS; i++)
        free(p->beats[i].read);
    memset(p->beats, 0, sizeof p->beats);
    p->read_known = false;
}

/* The latest moment that a beat tells of this partition of the sources; -1: none does that has read
 * it as our content asks. */
static int64_t partition_read(const serve *s, const serve_partition *p, size_t number)
{
    int64_t newest = -1;
    for (size_t i = 0; i < SERVE_BEATS; i++) {
        const serve_beat *b = &p->beats[i];
        if (b->read != NULL && b->wants == s->wants &&
            (b->read[number / 8] & 1U << number % 8) != 0 && b->at_ms > newest)
            newest = b->at_ms;
    }
    return newest;
}

/* What had come to the sources by then (real time) stands in the topic before the newest beats that
 * were read of it; -1: not known. */
static int64_t read_until(const serve *s, serve_partition *p)
{
    if (p->read_known)
        return p->read_until_ms;
    int64_t count = serve__source_partitions(s), until = count > 0 ? INT64_MAX : -1;
    for (int64_t i = 0; i < count; i++) {
        int64_t read = partition_read(s, p, (size_t)i);
        until = read < until ? read : until;
    }
    p->read_known = true;
    p->read_until_ms = until;
    return until;
}

/* A beat tells of what stands before it, and some of that may be on its way into the store yet. So
 * what the beats say now is believed of the store when it has got to this offset. */
void serve__note_stored(serve *s, int partition, int64_t offset)
{
    serve_partition *p = &s->partitions[partition];
    if (owner_get(s->owner, partition).next_offset > p->noted_offset)
        p->stored_until_ms = p->noted_ms;
    else if (offset > p->noted_offset)
        return; /* the store has yet to get to the one before */
    p->noted_offset = offset;
    p->noted_ms = read_until(s, p);
}

int64_t serve__stored_until(const serve *s, int partition)
{
    const serve_partition *p = &s->partitions[partition];
    bool is_there = owner_get(s->owner, partition).next_offset > p->noted_offset;
    int64_t until = is_there ? p->noted_ms : p->stored_until_ms;
    return until > 0 && s->lost_ms <= serve__filled(s, partition) ? until : -1;
}

/* A beat of late knows of more partitions of the sources than we do. */
static bool there_are_more(const serve *s, const serve_partition *p, int64_t since_ms)
{
    int64_t count = serve__source_partitions(s);
    for (size_t i = 0; i < SERVE_BEATS; i++)
        if (p->beats[i].at_ms > since_ms && p->beats[i].of > count)
            return true;
    return false;
}

bool serve__is_current(void *ctx, int partition)
{
    const serve *s = ctx;
    int64_t since_ms = clock_wall_ms() - s->config->freshness_ms - 1;
    if (s->config->freshness_ms == 0)
        return !s->clock_doubted;
    if (s->share_unread || s->clock_doubted || s->clock_hold_until_ms > clock_monotonic_ms())
        return false;
    if (s->lost_ms > serve__filled(s, partition) || serve__any_silent(s))
        return false;
    serve_partition *p = &s->partitions[partition];
    return read_until(s, p) > since_ms && !there_are_more(s, p, since_ms);
}

bool serve__kafka_answers(const serve *s)
{
    return s->beat_ms == 0 || clock_monotonic_ms() - s->beat_there_ms < 3 * (int64_t)BEAT_MS;
}

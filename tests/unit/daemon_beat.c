/* Heartbeats: whether what we know is the present, and clocks that jump. */
#include "daemon/serve_private.h"

#include "daemon_world.h"

typedef struct rig {
    serve s;
    config c;
    serve_partition parts[2]; /* one of the records, and the shared topic */
    kafka_topic_spec specs[3];
    kafka_topic_state states[3];
} rig;

/* The sources have three partitions. */
static char *const source_names[] = {(char *)"fhir.a", (char *)"fhir.b"};

static rig *rig_new(void)
{
    rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->s.config = &r->c;
    r->s.partitions = r->parts;
    r->s.count = 1;
    r->s.beat_arena = og_arena_new((size_t)1 << 16);
    r->c.freshness_ms = 30000;
    r->c.kafka_sources.at = (void *)(uintptr_t)source_names;
    r->c.kafka_sources.count = 2;
    r->specs[0].name = "records";
    r->states[0].partitions = 7;
    for (int i = 0; i < 2; i++) {
        r->specs[i + 1].name = source_names[i];
        r->states[i + 1].partitions = i + 1;
    }
    r->s.topic_specs = r->specs;
    r->s.topic_states = r->states;
    r->s.topic_count = 3;
    return r;
}

static void rig_free(rig *r)
{
    og_arena_free(r->s.beat_arena);
    free(r->s.read_by);
    serve__forget_beats(&r->parts[0]);
    serve__forget_beats(&r->parts[1]);
    free(r->parts[0].again);
    free(r->parts[1].again);
    free(r);
}

static void take_text(rig *r, int partition, const char *id, const char *value)
{
    char key[64];
    int k = snprintf(key, sizeof key, "beat|%s", id);
    conn_message m = {.key = {key, (size_t)k}, .value = og_str_of(value)};
    assert_true(serve__take_beat(&r->s, partition, &m));
}

static void take(rig *r, const char *id, int64_t age_ms, const char *read)
{
    char value[256];
    snprintf(value, sizeof value,
             "{\"osteoguard\":1,\"at\":%lld,\"partitions\":2,\"of\":3,\"read\":%s}",
             (long long)(clock_wall_ms() - age_ms), read);
    take_text(r, 0, id, value);
}

static const char every_one[] = "{\"fhir.a\":[0],\"fhir.b\":[1,0]}";

static void all_shares_must_be_read_of_late(void **state)
{
    static const char two[] = "{\"fhir.a\":[0],\"fhir.b\":[0]}", third[] = "{\"fhir.b\":[1]}";
    rig *r = rig_new();
    (void)state;
    assert_false(serve__is_current(&r->s, 0)); /* nobody has said anything */
    take(r, "a", 0, two);
    assert_false(serve__is_current(&r->s, 0)); /* who reads the other one? */
    take(r, "b", 0, third);
    assert_true(serve__is_current(&r->s, 0));
    take(r, "b", 40000, third);
    assert_false(serve__is_current(&r->s, 0)); /* b is behind */
    take(r, "b", 29000, third);
    assert_true(serve__is_current(&r->s, 0));
    take(r, "b", 31000, third);
    assert_false(serve__is_current(&r->s, 0)); /* b is silent */
    take(r, "a", 0, every_one);
    assert_true(serve__is_current(&r->s, 0)); /* a has taken its share over */
    r->s.clock_hold_until_ms = clock_monotonic_us() / 1000 + 1000;
    assert_false(serve__is_current(&r->s, 0));
    r->c.freshness_ms = 0;
    assert_true(serve__is_current(&r->s, 0)); /* never asked */
    rig_free(r);
}

/* What a dead instance has said of its share, and who took it over, is said of one share. */
static void a_share_counts_once_whoever_says_it(void **state)
{
    rig *r = rig_new();
    (void)state;
    take(r, "dead", 0, "{\"fhir.a\":[0],\"fhir.b\":[]}");
    take(r, "heir", 0, "{\"fhir.a\":[0],\"fhir.b\":[0]}");
    take(r, "third", 40000, "{\"fhir.a\":[],\"fhir.b\":[1]}");
    assert_false(serve__is_current(&r->s, 0)); /* three in all, and one of them is not read */
    take(r, "third", 0, "{\"fhir.a\":[],\"fhir.b\":[1]}");
    assert_true(serve__is_current(&r->s, 0));
    rig_free(r);
}

/* Who counts partitions, as versions before did, or names what is not there, has read nothing that
 * is known; nor who has begun anew. Who knows of more partitions is believed. */
static void what_is_not_named_is_not_read(void **state)
{
    static const char *const texts[] = {
        "{\"osteoguard\":1,\"at\":%lld,\"partitions\":3,\"of\":3}",
        "{\"at\":%lld,\"of\":3,\"read\":{}}",
        "{\"at\":%lld,\"of\":3,\"read\":[0,1,2]}",
        "{\"at\":%lld,\"of\":3,\"read\":{\"fhir.a\":0,\"fhir.b\":\"0,1\"}}",
        "{\"at\":%lld,\"of\":3,\"read\":{\"fhir.a\":[0],\"fhir.b\":[-1,0,2,null,\"1\",1.5]}}",
        "{\"at\":%lld,\"of\":3,\"read\":{\"fhir.a\":[0,1,2],\"fhir.c\":[0,1]}}",
        "{\"at\":0,\"then\":%lld,\"of\":3,\"read\":{\"fhir.a\":[0],\"fhir.b\":[1,0]}}",
        "{\"at\":%lld,\"of\":4,\"read\":{\"fhir.a\":[0],\"fhir.b\":[1,0]}}",
    };
    rig *r = rig_new();
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char value[256];
        take(r, "m", 0, every_one);
        assert_true(serve__is_current(&r->s, 0));
        snprintf(value, sizeof value, texts[i], (long long)clock_wall_ms());
        take_text(r, 0, "m", value);
        assert_false(serve__is_current(&r->s, 0));
    }
    rig_free(r);
}

static void hear(rig *r, int64_t offset, const char *id, int64_t at_ms, const char *read)
{
    char value[256];
    snprintf(value, sizeof value, "{\"at\":%lld,\"of\":3,\"read\":%s}", (long long)at_ms, read);
    take_text(r, 0, id, value);
    serve__note_stored(&r->s, 0, offset);
}

/* For the cards of calls: what the store holds, which is behind what the beats tell. */
static void the_store_is_behind_the_beats(void **state)
{
    static const char a[] = "{\"fhir.a\":[0]}", b[] = "{\"fhir.b\":[0,1]}";
    rig *r = rig_new();
    owner_options options = {.partitions = 1, .batch_records = 1, .arena_bytes = 1 << 16};
    (void)state;
    r->s.owner = owner_new(&options, NULL);
    assert_non_null(r->s.owner);
    owner_set_store(r->s.owner, 0, NULL, 1);
    assert_int_equal(serve__stored_until(&r->s, 0), -1);
    hear(r, 10, "m", 1000, a);
    assert_int_equal(serve__stored_until(&r->s, 0), -1); /* and the other partitions? */
    owner_set_store(r->s.owner, 0, NULL, 11);
    assert_int_equal(serve__stored_until(&r->s, 0), -1);
    hear(r, 20, "n", 2000, b);
    assert_int_equal(serve__stored_until(&r->s, 0), -1); /* the store is not there yet */
    owner_set_store(r->s.owner, 0, NULL, 21);
    assert_int_equal(serve__stored_until(&r->s, 0), 1000);
    hear(r, 30, "m", 3000, a);
    assert_int_equal(serve__stored_until(&r->s, 0), 1000);
    hear(r, 31, "n", 4000, b);
    owner_set_store(r->s.owner, 0, NULL, 31); /* up to the first of the two */
    assert_int_equal(serve__stored_until(&r->s, 0), 2000);
    hear(r, 40, "m", 5000, a);
    owner_set_store(r->s.owner, 0, NULL, 41);
    assert_int_equal(serve__stored_until(&r->s, 0), 4000);
    r->s.lost_ms = 500;
    assert_int_equal(serve__stored_until(&r->s, 0), -1);
    r->s.lost_ms = 0;
    hear(r, 50, "m", 0, a); /* it has begun to read anew */
    owner_set_store(r->s.owner, 0, NULL, 51);
    assert_int_equal(serve__stored_until(&r->s, 0), -1);
    hear(r, 3, "m", 6000, a); /* the topic is another one */
    owner_set_store(r->s.owner, 0, NULL, 4);
    assert_int_equal(serve__stored_until(&r->s, 0), 4000);
    owner_free(r->s.owner);
    rig_free(r);
}

/* Of a machine that has died while its clock was ahead, and of its heir, who has yet to read. */
static void a_beat_from_the_future_is_no_news(void **state)
{
    rig *r = rig_new();
    (void)state;
    take(r, "dead", -600000, "{\"fhir.a\":[0],\"fhir.b\":[]}");
    take(r, "heir", 60000, every_one);
    take(r, "third", 0, "{\"fhir.a\":[],\"fhir.b\":[0,1]}");
    assert_false(serve__is_current(&r->s, 0));
    take(r, "heir", -2000, "{\"fhir.a\":[0]}"); /* clocks are never quite the same */
    assert_true(serve__is_current(&r->s, 0));
    rig_free(r);
}

/* What content that asks for other data has dropped is not read. */
static void what_other_content_has_read_is_not_read(void **state)
{
    char text[256];
    rig *r = rig_new();
    (void)state;
    strcpy(r->parts[1].id, "me");
    take(r, "other", 0, "{\"fhir.a\":[0]}");
    take(r, "me", 0, every_one);
    assert_true(serve__is_current(&r->s, 0));
    assert_false(serve__is_read_otherwise(&r->s, "fhir.a", 0));
    for (int wants = 5; wants <= 6; wants++) {
        r->s.wants = 6;
        r->parts[0].read_known = false;
        snprintf(text, sizeof text,
                 "{\"at\":%lld,\"of\":3,\"wants\":%d,\"read\":{\"fhir.b\":[0,1]}}",
                 (long long)clock_wall_ms(), wants);
        take_text(r, 0, "other", text);
        snprintf(text, sizeof text, "{\"at\":%lld,\"of\":3,\"wants\":6,\"read\":{\"fhir.a\":[0]}}",
                 (long long)clock_wall_ms());
        take_text(r, 0, "me", text);
        assert_int_equal(serve__is_current(&r->s, 0), wants == 6);
        assert_int_equal(serve__is_read_otherwise(&r->s, "fhir.b", 1), wants == 5);
    }
    snprintf(text, sizeof text, "{\"at\":%lld,\"of\":3,\"wants\":5,\"read\":{\"fhir.b\":[0,1]}}",
             (long long)clock_wall_ms() - 60000);
    take_text(r, 0, "dead", text); /* what was said long ago stands in other partitions too */
    take_text(r, 0, "me", text);   /* nor what we ourselves have said */
    assert_false(serve__is_read_otherwise(&r->s, "fhir.b", 1));
    snprintf(text, sizeof text, "{\"at\":%lld,\"of\":3,\"wants\":5,\"read\":{\"fhir.b\":[0,1]}}",
             (long long)clock_wall_ms());
    take_text(r, 0, "new", text);
    assert_true(serve__is_read_otherwise(&r->s, "fhir.b", 1));
    serve__note_read(&r->s, "fhir.b", 1, clock_wall_ms()); /* we begin anew */
    assert_false(serve__is_read_otherwise(&r->s, "fhir.b", 1));
    assert_true(serve__is_read_otherwise(&r->s, "fhir.b", 0));
    assert_false(serve__is_read_otherwise(&r->s, "fhir.b", 2)); /* nobody knows of it */
    assert_false(serve__is_read_otherwise(&r->s, "fhir.c", 0));
    rig_free(r);
}

/* More sources' partitions than bits in a byte. */
static void each_of_many_partitions_is_asked_for(void **state)
{
    rig *r = rig_new();
    (void)state;
    r->states[1].partitions = 9;
    r->states[2].partitions = 8;
    take(r, "m", 0, "{\"fhir.a\":[0,1,2,3,4,5,6,7,8],\"fhir.b\":[0,1,2,3,4,5,6]}");
    assert_false(serve__is_current(&r->s, 0));
    take(r, "n", 0, "{\"fhir.b\":[7]}");
    assert_true(serve__is_current(&r->s, 0));
    take(r, "m", 0, "{\"fhir.a\":[0,1,2,3,4,5,6,7],\"fhir.b\":[0,1,2,3,4,5,6]}");
    assert_false(serve__is_current(&r->s, 0));
    rig_free(r);
}

/* Who is read last is the one who lives, also where nothing is read yet. */
static void more_instances_than_places_forget_who_was_silent_longest(void **state)
{
    rig *r = rig_new();
    char id[16];
    (void)state;
    take(r, "alive", 0, every_one);
    take(r, "silent", 0, "{\"fhir.a\":[0]}");
    for (int i = 0; i < SERVE_BEATS - 2; i++) {
        snprintf(id, sizeof id, "m%d", i);
        take(r, id, 3600000, every_one); /* an hour ago: gone */
    }
    take_text(r, 0, "alive", "{\"at\":0,\"of\":3,\"lost\":500}");
    take(r, "new", 0, "{\"fhir.b\":[1]}");
    assert_int_equal(serve__losses(&r->s, 0).lost_ms, 500); /* it is still heard */
    take(r, "m0", 0, "{\"fhir.b\":[0]}");
    assert_false(serve__is_current(&r->s, 0)); /* fhir.a[0] was of the silent one */
    rig_free(r);
}

static void records_are_no_beats(void **state)
{
    rig *r = rig_new();
    conn_message m = {.key = OG_STR("beat|p|Patient/p"), .value = OG_STR("{}")};
    (void)state;
    assert_false(serve__take_beat(&r->s, 0, &m)); /* a site may be called so */
    m.key = OG_STR("t|p|Patient/p");
    assert_false(serve__take_beat(&r->s, 0, &m));
    m.key = OG_STR("beat|x");
    m.value = OG_STR("no json");
    assert_true(serve__take_beat(&r->s, 0, &m));
    m.value = (og_str){NULL, 0};
    assert_true(serve__take_beat(&r->s, 0, &m));
    assert_false(serve__is_current(&r->s, 0));
    rig_free(r);
}

static void a_clock_that_jumps_is_not_believed_at_once(void **state)
{
    (void)state;
    assert_int_equal(serve__hold_after_step(1000, 1000), 0);
    assert_int_equal(serve__hold_after_step(2900, 1000), 0); /* slewed, or a slow tick */
    assert_int_equal(serve__hold_after_step(5000, 1000), 60000);
    assert_int_equal(serve__hold_after_step(-3600000, 1000), 60000); /* back */
    assert_int_equal(serve__hold_after_step(2 * 3600000, 1000), 600000);
    assert_int_equal(serve__hold_after_step(7200000, 7200000), 0); /* both: the loop stood still */
}

/* Tick by tick, with clocks that the test holds. */
static void a_hold_is_not_cut_short(void **state)
{
    enum { BEGIN = 1000000 };
    rig *r = rig_new();
    int64_t wall = 1772319600000, steady = BEGIN;
    (void)state;
    for (int i = 0; i < 10; i++, wall += 1000, steady += 1000)
        serve__watch_clock(&r->s, wall, steady);
    assert_int_equal(r->s.clock_hold_until_ms, 0);
    wall += 5LL * 86400000; /* set forward by days */
    serve__watch_clock(&r->s, wall, steady += 1000);
    assert_int_equal(r->s.clock_hold_until_ms, steady + 600000);
    int64_t until = r->s.clock_hold_until_ms;
    wall += 4000; /* and mended by a little more */
    serve__watch_clock(&r->s, wall, steady += 1000);
    assert_int_equal(r->s.clock_hold_until_ms, until);
    int64_t passed = until + 1000 - steady; /* nobody let the process run: both clocks went on */
    serve__watch_clock(&r->s, wall += passed, steady += passed);
    assert_int_equal(r->s.clock_hold_until_ms, until);
    wall -= 3600000; /* set back: summer time by hand, where it should not be */
    serve__watch_clock(&r->s, wall, steady += 1000);
    assert_int_equal(r->s.clock_hold_until_ms, steady + 60000);
    rig_free(r);
}

static void jump(rig *r, int64_t by_ms)
{
    r->s.tick_wall_ms = clock_wall_ms() - 1000 - by_ms;
    r->s.tick_steady_ms = 1000000;
    serve__watch_clock(&r->s, clock_wall_ms(), 1001000);
    r->s.clock_hold_until_ms = 0;
}

/* Far ahead: right or wrong, that is for others to say. */
static void a_clock_far_ahead_is_believed_with_others(void **state)
{
    enum { HOUR = 3600000 };
    rig *r = rig_new();
    conn_message m = {.origin = {.topic = "fhir.a"}};
    (void)state;
    strcpy(r->parts[1].id, "me");
    take(r, "me", 0, every_one);
    assert_true(serve__is_current(&r->s, 0));
    jump(r, HOUR / 2);
    assert_true(serve__is_current(&r->s, 0)); /* after its hold, that is */
    jump(r, 24 * HOUR);
    assert_false(serve__is_current(&r->s, 0));
    r->c.freshness_ms = 0;
    assert_false(serve__is_current(&r->s, 0)); /* also where nobody asks for beats */
    r->c.freshness_ms = 30000;
    take(r, "me", 0, every_one); /* by the same clock */
    m.origin.timestamp_ms = clock_wall_ms() - 24 * HOUR;
    serve__heard(&r->s, &m);
    m.origin.timestamp_ms = -1;
    serve__heard(&r->s, &m);
    assert_false(serve__is_current(&r->s, 0));
    m.origin.timestamp_ms = clock_wall_ms() - HOUR / 2;
    serve__heard(&r->s, &m);
    assert_true(serve__is_current(&r->s, 0));
    jump(r, 24 * HOUR);
    assert_false(serve__is_current(&r->s, 0));
    jump(r, -HOUR / 2);
    assert_false(serve__is_current(&r->s, 0)); /* that does not mend it */
    jump(r, -24 * HOUR);
    assert_true(serve__is_current(&r->s, 0));
    jump(r, 24 * HOUR);
    m = (conn_message){.key = OG_STR("beat|other"), .value = OG_STR("{}")};
    m.origin.timestamp_ms = clock_wall_ms();
    assert_true(serve__take_beat(&r->s, 0, &m));
    assert_true(serve__is_current(&r->s, 0));
    rig_free(r);
}

/* Where nobody asks what is overdue, those whose records are lost still wait for the beats. */
static void without_the_gate_there_are_beats_too(void **state)
{
    rig *r = rig_new();
    (void)state;
    r->c.freshness_ms = 0;
    r->s.step = SERVE_WORKING;
    serve__tend_beat(&r->s);
    int64_t first_ms = r->s.beat_ms;
    assert_true(first_ms > 0);
    serve__tend_beat(&r->s);
    assert_int_equal(r->s.beat_ms, first_ms); /* not at every tick */
    assert_true(serve__is_current(&r->s, 0));
    rig_free(r);
}

/* Ready is who has a heartbeat there; the first one is given the time to get there. */
static void the_first_beat_is_waited_for(void **state)
{
    rig *r = rig_new();
    (void)state;
    r->s.step = SERVE_WORKING;
    assert_true(serve__kafka_answers(&r->s));
    serve__tend_beat(&r->s);
    assert_true(r->s.beat_ms > 0);
    assert_true(serve__kafka_answers(&r->s));
    r->s.beat_there_ms -= 30000;
    assert_false(serve__kafka_answers(&r->s));
    rig_free(r);
}

/* ---- sources that are silent ---- */

static void come(rig *r, const char *topic, int64_t age_ms)
{
    conn_message m = {.origin = {.topic = topic, .timestamp_ms = clock_wall_ms() - age_ms}};
    serve__heard(&r->s, &m);
}

/* fhir.b may be silent for an hour, of fhir.a nothing is said. */
static rig *watching(void)
{
    static int64_t allowed[2] = {0, 3600000};
    rig *r = rig_new();
    r->c.kafka_silence_ms = allowed;
    r->s.silence = calloc(2, sizeof *r->s.silence);
    assert_non_null(r->s.silence);
    r->s.started_ms = clock_wall_ms() - 60000;
    take(r, "m", 0, every_one);
    return r;
}

static void watching_ends(rig *r)
{
    free(r->s.silence);
    rig_free(r);
}

static void a_silent_source_tells_nothing(void **state)
{
    rig *r = watching();
    (void)state;
    serve__tend_silence(&r->s);
    assert_true(serve__is_silent(&r->s, 1)); /* who knows whether it is well? */
    assert_false(serve__is_silent(&r->s, 0));
    assert_false(r->s.silence[1].fell_silent); /* but that is not worth a word yet */
    assert_false(serve__is_current(&r->s, 0));
    come(r, "fhir.a", 0);
    come(r, "fhir.b", 3600001); /* of the backlog */
    assert_false(serve__is_current(&r->s, 0));
    come(r, "fhir.b", 3500000);
    serve__tend_silence(&r->s);
    assert_true(serve__is_current(&r->s, 0)); /* a start is no silence */
    come(r, "fhir.b", 3599000);               /* an older one does not count */
    assert_true(serve__is_current(&r->s, 0));
    watching_ends(r);
}

/* What it had kept comes first. */
static void after_a_silence_there_is_time(void **state)
{
    rig *r = watching();
    (void)state;
    r->s.started_ms -= 7200000;
    come(r, "fhir.b", 3600001);
    serve__tend_silence(&r->s);
    assert_true(r->s.silence[1].fell_silent);
    come(r, "fhir.b", -86400000); /* of a clock that is a day ahead: it came now */
    assert_true(r->s.silence[1].heard_ms <= clock_wall_ms());
    assert_true(serve__is_silent(&r->s, 1));
    serve__tend_silence(&r->s);
    assert_false(r->s.silence[1].fell_silent);
    assert_true(serve__is_silent(&r->s, 1));
    assert_true(serve__any_silent(&r->s));
    r->s.silence[1].hold_until_ms -= 3600001; /* an hour later */
    assert_false(serve__any_silent(&r->s));
    assert_true(serve__is_current(&r->s, 0));
    watching_ends(r);
}

/* Another instance's share is heard of by its beats. */
static void a_source_is_heard_through_others(void **state)
{
    char text[256];
    og_buf said;
    rig *r = watching();
    (void)state;
    og_buf_init(&said, 256);
    serve__say_heard(&r->s, &said);
    assert_int_equal(said.n, 0);
    for (int i = 0; i < 5; i++) {
        static const char *const wrong[] = {"{\"heard\":{\"fhir.b\":-1}}", "{\"heard\":[1]}",
                                            "{\"heard\":{\"fhir.b\":\"1\"}}", "{\"heard\":1}",
                                            "{\"heard\":{\"fhir.c\":1}}"};
        take_text(r, 0, "x", wrong[i]);
    }
    assert_int_equal(r->s.silence[1].heard_ms, 0);
    snprintf(text, sizeof text, "{\"heard\":{\"fhir.b\":%lld}}", (long long)clock_wall_ms() - 1000);
    take_text(r, 0, "x", text);
    assert_false(serve__any_silent(&r->s));
    serve__say_heard(&r->s, &said);
    snprintf(text, sizeof text, ",\"heard\":{\"fhir.b\":%lld}",
             (long long)r->s.silence[1].heard_ms);
    assert_true(og_str_is(og_buf_str(&said), text));
    og_buf_done(&said);
    watching_ends(r);
}

/* ---- losses ---- */

static int64_t lost_of(rig *r)
{
    pipeline_losses l = serve__losses(&r->s, 0);
    assert_true(l.filled_ms == serve__filled(&r->s, 0));
    assert_true(l.new_ms > l.lost_ms && l.new_ms > l.filled_ms);
    return l.lost_ms > l.filled_ms ? l.lost_ms : 0;
}

/* The same words on both topics. */
static void take_both(rig *r, const char *id, const char *value)
{
    take_text(r, 0, id, value);
    take_text(r, 1, id, value);
}

static void a_loss_is_over_when_every_partition_was_read_again(void **state)
{
    rig *r = rig_new();
    (void)state;
    assert_int_equal(lost_of(r), 0);
    take_both(r, "m", "{\"osteoguard\":1,\"at\":1,\"partitions\":2,\"of\":3,\"lost\":500}");
    assert_int_equal(lost_of(r), 500);
    take_both(r, "m", "{\"lost\":500,\"read_from\":500,\"again\":{\"fhir.a\":[0],\"fhir.b\":[1]}}");
    assert_int_equal(lost_of(r), 500);
    /* one that is new has one of these now, and dies: that is no second one */
    take_both(r, "n", "{\"lost\":500,\"read_from\":500,\"again\":{\"fhir.b\":[1]}}");
    assert_int_equal(lost_of(r), 500);
    /* the last one, but the shared topic has not got there */
    take_text(r, 0, "n", "{\"lost\":500,\"read_from\":500,\"again\":{\"fhir.b\":[0]}}");
    assert_int_equal(serve__filled(&r->s, 0), 0);
    take_text(r, 1, "n", "{\"lost\":500,\"read_from\":500,\"again\":{\"fhir.b\":[0]}}");
    assert_int_equal(serve__filled(&r->s, 0), 500);
    assert_int_equal(lost_of(r), 0); /* though both say that they wait */
    rig_free(r);
}

/* A name is a name: the clock that gave it may have been wrong by years. */
static void no_clock_is_asked(void **state)
{
    char text[256];
    int64_t name = clock_wall_ms() + (int64_t)20 * 365 * 86400000;
    rig *r = rig_new();
    (void)state;
    snprintf(text, sizeof text, "{\"lost\":%lld}", (long long)name);
    take_both(r, "m", text);
    assert_true(lost_of(r) == name);
    snprintf(text, sizeof text, "{\"read_from\":%lld,\"again\":{\"fhir.a\":[0],\"fhir.b\":[0,1]}}",
             (long long)name);
    take_both(r, "m", text);
    assert_true(serve__filled(&r->s, 0) == name);
    r->s.filled_ms = name;
    assert_true(serve__losses(&r->s, 0).new_ms == name + 1);
    rig_free(r);
}

/* What was read for an older loss says nothing of a newer one; the other way round it does. */
static void a_newer_loss_begins_anew(void **state)
{
    static const char all[] = "{\"lost\":%d,\"read_from\":%d,\"again\":{\"fhir.a\":[0],"
                              "\"fhir.b\":[0,1]}}";
    char text[256];
    rig *r = rig_new();
    (void)state;
    take_both(r, "m", "{\"read_from\":500,\"again\":{\"fhir.a\":[0],\"fhir.b\":[0]}}");
    take_both(r, "m", "{\"lost\":600,\"read_from\":600,\"again\":{\"fhir.b\":[1]}}");
    assert_int_equal(lost_of(r), 600);
    snprintf(text, sizeof text, all, 600, 500);
    take_both(r, "m", text);
    assert_int_equal(serve__filled(&r->s, 0), 0); /* too late: another one is under way */
    snprintf(text, sizeof text, all, 600, 600);
    take_both(r, "m", text);
    assert_int_equal(serve__filled(&r->s, 0), 600);
    take_both(r, "n", "{\"lost\":550}"); /* it has not heard yet */
    assert_int_equal(lost_of(r), 0);
    take_both(r, "n", "{\"lost\":601}");
    assert_int_equal(lost_of(r), 601);
    rig_free(r);
}

/* Who was not there is told how it ended; also a store that is opened knows. */
static void what_is_over_is_believed(void **state)
{
    rig *r = rig_new();
    (void)state;
    take_both(r, "dead", "{\"lost\":500}");
    take_text(r, 0, "m", "{\"filled\":500}");
    assert_int_equal(serve__filled(&r->s, 0), 0); /* the shared topic's may still be coming */
    take_text(r, 1, "m", "{\"filled\":700}");
    assert_int_equal(serve__filled(&r->s, 0), 500);
    assert_int_equal(lost_of(r), 0);
    r->parts[0].filled_ms = 900;
    r->parts[1].filled_ms = 900;
    take_both(r, "dead", "{\"lost\":899}");
    assert_int_equal(lost_of(r), 0);
    rig_free(r);
}

static void older_versions_and_garbage_fill_nothing(void **state)
{
    static const char *const texts[] = {
        "{\"osteoguard\":1,\"at\":1772319580000,\"partitions\":3,\"of\":3}",
        "{\"lost\":\"500\",\"filled\":\"500\"}",
        "{\"lost\":0,\"filled\":-500}",
        "{\"lost\":9223372036854775807,\"filled\":99999999999999999}",
        "{\"lost\":92233720368547758070,\"filled\":1e400}",
        "{\"lost\":{},\"filled\":[500],\"read_from\":null}",
        "{\"read_from\":500}",
        "{\"read_from\":500,\"again\":7}",
        "{\"read_from\":500,\"again\":[0,1,2]}",
        "{\"read_from\":500,\"again\":{\"fhir.a\":0,\"fhir.b\":\"0,1\"}}",
        "{\"read_from\":500,\"again\":{\"fhir.a\":[-1,1,\"0\",0.5],\"fhir.b\":[2,1024,null]}}",
        "{\"read_from\":500,\"again\":{\"records\":[0,1,2],\"other\":[0]}}",
        "{\"read_from\":-1,\"again\":{\"fhir.a\":[0],\"fhir.b\":[0,1]}}",
        "{\"again\":{\"fhir.a\":[0],\"fhir.b\":[0,1]}}",
        "[500]",
        "500",
        "{",
        "",
    };
    rig *r = rig_new();
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        take_both(r, "m", texts[i]);
        assert_int_equal(lost_of(r), 0);
        assert_int_equal(serve__filled(&r->s, 0), 0);
    }
    take_both(r, "n", "{\"lost\":500}");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        take_both(r, "m", texts[i]);
        assert_int_equal(lost_of(r), 500);
    }
    /* more partitions than were known when some of them were told of */
    take_both(r, "m", "{\"read_from\":500,\"again\":{\"fhir.a\":[0],\"fhir.b\":[0,1]}}");
    r->states[2].partitions = 3;
    assert_int_equal(serve__filled(&r->s, 0), 0);
    take_both(r, "m", "{\"read_from\":500,\"again\":{\"fhir.a\":[0],\"fhir.b\":[2]}}");
    assert_int_equal(serve__filled(&r->s, 0), 0);
    take_both(r, "m", "{\"read_from\":500,\"again\":{\"fhir.b\":[1,0]}}");
    assert_int_equal(serve__filled(&r->s, 0), 500);
    rig_free(r);
}

/* The gate as well: what every source was read to the end for does not count while something is
 * lost. */
static void nothing_is_current_while_something_is_lost(void **state)
{
    rig *r = rig_new();
    (void)state;
    take(r, "m", 0, every_one);
    assert_true(serve__is_current(&r->s, 0));
    r->s.lost_ms = 500;
    assert_false(serve__is_current(&r->s, 0));
    take_both(r, "n", "{\"filled\":500}");
    assert_true(serve__is_current(&r->s, 0));
    rig_free(r);
}

static void says(const rig *r, const char *expected)
{
    og_buf b;
    og_buf_init(&b, 1024);
    serve__say_loss(&r->s, &b);
    assert_true(og_str_is(og_buf_str(&b), expected));
    og_buf_done(&b);
}

static void a_beat_says_what_is_lost(void **state)
{
    rig *r = rig_new();
    (void)state;
    says(r, "");
    r->s.lost_ms = r->s.read_from_ms = 500;
    says(r, ",\"lost\":500");
    r->s.share_from_ms = 500;
    says(r, ",\"lost\":500"); /* under way */
    r->s.share_through = true;
    says(r, ",\"lost\":500,\"read_from\":500,\"again\":{\"fhir.a\":[],\"fhir.b\":[]}");
    r->s.filled_ms = 400;
    r->s.share_from_ms = 0; /* a share that was taken over where another one stood */
    says(r, ",\"lost\":500,\"filled\":400");
    r->s.lost_ms = 0;
    says(r, ",\"filled\":400");
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_shares_must_be_read_of_late),
        cmocka_unit_test(a_share_counts_once_whoever_says_it),
        cmocka_unit_test(what_is_not_named_is_not_read),
        cmocka_unit_test(the_store_is_behind_the_beats),
        cmocka_unit_test(a_beat_from_the_future_is_no_news),
        cmocka_unit_test(what_other_content_has_read_is_not_read),
        cmocka_unit_test(each_of_many_partitions_is_asked_for),
        cmocka_unit_test(more_instances_than_places_forget_who_was_silent_longest),
        cmocka_unit_test(records_are_no_beats),
        cmocka_unit_test(a_clock_that_jumps_is_not_believed_at_once),
        cmocka_unit_test(a_hold_is_not_cut_short),
        cmocka_unit_test(a_clock_far_ahead_is_believed_with_others),
        cmocka_unit_test(without_the_gate_there_are_beats_too),
        cmocka_unit_test(the_first_beat_is_waited_for),
        cmocka_unit_test(a_silent_source_tells_nothing),
        cmocka_unit_test(after_a_silence_there_is_time),
        cmocka_unit_test(a_source_is_heard_through_others),
        cmocka_unit_test(a_loss_is_over_when_every_partition_was_read_again),
        cmocka_unit_test(no_clock_is_asked),
        cmocka_unit_test(a_newer_loss_begins_anew),
        cmocka_unit_test(what_is_over_is_believed),
        cmocka_unit_test(older_versions_and_garbage_fill_nothing),
        cmocka_unit_test(nothing_is_current_while_something_is_lost),
        cmocka_unit_test(a_beat_says_what_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

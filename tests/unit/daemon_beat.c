/* Heartbeats: whether what we know is the present, and clocks that jump. */
#include "daemon/serve_private.h"

#include "daemon_world.h"

typedef struct rig {
    serve s;
    config c;
    serve_partition parts[2];
} rig;

static rig *rig_new(void)
{
    rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->s.config = &r->c;
    r->s.partitions = r->parts;
    r->s.count = 1;
    r->s.beat_arena = og_arena_new((size_t)1 << 16);
    r->c.freshness_ms = 30000;
    return r;
}

static void rig_free(rig *r)
{
    og_arena_free(r->s.beat_arena);
    free(r);
}

static void take(rig *r, const char *id, int64_t age_ms, int partitions, int of)
{
    char key[64], value[256];
    int k = snprintf(key, sizeof key, "beat|%s", id);
    int v =
        snprintf(value, sizeof value, "{\"osteoguard\":1,\"at\":%lld,\"partitions\":%d,\"of\":%d}",
                 (long long)(clock_wall_ms() - age_ms), partitions, of);
    conn_message m = {.key = {key, (size_t)k}, .value = {value, (size_t)v}};
    assert_true(serve__take_beat(&r->s, 0, &m));
}

static void all_shares_must_be_read_of_late(void **state)
{
    rig *r = rig_new();
    (void)state;
    assert_false(serve__is_current(&r->s, 0)); /* nobody has said anything */
    take(r, "a", 0, 3, 8);
    assert_false(serve__is_current(&r->s, 0)); /* who reads the other five? */
    take(r, "b", 0, 5, 8);
    assert_true(serve__is_current(&r->s, 0));
    take(r, "b", 40000, 5, 8);
    assert_false(serve__is_current(&r->s, 0)); /* b is behind */
    take(r, "b", 29000, 5, 8);
    assert_true(serve__is_current(&r->s, 0));
    take(r, "b", 31000, 5, 8);
    assert_false(serve__is_current(&r->s, 0)); /* b is silent */
    take(r, "a", 0, 8, 8);
    assert_true(serve__is_current(&r->s, 0)); /* a has taken its share over */
    r->s.clock_hold_until_ms = clock_monotonic_us() / 1000 + 1000;
    assert_false(serve__is_current(&r->s, 0));
    r->c.freshness_ms = 0;
    assert_true(serve__is_current(&r->s, 0)); /* never asked */
    rig_free(r);
}

static void more_instances_than_places_forget_the_oldest(void **state)
{
    rig *r = rig_new();
    char id[16];
    (void)state;
    for (int i = 0; i < SERVE_BEATS + 8; i++) {
        snprintf(id, sizeof id, "m%d", i);
        take(r, id, 20000 - i * 100, 1, SERVE_BEATS);
    }
    assert_true(serve__is_current(&r->s, 0));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_shares_must_be_read_of_late),
        cmocka_unit_test(more_instances_than_places_forget_the_oldest),
        cmocka_unit_test(records_are_no_beats),
        cmocka_unit_test(a_clock_that_jumps_is_not_believed_at_once),
        cmocka_unit_test(a_hold_is_not_cut_short),
        cmocka_unit_test(without_the_gate_there_are_beats_too),
        cmocka_unit_test(the_first_beat_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

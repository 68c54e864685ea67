/* Endpoints come and go with the configuration: what they missed, they hear. And messages that
 * nobody could take. */
#include "daemon_world.h"

#define BEFORE_MIDNIGHT                                                                            \
    1772319580000 /* 2026-02-28T23:59:40+01:00, as the sample stream wants it                      \
                   */

#define DAY ((int64_t)86400000)

static void play_sample(world *w)
{
    og_buf text;
    og_buf_init(&text, (size_t)64 << 20);
    assert_int_equal(file_read(OG_SOURCE_DIR "/tests/fixtures/sample/stream.ndjson",
                               (size_t)64 << 20, &text, NULL),
                     OG_OK);
    og_str rest = og_buf_str(&text);
    while (rest.n > 0) {
        ptrdiff_t end = og_str_find(rest, '\n');
        size_t n = end < 0 ? rest.n : (size_t)end;
        world_put(w, "fhir.test", (og_str){NULL, 0}, (og_str){rest.p, n});
        rest = og_str_from(rest, end < 0 ? n : n + 1);
    }
    og_buf_done(&text);
    world_settle_down(w);
}

/* Counts active alerts; notes whose the first one is. */
static size_t active_alerts(world *w, char patient[200])
{
    size_t n = 0;
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        const og_str *who;
        size_t count;
        store_txn *t;
        og_arena_reset(w->arena);
        assert_int_equal(store_begin(w->stores[p], false, &t, NULL), OG_OK);
        assert_int_equal(
            store_patients(t, w->arena, (og_str){NULL, 0}, SIZE_MAX, &who, &count, NULL), OG_OK);
        for (size_t i = 0; i < count; i++) {
            const plan_alert *list;
            size_t alerts;
            assert_int_equal(store_alerts(t, w->arena, who[i], &list, &alerts, NULL), OG_OK);
            for (size_t k = 0; k < alerts; k++) {
                if (list[k].state != PLAN_ALERT_ACTIVE || list[k].worklist)
                    continue;
                if (n++ == 0 && patient != NULL)
                    snprintf(patient, 200, "%.*s", OG_STR_ARG(who[i]));
            }
        }
        store_abort(t);
    }
    return n;
}

static size_t posts_with(const world *w, size_t from, const char *needle)
{
    size_t n = 0;
    for (size_t i = from; i < w->post_count; i++)
        n += strstr(w->posts[i].body, needle) != NULL;
    return n;
}

static void forget_patient(world *w, const char *patient)
{
    char prefix[220];
    size_t count = w->records.count, n;
    n = (size_t)snprintf(prefix, sizeof prefix, "t|%s|", patient);
    for (size_t i = 0; i < count; i++) {
        const char *key = w->records.at[i].key;
        if (strncmp(key, prefix, n) == 0)
            world_put(w, "fhir.test", og_str_of(key + n), (og_str){NULL, 0});
    }
    world_settle_down(w);
}

static void an_endpoint_hears_what_it_missed(void **state)
{
    world *w = world_new();
    char gone[200] = "", needle[260];
    (void)state;
    w->now_ms = BEFORE_MIDNIGHT;
    play_sample(w);
    size_t active = active_alerts(w, gone);
    assert_true(active > 3);
    /* a new endpoint in place of the old one: told of all that is active, once */
    size_t before = w->post_count, published = w->alert_count;
    w->endpoints[0].name = "other";
    world_settle_down(w);
    assert_int_equal(w->post_count - before, active);
    assert_int_equal(posts_with(w, before, "\"cards\":[{"), active);
    assert_int_equal(w->alert_count, published); /* the alerts topic knew */
    /* while the old one is away, a patient's alerts are resolved */
    before = w->post_count;
    forget_patient(w, gone);
    size_t resolved = active - active_alerts(w, NULL);
    assert_true(resolved > 0);
    assert_int_equal(w->post_count - before, resolved);
    /* it comes back and is told of these, and of nothing else */
    before = w->post_count;
    w->endpoints[0].name = "ehr";
    world_settle_down(w);
    snprintf(needle, sizeof needle, "\"patientId\":\"%s\"", gone);
    assert_int_equal(w->post_count - before, resolved);
    assert_int_equal(posts_with(w, before, needle), resolved);
    assert_int_equal(posts_with(w, before, "\"retracts\":["), resolved);
    assert_int_equal(posts_with(w, before, "\"cards\":[]"), resolved);
    before = w->post_count;
    world_restart(w, true);
    world_settle_down(w);
    assert_int_equal(w->post_count, before);
    world_free(w);
}

/* The same of a patient of whom nothing is left but an alert that is over: what was deleted is
 * forgotten after a while. */
static void an_endpoint_hears_of_who_is_forgotten(void **state)
{
    world *w = world_new();
    (void)state;
    w->real_ms = 100 * DAY;
    w->setup.tombstone_ms = 30 * DAY;
    world_event(
        w, "{\"resourceType\":\"MedicationAdministration\",\"id\":\"dose-1\",\"meta\":{"
           "\"lastUpdated\":\"2026-02-28T10:00:00Z\"},\"status\":\"completed\","
           "\"medicationCodeableConcept\":{\"coding\":[{\"system\":\"http://www.whocc.no/atc\","
           "\"code\":\"M05BX04\"}]},\"subject\":{\"reference\":\"Patient/p-1\"},"
           "\"effectiveDateTime\":\"2026-02-12T09:00:00+01:00\",\"dosage\":{\"dose\":{"
           "\"value\":120,\"unit\":\"mg\",\"system\":\"http://"
           "unitsofmeasure.org\",\"code\":\"mg\"}}}");
    world_settle_down(w);
    size_t shown = w->post_count;
    assert_true(shown > 0);
    w->endpoints[0].name = "other";
    world_settle_down(w);
    world_put(w, "fhir.test", OG_STR("MedicationAdministration/dose-1"), (og_str){NULL, 0});
    world_settle_down(w);
    w->real_ms += 31 * DAY;
    world_settle_down(w);
    world_settle_down(w);
    assert_true(w->total.forgotten > 0);
    size_t before = w->post_count;
    w->endpoints[0].name = "ehr";
    world_settle_down(w);
    assert_int_equal(posts_with(w, before, "\"retracts\":["), shown);
    assert_int_equal(w->post_count - before, shown);
    world_free(w);
}

/* Alerts for a worklist are asked for, not any more, and again: the same cards, but no repeats. */
static void a_worklist_comes_back(void **state)
{
    world *w = world_new();
    (void)state;
    w->now_ms = BEFORE_MIDNIGHT;
    w->endpoints[0].worklist = true;
    play_sample(w);
    size_t before = w->post_count;
    w->endpoints[0].worklist = false;
    world_settle_down(w);
    size_t withdrawn = w->post_count - before;
    assert_true(withdrawn > 1);
    assert_int_equal(posts_with(w, before, "\"cards\":[]"), withdrawn);
    before = w->post_count;
    w->endpoints[0].worklist = true;
    world_settle_down(w);
    assert_int_equal(w->post_count - before, withdrawn);
    assert_int_equal(posts_with(w, before, "\"cards\":[{"), withdrawn);
    before = w->post_count;
    w->endpoints[0].worklist = false;
    world_settle_down(w);
    assert_int_equal(posts_with(w, before, "\"cards\":[]"), withdrawn);
    for (size_t i = 0; i < w->post_count; i++)
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(w->posts[i].key, w->posts[k].key);
    world_free(w);
}

/* ---- rows ---- */

typedef struct rows {
    char dir[64];
    store *s;
    store_txn *t;
    og_arena *a;
} rows;

static void rows_begin(rows *r)
{
    strcpy(r->dir, "/tmp/og-rows-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    assert_int_equal(store_open(r->dir, 256u << 20, false, NULL, &r->s, NULL), OG_OK);
    assert_int_equal(store_begin(r->s, true, &r->t, NULL), OG_OK);
    r->a = og_arena_new((size_t)256 << 20);
}

static void rows_end(rows *r)
{
    store_abort(r->t);
    kv_close(r->s);
    og_arena_free(r->a);
    assert_int_equal(file_remove_tree(r->dir, NULL), OG_OK);
}

static plan_alert an_alert(og_str card)
{
    plan_alert alert = {.state = PLAN_ALERT_ACTIVE, .revision = 1, .card = card};
    alert.rule = OG_STR("B1");
    strcpy(alert.id, "aaaaaaaa-0000-5000-8000-000000000000");
    strcpy(alert.card_uuid, "aaaaaaaa-0000-5000-8000-000000000001");
    return alert;
}

static const delivery_endpoint ehr = {"ehr", false, "", "", false};

static void a_message_too_large_is_parked(void **state)
{
    rows r;
    delivery d;
    delivery_wanted wanted;
    delivery_state was;
    delivery_message m;
    og_buf card;
    (void)state;
    rows_begin(&r);
    og_buf_init(&card, (size_t)8 << 20);
    og_buf_addz(&card, "{\"summary\":\"");
    while (card.n < ((size_t)4 << 20))
        og_buf_addz(&card, "0123456789abcdef");
    og_buf_addz(&card, "\"}");
    plan_alert alert = an_alert(og_buf_str(&card));
    assert_int_equal(store_put_alert(r.t, r.a, OG_STR("p"), &alert, NULL), OG_OK);
    assert_int_equal(delivery_want(r.t, r.a, &ehr, OG_STR("p"), &alert, 0, &wanted, &d, &was, NULL),
                     OG_OK);
    assert_int_equal(
        delivery_prepare(r.t, r.a, &ehr, OG_STR("t"), OG_STR("p"), alert.id, &d, &m, NULL), OG_OK);
    assert_int_equal(d.state, DELIVERY_PARKED);
    assert_true(d.reason.n > 0);
    assert_int_equal(delivery_get(r.t, r.a, OG_STR("ehr"), OG_STR("p"), alert.id, &d, NULL), OG_OK);
    assert_int_equal(d.state, DELIVERY_PARKED);
    assert_int_equal(
        delivery_prepare(r.t, r.a, &ehr, OG_STR("t"), OG_STR("p"), alert.id, &d, &m, NULL),
        OG_OK); /* tried again by a new process: as large as before */
    assert_int_equal(d.state, DELIVERY_PARKED);
    og_buf_done(&card);
    rows_end(&r);
}

static void an_old_row_says_what_is_true_now(void **state)
{
    rows r;
    delivery d;
    delivery_wanted wanted;
    delivery_state was;
    delivery_message m;
    (void)state;
    rows_begin(&r);
    plan_alert alert = an_alert(OG_STR("{\"summary\":\"x\"}"));
    assert_int_equal(store_put_alert(r.t, r.a, OG_STR("p"), &alert, NULL), OG_OK);
    assert_int_equal(delivery_want(r.t, r.a, &ehr, OG_STR("p"), &alert, 0, &wanted, &d, &was, NULL),
                     OG_OK);
    /* the alert changes while the endpoint is not configured */
    alert.revision = 2;
    assert_int_equal(store_put_alert(r.t, r.a, OG_STR("p"), &alert, NULL), OG_OK);
    assert_int_equal(
        delivery_prepare(r.t, r.a, &ehr, OG_STR("t"), OG_STR("p"), alert.id, &d, &m, NULL), OG_OK);
    assert_int_equal(d.revision, 2);
    assert_int_equal(d.sequence, 2);
    /* and is resolved: the card may have arrived, so it is withdrawn */
    alert.state = PLAN_ALERT_RESOLVED;
    assert_int_equal(store_put_alert(r.t, r.a, OG_STR("p"), &alert, NULL), OG_OK);
    assert_int_equal(
        delivery_prepare(r.t, r.a, &ehr, OG_STR("t"), OG_STR("p"), alert.id, &d, &m, NULL), OG_OK);
    assert_true(d.resolved);
    assert_true(og_str_starts(m.body, OG_STR("{\"cards\":[],")));
    rows_end(&r);
}

/* What the endpoint is to be told of the alert, and whether it says so. */
static void want(rows *r, const delivery_endpoint *ep, const plan_alert *alert, delivery_wanted how)
{
    delivery d;
    delivery_wanted wanted;
    delivery_state was;
    assert_int_equal(delivery_want(r->t, r->a, ep, OG_STR("p"), alert, 0, &wanted, &d, &was, NULL),
                     OG_OK);
    assert_int_equal(wanted, how);
    assert_true(delivery_says(&d, ep, alert) || how == DELIVERY_DROPPED);
}

static og_str prepare(rows *r, const delivery_endpoint *ep, const plan_alert *alert)
{
    delivery d;
    delivery_message m;
    assert_int_equal(
        delivery_prepare(r->t, r->a, ep, OG_STR("t"), OG_STR("p"), alert->id, &d, &m, NULL), OG_OK);
    return m.body;
}

/* An alert for a worklist goes to who asked for such, and to the alerts topic; one that becomes
 * such is withdrawn where it is not asked for. */
static void a_worklist_goes_to_who_asks(void **state)
{
    static const delivery_endpoint list = {"list", false, "", "", true};
    static const delivery_endpoint topic = {"@alerts", true, "", "", false};
    rows r;
    (void)state;
    rows_begin(&r);
    plan_alert alert = an_alert(OG_STR("{\"summary\":\"x\"}"));
    alert.worklist = true;
    assert_int_equal(store_put_alert(r.t, r.a, OG_STR("p"), &alert, NULL), OG_OK);
    want(&r, &ehr, &alert, DELIVERY_DROPPED);
    want(&r, &list, &alert, DELIVERY_SEND);
    want(&r, &topic, &alert, DELIVERY_SEND);
    assert_true(og_str_starts(prepare(&r, &list, &alert), OG_STR("{\"cards\":[{\"summary\"")));
    alert.worklist = false;
    alert.revision = 2;
    assert_int_equal(store_put_alert(r.t, r.a, OG_STR("p"), &alert, NULL), OG_OK);
    want(&r, &ehr, &alert, DELIVERY_SEND);
    prepare(&r, &ehr, &alert);
    alert.worklist = true;
    alert.revision = 3;
    assert_int_equal(store_put_alert(r.t, r.a, OG_STR("p"), &alert, NULL), OG_OK);
    want(&r, &ehr, &alert, DELIVERY_SEND);
    og_str body = prepare(&r, &ehr, &alert);
    assert_true(og_str_starts(body, OG_STR("{\"cards\":[],")));
    assert_non_null(memmem(body.p, body.n, "retracts", 8));
    rows_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_endpoint_hears_what_it_missed),
        cmocka_unit_test(an_endpoint_hears_of_who_is_forgotten),
        cmocka_unit_test(a_worklist_comes_back),
        cmocka_unit_test(a_message_too_large_is_parked),
        cmocka_unit_test(an_old_row_says_what_is_true_now),
        cmocka_unit_test(a_worklist_goes_to_who_asks),
    };
    return cmocka_run_group_tests_name("daemon/endpoints", tests, NULL, NULL);
}

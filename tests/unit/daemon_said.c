/* The alerts topic's records: their keys, and how a store takes over what others have said. */
#include "daemon/said.h"

#include "daemon_world.h"

#define ALERT "0c5a1f0e-7d3c-5b1e-8f57-2d1c5a0b9e11"
#define CARD  "7f1d6c1a-1111-5b1e-8f57-2d1c5a0b9e22"

typedef struct rig {
    char dir[64];
    store *s;
    store_txn *t;
    og_arena *a;
} rig;

static void rig_init(rig *r)
{
    strcpy(r->dir, "/tmp/og-said-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    r->a = og_arena_new((size_t)8 << 20);
    assert_int_equal(store_open(r->dir, (size_t)16 << 20, false, "boot", &r->s, NULL), OG_OK);
    assert_int_equal(store_begin(r->s, true, &r->t, NULL), OG_OK);
}

static void rig_done(rig *r)
{
    store_abort(r->t);
    kv_close(r->s);
    og_arena_free(r->a);
    assert_int_equal(file_remove_tree(r->dir, NULL), OG_OK);
}

static void keys_go_there_and_back(void **state)
{
    static const struct {
        const char *key, *patient, *endpoint;
    } good[] = {
        {"t|p|" ALERT, "p", ""},
        {"t|p|" ALERT "|ehr", "p", "ehr"},
        {"t|http://h/ids|4711|" ALERT "|ehr", "http://h/ids|4711", "ehr"},
    };
    static const char *const bad[] = {"claim",          "",          "t|" ALERT,         "t|p|x",
                                      "t|p|" ALERT "|", "t||" ALERT, "t|p|" ALERT "|a|b"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        said_key k;
        og_arena *a = og_arena_new(1 << 16);
        assert_true(said_read_key(og_str_of(good[i].key), &k));
        assert_true(og_str_is(k.tenant, "t"));
        assert_true(og_str_is(k.patient, good[i].patient));
        assert_true(og_str_is(k.endpoint, good[i].endpoint));
        assert_string_equal(k.alert_id, ALERT);
        delivery d = {.patient = k.patient, .endpoint = k.endpoint, .alert_id = ALERT};
        og_str key = k.endpoint.n == 0 ? said_alert_key(a, k.tenant, k.patient, k.alert_id)
                                       : said_delivery_key(a, k.tenant, &d);
        assert_true(og_str_is(key, good[i].key));
        og_arena_free(a);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        said_key k;
        assert_false(said_read_key(og_str_of(bad[i]), &k));
    }
}

static og_str alert_text(rig *r, uint32_t revision, plan_alert_state state)
{
    plan_alert alert = {.id = ALERT,
                        .rule = OG_STR("D3"),
                        .slot = OG_STR("s"),
                        .state = state,
                        .revision = revision,
                        .card_uuid = CARD,
                        .card = OG_STR("{\"uuid\":\"" CARD "\"}"),
                        .digest = OG_STR("d")};
    return plan_alert_write(r->a, &alert);
}

static void apply(rig *r, const char *key, og_str value, int64_t not_before_ms, og_status expected)
{
    said_message m = {.key = og_str_of(key), .value = value, .not_before_ms = not_before_ms};
    said_taken taken;
    plan_alert shown;
    assert_int_equal(said_apply(r->t, r->a, OG_STR("t"), &m, &taken, &shown, NULL), expected);
    if (expected == OG_OK)
        assert_int_equal(taken, SAID_TAKEN);
}

static uint64_t dirty(rig *r)
{
    uint64_t n;
    assert_int_equal(store_dirty_count(r->t, &n, NULL), OG_OK);
    return n;
}

static void an_alert_is_taken_over_and_its_patient_dirty(void **state)
{
    rig r;
    plan_alert got;
    og_str own;
    (void)state;
    rig_init(&r);
    apply(&r, "t|p|" ALERT, alert_text(&r, 3, PLAN_ALERT_RESOLVED), 0, OG_OK);
    assert_int_equal(store_alert(r.t, r.a, OG_STR("p"), ALERT, &got, NULL), OG_OK);
    assert_int_equal(got.revision, 3);
    assert_int_equal(got.state, PLAN_ALERT_RESOLVED);
    assert_int_equal(dirty(&r), 1);
    assert_int_equal(said_own(r.t, r.a, OG_STR("t|p|" ALERT), &own, NULL), OG_OK);
    assert_true(og_str_eq(own, alert_text(&r, 3, PLAN_ALERT_RESOLVED)));
    apply(&r, "other|q|" ALERT, alert_text(&r, 3, PLAN_ALERT_ACTIVE), 0, OG_INVALID);
    apply(&r, "t|q|11111111-7d3c-5b1e-8f57-2d1c5a0b9e11", alert_text(&r, 3, PLAN_ALERT_ACTIVE), 0,
          OG_INVALID);
    apply(&r, "t|q|" ALERT, OG_STR("{"), 0, OG_SYNTAX);
    assert_int_equal(dirty(&r), 1);
    rig_done(&r);
}

static void an_attempt_of_another_owner_is_waited_for(void **state)
{
    static const char row[] =
        "{\"state\":\"intent\",\"resolved\":false,\"revision\":2,\"sequence\":7,\"attempts\":1,"
        "\"next\":0,\"cause\":0,\"doubtful\":\"" CARD
        "\",\"doubted\":false,\"held\":[],\"reason\":\"\"}";
    rig r;
    delivery d = {0};
    int64_t next;
    (void)state;
    rig_init(&r);
    apply(&r, "t|p|" ALERT "|ehr", OG_STR(row), 12345, OG_OK);
    assert_int_equal(delivery_get(r.t, r.a, OG_STR("ehr"), OG_STR("p"), ALERT, &d, NULL), OG_OK);
    assert_int_equal(d.state, DELIVERY_INTENT);
    assert_int_equal(d.next_ms, 12345);
    assert_string_equal(d.doubtful, CARD);
    /* the numbers go on behind those that it gave */
    assert_int_equal(store_next_sequence(r.t, "ehr", OG_STR("p"), &next, NULL), OG_OK);
    assert_int_equal(next, 8);
    rig_done(&r);
}

/* Nor is anything else said of the alert before that attempt has ended: its card would come behind
 * what withdraws it, and stay. */
static void nothing_overtakes_an_attempt_of_another_owner(void **state)
{
    static const char row[] =
        "{\"state\":\"intent\",\"resolved\":false,\"revision\":2,\"sequence\":7,\"attempts\":1,"
        "\"next\":0,\"cause\":0,\"doubtful\":\"" CARD
        "\",\"doubted\":false,\"held\":[],\"reason\":\"\"}";
    const delivery_endpoint ehr = {.name = "ehr"};
    rig r;
    plan_alert alert;
    (void)state;
    rig_init(&r);
    apply(&r, "t|p|" ALERT "|ehr", OG_STR(row), 12345, OG_OK);
    apply(&r, "t|p|" ALERT, alert_text(&r, 3, PLAN_ALERT_RESOLVED), 0, OG_OK);
    assert_int_equal(store_alert(r.t, r.a, OG_STR("p"), ALERT, &alert, NULL), OG_OK);
    for (int i = 0; i < 2; i++) { /* and once more while it waits */
        delivery d = {0};
        delivery_wanted wanted;
        delivery_state was;
        assert_int_equal(
            delivery_want(r.t, r.a, &ehr, OG_STR("p"), &alert, 0, &wanted, &d, &was, NULL), OG_OK);
        assert_int_equal(wanted, DELIVERY_SEND);
        assert_true(d.resolved);
        assert_int_equal(d.held_count, 1);
        assert_int_equal(d.next_ms, 12345);
    }
    rig_done(&r);
}

static void a_receipt_settles_the_row(void **state)
{
    static const char told[] =
        "{\"state\":\"delivered\",\"resolved\":false,\"revision\":2,\"sequence\":7,\"attempts\":1,"
        "\"next\":0,\"cause\":0,\"doubtful\":\"\",\"doubted\":false,\"held\":[\"" CARD
        "\"],\"reason\":\"\"}";
    static const char withdrawn[] =
        "{\"state\":\"delivered\",\"resolved\":true,\"revision\":2,\"sequence\":9,\"attempts\":1,"
        "\"next\":0,\"cause\":0,\"doubtful\":\"\",\"doubted\":false,\"held\":[],\"reason\":\"\"}";
    rig r;
    delivery d = {0};
    int64_t next;
    og_str own;
    (void)state;
    rig_init(&r);
    apply(&r, "t|p|" ALERT "|ehr", OG_STR(told), 0, OG_OK);
    assert_int_equal(delivery_get(r.t, r.a, OG_STR("ehr"), OG_STR("p"), ALERT, &d, NULL), OG_OK);
    assert_int_equal(d.state, DELIVERY_DELIVERED);
    assert_int_equal(d.held_count, 1);
    assert_int_equal(said_own(r.t, r.a, OG_STR("t|p|" ALERT "|ehr"), &own, NULL), OG_OK);
    assert_true(og_str_is(own, told));
    apply(&r, "t|p|" ALERT "|ehr", OG_STR(withdrawn), 0, OG_OK);
    assert_int_equal(delivery_get(r.t, r.a, OG_STR("ehr"), OG_STR("p"), ALERT, &d, NULL),
                     OG_NOTFOUND);
    assert_int_equal(store_next_sequence(r.t, "ehr", OG_STR("p"), &next, NULL), OG_OK);
    assert_int_equal(next, 10);
    assert_int_equal(said_own(r.t, r.a, OG_STR("t|p|" ALERT "|ehr"), &own, NULL), OG_OK);
    assert_null(own.p);
    rig_done(&r);
}

static og_status count_waiting(void *ctx, const delivery *d, og_error *err)
{
    (void)d;
    (void)err;
    ++*(size_t *)ctx;
    return OG_OK;
}

static size_t waiting(rig *r)
{
    size_t n = 0;
    og_arena *a = og_arena_new((size_t)1 << 20);
    assert_int_equal(delivery_each(r->t, a, count_waiting, &n, NULL), OG_OK);
    og_arena_free(a);
    return n;
}

/* What was told before stays behind it, and is not taken for the state of things. */
static void a_row_that_waits_hides_what_was_told(void **state)
{
    static const char row[] =
        "{\"state\":\"%s\",\"resolved\":false,\"revision\":%d,\"sequence\":%d,\"attempts\":1,"
        "\"next\":0,\"cause\":0,\"doubtful\":\"\",\"doubted\":false,\"held\":[\"" CARD
        "\"],\"reason\":\"\"}";
    static const char *const states[] = {"delivered", "pending", "parked", "delivered"};
    rig r;
    delivery d = {0};
    (void)state;
    rig_init(&r);
    for (int i = 0; i < 4; i++) {
        apply(&r, "t|p|" ALERT "|ehr", og_arena_printf(r.a, row, states[i], i + 1, i + 1), 0,
              OG_OK);
        d = (delivery){0};
        assert_int_equal(delivery_get(r.t, r.a, OG_STR("ehr"), OG_STR("p"), ALERT, &d, NULL),
                         OG_OK);
        assert_int_equal(d.revision, i + 1);
        assert_true(og_str_is(d.endpoint, "ehr") && og_str_is(d.patient, "p"));
        assert_int_equal(d.held_count, 1);
        assert_int_equal(waiting(&r), i % 3 == 0 ? 0 : 1);
    }
    d.state = DELIVERY_PENDING;
    assert_int_equal(delivery_put(r.t, r.a, &d, NULL), OG_OK);
    assert_int_equal(delivery_remove(r.t, &d, NULL), OG_OK);
    assert_int_equal(waiting(&r), 0);
    assert_int_equal(delivery_get(r.t, r.a, OG_STR("ehr"), OG_STR("p"), ALERT, &d, NULL),
                     OG_NOTFOUND);
    rig_done(&r);
}

static void an_outdated_word_changes_nothing(void **state)
{
    rig r;
    plan_alert got;
    said_taken taken;
    (void)state;
    rig_init(&r);
    said_message m = {.key = OG_STR("t|p|" ALERT),
                      .value = alert_text(&r, 3, PLAN_ALERT_ACTIVE),
                      .outdated = true};
    assert_int_equal(said_apply(r.t, r.a, OG_STR("t"), &m, &taken, &got, NULL), OG_OK);
    assert_int_equal(taken, SAID_PASSED);
    assert_int_equal(store_alert(r.t, r.a, OG_STR("p"), ALERT, &got, NULL), OG_NOTFOUND);
    assert_int_equal(dirty(&r), 0);
    rig_done(&r);
}

static void what_is_too_deep_is_no_word(void **state)
{
    rig r;
    char deep[301];
    (void)state;
    memset(deep, '[', 300);
    deep[300] = '\0';
    rig_init(&r);
    apply(&r, "t|p|" ALERT, og_str_of(deep), 0, OG_INVALID);
    rig_done(&r);
}

/* A receipt that there is no memory for is no garbage. */
static void want_of_memory_damages_nothing(void **state)
{
    static const char row[] =
        "{\"state\":\"intent\",\"resolved\":false,\"revision\":2,\"sequence\":7,\"attempts\":1,"
        "\"next\":0,\"cause\":0,\"doubtful\":\"\",\"doubted\":false,\"held\":[\"" ALERT
        "\"],\"reason\":\"none\"}";
    unsigned failed = 0;
    (void)state;
    for (size_t bytes = 64; bytes < 65536; bytes += bytes / 4) {
        og_arena *a = og_arena_new(bytes);
        delivery d = {.revision = 0};
        og_status status = a != NULL ? delivery_read_value(a, OG_STR(row), &d, NULL) : OG_NOMEM;
        assert_true(status == OG_OK || status == OG_NOMEM);
        failed += status != OG_OK;
        og_arena_free(a);
    }
    assert_true(failed > 0);
}

static void an_endless_endpoint_is_no_word(void **state)
{
    static const char row[] =
        "{\"state\":\"intent\",\"resolved\":false,\"revision\":2,\"sequence\":7,\"attempts\":1,"
        "\"next\":0,\"cause\":0,\"doubtful\":\"\",\"doubted\":false,\"held\":[],\"reason\":\"\"}";
    rig r;
    char key[700];
    (void)state;
    int n = snprintf(key, sizeof key, "t|p|" ALERT "|");
    memset(key + n, 'e', 600);
    key[n + 600] = '\0';
    rig_init(&r);
    apply(&r, key, OG_STR(row), 0, OG_INVALID);
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_go_there_and_back),
        cmocka_unit_test(an_alert_is_taken_over_and_its_patient_dirty),
        cmocka_unit_test(an_attempt_of_another_owner_is_waited_for),
        cmocka_unit_test(nothing_overtakes_an_attempt_of_another_owner),
        cmocka_unit_test(a_receipt_settles_the_row),
        cmocka_unit_test(a_row_that_waits_hides_what_was_told),
        cmocka_unit_test(an_outdated_word_changes_nothing),
        cmocka_unit_test(what_is_too_deep_is_no_word),
        cmocka_unit_test(an_endless_endpoint_is_no_word),
        cmocka_unit_test(want_of_memory_damages_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

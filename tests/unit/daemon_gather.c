/* Gather: every input counted once, every refusal with its reason and its place. */
#include <fcntl.h>

#include "daemon_world.h"

#define DENOSUMAB                                                                                  \
    "\"medicationCodeableConcept\":{\"coding\":[{\"system\":\"http://www.whocc.no/"                \
    "atc\",\"code\":\"M05BX04\"}]}"
#define STATEMENT(id, subject)                                                                     \
    "{\"resourceType\":\"MedicationStatement\",\"id\":\"" id "\",\"status\":\"active\"," DENOSUMAB \
    ",\"subject\":" subject "}"
#define PATIENT(id) "{\"resourceType\":\"Patient\",\"id\":\"" id "\"}"

typedef struct counts {
    int64_t recorded, irrelevant, dead;
} counts;

static counts now(void)
{
    return (counts){metric_value(METRIC_RECORDED), metric_value(METRIC_IRRELEVANT),
                    metric_value(METRIC_DEAD_LETTERS)};
}

static void adds_up(const world *w)
{
    counts c = now();
    assert_int_equal(metric_value(METRIC_INPUTS), c.recorded + c.irrelevant + c.dead);
    assert_int_equal(c.dead, w->dead.count);
}

typedef struct refusal {
    const char *input, *reason;
    const char *header; /* another header that must be there; NULL: none */
} refusal;

static const refusal refusals[] = {
    {"", "syntax", "position=0"},
    {"{", "syntax", "position=1"},
    {"{\"resourceType\":\"Patient\",}", "syntax", "position="},
    {"{\"resourceType\":\"Patient\",\"id\":\"\xff\"}", "syntax", "position="},
    {"{\"a\":1,\"a\":2}", "duplicate-key", "position="},
    {"[]", "not-a-resource", NULL},
    {"{\"id\":\"x\"}", "not-a-resource", NULL},
    {"{\"resourceType\":\"Nonsense\"}", "not-a-resource", "path=resourceType"},
    {"{\"resourceType\":7}", "not-a-resource", NULL},
    {"{\"resourceType\":\"Patient\",\"id\":\"a b\"}", NULL, NULL},
    {"{\"resourceType\":\"Patient\",\"name\":{\"family\":1}}", "invalid", "path="},
    {STATEMENT("m", "{\"display\":\"nobody\"}"), "no-patient", "path=MedicationStatement.subject"},
    {STATEMENT("m", "[]"), "invalid", NULL},
    {"{\"resourceType\":\"MedicationStatement\",\"id\":\"m\",\"status\":\"active\"," DENOSUMAB "}",
     "no-patient", NULL},
    {"{\"resourceType\":\"Bundle\",\"type\":\"document\",\"entry\":[]}", "bundle", NULL},
    {"{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":" PATIENT("p") "}]}", "bundle", NULL},
    {"{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[{}]}", "entry", "entry=0"},
    {"{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[{\"request\":{\"method\":"
     "\"DELETE\"}}]}",
     "entry", NULL},
    {"{\"resourceType\":\"MedicationStatement\",\"status\":\"active\"," DENOSUMAB
     ",\"subject\":{\"reference\":\"Patient/p\"}}",
     "no-id", NULL},
};

static void bad_input_is_a_dead_letter_with_reason_and_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const refusal *r = &refusals[i];
        world *w = world_new();
        char line[128];
        w->next_offset = 7;
        world_event(w, r->input);
        adds_up(w);
        assert_int_equal(w->done, 1);
        assert_int_equal(w->last_done, 7);
        if (w->dead.count != 1)
            print_error("input %zu: %s\n", i, r->input);
        assert_int_equal(w->dead.count, 1);
        assert_int_equal(w->records.count, 0);
        const world_message *d = &w->dead.at[0];
        if (r->reason != NULL) {
            snprintf(line, sizeof line, "reason=%s\n", r->reason);
            if (strstr(d->headers, line) == NULL)
                print_error("input %zu (%s): %s", i, r->input, d->headers);
            assert_non_null(strstr(d->headers, line));
        }
        assert_non_null(
            strstr(d->headers, "source-topic=fhir.test\nsource-partition=0\nsource-offset=7\n"));
        assert_non_null(strstr(d->headers, "detail="));
        if (r->header != NULL && strstr(d->headers, r->header) == NULL)
            print_error("input %zu (%s): %s", i, r->input, d->headers);
        if (r->header != NULL)
            assert_non_null(strstr(d->headers, r->header));
        world_free(w);
    }
}

#define E1        "{\"resourceType\":\"Patient\",\"id\":\"e1\"}"
#define QUOTED    "{\\\"resourceType\\\":\\\"Patient\\\",\\\"id\\\":\\\"e1\\\"}"
#define IN_BASE64 "eyJyZXNvdXJjZVR5cGUiOiJQYXRpZW50IiwiaWQiOiJlMSJ9" /* E1 */

/* The forms that envelopes have in the wild; what is not in them is a dead letter that has all of
 * the message and says where. */
static void envelopes_are_opened(void **state)
{
    static const struct {
        const char *form, *value;
        const char *reason, *header; /* NULL: it is recorded */
    } table[] = {
        {"payload", "{\"payload\":" E1 "}", NULL, NULL},
        {"payload", "{\"payload\":\"" QUOTED "\",\"operationType\":\"UPDATE\"}", NULL, NULL},
        {"data.resource", "{\"id\":7,\"data\":{\"resource\":\"" QUOTED "\"}}", NULL, NULL},
        {"base64:data", "{\"data\":\"" IN_BASE64 "\"}", NULL, NULL},
        {"base64:data", "{\"data\":\"eyJyZXNvdXJj\\nZVR5cGUiOiJQYXRpZW50IiwiaWQiOiJlMSJ9\"}", NULL,
         NULL},
        {".", "\"" QUOTED "\"", NULL, NULL},
        {"base64:.", IN_BASE64 "\n", NULL, NULL},
        {"base64:.", "\"" IN_BASE64 "\"", NULL, NULL},
        {"base64:data", "{\"data\":\"" IN_BASE64 "IA\"}", NULL, NULL},   /* one more blank */
        {"base64:data", "{\"data\":\"" IN_BASE64 "IA==\"}", NULL, NULL}, /* padded */
        {"payload", E1, NULL, NULL},                                     /* none is needed */
        {"payload", "{\"payload\":null}", "envelope", "path=payload"},
        {"payload", "{}", "envelope", "path=payload"},
        {"payload", "[]", "envelope", "path=payload"},
        {"payload", "{\"payload\":7}", "envelope", "path=payload"},
        {"payload", "{\"payload\":", "syntax", "position=11"},
        {"payload", "{\"payload\":\"{\\\"a\\\":\"}", "syntax", "path=payload"},
        {"payload", "{\"payload\":\"\"}", "syntax", "position=0"},
        {"payload", "{\"payload\":{\"id\":\"x\"}}", "not-a-resource", NULL},
        {"data.resource", "{\"data\":[]}", "envelope", "path=data.resource"},
        {"base64:data", "{\"data\":\"eyJy*\"}", "envelope", "position=4"},
        {"base64:data", "{\"data\":\"eyJyZ\"}", "envelope", "path=data"},
        {"base64:data", "{\"data\":\"eyJy=\"}", "envelope", "position=4"},
        {"base64:data", "{\"data\":\"e=yJ\"}", "envelope", "position=1"},
        {"base64:data", "{\"data\":{\"resourceType\":\"Patient\"}}", "envelope", "path=data"},
        {"base64:data", "{\"data\":\"e30\"}", "not-a-resource", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        world *w = world_new();
        kafka_property envelope = {"fhir.test", table[i].form};
        w->envelopes = &envelope;
        w->envelope_count = 1;
        gather_free(w->gather);
        gather_options o = world_gather_options(w);
        w->gather = gather_new(&o, w->content, w->recorded);
        world_event(w, table[i].value);
        adds_up(w);
        if (w->records.count != (table[i].reason == NULL) ||
            w->dead.count != (table[i].reason != NULL))
            fail_msg("row %zu: %s", i, w->dead.count > 0 ? w->dead.at[0].headers : "no letter");
        if (table[i].reason != NULL) {
            char line[64];
            snprintf(line, sizeof line, "reason=%s\n", table[i].reason);
            if (strstr(w->dead.at[0].headers, line) == NULL ||
                (table[i].header != NULL && strstr(w->dead.at[0].headers, table[i].header) == NULL))
                fail_msg("row %zu: %s", i, w->dead.at[0].headers);
            assert_string_equal(w->dead.at[0].value, table[i].value);
        }
        world_free(w);
    }
}

/* HL7 subscriptions in a topic: the status comes first and is no event. */
static void notifications_are_bundles(void **state)
{
    static const char *const values[] = {
        "{\"resourceType\":\"Bundle\",\"type\":\"history\",\"entry\":[{\"resource\":{"
        "\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"type\",\"valueCode\":"
        "\"event-notification\"}]}},{\"fullUrl\":\"https://e/Patient/e1\",\"resource\":" E1
        ",\"request\":{\"method\":\"PUT\",\"url\":\"Patient/e1\"}}]}",
        "{\"resourceType\":\"Bundle\",\"type\":\"subscription-notification\",\"entry\":[{"
        "\"resource\":{\"resourceType\":\"SubscriptionStatus\",\"type\":\"event-notification\"}},{"
        "\"fullUrl\":\"https://e/Patient/e1\",\"resource\":" E1 "}]}",
        "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{\"resource\":{"
        "\"resourceType\":\"SubscriptionStatus\",\"type\":\"event-notification\"}},{"
        "\"fullUrl\":\"https://e/Patient/e1\",\"resource\":" E1
        ",\"request\":{\"method\":\"PUT\",\"url\":\"Patient/e1\"}}]}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        world *w = world_new();
        world_event(w, values[i]);
        adds_up(w);
        assert_int_equal(w->records.count, 1);
        assert_int_equal(now().irrelevant, 1);
        assert_int_equal(w->dead.count, 0);
        world_free(w);
    }
}

static void a_dead_letter_carries_the_bytes(void **state)
{
    world *w = world_new();
    (void)state;
    world_event(w, "{\"resourceType\":\"Nonsense\"}");
    assert_string_equal(w->dead.at[0].value, "{\"resourceType\":\"Nonsense\"}");
    /* longer than dead_letter_bytes: the first part, and how long it was */
    char *text = malloc(5000);
    memset(text, 'x', 4999);
    text[4999] = '\0';
    world_event(w, text);
    assert_int_equal(w->dead.at[1].value_n, 1000);
    assert_non_null(strstr(w->dead.at[1].headers, "bytes=4999\n"));
    free(text);
    /* of an entry: the entry's bytes */
    world_event(w,
                "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[{\"resource\":" PATIENT(
                    "p") "},{\"resource\":{\"resourceType\":\"Nonsense\"}}]}");
    assert_int_equal(w->dead.count, 3);
    assert_non_null(strstr(w->dead.at[2].headers, "entry=1\n"));
    assert_non_null(strstr(w->dead.at[2].value, "Nonsense"));
    assert_null(strstr(w->dead.at[2].value, "Patient"));
    assert_int_equal(w->records.count, 1);
    adds_up(w);
    world_free(w);
}

static void too_deep_and_too_large(void **state)
{
    world *w = world_new();
    (void)state;
    og_buf b;
    og_buf_init(&b, 1 << 24);
    for (int i = 0; i < 100000; i++)
        og_buf_addc(&b, '[');
    world_put(w, "fhir.test", (og_str){NULL, 0}, og_buf_str(&b));
    assert_non_null(strstr(w->dead.at[0].headers, "reason=limit\n"));
    /* larger than a record may be, but readable */
    w->max_record_bytes = 2000;
    gather_free(w->gather);
    gather_options go = world_gather_options(w);
    w->gather = gather_new(&go, w->content, w->recorded);
    og_buf_clear(&b);
    og_buf_addz(&b, "{\"resourceType\":\"Patient\",\"id\":\"p\",\"name\":[{\"text\":\"");
    for (int i = 0; i < 3000; i++)
        og_buf_addc(&b, 'x');
    og_buf_addz(&b, "\"}]}");
    world_put(w, "fhir.test", (og_str){NULL, 0}, og_buf_str(&b));
    assert_non_null(strstr(w->dead.at[1].headers, "reason=too-large\n"));
    /* a message over the limit is not even read */
    go.max_message_bytes = 2500;
    gather_free(w->gather);
    w->gather = gather_new(&go, w->content, w->recorded);
    world_put(w, "fhir.test", (og_str){NULL, 0}, og_buf_str(&b));
    assert_non_null(strstr(w->dead.at[2].headers, "reason=too-large\n"));
    assert_int_equal(w->records.count, 0);
    assert_int_equal(w->done, 3);
    og_buf_done(&b);
    world_free(w);
}

static void what_no_rule_asks_for_is_irrelevant(void **state)
{
    static const char *const inputs[] = {
        "{\"resourceType\":\"Coverage\",\"id\":\"e\",\"beneficiary\":{\"reference\":\"Patient/"
        "p\"}}",
        ("{\"resourceType\":\"Observation\",\"id\":\"o\",\"status\":\"final\",\"subject\":{"
         "\"reference\":\"Patient/p\"},"
         "\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"8867-4\"}]}}"),
        "{\"resourceType\":\"Bundle\",\"type\":\"batch\"}",
        ("{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[{\"request\":{\"method\":"
         "\"GET\",\"url\":\"Patient\"}}]}"),
    };
    world *w = world_new();
    (void)state;
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
        world_event(w, inputs[i]);
    assert_int_equal(now().irrelevant, sizeof inputs / sizeof inputs[0]);
    assert_int_equal(w->records.count + w->dead.count, 0);
    adds_up(w);
    world_free(w);
}

/* The key routes by tenant and patient; all resources of a patient have one partition. */
static void records_are_keyed_and_partitioned_by_patient(void **state)
{
    world *w = world_new();
    record r;
    (void)state;
    world_event(w, PATIENT("p1"));
    world_event(w, STATEMENT("m1", "{\"reference\":\"Patient/p1\"}"));
    world_event(w, STATEMENT("m2", "{\"reference\":\"https://x.example/fhir/Patient/p1\"}"));
    world_event(w,
                STATEMENT("m3", "{\"identifier\":{\"system\":\"http://kis\",\"value\":\"77\"}}"));
    assert_int_equal(w->records.count, 4);
    assert_string_equal(w->records.at[0].key, "t|p1|Patient/p1");
    assert_string_equal(w->records.at[1].key, "t|p1|MedicationStatement/m1");
    assert_string_equal(w->records.at[2].key, "t|p1|MedicationStatement/m2");
    assert_string_equal(w->records.at[3].key, "t|http://kis|77|MedicationStatement/m3");
    assert_int_equal(w->places.count, 4);
    assert_string_equal(w->places.at[3].key, "place|MedicationStatement/m3");
    assert_int_equal(w->places.at[3].partition,
                     kafka_partition_for(OG_STR("place|MedicationStatement/m3"), WORLD_PARTITIONS));
    for (int i = 0; i < 3; i++)
        assert_int_equal(w->records.at[i].partition,
                         kafka_partition_for(OG_STR("t|p1"), WORLD_PARTITIONS));
    const world_message *m = &w->records.at[3];
    assert_int_equal(
        record_read(w->arena, (og_str){m->key, m->key_n}, (og_str){m->value, m->value_n}, &r, NULL),
        OG_OK);
    assert_true(og_str_is(r.patient, "http://kis|77"));
    assert_true(og_str_is(r.id, "m3"));
    assert_true(og_str_is(r.topic, "fhir.test"));
    assert_true(og_str_is(
        r.body, STATEMENT("m3", "{\"identifier\":{\"system\":\"http://kis\",\"value\":\"77\"}}")));
    world_free(w);
}

static record record_at(world *w, const world_list *l, size_t i)
{
    record r;
    const world_message *m = &l->at[i];
    assert_true(i < l->count);
    assert_int_equal(
        record_read(w->arena, (og_str){m->key, m->key_n}, (og_str){m->value, m->value_n}, &r, NULL),
        OG_OK);
    return r;
}

static void the_order_of_versions(void **state)
{
    world *w = world_new();
    (void)state;
    world_event(w, "{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{\"lastUpdated\":\"2026-01-"
                   "01T00:00:00.123456Z\"}}");
    world_event(w, "{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{\"lastUpdated\":\"2026-01-"
                   "01T01:00:00.123457+01:00\"}}");
    world_event(w, "{\"resourceType\":\"Patient\",\"id\":\"p\"}");
    world_event(w, "{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{\"lastUpdated\":\"2150-01-"
                   "01T00:00:00Z\"}}");
    record a = record_at(w, &w->records, 0), b = record_at(w, &w->records, 1),
           c = record_at(w, &w->records, 2), d = record_at(w, &w->records, 3);
    assert_int_equal(b.order.time_us - a.order.time_us, 1);
    assert_true(record_order_cmp(&a.order, &b.order) < 0);
    assert_true(record_order_cmp(&b.order, &c.order) < 0); /* without a version: when it arrived */
    assert_int_equal(c.order.time_us, c.timestamp_ms * 1000);
    assert_int_equal(d.order.time_us, d.timestamp_ms * 1000); /* a clock far ahead is set back */
    assert_int_equal(metric_value(METRIC_NO_VERSION), 1);
    assert_int_equal(metric_value(METRIC_FUTURE_VERSION), 1);
    world_free(w);
}

/* FHIR R4 http.html#history: the newest entry stands first. */
static void a_history_bundle_is_read_backwards(void **state)
{
    world *w = world_new();
    (void)state;
    world_event(w, "{\"resourceType\":\"Bundle\",\"type\":\"history\",\"entry\":["
                   "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"p\",\"gender\":\"male\"},"
                   "\"request\":{\"method\":\"PUT\",\"url\":\"Patient/p\"}},"
                   "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"p\",\"gender\":\"female\"}"
                   ",\"request\":{\"method\":\"PUT\",\"url\":\"Patient/p\"}}]}");
    record first = record_at(w, &w->records, 0), second = record_at(w, &w->records, 1);
    assert_true(record_order_cmp(&first.order, &second.order) > 0);
    assert_int_equal(first.of, 2);
    world_settle_down(w);
    assert_int_equal(w->total.applied, 1);
    assert_int_equal(w->total.stale, 2); /* the older one, and the newer written behind it */
    world_free(w);
}

static void references_inside_a_bundle_are_resolved(void **state)
{
    world *w = world_new();
    (void)state;
    world_event(
        w,
        "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":["
        "{\"fullUrl\":\"urn:uuid:11111111-1111-4111-8111-111111111111\",\"resource\":" PATIENT(
            "p9") ",\"request\":{\"method\":\"PUT\",\"url\":\"Patient/p9\"}},"
                  "{\"fullUrl\":\"urn:uuid:22222222-2222-4222-8222-222222222222\",\"resource\":{"
                  "\"resourceType\":\"MedicationStatement\",\"status\":\"active\"," DENOSUMAB
                  ",\"subject\":{\"reference\":\"urn:uuid:11111111-1111-4111-8111-111111111111\"}},"
                  "\"request\":{\"method\":\"POST\",\"url\":\"MedicationStatement\"}}]}");
    assert_int_equal(w->records.count, 2);
    record m = record_at(w, &w->records, 1);
    assert_true(og_str_is(m.patient, "p9"));
    assert_true(og_str_is(m.id, "22222222-2222-4222-8222-222222222222"));
    assert_null(strstr(w->records.at[1].value, "urn:uuid:1111"));
    assert_non_null(strstr(w->records.at[1].value, "Patient/p9"));
    adds_up(w);
    world_free(w);
}

static void deletes_find_their_patient(void **state)
{
    world *w = world_new();
    (void)state;
    world_event(w, STATEMENT("m1", "{\"reference\":\"Patient/p1\"}"));
    world_put(w, "fhir.test", OG_STR("MedicationStatement/m1"), (og_str){NULL, 0});
    assert_int_equal(w->records.count, 1); /* a place alone */
    assert_int_equal(w->places.count, 2);
    assert_string_equal(w->places.at[1].key, "place|MedicationStatement/m1");
    assert_int_equal(w->places.at[1].partition, w->places.at[0].partition);
    assert_non_null(strstr(w->places.at[1].value, "\"deleted\":true"));
    assert_int_equal(now().recorded, 2);
    world_settle_down(w);
    assert_int_equal(w->records.count, 2);
    assert_string_equal(w->records.at[1].key, "t|p1|MedicationStatement/m1");
    assert_true(record_at(w, &w->records, 1).deleted);
    world_event(
        w,
        "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[{\"request\":{\"method\":"
        "\"DELETE\",\"url\":"
        "\"MedicationStatement/m1\"}},{\"request\":{\"method\":\"DELETE\",\"url\":\"Patient/p1\"}},"
        "{\"request\":{\"method\":\"DELETE\",\"url\":\"Coverage/e1\"}}]}");
    assert_int_equal(w->places.count, 4);
    assert_int_equal(now().recorded, 4);
    assert_int_equal(now().irrelevant, 1);
    world_settle_down(w);
    assert_int_equal(w->records.count, 3); /* m1 was deleted already */
    assert_string_equal(w->records.at[2].key, "t|p1|Patient/p1");
    assert_true(record_at(w, &w->records, 2).deleted);
    /* a null value whose key says nothing */
    world_put(w, "fhir.test", OG_STR("hash-of-something"), (og_str){NULL, 0});
    world_put(w, "fhir.test", (og_str){NULL, 0}, (og_str){NULL, 0});
    assert_int_equal(w->dead.count, 2);
    assert_non_null(strstr(w->dead.at[0].headers, "reason=no-key\n"));
    adds_up(w);
    world_settle_down(w);
    world_free(w);
}

/* v1 was wanted, v2 has another code: v2 must replace v1 all the same. */
static void what_was_wanted_once_is_replaced(void **state)
{
#define CREATININE(code)                                                                           \
    "{\"resourceType\":\"Observation\",\"id\":\"o\",\"status\":\"final\",\"subject\":{"            \
    "\"reference\":\"Patient/p\"},"                                                                \
    "\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"" code "\"}]}}"
    world *w = world_new();
    (void)state;
    world_event(w, CREATININE("8867-4"));
    assert_int_equal(w->records.count, 0);
    world_event(w, CREATININE("2160-0"));
    assert_int_equal(w->records.count, 1);
    world_event(w, CREATININE("8867-4"));
    assert_int_equal(w->records.count, 2);
    world_free(w);
}

/* The same when another instance gathered v1: this one follows the patient, or keeps the place. */
static void what_others_recorded_is_replaced(void **state)
{
    char path[128];
    idset *other;
    (void)state;
    for (int place = 0; place < 2; place++) {
        world *w = world_new();
        gather_options go = world_gather_options(w);
        snprintf(path, sizeof path, "%s/other", w->dir);
        assert_int_equal(idset_open(path, NULL, &other, NULL), OG_OK);
        gather *g = gather_new(&go, w->content, other);
        world_event(w, CREATININE("2160-0"));
        assert_int_equal(w->records.count, 1);
        conn_message m = {.origin = {"fhir.test", 1, 0, 1767312000000},
                          .value = OG_STR(CREATININE("8867-4"))};
        gather_message(g, &m);
        assert_int_equal(w->records.count, 1);
        w->setup.recorded = other;
        if (place)
            w->records_read = 1;
        else
            w->places_read = 1;
        world_apply_records(w);
        m.origin.offset = 1;
        gather_message(g, &m);
        assert_int_equal(w->records.count, 2);
        gather_free(g);
        idset_close(other);
        world_free(w);
    }
}

/* It is damaged: nothing is taken for irrelevant, and all is read again when it is renewed. */
static void a_damaged_index_means_reading_again(void **state)
{
    char path[128];
    world *w = world_new();
    (void)state;
    world_event(w, CREATININE("2160-0"));
    assert_int_equal(w->done, 1);
    snprintf(path, sizeof path, "%s/ids/data", w->dir);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (off_t at = 65536; at < 65536 + 4096 * 64; at += 64)
        assert_int_equal(pwrite(fd, "?", 1, at), 1);
    close(fd);
    world_event(w, CREATININE("8867-4"));
    world_event(w, PATIENT("a"));
    assert_int_equal(w->done, 1);
    assert_int_equal(w->rereads, 2);
    assert_true(idset_is_broken(w->recorded));
    assert_int_equal(metric_value(METRIC_INPUTS), 1);
    assert_int_equal(idset_renew(w->recorded, NULL), OG_OK);
    world_event(w, PATIENT("a"));
    assert_int_equal(w->done, 2);
    world_free(w);
}

/* A resource that names another patient than before leaves the old one. */
static void a_corrected_subject_leaves_the_old_patient(void **state)
{
    world *w = world_new();
    (void)state;
    world_event(w, STATEMENT("m1", "{\"reference\":\"Patient/wrong\"}"));
    world_event(w, STATEMENT("m1", "{\"reference\":\"Patient/right\"}"));
    assert_int_equal(w->records.count, 2);
    assert_string_equal(w->records.at[1].key, "t|right|MedicationStatement/m1");
    assert_int_equal(now().recorded, 2);
    world_settle_down(w);
    assert_int_equal(w->records.count, 3);
    assert_string_equal(w->records.at[2].key, "t|wrong|MedicationStatement/m1");
    assert_true(record_at(w, &w->records, 2).deleted);
    adds_up(w);
    world_free(w);
}

static void shared_resources_have_their_topic(void **state)
{
    world *w = world_new();
    (void)state;
    world_event(w,
                "{\"resourceType\":\"MedicationStatement\",\"id\":\"m1\",\"status\":\"active\","
                "\"medicationReference\":{"
                "\"reference\":\"Medication/med1\"},\"subject\":{\"reference\":\"Patient/p1\"}}");
    world_settle_down(w);
    uint64_t evaluations = w->total.evaluations;
    world_event(w, "{\"resourceType\":\"Medication\",\"id\":\"med1\",\"code\":{\"coding\":[{"
                   "\"system\":\"http://www.whocc.no/atc\","
                   "\"code\":\"M05BX04\"}]}}");
    assert_int_equal(w->shared.count, 1);
    assert_string_equal(w->shared.at[0].key, "t||Medication/med1");
    assert_int_equal(w->shared.at[0].partition, 0);
    world_settle_down(w);
    assert_int_equal(w->total.evaluations,
                     evaluations + 1); /* the late Medication woke its patient */
    world_free(w);
}

static void a_message_is_done_when_all_is_acknowledged(void **state)
{
    world *w = world_new();
    (void)state;
    w->hold_reports = true;
    world_event(w, "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[{"
                   "\"resource\":" PATIENT("a") "},{\"resource\":" PATIENT(
                       "b") "},{\"resource\":{\"resourceType\":\"Nonsense\"}}]}");
    world_event(w, "{\"resourceType\":\"Coverage\",\"id\":\"e\"}");
    assert_int_equal(w->done, 1); /* the Coverage made nothing */
    assert_int_equal(gather_in_flight(w->gather), 1);
    assert_int_equal(metric_value(METRIC_INPUTS), 1);
    world_report(w, CONN_DONE);
    assert_int_equal(w->done, 2);
    assert_int_equal(metric_value(METRIC_INPUTS), 4);
    adds_up(w);
    world_free(w);
}

static void a_full_queue_pauses_the_sources_and_loses_nothing(void **state)
{
    world *w = world_new();
    (void)state;
    w->again_after = 1;
    world_event(w, "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[{"
                   "\"resource\":" PATIENT("a") "},{\"resource\":" PATIENT(
                       "b") "},{\"resource\":{\"resourceType\":\"Nonsense\"}}]}");
    assert_int_equal(w->records.count, 1);
    assert_true(w->paused);
    assert_int_equal(w->done, 0);
    w->again_after = 2; /* the place of the first, and the second */
    gather_room(w->gather);
    assert_int_equal(w->places.count, 1);
    assert_int_equal(w->records.count, 2);
    assert_true(w->paused);
    w->again_after = -1;
    gather_room(w->gather);
    assert_false(w->paused);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->dead.count, 1);
    assert_string_equal(w->records.at[1].key, "t|b|Patient/b");
    assert_non_null(strstr(w->dead.at[0].headers, "reason=entry\n"));
    assert_non_null(strstr(w->dead.at[0].value, "Nonsense"));
    adds_up(w);
    world_free(w);
}

static void too_many_in_flight_pause_the_sources(void **state)
{
    world *w = world_new();
    (void)state;
    w->hold_reports = true;
    for (int i = 0; i < 1001; i++)
        world_event(w, PATIENT("a"));
    assert_true(w->paused);
    world_report(w, CONN_DONE);
    assert_false(w->paused);
    assert_int_equal(w->pauses, 2);
    assert_int_equal(w->done, 1001);
    world_free(w);
}

static void a_replaced_producer_means_reading_again(void **state)
{
    world *w = world_new();
    (void)state;
    w->hold_reports = true;
    world_event(w, PATIENT("a"));
    world_report(w, CONN_AGAIN);
    assert_int_equal(w->done, 0);
    assert_int_equal(w->rereads, 1);
    assert_int_equal(metric_value(METRIC_INPUTS), 0); /* counted when it is read again */
    assert_int_equal(gather_in_flight(w->gather), 0);
    world_free(w);
}

static void a_refused_record_becomes_a_dead_letter(void **state)
{
    world *w = world_new();
    (void)state;
    w->hold_reports = true;
    world_event(w, PATIENT("a"));
    assert_int_equal(w->waiting, 2); /* the record, and its place */
    w->waiting = 1;
    w->waiting_fn[1](w->waiting_ctx[1], CONN_DONE, 0, 0, NULL);
    kafka_error error = {.text = "Broker: Message size too large"};
    w->waiting = 0;
    w->waiting_fn[0](w->waiting_ctx[0], CONN_NEVER, -1, -1, &error);
    assert_int_equal(w->done, 0); /* the dead letter is on its way */
    assert_int_equal(w->dead.count, 1);
    assert_non_null(strstr(w->dead.at[0].headers, "reason=refused\n"));
    world_report(w, CONN_DONE);
    assert_int_equal(w->done, 1);
    adds_up(w);
    /* even the dead letter is refused: counted, logged, and the partition goes on */
    world_event(w, "{");
    w->waiting--;
    w->waiting_fn[0](w->waiting_ctx[0], CONN_NEVER, -1, -1, &error);
    assert_int_equal(w->done, 2);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_input_is_a_dead_letter_with_reason_and_place),
        cmocka_unit_test(envelopes_are_opened),
        cmocka_unit_test(notifications_are_bundles),
        cmocka_unit_test(a_dead_letter_carries_the_bytes),
        cmocka_unit_test(too_deep_and_too_large),
        cmocka_unit_test(what_no_rule_asks_for_is_irrelevant),
        cmocka_unit_test(records_are_keyed_and_partitioned_by_patient),
        cmocka_unit_test(the_order_of_versions),
        cmocka_unit_test(a_history_bundle_is_read_backwards),
        cmocka_unit_test(references_inside_a_bundle_are_resolved),
        cmocka_unit_test(deletes_find_their_patient),
        cmocka_unit_test(what_was_wanted_once_is_replaced),
        cmocka_unit_test(what_others_recorded_is_replaced),
        cmocka_unit_test(a_damaged_index_means_reading_again),
        cmocka_unit_test(a_corrected_subject_leaves_the_old_patient),
        cmocka_unit_test(shared_resources_have_their_topic),
        cmocka_unit_test(a_message_is_done_when_all_is_acknowledged),
        cmocka_unit_test(a_full_queue_pauses_the_sources_and_loses_nothing),
        cmocka_unit_test(too_many_in_flight_pause_the_sources),
        cmocka_unit_test(a_replaced_producer_means_reading_again),
        cmocka_unit_test(a_refused_record_becomes_a_dead_letter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

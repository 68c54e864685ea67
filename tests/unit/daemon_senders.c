/* Two senders that give the same ids: what they send stays apart, and each hears its own ids. */
#include "connectors/ndjson.h"
#include "daemon_world.h"

static const kafka_property senders[] = {{"fhir.lab", "lab"}, {"fhir.other", "oth"}};

static world *senders_world(void)
{
    world *w = world_new();
    gather_options go = world_gather_options(w);
    go.senders = senders;
    go.sender_count = 2;
    gather_free(w->gather);
    w->gather = gather_new(&go, w->content, w->recorded);
    assert_non_null(w->gather);
    return w;
}

static void tell(world *w, const char *topic, const char *text)
{
    world_put(w, topic, (og_str){NULL, 0}, og_str_of(text));
}

/* Ids of what is in a patient's view, and of the shared resources it refers to. */
static const char *view_of(world *w, const char *patient)
{
    static char out[400];
    const fhir_resource *list;
    size_t count;
    int n = 0;
    store_txn *t, *shared;
    world_settle_down(w);
    og_arena_reset(w->arena);
    assert_int_equal(
        store_begin(w->stores[world_partition_of(og_str_of(patient))], false, &t, NULL), OG_OK);
    assert_int_equal(store_begin(w->shared_store, false, &shared, NULL), OG_OK);
    assert_int_equal(store_view(t, shared, w->arena, og_str_of(patient), &list, &count, NULL),
                     OG_OK);
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        og_str status = fhir_raw(fhir_get(list[i].root, "status"));
        n += snprintf(out + n, sizeof out - (size_t)n, "%.*s/%.*s %.*s;", OG_STR_ARG(list[i].type),
                      OG_STR_ARG(list[i].id), OG_STR_ARG(status));
    }
    store_abort(t);
    store_abort(shared);
    assert_int_equal(w->total.bad, 0);
    assert_int_equal(w->dead.count, 0);
    return out;
}

#define REQUEST(status, medication)                                                                \
    "{\"resourceType\":\"MedicationRequest\",\"id\":\"1\",\"status\":\"" status                    \
    "\",\"intent\":\"order\",\"subject\":{\"reference\":\"https://x/Patient/1\"},"                 \
    "\"medicationReference\":{\"reference\":\"Medication/" medication "\"}}"
#define MEDICATION(id, status)                                                                     \
    "{\"resourceType\":\"Medication\",\"id\":\"" id "\",\"status\":\"" status                      \
    "\",\"code\":{\"coding\":[{\"system\":\"http://www.whocc.no/atc\",\"code\":\"M05BX04\"}]}}"

static void what_two_send_stays_apart(void **state)
{
    world *w = senders_world();
    (void)state;
    tell(w, "fhir.lab", REQUEST("active", "m"));
    tell(w, "fhir.other", REQUEST("stopped", "m"));
    tell(w, "fhir.test", REQUEST("draft", "m"));
    assert_string_equal(w->records.at[0].key, "t|lab~1|MedicationRequest/lab~1");
    assert_string_equal(w->places.at[0].key, "place|MedicationRequest/lab~1");
    assert_non_null(strstr(w->records.at[0].value, "https://x/Patient/1")); /* as it came */
    assert_string_equal(view_of(w, "lab~1"), "MedicationRequest/1 active;");
    assert_string_equal(view_of(w, "oth~1"), "MedicationRequest/1 stopped;");
    assert_string_equal(view_of(w, "1"), "MedicationRequest/1 draft;");
    /* references mean the same sender's, also those that come late */
    uint64_t evaluations = w->total.evaluations;
    tell(w, "fhir.lab", MEDICATION("m", "active"));
    assert_string_equal(view_of(w, "lab~1"), "MedicationRequest/1 active;Medication/m active;");
    assert_string_equal(view_of(w, "oth~1"), "MedicationRequest/1 stopped;");
    assert_int_equal(w->total.evaluations, evaluations + 1);
    tell(w, "fhir.other", MEDICATION("m", "inactive"));
    assert_string_equal(view_of(w, "oth~1"), "MedicationRequest/1 stopped;Medication/m inactive;");
    assert_string_equal(view_of(w, "lab~1"), "MedicationRequest/1 active;Medication/m active;");
    /* and so do deletes */
    world_put(w, "fhir.other", OG_STR("MedicationRequest/1"), (og_str){NULL, 0});
    assert_string_equal(view_of(w, "oth~1"), "");
    assert_string_equal(view_of(w, "lab~1"), "MedicationRequest/1 active;Medication/m active;");
    world_free(w);
}

/* An identifier is the same from every sender. */
static void an_identifier_joins_them(void **state)
{
#define BY_IDENTIFIER(id)                                                                          \
    "{\"resourceType\":\"MedicationRequest\",\"id\":\"" id                                         \
    "\",\"status\":\"active\",\"intent\":\"order\",\"subject\":{\"identifier\":{\"system\":"       \
    "\"urn:kis\",\"value\":\"7\"}},\"medicationCodeableConcept\":{\"coding\":[{\"system\":"        \
    "\"http://www.whocc.no/atc\",\"code\":\"M05BX04\"}]}}"
    world *w = senders_world();
    (void)state;
    tell(w, "fhir.lab", BY_IDENTIFIER("1"));
    tell(w, "fhir.other", BY_IDENTIFIER("1"));
    assert_string_equal(view_of(w, "urn:kis|7"),
                        "MedicationRequest/1 active;MedicationRequest/1 active;");
    world_free(w);
}

static void links_mean_the_same_sender(void **state)
{
    world *w = senders_world();
    (void)state;
    tell(w, "fhir.lab", REQUEST("active", "m"));
    tell(w, "fhir.other", REQUEST("stopped", "m"));
    tell(w, "fhir.lab",
         "{\"resourceType\":\"Patient\",\"id\":\"1\",\"link\":[{\"type\":\"replaced-by\","
         "\"other\":{\"reference\":\"Patient/2\"}}]}");
    assert_string_equal(view_of(w, "lab~2"), "MedicationRequest/1 active;");
    assert_string_equal(view_of(w, "lab~1"), "");
    assert_string_equal(view_of(w, "oth~1"), "MedicationRequest/1 stopped;");
    world_free(w);
}

static size_t posts_with(const world *w, const char *what)
{
    size_t n = 0;
    for (size_t i = 0; i < w->post_count; i++)
        n += strstr(w->posts[i].body, what) != NULL;
    return n;
}

/* The same patient from two senders: an endpoint hears of its own, by the id that it knows. */
static void cards_carry_the_senders_ids(void **state)
{
    static const char *const topics[] = {"fhir.lab", "fhir.other"};
    (void)state;
    for (int filtered = 0; filtered < 2; filtered++) {
        world *w = senders_world();
        w->endpoints[0].sender = filtered ? "oth" : "";
        for (int i = 0; i < 2; i++) {
            ndjson_reader *r;
            ndjson_item item;
            assert_int_equal(ndjson_open(OG_SOURCE_DIR "/tests/fixtures/sample/stream.ndjson", 0, 0,
                                         0, &r, NULL),
                             OG_OK);
            while (ndjson_next(r, &item, NULL) == OG_OK)
                if (memmem(item.text.p, item.text.n, "sample-07", 9) != NULL)
                    world_put(w, topics[i], (og_str){NULL, 0}, item.text);
            ndjson_close(r);
        }
        world_settle_down(w);
        assert_int_equal(posts_with(w, "\"patientId\":\"sample-07\""), w->post_count);
        assert_int_equal(posts_with(w, "~"), 0);
        assert_true(posts_with(w, "\"sender\":\"oth\"") > 0);
        assert_int_equal(posts_with(w, "\"sender\":\"lab\"") > 0, !filtered);
        assert_true(posts_with(w, "\"reference\":\"Patient/sample-07\"") > 0);
        assert_int_equal(w->dirty, 0);
        world_free(w);
    }
}

static void names_are_told_from_ids(void **state)
{
    (void)state;
    assert_true(og_str_is(record_sender(OG_STR("lab~5")), "lab~"));
    assert_true(og_str_is(record_plain_id(OG_STR("lab~5")), "5"));
    assert_true(og_str_is(record_plain_id(OG_STR("5")), "5"));
    assert_true(og_str_is(record_plain_id(OG_STR("http://kis/~a|5~6")), "http://kis/~a|5~6"));
    assert_true(og_str_is(record_plain_id(OG_STR("|5~6")), "|5~6"));
    assert_true(og_str_is(record_plain_id(OG_STR("~5")), "~5"));
    assert_int_equal(record_sender((og_str){NULL, 0}).n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_two_send_stays_apart),  cmocka_unit_test(an_identifier_joins_them),
        cmocka_unit_test(links_mean_the_same_sender), cmocka_unit_test(cards_carry_the_senders_ids),
        cmocka_unit_test(names_are_told_from_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What arrives on different instances in any order comes together: deletes, merged patients, shared
 * resources; also after both have lost their disks. */
#include "serve_stage.h"

/* ---- what the owners have ---- */

static bool settled(stage *s, int number)
{
    for (int i = 0; i < PARTITIONS && s->at[number].serve != NULL; i++)
        if (s->at[number].serve->partitions[i].assigned &&
            owner_get(s->at[number].serve->owner, i).settled)
            return true;
    return false;
}

static bool both_own_some(stage *s)
{
    return settled(s, 0) && settled(s, 1);
}

static const serve *owner_of(const stage *s, const char *patient, int *ret_partition)
{
    char route[64];
    int n = snprintf(route, sizeof route, "t|%s", patient);
    *ret_partition = kafka_partition_for((og_str){route, (size_t)n}, PARTITIONS);
    for (int m = 0; m < MEMBERS; m++)
        if (s->at[m].serve != NULL && s->at[m].serve->partitions[*ret_partition].assigned)
            return s->at[m].serve;
    return NULL;
}

static bool has(const stage *s, const char *patient, const char *type, const char *id)
{
    int partition;
    bool found = false;
    const fhir_resource *list;
    size_t count;
    store_txn *t, *shared;
    const serve *owner = owner_of(s, patient, &partition);
    if (owner == NULL)
        return false;
    og_arena *a = og_arena_new(16 << 20);
    assert_int_equal(store_begin(owner->partitions[partition].store, false, &t, NULL), OG_OK);
    assert_int_equal(store_begin(SERVE_SHARED(owner)->store, false, &shared, NULL), OG_OK);
    assert_int_equal(store_view(t, shared, a, og_str_of(patient), &list, &count, NULL), OG_OK);
    for (size_t i = 0; i < count; i++)
        found |= og_str_is(list[i].type, type) && og_str_is(list[i].id, id);
    store_abort(t);
    store_abort(shared);
    og_arena_free(a);
    return found;
}

/* ---- events: the two partitions of a source are read by different instances ---- */

static void tell(stage *s, int32_t partition, const char *key, const char *text)
{
    mock_kafka_put(&s->kafka, "fhir.bundle", partition, key, text, text != NULL ? strlen(text) : 0);
    s->sent += partition == 0;
}

#define SURVIVOR(id, links)                                                                        \
    "{\"resourceType\":\"Patient\",\"id\":\"" id                                                   \
    "\",\"gender\":\"female\",\"birthDate\":\"1950-07-17\"" links "}"
#define REPLACES(id)                                                                               \
    ",\"link\":[{\"type\":\"replaces\",\"other\":{\"reference\":\"Patient/" id "\"}}]"

static bool first_cards(stage *s)
{
    return has(s, "sample-07", "Condition", "sample-07-myeloma") && is_quiet(s) &&
           count_posts(s, "\"patientId\":\"sample-07\"") > 0;
}

static bool survivor_has_cards(stage *s)
{
    return has(s, "heir", "Condition", "sample-07-myeloma") &&
           !has(s, "sample-07", "Condition", "sample-07-myeloma") && is_quiet(s) &&
           count_posts(s, "\"patientId\":\"heir\"") > 0;
}

static bool is_deleted(stage *s)
{
    return !has(s, "heir", "Condition", "sample-07-myeloma") && is_quiet(s);
}

static bool is_separate(stage *s)
{
    return !has(s, "heir", "Condition", "sample-07-aki") &&
           has(s, "sample-07", "Condition", "sample-07-aki") && is_quiet(s);
}

static size_t held_cards(const stage *s, const char *patient)
{
    static held h;
    char id[64];
    snprintf(id, sizeof id, "\"patientId\":\"%s\"", patient);
    h.count = 0;
    for (size_t i = 0; i < s->post_count; i++)
        if (strstr(s->posts[i].body, id) != NULL)
            take_body(&h, s->posts[i].body);
    return h.count;
}

static bool first_is_quiet(stage *s)
{
    return is_quiet(s);
}

static void start_both(stage *s)
{
    start_and_wait(s);
    start_member(s, 1);
    wait_until(s, "both own partitions", both_own_some);
}

static void lose_both_disks(stage *s)
{
    char dir[96];
    for (int i = 0; i < 2; i++) {
        stop_member(s, i);
        snprintf(dir, sizeof dir, "%s/store%s", s->dir, store_suffix[i]);
        assert_int_equal(file_remove_tree(dir, NULL), OG_OK);
    }
    start_both(s);
    wait_until(s, "restored", first_is_quiet);
}

/* A patient's records, the link that retires it, and deletes come in through different instances,
 * and the two patients are on different partitions. */
static void merged_and_deleted_across_instances(void **state)
{
    ndjson_reader *r;
    ndjson_item item;
    int old, new;
    stage *s = stage_new();
    (void)state;
    start_both(s);
    (void)owner_of(s, "sample-07", &old);
    (void)owner_of(s, "heir", &new);
    assert_int_not_equal(old, new);
    assert_int_equal(ndjson_open(STREAM, 0, 0, 0, &r, NULL), OG_OK);
    while (ndjson_next(r, &item, NULL) == OG_OK) {
        if (memmem(item.text.p, item.text.n, "sample-07", 9) == NULL)
            continue;
        mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, item.text.p, item.text.n);
        s->sent++;
    }
    ndjson_close(r);
    wait_until(s, "the first cards", first_cards);
    assert_true(held_cards(s, "sample-07") > 0);
    size_t had = held_cards(s, "sample-07");
    tell(s, 1, NULL, SURVIVOR("heir", REPLACES("sample-07")));
    wait_until(s, "the survivor's cards", survivor_has_cards);
    assert_int_equal(held_cards(s, "sample-07"), 0);
    assert_int_equal(held_cards(s, "heir"), had);
    /* both disks are lost: the same comes out of the topics, and nothing is said twice */
    size_t posts = s->post_count;
    lose_both_disks(s);
    wait_until(s, "the same as before", survivor_has_cards);
    assert_int_equal(s->post_count, posts);
    /* a delete that names no patient, gathered by the other instance, and one before its create */
    tell(s, 1, "Condition/sample-07-myeloma", NULL);
    wait_until(s, "the delete", is_deleted);
    assert_true(metric_value(METRIC_PLACED) > 0);
    tell(s, 1, NULL, SURVIVOR("heir", ""));
    wait_until(s, "both apart", is_separate);
    assert_int_equal(held_cards(s, "heir"), 0);
    assert_int_equal(metric_value(METRIC_BAD_RECORDS), 0);
    stage_free(s);
}

#define REQUEST(minute)                                                                            \
    "{\"resourceType\":\"MedicationRequest\",\"id\":\"gone\",\"status\":\"active\",\"intent\":"    \
    "\"order\",\"meta\":{\"lastUpdated\":\"2026-02-01T00:0" minute                                 \
    ":00Z\"},\"subject\":{\"reference\":\"Patient/p\"},\"medicationCodeableConcept\":{"            \
    "\"coding\":[{\"system\":\"http://www.whocc.no/atc\",\"code\":\"M05BX04\"}]}}"

static bool delete_is_noted(stage *s)
{
    (void)s;
    return metric_value(METRIC_UNPLACED) > 0;
}

static int64_t placed_before;

static bool create_met_its_delete(stage *s)
{
    return metric_value(METRIC_PLACED) > placed_before && metric_value(METRIC_ERRANDS) > 0 &&
           is_applied(s);
}

static bool is_there_anew(stage *s)
{
    return has(s, "p", "MedicationRequest", "gone");
}

static void a_delete_comes_before_its_create(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_both(s);
    tell(s, 1, NULL,
         "{\"resourceType\":\"Bundle\",\"type\":\"history\",\"entry\":[{\"request\":{\"method\":"
         "\"DELETE\",\"url\":\"MedicationRequest/gone\"},\"response\":{\"status\":\"204\","
         "\"lastModified\":\"2026-02-01T00:05:00Z\"}}]}");
    wait_until(s, "the delete noted", delete_is_noted);
    placed_before = metric_value(METRIC_PLACED);
    tell(s, 0, NULL, REQUEST("4"));
    wait_until(s, "the older version deleted", create_met_its_delete);
    assert_false(has(s, "p", "MedicationRequest", "gone"));
    tell(s, 0, NULL, REQUEST("6"));
    wait_until(s, "created anew", is_there_anew);
    stage_free(s);
}

/* ---- shared resources ---- */

static bool has_request(stage *s)
{
    return has(s, "q", "MedicationRequest", "r") && is_applied(s);
}

static bool has_medication(stage *s)
{
    return has(s, "q", "Medication", "late");
}

static int64_t evaluations_before;

static bool was_evaluated(stage *s)
{
    return has_medication(s) && metric_value(METRIC_EVALUATIONS) > evaluations_before;
}

static bool is_settled(stage *s)
{
    int partition;
    const serve *owner = owner_of(s, "q", &partition);
    return owner != NULL && owner_get(owner->owner, partition).settled;
}

/* The Medication comes after a restart, with the store that was, and with none. */
static void a_medication_comes_after_a_restart(void **state)
{
    char dir[96];
    (void)state;
    for (int lost = 0; lost < 2; lost++) {
        stage *s = stage_new();
        start_and_wait(s);
        tell(s, 0, NULL,
             "{\"resourceType\":\"MedicationRequest\",\"id\":\"r\",\"status\":\"active\","
             "\"intent\":\"order\",\"subject\":{\"reference\":\"Patient/q\"},"
             "\"medicationReference\":{\"reference\":\"Medication/late\"}}");
        wait_until(s, "the request", has_request);
        stop(s);
        snprintf(dir, sizeof dir, "%s/store", s->dir);
        if (lost)
            assert_int_equal(file_remove_tree(dir, NULL), OG_OK);
        start_and_wait(s);
        wait_until(s, "settled", is_settled);
        assert_false(has_medication(s));
        evaluations_before = metric_value(METRIC_EVALUATIONS);
        tell(s, 0, NULL,
             "{\"resourceType\":\"Medication\",\"id\":\"late\",\"code\":{\"coding\":[{\"system\":"
             "\"http://www.whocc.no/atc\",\"code\":\"M05BX04\"}]}}");
        wait_until(s, "evaluated with its Medication", was_evaluated);
        stage_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merged_and_deleted_across_instances),
        cmocka_unit_test(a_delete_comes_before_its_create),
        cmocka_unit_test(a_medication_comes_after_a_restart),
    };
    cmocka_set_test_filter(getenv("OG_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}

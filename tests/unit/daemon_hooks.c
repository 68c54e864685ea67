/* CDS services without a server: requests read and refused, answers from state, prefetch and
 * drafts. */
#include "daemon_world.h"

#include <jansson.h>

#include "daemon/hooks.h"
#include "daemon/prefetch.h"

#define UUID    "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
#define NOW_MS  1772352000000 /* 2026-03-01T09:00:00+01:00 */
#define USER    "\"userId\":\"Practitioner/1\","
#define PATIENT "\"patientId\":\"v5\""

/* ---- a call ---- */

typedef struct reply {
    int status;
    json_t *json;
    bool evaluated;
    size_t failed; /* rules */
    size_t misread;
} reply;

static bool elsewhere; /* another instance has the patient's records */

static reply ask(world *w, const char *hook, const char *context, const char *rest)
{
    char text[65536];
    og_arena *a = og_arena_new((size_t)256 << 20);
    hook_request q;
    og_error err;
    reply r;
    og_error_init(&err);
    snprintf(text, sizeof text,
             "{\"hook\":\"%s\",\"hookInstance\":\"" UUID "\",\"context\":{%s}%s}", hook, context,
             rest);
    if (hook_request_read(a, og_str_of(text), hook_kind_find(og_str_of(hook)), &q, &err) != OG_OK)
        fail_msg("%s: %s", err.path, err.text);
    hooks_call call = {.content = w->content,
                       .tenant = "t",
                       .language = "en",
                       .store = elsewhere ? NULL : w->stores[world_partition_of(q.patient_id)],
                       .shared = w->shared_store,
                       .request = &q,
                       .feedback = &w->setup.feedback,
                       .now_ms = NOW_MS,
                       .offset_min = 60,
                       .known_ms = NOW_MS,
                       .arena = a};
    hooks_answer(&call);
    r.status = call.status;
    r.evaluated = call.evaluated;
    r.failed = 0;
    r.misread = call.misread;
    for (size_t i = 0; i < call.outcome_count; i++)
        r.failed += call.outcomes[i].kind == PLAN_FAILED;
    r.json = json_loadb(call.answer.p, call.answer.n, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(r.json);
    og_arena_free(a);
    return r;
}

static json_t *card_of(const reply *r, const char *rule)
{
    size_t i;
    json_t *card;
    json_array_foreach(json_object_get(r->json, "cards"), i, card)
    {
        json_t *source = json_object_get(card, "source");
        const char *code =
            json_string_value(json_object_get(json_object_get(source, "topic"), "code"));
        if (code != NULL && strcmp(code, rule) == 0)
            return card;
    }
    return NULL;
}

static size_t card_count(const reply *r)
{
    return json_array_size(json_object_get(r->json, "cards"));
}

static json_t *freshness_of(json_t *card)
{
    return json_object_get(json_object_get(card, "extension"), "org.osteoguard.freshness");
}

static world *world_at_nine(void)
{
    world *w = world_new();
    w->now_ms = NOW_MS;
    return w;
}

/* ---- requests ---- */

static void requests_are_checked(void **state)
{
    static const struct {
        const char *hook, *body, *path;
    } table[] = {
#define HEAD(hook) "{\"hook\":\"" hook "\",\"hookInstance\":\"" UUID "\","
        {"patient-view", "[]", ""},
        {"patient-view", "{}", "hook"},
        {"patient-view", "{\"hook\":null}", "hook"},
        {"patient-view", "{\"hook\":7}", "hook"},
        {"patient-view", "{\"hook\":\"\"}", "hook"},
        {"patient-view", "{\"hook\":\"order-sign\"}", "hook"},
        {"patient-view", "{\"hook\":\"patient-view\"}", "hookInstance"},
        {"patient-view", "{\"hook\":\"patient-view\",\"hookInstance\":\"7\"}", "hookInstance"},
        {"patient-view", HEAD("patient-view") "\"fhirServer\":\"ehr\"}", "fhirServer"},
        {"patient-view", HEAD("patient-view") "\"fhirServer\":\"http:///x\"}", "fhirServer"},
        {"patient-view", HEAD("patient-view") "\"fhirAuthorization\":{}}", "fhirServer"},
        {"patient-view", HEAD("patient-view") "\"fhirAuthorization\":[]}", "fhirAuthorization"},
        {"patient-view",
         HEAD("patient-view") "\"fhirServer\":\"https://e/f\",\"fhirAuthorization\":{}}",
         "fhirAuthorization.access_token"},
        {"patient-view",
         HEAD("patient-view") "\"fhirServer\":\"https://e/f\",\"fhirAuthorization\":{\"access_"
                              "token\":\"x\",\"token_type\":\"Basic\"}}",
         "fhirAuthorization.token_type"},
        {"patient-view",
         HEAD("patient-view") "\"fhirServer\":\"https://e/f\",\"fhirAuthorization\":{\"access_"
                              "token\":\"x\",\"token_type\":\"Bearer\",\"expires_in\":1.5}}",
         "fhirAuthorization.expires_in"},
        {"patient-view",
         HEAD("patient-view") "\"fhirServer\":\"https://e/f\",\"fhirAuthorization\":{\"access_"
                              "token\":\"x\",\"token_type\":\"Bearer\",\"expires_in\":5}}",
         "fhirAuthorization.scope"},
        {"patient-view", HEAD("patient-view") "\"x\":1}", "context"},
        {"patient-view", HEAD("patient-view") "\"context\":\"p\"}", "context"},
        {"patient-view", HEAD("patient-view") "\"context\":{}}", "context.userId"},
        {"patient-view", HEAD("patient-view") "\"context\":{\"userId\":\"x y\"}}",
         "context.userId"},
        {"patient-view", HEAD("patient-view") "\"context\":{\"userId\":\"Practitioner/1\"}}",
         "context.patientId"},
        {"patient-view", HEAD("patient-view") "\"context\":{" USER "\"patientId\":\"a/b\"}}",
         "context.patientId"},
        {"patient-view", HEAD("patient-view") "\"context\":{" USER PATIENT "},\"prefetch\":[]}",
         "prefetch"},
        {"patient-view",
         HEAD("patient-view") "\"context\":{" USER PATIENT "},\"prefetch\":{\"a\":7}}",
         "prefetch.a"},
        {"patient-view",
         HEAD("patient-view") "\"context\":{" USER PATIENT "},\"prefetch\":{\"a\":{}}}",
         "prefetch.a"},
        {"encounter-start", HEAD("encounter-start") "\"context\":{" USER PATIENT "}}",
         "context.encounterId"},
        {"order-sign", HEAD("order-sign") "\"context\":{" USER PATIENT "}}", "context.draftOrders"},
        {"order-sign", HEAD("order-sign") "\"context\":{" USER PATIENT ",\"draftOrders\":{}}}",
         "context.draftOrders"},
        {"order-sign",
         HEAD("order-sign") "\"context\":{" USER PATIENT
                            ",\"draftOrders\":{\"resourceType\":\"Bundle\",\"entry\":{}}}}",
         "context.draftOrders"},
        {"order-select", HEAD("order-select") "\"context\":{" USER PATIENT "}}",
         "context.selections"},
        {"order-select", HEAD("order-select") "\"context\":{" USER PATIENT ",\"selections\":[7]}}",
         "context.selections"},
        {"medication-verify", HEAD("medication-verify") "\"context\":{" USER PATIENT "}}",
         "context.medication"},
        {"medication-verify",
         HEAD("medication-verify") "\"context\":{" USER PATIENT
                                   ",\"medication\":{\"resourceType\":\"Patient\"}}}",
         "context.medication"},
    };
    og_arena *a = og_arena_new((size_t)1 << 24);
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        hook_request q;
        og_error err;
        og_error_init(&err);
        og_status s = hook_request_read(a, og_str_of(table[i].body),
                                        hook_kind_find(og_str_of(table[i].hook)), &q, &err);
        if (s != OG_INVALID || strcmp(err.path, table[i].path) != 0)
            fail_msg("row %zu: %s at '%s', not '%s'", i, og_status_name(s), err.path,
                     table[i].path);
    }
    og_arena_free(a);
}

static void broken_json_is_refused(void **state)
{
    static const char *const bodies[] = {"", "{", "{\"hook\":\"patient-view\",}", "\xff",
                                         "{\"hook\":\"a\",\"hook\":\"b\"}"};
    og_arena *a = og_arena_new((size_t)1 << 24);
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        hook_request q;
        og_error err;
        og_error_init(&err);
        assert_int_not_equal(hook_request_read(a, og_str_of(bodies[i]), hook_kind_at(0), &q, &err),
                             OG_OK);
        assert_true(err.text[0] != '\0');
    }
    og_arena_free(a);
}

/* ---- discovery ---- */

static void no_empty_values(json_t *j)
{
    size_t i;
    const char *key;
    json_t *v;
    assert_false(json_is_null(j));
    assert_false(json_is_string(j) && json_string_length(j) == 0);
    assert_false(json_is_array(j) && json_array_size(j) == 0);
    assert_false(json_is_object(j) && json_object_size(j) == 0);
    json_object_foreach(j, key, v) no_empty_values(v);
    json_array_foreach(j, i, v) no_empty_values(v);
}

static void services_follow_from_the_rules(void **state)
{
    world *w = world_at_nine();
    og_buf page;
    size_t i;
    json_t *service;
    (void)state;
    og_buf_init(&page, 4); /* no room for anything */
    hooks_discovery(w->content, &page);
    assert_true(og_buf_failed(&page));
    og_buf_done(&page);
    og_buf_init(&page, (size_t)16 << 20);
    hooks_discovery(w->content, &page);
    json_t *root = json_loadb(page.p, page.n, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    no_empty_values(root);
    json_t *services = json_object_get(root, "services");
    assert_true(json_array_size(services) > 0);
    json_array_foreach(services, i, service)
    {
        const char *id = json_string_value(json_object_get(service, "id"));
        json_t *prefetch = json_object_get(service, "prefetch");
        const hook_kind *kind = hooks_service(w->content, og_str_of(id));
        assert_non_null(kind);
        assert_string_equal(kind->name, json_string_value(json_object_get(service, "hook")));
        assert_non_null(json_string_value(json_object_get(service, "description")));
        assert_string_equal(json_string_value(json_object_get(prefetch, "patient")),
                            "Patient/{{context.patientId}}");
        assert_non_null(json_string_value(json_object_get(prefetch, "medicationRequest")));
        const char *observations = json_string_value(json_object_get(prefetch, "observation"));
        assert_non_null(observations);
        assert_non_null(strstr(observations, "Observation?patient={{context.patientId}}"));
        assert_null(json_object_get(prefetch, "medication")); /* belongs to no patient */
    }
    assert_null(hooks_service(w->content, OG_STR("osteoguard-no-such-hook")));
    assert_null(hooks_service(w->content, OG_STR("patient-view")));
    json_decref(root);
    og_buf_done(&page);
    world_free(w);
}

/* ---- answers ---- */

static void an_open_alert_is_answered_from_state(void **state)
{
    world *w = world_at_nine();
    (void)state;
    world_take_case(w, "V5");
    reply r = ask(w, "patient-view", USER PATIENT, "");
    assert_int_equal(r.status, 200);
    assert_false(r.evaluated);
    json_t *card = card_of(&r, "D3");
    assert_non_null(card);
    assert_non_null(json_string_value(json_object_get(card, "uuid")));
    assert_non_null(strstr(json_string_value(json_object_get(card, "detail")),
                           "Data known until 2026-03-01T09:00:00"));
    assert_true(json_is_false(json_object_get(freshness_of(card), "request")));
    json_decref(r.json);
    world_free(w);
}

/* What was said already keeps its uuid when the rules run again for a call. */
static void the_same_finding_has_the_same_uuid(void **state)
{
    world *w = world_at_nine();
    (void)state;
    world_take_case(w, "V5");
    reply first = ask(w, "patient-view", USER PATIENT, "");
    reply second =
        ask(w, "patient-view", USER PATIENT,
            ",\"prefetch\":{\"x\":{\"resourceType\":\"Observation\",\"id\":\"other\",\"status\":"
            "\"final\",\"subject\":{\"reference\":\"Patient/v5\"},\"code\":{\"text\":\"x\"}}}");
    assert_true(second.evaluated);
    assert_string_equal(json_string_value(json_object_get(card_of(&first, "D3"), "uuid")),
                        json_string_value(json_object_get(card_of(&second, "D3"), "uuid")));
    assert_true(json_is_true(json_object_get(freshness_of(card_of(&second, "D3")), "request")));
    json_decref(first.json);
    json_decref(second.json);
    world_free(w);
}

/* A bisphosphonate given since, which only the EHR knows of so far. */
#define GIVEN                                                                                      \
    "{\"resourceType\":\"MedicationAdministration\",\"id\":\"z1\",\"status\":\"completed\","       \
    "\"subject\":{\"reference\":\"Patient/v5\"},\"effectiveDateTime\":\"2026-02-20\","             \
    "\"medicationCodeableConcept\":{\"coding\":[{\"system\":\"http://www.whocc.no/atc\","          \
    "\"code\":\"M05BA08\"}]},\"dosage\":{\"dose\":{\"value\":4,\"unit\":\"mg\","                   \
    "\"system\":\"http://unitsofmeasure.org\",\"code\":\"mg\"}}}"

static void prefetch_joins_what_is_known(void **state)
{
    world *w = world_at_nine();
    (void)state;
    world_take_case(w, "V5");
    reply r = ask(w, "patient-view", USER PATIENT,
                  ",\"prefetch\":{\"a\":null,\"given\":{\"resourceType\":\"Bundle\",\"type\":"
                  "\"searchset\",\"entry\":[{\"resource\":" GIVEN "}]}}");
    assert_int_equal(r.status, 200);
    assert_true(r.evaluated);
    assert_null(card_of(&r, "D3"));
    json_decref(r.json);
    world_free(w);
}

static void another_patients_data_do_not_count(void **state)
{
    world *w = world_at_nine();
    (void)state;
    world_take_case(w, "V5");
    reply r = ask(w, "patient-view", USER PATIENT,
                  ",\"prefetch\":{\"given\":{\"resourceType\":\"MedicationAdministration\",\"id\":"
                  "\"z1\",\"status\":\"completed\",\"subject\":{\"reference\":\"Patient/v6\"},"
                  "\"effectiveDateTime\":\"2026-02-20\",\"medicationCodeableConcept\":{\"coding\":["
                  "{\"system\":\"http://www.whocc.no/atc\",\"code\":\"M05BA08\"}]}}}");
    assert_non_null(card_of(&r, "D3"));
    json_decref(r.json);
    world_free(w);
}

static void what_is_missing_is_said(void **state)
{
    world *w = world_at_nine();
    (void)state;
    world_take_case(w, "V5");
    reply r = ask(w, "patient-view", USER PATIENT,
                  ",\"prefetch\":{\"a\":{\"resourceType\":\"OperationOutcome\",\"issue\":[{"
                  "\"severity\":\"error\",\"code\":\"exception\"}]},\"b\":{\"resourceType\":"
                  "\"Observation\",\"id\":\"o\",\"status\":\"final\",\"code\":{\"text\":\"x\"},"
                  "\"subject\":{\"reference\":\"Patient/v5\"}}}");
    json_t *card = card_of(&r, "D3");
    assert_non_null(card);
    assert_true(json_is_true(json_object_get(freshness_of(card), "partial")));
    assert_non_null(strstr(json_string_value(json_object_get(card, "detail")), "(incomplete)"));
    json_decref(r.json);
    r = ask(w, "patient-view", USER PATIENT,
            ",\"prefetch\":{\"a\":{\"resourceType\":\"Bundle\",\"type\":\"searchset\",\"link\":[{"
            "\"relation\":\"next\",\"url\":\"https://e/p2\"}],\"entry\":[{\"resource\":" GIVEN
            "}]}}");
    assert_int_equal(r.status, 200);
    json_decref(r.json);
    world_free(w);
}

static void an_unknown_patient_needs_data(void **state)
{
    world *w = world_at_nine();
    (void)state;
    reply r = ask(w, "patient-view", USER "\"patientId\":\"nobody\"", "");
    assert_int_equal(r.status, 412);
    assert_string_equal(json_string_value(json_object_get(r.json, "resourceType")),
                        "OperationOutcome");
    json_decref(r.json);
    r = ask(w, "patient-view", USER "\"patientId\":\"nobody\"",
            ",\"prefetch\":{\"patient\":{\"resourceType\":\"Patient\",\"id\":\"nobody\"}}");
    assert_int_equal(r.status, 200);
    assert_int_equal(card_count(&r), 0);
    json_decref(r.json);
    world_free(w);
}

/* ---- drafts ---- */

#define DRAFT(id, status, code, mg)                                                                \
    "{\"resourceType\":\"MedicationRequest\"," id "\"status\":\"" status                           \
    "\",\"intent\":\"order\",\"authoredOn\":\"2026-03-01\",\"medicationCodeableConcept\":{"        \
    "\"coding\":[{\"system\":\"http://www.whocc.no/atc\",\"code\":\"" code                         \
    "\"}]},\"dosageInstruction\":[{\"doseAndRate\":[{\"doseQuantity\":{\"value\":" mg              \
    ",\"unit\":\"mg\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"mg\"}}]}]}"
#define ORDERS(list)                                                                               \
    ",\"draftOrders\":{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{"           \
    "\"resource\":" list "}]}"

/* V2 without its order. */
static void take_case_without_order(world *w)
{
    world_take_case(w, "V2");
    world_event(w, "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{\"request\":{"
                   "\"method\":\"DELETE\",\"url\":\"MedicationRequest/v2-order\"}}]}");
    world_settle_down(w);
}

/* The dose that C1 forbids is caught before it is signed. */
static void a_draft_is_judged_before_it_is_signed(void **state)
{
    world *w = world_at_nine();
    (void)state;
    take_case_without_order(w);
    reply r = ask(w, "patient-view", USER "\"patientId\":\"v2\"", "");
    assert_int_equal(r.status, 200);
    assert_null(card_of(&r, "C1"));
    json_decref(r.json);
    r = ask(w, "order-sign", USER "\"patientId\":\"v2\"" ORDERS(DRAFT("", "draft", "M05BA08", "4")),
            "");
    assert_true(r.evaluated);
    json_t *card = card_of(&r, "C1");
    assert_non_null(card);
    assert_non_null(strstr(json_string_value(json_object_get(card, "summary")), "3 mg"));
    json_decref(r.json);
    r = ask(w, "order-sign", USER "\"patientId\":\"v2\"" ORDERS(DRAFT("", "draft", "M05BA08", "3")),
            "");
    assert_null(card_of(&r, "C1"));
    json_decref(r.json);
    world_free(w);
}

static void only_what_is_selected_is_judged(void **state)
{
    world *w = world_at_nine();
    (void)state;
    take_case_without_order(w);
    reply r = ask(w, "order-select",
                  USER "\"patientId\":\"v2\",\"selections\":[\"MedicationRequest/d1\"]" ORDERS(
                      DRAFT("\"id\":\"d1\",", "draft", "M05BA08", "4")),
                  "");
    assert_non_null(card_of(&r, "C1"));
    json_decref(r.json);
    r = ask(w, "order-select",
            USER "\"patientId\":\"v2\",\"selections\":[\"MedicationRequest/d2\"]" ORDERS(
                DRAFT("\"id\":\"d1\",", "draft", "M05BA08", "4")),
            "");
    assert_int_equal(card_count(&r), 0);
    json_decref(r.json);
    world_free(w);
}

/* Order forms ask before a drug is chosen. */
static void an_order_without_a_drug_is_none_yet(void **state)
{
    world *w = world_at_nine();
    (void)state;
    world_take_case(w, "V2");
    reply r = ask(w, "order-select",
                  USER "\"patientId\":\"v2\",\"selections\":[\"MedicationRequest/d1\"]" ORDERS(
                      "{\"resourceType\":\"MedicationRequest\",\"id\":\"d1\",\"status\":\"draft\","
                      "\"subject\":{\"reference\":\"Patient/v2\"}}"),
                  "");
    assert_int_equal(r.status, 200);
    assert_int_equal(card_count(&r), 0);
    json_decref(r.json);
    world_free(w);
}

/* What cannot be read of a draft does not take it out of sight; what turns its meaning does. */
static void a_draft_that_is_not_quite_fhir_is_judged(void **state)
{
    static const struct {
        const char *more;
        bool judged;
    } table[] = {
        {"\"category\":{\"text\":\"community\"},", true},
        {"\"note\":\"x\",\"priority\":7,\"_priority\":{\"id\":\"a\"},", true},
        {"\"substitution\":{\"allowedBoolean\":\"no\"},", true},
        {"\"doNotPerform\":\"true\",", false},
        {"\"modifierExtension\":7,", false},
    };
    world *w = world_at_nine();
    (void)state;
    take_case_without_order(w);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char context[2048];
        snprintf(context, sizeof context,
                 USER
                 "\"patientId\":\"v2\",\"draftOrders\":{\"resourceType\":\"Bundle\",\"entry\":[{"
                 "\"resource\":{%s%s}]}",
                 table[i].more, &DRAFT("", "draft", "M05BA08", "4")[1]);
        reply r = ask(w, "order-sign", context, "");
        assert_int_equal(r.status, 200);
        assert_int_equal(r.misread, 1);
        json_t *card = card_of(&r, "C1");
        if ((card != NULL) != table[i].judged)
            fail_msg("row %zu", i);
        if (card != NULL)
            assert_true(json_is_true(json_object_get(freshness_of(card), "partial")));
        json_decref(r.json);
    }
    world_free(w);
}

static void add_null(void *ctx, const char *name, og_str query)
{
    char *out = ctx;
    (void)query;
    if (strcmp(name, "patient") != 0)
        snprintf(out + strlen(out), 65536 - strlen(out), ",\"%s\":null", name);
}

/* The record of a patient of another instance is not at hand: a call that brings everything is
 * answered, one that lacks something is not half answered. */
static void another_instances_patient_needs_all_data(void **state)
{
    world *w = world_at_nine();
    static char all[65536];
    (void)state;
    json_t *root = json_load_file(OG_SOURCE_DIR "/rules/content/cases/V5.json", 0, NULL);
    char *bundle = json_dumps(json_object_get(root, "bundle"), JSON_COMPACT);
    elsewhere = true;
    reply r = ask(w, "patient-view", USER PATIENT, "");
    assert_int_equal(r.status, 503);
    json_decref(r.json);
    snprintf(all, sizeof all, ",\"prefetch\":{\"patient\":%s", bundle);
    prefetch_each(w->content, add_null, all);
    char *last = strrchr(all, ',');
    strcat(all, "}");
    r = ask(w, "patient-view", USER PATIENT, all);
    assert_int_equal(r.status, 200);
    assert_non_null(card_of(&r, "D3"));
    json_decref(r.json);
    strcpy(last, "}");
    r = ask(w, "patient-view", USER PATIENT, all);
    assert_int_equal(r.status, 503);
    json_decref(r.json);
    /* drafts alone are no ground to say that nothing speaks against them */
    r = ask(w, "order-sign", USER PATIENT ORDERS(DRAFT("", "draft", "M05BA08", "4")), "");
    assert_int_equal(r.status, 503);
    json_decref(r.json);
    elsewhere = false;
    free(bundle);
    json_decref(root);
    world_free(w);
}

/* An order that our rules do not speak about brings up nothing, whatever alerts are open. */
static void other_orders_are_left_alone(void **state)
{
    world *w = world_at_nine();
    (void)state;
    world_take_case(w, "V5");
    reply r = ask(w, "order-sign", USER PATIENT ORDERS(DRAFT("", "draft", "J01CA04", "1000")), "");
    assert_int_equal(r.status, 200);
    assert_int_equal(card_count(&r), 0);
    json_decref(r.json);
    r = ask(w, "order-sign", USER PATIENT ",\"draftOrders\":{\"resourceType\":\"Bundle\"}", "");
    assert_int_equal(card_count(&r), 0);
    json_decref(r.json);
    world_free(w);
}

/* A dose that is not questioned because its rule failed must not go unnoticed. */
static void rules_that_failed_are_told_of(void **state)
{
    world *w = world_at_nine();
    plan_content *good = w->content;
    og_report report = {.fn = cmd_print_problem};
    plan_options options = {.limits = {.max_steps = 1}};
    (void)state;
    world_take_case(w, "V5");
    assert_int_equal(
        content_dir_load(OG_SOURCE_DIR "/rules/content", &options, &w->content, &report), OG_OK);
    reply r = ask(w, "order-sign", USER PATIENT ORDERS(DRAFT("", "draft", "M05BA08", "4")), "");
    assert_int_equal(r.status, 200);
    assert_true(r.failed > 0);
    json_decref(r.json);
    plan_content_free(w->content);
    w->content = good;
    r = ask(w, "order-sign", USER PATIENT ORDERS(DRAFT("", "draft", "M05BA08", "4")), "");
    assert_int_equal(r.failed, 0);
    json_decref(r.json);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_checked),
        cmocka_unit_test(broken_json_is_refused),
        cmocka_unit_test(services_follow_from_the_rules),
        cmocka_unit_test(an_open_alert_is_answered_from_state),
        cmocka_unit_test(the_same_finding_has_the_same_uuid),
        cmocka_unit_test(prefetch_joins_what_is_known),
        cmocka_unit_test(another_patients_data_do_not_count),
        cmocka_unit_test(what_is_missing_is_said),
        cmocka_unit_test(an_unknown_patient_needs_data),
        cmocka_unit_test(a_draft_is_judged_before_it_is_signed),
        cmocka_unit_test(only_what_is_selected_is_judged),
        cmocka_unit_test(an_order_without_a_drug_is_none_yet),
        cmocka_unit_test(a_draft_that_is_not_quite_fhir_is_judged),
        cmocka_unit_test(another_instances_patient_needs_all_data),
        cmocka_unit_test(other_orders_are_left_alone),
        cmocka_unit_test(rules_that_failed_are_told_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

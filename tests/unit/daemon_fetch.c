/* What a call lacks, which FHIR server may be asked for it with which token, and what is answered
 * with what came. */
#include "daemon_world.h"

#include <jansson.h>

#include "daemon/fhir_servers.h"
#include "daemon/hooks.h"

#define UUID   "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
#define NOW_MS 1772352000000 /* 2026-03-01T09:00:00+01:00 */
#define VIEW   "\"userId\":\"Practitioner/1\",\"patientId\":\"v5\""

typedef struct scene {
    world *world;
    og_arena *arena;
    hook_request request;
} scene;

static scene scene_new(const char *hook, const char *context, const char *rest)
{
    scene s = {.world = world_new(), .arena = og_arena_new((size_t)256 << 20)};
    og_error err;
    og_error_init(&err);
    s.world->now_ms = NOW_MS;
    og_str text = og_arena_printf(
        s.arena, "{\"hook\":\"%s\",\"hookInstance\":\"" UUID "\",\"context\":{%s}%s}", hook,
        context, rest);
    if (hook_request_read(s.arena, text, hook_kind_find(og_str_of(hook)), &s.request, &err) !=
        OG_OK)
        fail_msg("%s: %s", err.path, err.text);
    return s;
}

static void scene_free(scene *s)
{
    og_arena_free(s->arena);
    world_free(s->world);
}

static hooks_call call_of(scene *s)
{
    int partition = world_partition_of(s->request.patient_id);
    return (hooks_call){.content = s->world->content,
                        .tenant = "t",
                        .language = "en",
                        .store = s->world->stores[partition],
                        .shared = s->world->shared_store,
                        .request = &s->request,
                        .feedback = &s->world->setup.feedback,
                        .now_ms = NOW_MS,
                        .offset_min = 60,
                        .known_ms = NOW_MS,
                        .arena = s->arena};
}

static const prefetch_need *need_of(const prefetch_need *list, size_t n, const char *begin)
{
    for (size_t i = 0; i < n; i++)
        if (strncmp(list[i].path, begin, strlen(begin)) == 0)
            return &list[i];
    return NULL;
}

static size_t lacks(scene *s, const prefetch_need **ret)
{
    hooks_call c = call_of(s);
    size_t n = 0;
    assert_int_equal(hooks_lacks(&c, ret, &n, NULL), OG_OK);
    return n;
}

/* ---- what a call lacks ---- */

static void of_an_unknown_patient_everything_is_lacking(void **state)
{
    const prefetch_need *list;
    scene s = scene_new("patient-view", VIEW, "");
    (void)state;
    size_t n = lacks(&s, &list);
    assert_true(n > 5);
    const prefetch_need *patient = need_of(list, n, "Patient/v5");
    assert_non_null(patient);
    assert_string_equal(patient->path, "Patient/v5");
    assert_string_equal(patient->type, "Patient");
    const prefetch_need *request = need_of(list, n, "MedicationRequest?patient=v5");
    assert_non_null(request);
    assert_string_equal(request->type, "MedicationRequest");
    assert_non_null(strstr(request->path, "&_count=200&_include=MedicationRequest:medication"));
    for (size_t i = 0; i < n; i++)
        assert_null(strstr(list[i].path, "{{"));
    size_t all = 0;
    assert_int_equal(prefetch_all(s.world->content, s.arena, OG_STR("v5"), &list, &all, NULL),
                     OG_OK);
    assert_int_equal(all, n);
    scene_free(&s);
}

static void what_is_sent_or_known_is_not_lacking(void **state)
{
    const prefetch_need *list;
    scene s = scene_new("patient-view", VIEW,
                        ",\"prefetch\":{\"patient\":{\"resourceType\":\"Patient\",\"id\":\"v5\"},"
                        "\"medicationRequest\":null,\"observation\":{\"resourceType\":\"Bundle\","
                        "\"type\":\"searchset\",\"link\":[{\"relation\":\"next\",\"url\":"
                        "\"https:\\/\\/e\\/p2\"}]},\"condition\":{\"resourceType\":"
                        "\"OperationOutcome\",\"issue\":[{\"severity\":\"error\",\"code\":"
                        "\"exception\"}]}}");
    (void)state;
    size_t n = lacks(&s, &list);
    assert_null(need_of(list, n, "Patient/"));
    assert_null(need_of(list, n, "MedicationRequest?"));
    assert_null(need_of(list, n, "Observation?patient=v5&code="));
    assert_non_null(need_of(list, n, "Condition?patient=v5"));
    assert_non_null(need_of(list, n, "MedicationAdministration?patient=v5"));
    assert_non_null(need_of(list, n, "https://e/p2")); /* the rest of the page */
    /* Known from events: only what was sent in part, or not at all though it was tried. */
    world_event(s.world, "{\"resourceType\":\"Patient\",\"id\":\"v5\"}");
    world_settle_down(s.world);
    n = lacks(&s, &list);
    assert_int_equal(n, 2);
    assert_non_null(need_of(list, n, "Condition?patient=v5"));
    assert_non_null(need_of(list, n, "https://e/p2"));
    scene_free(&s);
}

static void drafts_that_no_rule_speaks_about_need_nothing(void **state)
{
    static const char *const types[] = {"MedicationRequest", "NutritionOrder"};
    const prefetch_need *list;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char context[1024];
        snprintf(context, sizeof context,
                 VIEW ",\"draftOrders\":{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":{"
                      "\"resourceType\":\"%s\",\"id\":\"d\",\"status\":\"draft\",\"intent\":"
                      "\"order\",%s\":{\"reference\":\"Patient/v5\"}}}]}",
                 types[i],
                 i == 0 ? "\"medicationCodeableConcept\":{\"coding\":[{\"system\":"
                          "\"http://www.whocc.no/atc\",\"code\":\"M05BA08\"}]},\"subject"
                        : "\"patient");
        scene s = scene_new("order-sign", context, "");
        assert_int_equal(lacks(&s, &list) > 0, i == 0);
        scene_free(&s);
    }
}

/* ---- which server, with which token ---- */

static void quiet(void *ctx, og_str line)
{
    (void)ctx;
    (void)line;
}

typedef struct servers {
    uv_loop_t loop;
    http_client *http;
    config *config;
    fhir_servers *fs;
    bool closed;
} servers;

static void on_closed(void *ctx)
{
    *(bool *)ctx = true;
}

static servers *servers_new(void)
{
    servers *v = calloc(1, sizeof *v);
    og_error err;
    og_error_init(&err);
    log_sink(quiet, NULL);
    assert_non_null(v);
    uv_loop_init(&v->loop);
    assert_int_equal(http_client_new(&v->loop, NULL, &v->http, &err), OG_OK);
    assert_int_equal(
        config_parse(OG_STR("fhir_servers:\n"
                            "  one: {url: \"https://ehr.example.org/fhir\"}\n"
                            "  two: {url: \"https://ehr.example.org/r4\", client_id: us, "
                            "private_jwk_file: /dev/null}\n"
                            "endpoints: {out: {url: \"http://x\"}}\n"
                            "clients:\n"
                            "  a: {issuer: i, audiences: [x], jwks_file: /dev/null, fhir_servers: "
                            "[one]}\n"
                            "  b: {issuer: j, audiences: [x], jwks_file: /dev/null, fhir_servers: "
                            "[one, two]}\n"
                            "  c: {issuer: k, audiences: [x], jwks_file: /dev/null}\n"),
                     "test.yaml", NULL, &v->config, NULL, NULL),
        OG_OK);
    assert_int_equal(fhir_servers_new(&v->loop, v->http, v->config, 7, &v->fs, &err), OG_OK);
    return v;
}

static void servers_free(servers *v)
{
    fhir_servers_close(v->fs, on_closed, &v->closed);
    while (!v->closed)
        uv_run(&v->loop, UV_RUN_ONCE);
    v->closed = false;
    http_client_close(v->http, on_closed, &v->closed);
    while (!v->closed)
        uv_run(&v->loop, UV_RUN_ONCE);
    uv_run(&v->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&v->loop), 0);
    config_free(v->config);
    free(v);
}

static void a_call_names_only_what_its_client_may(void **state)
{
    static const struct {
        int client; /* -1: nobody is asked */
        const char *server;
        size_t want;
        const char *why;
    } table[] = {
        {0, "https://ehr.example.org/fhir", 0, NULL},
        {0, "https://EHR.example.org:443/fhir/", 0, NULL},
        {0, "https://ehr.example.org/r4", FHIR_NO_SERVER, "foreign-server"},
        {1, "https://ehr.example.org/r4", 1, NULL},
        {2, "https://ehr.example.org/fhir", FHIR_NO_SERVER, "foreign-server"},
        {-1, "https://ehr.example.org/r4", 1, NULL},
        {-1, "https://evil.example/fhir", FHIR_NO_SERVER, "foreign-server"},
        {-1, "https://ehr.example.org.evil.example/fhir", FHIR_NO_SERVER, "foreign-server"},
        {-1, "https://ehr.example.org@evil.example/fhir", FHIR_NO_SERVER, "foreign-server"},
        {-1, "https://ehr.example.org/fhir/../admin", FHIR_NO_SERVER, "foreign-server"},
        {-1, "https://ehr.example.org\\\\@evil.example/fhir", FHIR_NO_SERVER, "foreign-server"},
        {-1, "http://ehr.example.org/fhir", FHIR_NO_SERVER, "foreign-server"},
        {-1, "http://169.254.169.254/latest", FHIR_NO_SERVER, "foreign-server"},
        {0, "", FHIR_NO_SERVER, "no-server"}, /* none with tokens of ours is its own */
        {1, "", 1, NULL},
        {-1, "", 1, NULL},
    };
    servers *v = servers_new();
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const char *why;
        char rest[200] = "";
        if (table[i].server[0] != '\0')
            snprintf(rest, sizeof rest, ",\"fhirServer\":\"%s\"", table[i].server);
        scene s = scene_new("patient-view", VIEW, rest);
        const config_client *who =
            table[i].client >= 0 ? &v->config->clients[table[i].client] : NULL;
        if (fhir_servers_for(v->fs, who, &s.request, &why) != table[i].want)
            fail_msg("row %zu: %s", i, why);
        if (table[i].why != NULL)
            assert_string_equal(why, table[i].why);
        scene_free(&s);
    }
    servers_free(v);
}

static void a_calls_token_serves_as_far_as_it_says(void **state)
{
    static const struct {
        const char *expires, *scope, *rest, *type;
        fhir_access one, two; /* two has tokens of ours */
    } table[] = {
        {"300", "user/*.rs", "", "Observation", FHIR_ACCESS_OWN, FHIR_ACCESS_OWN},
        {"300", "patient/*.read", ",\"patient\":\"v5\"", "Observation", FHIR_ACCESS_OWN,
         FHIR_ACCESS_OWN},
        {"300", "patient/*.read", ",\"patient\":\"v6\"", "Observation", FHIR_ACCESS_NEITHER,
         FHIR_ACCESS_OURS},
        {"300", "user/Patient.rs", "", "Observation", FHIR_ACCESS_NEITHER, FHIR_ACCESS_OURS},
        {"300", "user/Patient.rs", "", "", FHIR_ACCESS_OWN, FHIR_ACCESS_OWN},
        {"0", "user/*.rs", "", "Observation", FHIR_ACCESS_NEITHER, FHIR_ACCESS_OURS},
        {"-1", "user/*.rs", "", "Observation", FHIR_ACCESS_NEITHER, FHIR_ACCESS_OURS},
    };
    servers *v = servers_new();
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char rest[400];
        snprintf(rest, sizeof rest,
                 ",\"fhirServer\":\"https://ehr.example.org/fhir\",\"fhirAuthorization\":{"
                 "\"access_token\":\"x\",\"token_type\":\"Bearer\",\"expires_in\":%s,\"scope\":"
                 "\"%s\",\"subject\":\"us\"%s}",
                 table[i].expires, table[i].scope, table[i].rest);
        scene s = scene_new("patient-view", VIEW, rest);
        assert_int_equal(fhir_servers_access(v->fs, 0, &s.request, table[i].type), table[i].one);
        assert_int_equal(fhir_servers_access(v->fs, 1, &s.request, table[i].type), table[i].two);
        scene_free(&s);
    }
    scene s = scene_new("patient-view", VIEW, "");
    assert_int_equal(fhir_servers_access(v->fs, 0, &s.request, "Patient"), FHIR_ACCESS_NEITHER);
    assert_int_equal(fhir_servers_access(v->fs, 1, &s.request, "Patient"), FHIR_ACCESS_OURS);
    scene_free(&s);
    servers_free(v);
}

static void the_outside_of_a_body_is_read(void **state)
{
    fhir_envelope e = {0};
    og_buf b;
    (void)state;
    assert_int_equal(
        fhir_servers_envelope(OG_STR("{\"resourceType\":\"Bundle\",\"link\":[{\"relation\":"
                                     "\"self\",\"url\":\"a\"},{\"relation\":\"next\",\"url\":"
                                     "\"https:\\/\\/e\\/2\"}]}"),
                              &e),
        OG_OK);
    assert_true(e.is_bundle);
    assert_string_equal(e.next, "https://e/2");
    memset(&e, 0, sizeof e);
    assert_int_equal(fhir_servers_envelope(OG_STR("{\"resourceType\":\"OperationOutcome\","
                                                  "\"issue\":[{\"code\":\"throttled\"}]}"),
                                           &e),
                     OG_OK);
    assert_true(e.is_outcome);
    assert_string_equal(e.issue, "throttled");
    static const char *const bad[] = {"",       "{",
                                      "[]",     "{\"resourceType\":\"Thing\"}",
                                      "<html>", "{\"resourceType\":\"Patient\"} x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_not_equal(fhir_servers_envelope(og_str_of(bad[i]), &e), OG_OK);
    og_buf_init(&b, 1 << 20);
    og_buf_addz(&b, "{\"resourceType\":\"Bundle\",\"link\":[{\"relation\":\"next\",\"url\":\"");
    for (int i = 0; i < 5000; i++)
        og_buf_addc(&b, 'a');
    og_buf_addz(&b, "\"}]}");
    assert_int_equal(fhir_servers_envelope(og_buf_str(&b), &e), OG_LIMIT);
    og_buf_done(&b);
}

/* ---- the answer with what came ---- */

/* The bundle of a clinical case as a search's answer. */
static char *bundle_of(const char *id)
{
    char path[512];
    snprintf(path, sizeof path, "%s/rules/content/cases/%s.json", OG_SOURCE_DIR, id);
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    json_t *bundle = json_object_get(root, "bundle");
    json_object_set_new(bundle, "type", json_string("searchset"));
    char *text = json_dumps(bundle, JSON_COMPACT);
    json_decref(root);
    return text;
}

static bool answer_has(const hooks_call *c, const char *part)
{
    return memmem(c->answer.p, c->answer.n, part, strlen(part)) != NULL;
}

static void fetched_data_are_answered_from(void **state)
{
    scene s = scene_new("patient-view", VIEW, "");
    char *text = bundle_of("V5");
    og_str bodies[] = {og_str_of(text), OG_STR("{")};
    (void)state;
    hooks_call c = call_of(&s);
    c.fetched = bodies;
    c.fetched_count = 1;
    c.tried = c.complete = true;
    hooks_answer(&c);
    assert_int_equal(c.status, 200);
    assert_true(answer_has(&c, "\"code\":\"D3\""));
    assert_true(answer_has(&c, ", with data fetched from the FHIR server"));
    assert_true(answer_has(&c, "\"fetched\":true,\"partial\":false"));
    assert_false(answer_has(&c, "(incomplete)"));
    /* Not all came: what rests on something missing is not said, and that not all came is. */
    c.complete = false;
    c.fetched_count = 2;
    hooks_answer(&c);
    assert_int_equal(c.status, 200);
    assert_false(answer_has(&c, "\"code\":\"D3\""));
    assert_true(answer_has(&c, "],\"extension\":{\"org.osteoguard.freshness\":{"));
    assert_true(answer_has(&c, "\"partial\":true"));
    free(text);
    scene_free(&s);
}

static void who_somebody_is_is_not_enough(void **state)
{
    scene s = scene_new("patient-view", VIEW, "");
    og_str bodies[] = {OG_STR("{\"resourceType\":\"Patient\",\"id\":\"v5\"}")};
    (void)state;
    hooks_call c = call_of(&s);
    c.tried = true;
    hooks_answer(&c);
    assert_int_equal(c.status, 412);
    assert_true(answer_has(&c, "none came from a FHIR server"));
    c.fetched = bodies;
    c.fetched_count = 1;
    hooks_answer(&c);
    assert_int_equal(c.status, 412); /* the rest was not had */
    c.complete = true;
    hooks_answer(&c);
    assert_int_equal(c.status, 200); /* there is no more */
    scene_free(&s);
}

static og_status keep_first(void *ctx, og_str key, og_str value, og_error *err)
{
    (void)value;
    (void)err;
    if (!store_row_is(key, STORE_ROW_RESOURCE))
        return OG_OK;
    og_buf_adds(ctx, key);
    return OG_AGAIN; /* one is enough */
}

static void lose_resources(store *st)
{
    store_txn *t;
    og_buf key;
    og_buf_init(&key, 1024);
    assert_int_equal(store_begin(st, true, &t, NULL), OG_OK);
    do {
        og_buf_clear(&key);
        assert_int_equal(
            kv_scan(t, STORE_PATIENT, (og_str){NULL, 0}, (og_str){NULL, 0}, keep_first, &key, NULL),
            OG_OK);
        if (key.n > 0)
            assert_int_equal(kv_delete(t, STORE_PATIENT, og_buf_str(&key), NULL), OG_OK);
    } while (key.n > 0);
    assert_int_equal(store_commit(t, NULL), OG_OK);
    og_buf_done(&key);
}

/* The records were lost, the alerts were not: they hold, though nothing could be fetched. */
static void what_was_said_is_said_again_without_its_records(void **state)
{
    scene s = scene_new("patient-view", VIEW, "");
    char *text = bundle_of("V5");
    const prefetch_need *list;
    (void)state;
    world_event(s.world, text);
    world_settle_down(s.world);
    hooks_call c = call_of(&s);
    lose_resources(c.store);
    assert_true(lacks(&s, &list) > 0);
    c.tried = true;
    hooks_answer(&c);
    assert_int_equal(c.status, 200);
    assert_true(answer_has(&c, "\"code\":\"D3\""));
    assert_true(answer_has(&c, "\"partial\":true"));
    free(text);
    scene_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_an_unknown_patient_everything_is_lacking),
        cmocka_unit_test(what_is_sent_or_known_is_not_lacking),
        cmocka_unit_test(drafts_that_no_rule_speaks_about_need_nothing),
        cmocka_unit_test(a_call_names_only_what_its_client_may),
        cmocka_unit_test(a_calls_token_serves_as_far_as_it_says),
        cmocka_unit_test(the_outside_of_a_body_is_read),
        cmocka_unit_test(fetched_data_are_answered_from),
        cmocka_unit_test(who_somebody_is_is_not_enough),
        cmocka_unit_test(what_was_said_is_said_again_without_its_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Every member that a call must have, in every way in which it can be wrong: missing, null, empty,
 * of another type, huge. Each is refused with the place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "daemon/hook_request.h"

#define HUGE_BYTES ((size_t)1 << 20)

static const char whole[] =
    "{\"hook\":\"order-select\",\"hookInstance\":\"d1577c69-dfbe-44ad-ba6d-3e05e953b2ea\","
    "\"fhirServer\":\"https://ehr.example/fhir\",\"fhirAuthorization\":{\"access_token\":\"x\","
    "\"token_type\":\"Bearer\",\"expires_in\":300,\"scope\":\"patient/*.rs\",\"subject\":\"us\"},"
    "\"context\":{\"userId\":\"Practitioner/1\",\"patientId\":\"p1\",\"selections\":["
    "\"MedicationRequest/1\"],\"draftOrders\":{\"resourceType\":\"Bundle\",\"type\":\"collection\","
    "\"entry\":[]}}}";

static const struct {
    const char *parent, *name; /* parent "": the request itself */
    bool any_length;
} members[] = {
    {"", "hook", false},
    {"", "hookInstance", false},
    {"", "context", false},
    {"context", "userId", false},
    {"context", "patientId", false},
    {"context", "selections", false},
    {"context", "draftOrders", false},
    {"fhirAuthorization", "access_token", true},
    {"fhirAuthorization", "token_type", false},
    {"fhirAuthorization", "expires_in", false},
    {"fhirAuthorization", "scope", true},
};

enum { MISSING, NOTHING, EMPTY_TEXT, NUMBER, TRUTH, EMPTY_OBJECT, HUGE, WRONGS };

/* NULL: the member is taken away. */
static json_t *wrong_value(int kind)
{
    char *text = kind == HUGE ? malloc(HUGE_BYTES + 1) : NULL;
    json_t *v = kind == NOTHING        ? json_null()
                : kind == EMPTY_TEXT   ? json_string("")
                : kind == NUMBER       ? json_real(7.5)
                : kind == TRUTH        ? json_true()
                : kind == EMPTY_OBJECT ? json_object()
                                       : NULL;
    if (text != NULL) {
        memset(text, 'x', HUGE_BYTES);
        text[HUGE_BYTES] = '\0';
        v = json_string(text);
        free(text);
    }
    return v;
}

static og_status read_it(og_arena *a, const json_t *request, og_error *err)
{
    hook_request q;
    char *text = json_dumps(request, JSON_COMPACT);
    og_error_init(err);
    assert_non_null(text);
    og_arena_reset(a);
    og_status status =
        hook_request_read(a, og_str_of(text), hook_kind_find(OG_STR("order-select")), &q, err);
    free(text);
    return status;
}

static void every_member_is_checked(void **state)
{
    og_arena *a = og_arena_new((size_t)1 << 26);
    og_error err;
    size_t tried = 0;
    (void)state;
    json_t *good = json_loads(whole, 0, NULL);
    assert_int_equal(read_it(a, good, &err), OG_OK);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        for (int kind = MISSING; kind < WRONGS; kind++) {
            if (kind == HUGE && members[i].any_length)
                continue;
            json_t *bad = json_deep_copy(good), *value = wrong_value(kind);
            json_t *at =
                members[i].parent[0] != '\0' ? json_object_get(bad, members[i].parent) : bad;
            json_object_del(at, members[i].name);
            if (value != NULL)
                json_object_set_new(at, members[i].name, value);
            if (read_it(a, bad, &err) != OG_INVALID || strstr(err.path, members[i].name) == NULL)
                fail_msg("%s, wrong in way %d: refused at \"%s\"", members[i].name, kind, err.path);
            json_decref(bad);
            tried++;
        }
    }
    assert_int_equal(tried, 11 * WRONGS - 2);
    json_decref(good);
    og_arena_free(a);
}

/* Wherever the connection breaks off, what came is no request. */
static void a_cut_request_is_none(void **state)
{
    og_arena *a = og_arena_new((size_t)1 << 24);
    (void)state;
    for (size_t n = 0; n + 1 < sizeof whole - 1; n++) {
        hook_request q;
        og_arena_reset(a);
        assert_int_not_equal(hook_request_read(a, (og_str){whole, n},
                                               hook_kind_find(OG_STR("order-select")), &q, NULL),
                             OG_OK);
    }
    og_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_is_checked),
        cmocka_unit_test(a_cut_request_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Calls of the CDS services on a world, and what people say about the cards. */
#ifndef OG_TESTS_DAEMON_TALK_H
#define OG_TESTS_DAEMON_TALK_H

#include "daemon_world.h"

#include <jansson.h>

#include "daemon/hooks.h"

#define NOW_MS 1772352000000 /* 2026-03-01T09:00:00+01:00 */
#define REASON "\"reason\":{\"code\":\"patient-refuses\",\"system\":\"https://x/y\"}"

static inline void say(world *w, const char *card, const char *rest, const char *at)
{
    char body[2048];
    og_arena *a = og_arena_new((size_t)1 << 20);
    const hook_feedback *list;
    size_t n;
    og_error err;
    og_buf key, value;
    og_error_init(&err);
    snprintf(body, sizeof body, "{\"feedback\":[{\"card\":\"%s\",\"outcomeTimestamp\":\"%s\",%s}]}",
             card, at, rest);
    if (hook_feedback_read(a, og_str_of(body), &list, &n, &err) != OG_OK)
        fail_msg("%s: %s", err.path, err.text);
    og_buf_init(&key, 1024);
    og_buf_init(&value, 1 << 16);
    feedback_write(&key, &value, OG_STR("t"), 0, OG_STR("ehr"), &list[0], w->now_ms);
    kafka_record r = {.key = og_buf_str(&key), .value = og_buf_str(&value)};
    world_push(&w->shared, &r);
    og_buf_done(&key);
    og_buf_done(&value);
    og_arena_free(a);
    world_settle_down(w);
}

#define OVERRIDDEN                                                                                 \
    "\"outcome\":\"overridden\",\"overrideReason\":{" REASON ",\"userComment\":\"secret\"}"
#define ACCEPTED "\"outcome\":\"accepted\",\"acceptedSuggestions\":[{\"id\":\"s\"}]"

/* The alert of a rule, as the last message on the alerts topic has it. */
static inline json_t *alert_of(const world *w, const char *rule)
{
    for (size_t i = w->alert_count; i > 0; i--) {
        json_t *alert = json_loads(w->alerts[i - 1].body, 0, NULL);
        if (strcmp(json_string_value(json_object_get(alert, "rule")), rule) == 0)
            return alert;
        json_decref(alert);
    }
    fail_msg("no alert of %s", rule);
    return NULL;
}

static inline const char *text(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

/* Of the last call: what it wants written to the alerts topic (shown.h). */
static char noted[8][2][4096]; /* key and value */
static size_t noted_count;

static inline void keep_noted(const hooks_call *c)
{
    noted_count = c->shown_count;
    assert_true(noted_count <= 8);
    for (size_t i = 0; i < noted_count; i++) {
        og_str key = said_alert_key(c->arena, OG_STR("t"), c->request->patient, c->shown[i].id);
        og_str value = plan_alert_write(c->arena, &c->shown[i]);
        assert_true(key.n < sizeof noted[i][0] && value.n < sizeof noted[i][1]);
        snprintf(noted[i][0], sizeof noted[i][0], "%.*s", OG_STR_ARG(key));
        snprintf(noted[i][1], sizeof noted[i][1], "%.*s", OG_STR_ARG(value));
    }
}

/* Asks, and looks for the rule's card in the answer. */
static inline bool is_told(world *w, const char *patient, const char *hook, const char *more,
                           const char *rule, char *ret_uuid, char *ret_detail)
{
    char body[4096];
    og_arena *a = og_arena_new((size_t)256 << 20);
    hook_request q;
    og_error err;
    size_t i;
    json_t *card;
    bool found = false;
    og_error_init(&err);
    snprintf(body, sizeof body,
             "{\"hook\":\"%s\",\"hookInstance\":\"d1577c69-dfbe-44ad-ba6d-3e05e953b2ea\","
             "\"context\":{\"userId\":\"Practitioner/1\",\"patientId\":\"%s\"%s}}",
             hook, patient, more);
    if (hook_request_read(a, og_str_of(body), hook_kind_find(og_str_of(hook)), &q, &err) != OG_OK)
        fail_msg("%s: %s", err.path, err.text);
    hooks_call call = {.content = w->content,
                       .tenant = "t",
                       .language = "en",
                       .store = w->stores[world_partition_of(og_str_of(patient))],
                       .shared = w->shared_store,
                       .request = &q,
                       .feedback = &w->setup.feedback,
                       .now_ms = w->now_ms,
                       .offset_min = 60,
                       .known_ms = w->now_ms,
                       .arena = a};
    hooks_answer(&call);
    assert_int_equal(call.status, 200);
    keep_noted(&call);
    json_t *root = json_loadb(call.answer.p, call.answer.n, JSON_REJECT_DUPLICATES, NULL);
    json_array_foreach(json_object_get(root, "cards"), i, card)
    {
        const json_t *topic = json_object_get(json_object_get(card, "source"), "topic");
        if (strcmp(text(topic, "code"), rule) != 0)
            continue;
        found = true;
        if (ret_uuid != NULL)
            snprintf(ret_uuid, UUID_TEXT, "%s", text(card, "uuid"));
        if (ret_detail != NULL)
            snprintf(ret_detail, 8192, "%s", text(card, "detail"));
    }
    json_decref(root);
    og_arena_free(a);
    return found;
}

static inline world *world_with(const char *name)
{
    world *w = world_new();
    w->now_ms = NOW_MS;
    world_take_case(w, name);
    return w;
}

/* An order-sign's context with a draft of zoledronic acid. */
#define DRAFT(mg, timing)                                                                          \
    ",\"draftOrders\":{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":{\"resourceType\":"    \
    "\"MedicationRequest\",\"id\":\"d1\",\"status\":\"draft\",\"intent\":\"order\","               \
    "\"medicationCodeableConcept\":{\"coding\":[{\"system\":\"http://www.whocc.no/atc\",\"code\":" \
    "\"M05BA08\"}]},\"dosageInstruction\":[{" timing                                               \
    "\"doseAndRate\":[{\"doseQuantity\":{\"value\":" mg                                            \
    ",\"unit\":\"mg\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"mg\"}}]}]}}]}"

#define DOSE(mg) DRAFT(mg, "")

#endif

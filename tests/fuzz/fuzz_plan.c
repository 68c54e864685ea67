/* Fuzz target: a PlanDefinition that anybody may have written. Properties: a refusal says why and
 * names the file; what loads can be evaluated; every card is JSON without null and empty things,
 * its summary is short, its alert survives being stored. */
#include "rules/plan/plan.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIT(t, v)                                                                                  \
    "{\"type\":\"Literal\",\"valueType\":\"{urn:hl7-org:elm-types:r1}" t "\",\"value\":\"" v "\"}"
#define DEF(n, x)                                                                                  \
    "{\"name\":\"" n "\",\"context\":\"Unfiltered\",\"accessLevel\":\"Public\",\"expression\":" x  \
    "}"
#define ROW(l, v)                                                                                  \
    "{\"type\":\"Tuple\",\"element\":[{\"name\":\"label\",\"value\":" l                            \
    "},{\"name\":\"value\",\"value\":" v "}]}"

static const char elm[] =
    "{\"library\":{\"identifier\":{\"id\":\"T\",\"version\":\"1\"},\"schemaIdentifier\":{\"id\":"
    "\"urn:hl7-org:elm\",\"version\":\"r1\"},"
    "\"usings\":{\"def\":[{\"localIdentifier\":\"System\",\"uri\":\"urn:hl7-org:elm-types:r1\"}]},"
    "\"statements\":{\"def\":[" DEF("Yes", LIT("Boolean", "true")) "," DEF(
        "Null",
        "{\"type\":"
        "\"Null\"}") "," DEF("Text",
                             LIT("String",
                                 "some | text")) "," DEF("Number",
                                                         LIT("Integer",
                                                             "7")) "," DEF("Dose",
                                                                           "{\"type\":\"Quantity\","
                                                                           "\"value\":4.0,\"unit\":"
                                                                           "\"mg\"}") "," DEF("Day",
                                                                                              "{\"t"
                                                                                              "ype"
                                                                                              "\":"
                                                                                              "\"Da"
                                                                                              "te\""
                                                                                              ",\"y"
                                                                                              "ear"
                                                                                              "\""
                                                                                              ":" LIT(
                                                                                                  "Integer",
                                                                                                  "2026") "}") "," DEF("Rows",
                                                                                                                       "{\"type\""
                                                                                                                       ":\"List\""
                                                                                                                       ",\"elemen"
                                                                                                                       "t\":"
                                                                                                                       "[" ROW(
                                                                                                                           LIT("S"
                                                                                                                               "t"
                                                                                                                               "r"
                                                                                                                               "i"
                                                                                                                               "n"
                                                                                                                               "g",
                                                                                                                               "a"),
                                                                                                                           "{\"ty"
                                                                                                                           "pe\":"
                                                                                                                           "\"Nul"
                                                                                                                           "l\"}") "]}") "]}}}";

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void see_problem(void *ctx, const og_error *err)
{
    bool *any = ctx;
    *any = true;
    check(err->status != OG_OK && err->status != OG_INTERNAL && err->text[0] != '\0');
}

static void check_value(fhir_elem e)
{
    switch (fhir_kind_of(e)) {
    case FHIR_NULL: check(false); break;
    case FHIR_STRING: check(fhir_raw(e).n != 0); break;
    case FHIR_OBJECT:
    case FHIR_ARRAY:
        check(fhir_exists(fhir_first(e)));
        for (fhir_elem c = fhir_first(e); fhir_exists(c); c = fhir_next(e, c))
            check_value(c);
        break;
    default: break;
    }
}

static void check_card(og_arena *a, const plan_card *card)
{
    fhir_doc doc;
    size_t characters = 0;

    check(fhir_decode(a, card->json, NULL, &doc, NULL) == OG_OK);
    check(og_str_find(card->json, '\n') < 0);
    check_value(fhir_root(&doc));
    for (size_t i = 0; i < card->summary.n; i++)
        characters += ((unsigned char)card->summary.p[i] & 0xC0) != 0x80;
    check(characters > 0 && characters < 140);
}

static void check_alerts(og_arena *a, const plan_content *c, const plan_result *r)
{
    const plan_change *changes;
    size_t count;

    check(plan_alert_compare(a, c, NULL, 0, r, 1, &changes, &count, NULL) == OG_OK);
    check(count == r->card_count);
    for (size_t i = 0; i < count; i++) {
        plan_alert back;
        og_str text = plan_alert_write(a, &changes[i].alert);
        check(plan_alert_read(a, text, &back, NULL) == OG_OK);
        check(og_str_eq(plan_alert_write(a, &back), text));
        check(back.material == changes[i].alert.material);
    }
}

static void evaluate(og_arena *a, const plan_content *c)
{
    plan_patient p = {.tenant = OG_STR("t"), .id = OG_STR("p")};
    plan_result r;
    og_error err;

    og_error_init(&err);
    if (plan_content_evaluate(c, a, &p, 1772352000000, 60, PLAN_REASONS, &r, &err) != OG_OK) {
        check(err.status == OG_NOMEM);
        return;
    }
    check(r.next_review_ms == 0 || r.next_review_ms > 1772352000000);
    for (size_t i = 0; i < r.card_count; i++)
        check_card(a, &r.cards[i]);
    check_alerts(a, c, &r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    plan_file files[] = {{"elm/T.json", {elm, sizeof elm - 1}},
                         {"PlanDefinition-X.json", {(const char *)data, size}}};
    bool any = false;
    og_report report = {.fn = see_problem, .ctx = &any};
    plan_content *c = NULL;
    og_arena *a = og_arena_new((size_t)64 << 20);

    if (a == NULL)
        return 0;
    if (plan_content_load(files, 2, NULL, &c, &report) == OG_OK) {
        check(c != NULL && !any);
        evaluate(a, c);
    } else {
        check(c == NULL && any);
    }
    plan_content_free(c);
    og_arena_free(a);
    return 0;
}

/* Rules for one patient: what fires, what is suppressed, what a card looks like. */
#include "plan_fixture.h"

#define TITLED           ",\"title\":\"A summary\""
#define SUPPRESSES(id)   OG_EXT("suppresses", "\"valueCode\":\"" id "\"")
#define HEAD(extensions) ",\"extension\":[" extensions "]"
#define ROW(l, v, d, r)                                                                            \
    "{\"type\":\"Tuple\",\"element\":[{\"name\":\"label\",\"value\":" l                            \
    "},{\"name\":\"value\",\"value\":" v "},{\"name\":\"date\",\"value\":" d                       \
    "},{\"name\":\"reference\",\"value\":" r "}]}"
#define LIST(items) "{\"type\":\"List\",\"element\":[" items "]}"

#define LONG_TEXT                                                                                  \
    "This summary is much longer than a card can hold, because somebody wrote everything that "    \
    "came to mind "                                                                                \
    "about the patient, the drug, the kidney and the w\u00f6ather of the day"

/* clang-format off */
#define ROWS                                                                                       \
    ROW(STR("Creatinine"), STR("124 umol/L"), STR("2026-02-27"), STR("Observation/1"))             \
    ",NULL,"                                                                                       \
    ROW(STR("a|b*c"), STR("<0.3"), NIL, NIL)
#define BAD_ROW "{\"type\":\"Tuple\",\"element\":[{\"name\":\"lable\",\"value\":" STR("x") "}]}"
#define LIBRARY_T                                                                                  \
    LIBRARY("T", "", "",                                                                           \
            "," DEF("Yes", YES)                                                                    \
            "," DEF("No", NO)                                                                      \
            "," DEF("Null", NIL)                                                                   \
            "," DEF("Fails", FAILS)                                                                \
            "," DEF("Text", STR("Denosumab stopped\\n 118  days ago"))                             \
            "," DEF("Long", STR(LONG_TEXT))                                                        \
            "," DEF("Number", INT("7"))                                                            \
            "," DEF("Critical", STR("critical"))                                                   \
            "," DEF("Nonsense", STR("severe"))                                                     \
            "," DEF("Soon", DATE("2026", "3", "2"))                                                \
            "," DEF("Later", DATE("2026", "5", "1"))                                               \
            "," DEF("Past", DATE("2026", "1", "1"))                                                \
            "," DEF("Rows", LIST(ROWS))                                                            \
            "," DEF("Bad Rows", LIST(BAD_ROW))                                                     \
            "," DEF("No Rows", LIST("")))
/* clang-format on */

/* CQL null inside a list, spelt short above. */
#define T_ELM library_t()

static const char *library_t(void)
{
    static char text[sizeof(LIBRARY_T) + 64];
    static const char nil[] = NIL;
    const char *from = LIBRARY_T, *at = strstr(from, ",NULL,");
    snprintf(text, sizeof text, "%.*s,%s,%s", (int)(at - from), from, nil, at + 6);
    return text;
}

static og_status load_one(fixture *f, const char *rule)
{
    return fixture_load(f, NULL, "elm/T.json", T_ELM, "PlanDefinition-R1.json", rule, NULL);
}

/* Loads one rule and gives its outcome. */
static const plan_outcome *only(fixture *f, const char *rule, plan_result *r)
{
    fixture_good(f, load_one(f, rule));
    *r = fixture_evaluate(f, true);
    return fixture_outcome(r, "R1");
}

static void conditions_must_be_true(void **state)
{
    static const struct {
        const char *rule;
        plan_outcome_kind kind;
    } table[] = {
        {RULE("R1", "Yes", "", TITLED), PLAN_FIRED},
        {RULE("R1", "No", "", TITLED), PLAN_NOT_FIRED},
        {RULE("R1", "Null", "", TITLED), PLAN_NOT_FIRED},
        {RULE("R1", "Fails", "", TITLED), PLAN_FAILED},
        {RULE("R1", "Number", "", TITLED), PLAN_FAILED},
        {RULE("R1", "T.Yes", "", TITLED), PLAN_FIRED},
        {RULE("R1", "\\\"T\\\".\\\"Yes\\\"", "", TITLED), PLAN_FIRED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        fixture f;
        plan_result r;
        const plan_outcome *o = only(&f, table[i].rule, &r);
        assert_int_equal(o->kind, table[i].kind);
        assert_int_equal(r.card_count, table[i].kind == PLAN_FIRED);
        assert_int_equal(o->error.status != OG_OK, table[i].kind == PLAN_FAILED);
        fixture_free(&f);
    }
}

/* Several conditions: the second decides too, and what comes behind a false one is not asked. */
static void all_conditions_count(void **state)
{
    const char *base = RULE("R1", "Yes", "", TITLED), *yes = WHEN("Yes");
    const char *at = strstr(base, yes) + strlen(yes);
    char rule[4096];
    fixture f;
    plan_result r;
    (void)state;
    snprintf(rule, sizeof rule, "%.*s,%s,%s%s", (int)(at - base), base, WHEN("No"), WHEN("Fails"),
             at);
    const plan_outcome *o = only(&f, rule, &r);
    assert_int_equal(o->kind, PLAN_NOT_FIRED);
    assert_int_equal(o->condition_count, 3);
    assert_int_equal(o->conditions[0].holds, PLAN_TRUE);
    assert_int_equal(o->conditions[1].holds, PLAN_FALSE);
    assert_int_equal(o->conditions[2].holds, PLAN_UNKNOWN);
    fixture_free(&f);
}

static void a_failing_rule_costs_only_itself(void **state)
{
    static const struct {
        const char *action, *path;
    } table[] = {
        {TITLED ",\"dynamicValue\":[{\"path\":\"title\",\"expression\":" EXPR("Fails") "}]",
         "Fails"},
        {TITLED ",\"dynamicValue\":[{\"path\":\"title\",\"expression\":" EXPR("Number") "}]",
         "Number"},
        {TITLED ",\"dynamicValue\":[{\"path\":\"priority\",\"expression\":" EXPR("Nonsense") "}]",
         ""},
        {",\"dynamicValue\":[{\"path\":\"title\",\"expression\":" EXPR("Null") "}]", ""},
        {TITLED ",\"extension\":[" OG_EXT("evidence", "\"valueExpression\":" EXPR("Number")) "]",
         "Number"},
        {TITLED ",\"extension\":[" OG_EXT("evidence", "\"valueExpression\":" EXPR("Bad Rows")) "]",
         ""},
        {TITLED ",\"extension\":[" OG_EXT("slot", "\"valueExpression\":" EXPR("Rows")) "]", "Rows"},
        {TITLED ",\"extension\":[" OG_EXT("next-review", "\"valueExpression\":" EXPR("Text")) "]",
         "Text"},
        {TITLED ",\"extension\":[" OG_EXT("material", "\"valueExpression\":" EXPR("Fails")) "]",
         "Fails"},
        {TITLED ",\"action\":[{\"title\":\"t\",\"condition\":[" WHEN("Number") "]}]", "Number"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char rule[8192];
        fixture f;
        const char *base = RULE("R1", "Yes", "", "@");
        const char *at = strrchr(base, '@');
        snprintf(rule, sizeof rule, "%.*s%s%s", (int)(at - base), base, table[i].action, at + 1);
        fixture_good(&f,
                     fixture_load(&f, NULL, "elm/T.json", T_ELM, "PlanDefinition-R1.json", rule,
                                  "PlanDefinition-R2.json", RULE("R2", "Yes", "", TITLED), NULL));
        plan_result r = fixture_evaluate(&f, false);
        const plan_outcome *o = fixture_outcome(&r, "R1");
        if (o->kind != PLAN_FAILED)
            fail_msg("row %zu did not fail", i);
        assert_int_equal(o->error.status, OG_EVAL);
        assert_true(o->error.text[0] != '\0');
        if (table[i].path[0] != '\0' &&
            (strcmp(o->error.path, table[i].path) != 0 || strcmp(o->error.origin, "T") != 0))
            fail_msg("row %zu: path \"%s\", text \"%s\"", i, o->error.path, o->error.text);
        assert_int_equal(r.card_count, 1);
        assert_non_null(fixture_card(&r, "R2"));
        fixture_free(&f);
    }
}

/* clang-format off */
static const char complete_card[] =
    "{\"summary\":\"Denosumab stopped 118 days ago\",\"indicator\":\"critical\","
    "\"detail\":\"Why it matters.\\n\\n"
    "| Finding | Value | Date | Source |\\n| --- | --- | --- | --- |\\n"
    "| Creatinine | 124 umol/L | 2026-02-27 | Observation/1 |\\n"
    "| a\\\\|b\\\\*c | \\\\<0.3 |  |  |\","
    "\"source\":{\"label\":\"A source\",\"url\":\"https://example.org/source\","
    "\"topic\":{\"system\":\"https://osteoguard.org/rule\",\"code\":\"R1\",\"display\":\"Title of R1\"}},"
    "\"suggestions\":[{\"label\":\"Give it\",\"uuid\":\"x\",\"isRecommended\":true,"
    "\"actions\":[{\"type\":\"create\",\"description\":\"Draft order\",\"resource\":{"
    "\"resourceType\":\"MedicationRequest\",\"status\":\"draft\",\"intent\":\"proposal\","
    "\"priority\":\"routine\",\"medicationCodeableConcept\":{\"text\":\"Zoledronic acid\"},"
    "\"dosageInstruction\":[{\"text\":\"hello\",\"doseAndRate\":[{\"doseQuantity\":{\"value\":4.0,"
    "\"unit\":\"mg\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"mg\"}}]}],"
    "\"subject\":{\"reference\":\"Patient/p1\"}}}]},{\"label\":\"Ask\",\"uuid\":\"x\"}],"
    "\"selectionBehavior\":\"at-most-one\","
    "\"overrideReasons\":[{\"system\":\"s\",\"code\":\"c\",\"display\":\"d\"}],"
    "\"links\":[{\"label\":\"More\",\"url\":\"https://example.org/more\",\"type\":\"absolute\"}],"
    "\"extension\":{\"org.osteoguard.alert\":{\"id\":\"x\",\"rule\":\"R1\",\"slot\":\"dose 9\","
    "\"definition\":\"https://example.org/PlanDefinition/R1\",\"version\":\"7\"},"
    "\"org.osteoguard.evidence\":[{\"label\":\"Creatinine\",\"value\":\"124 umol/L\","
    "\"date\":\"2026-02-27\",\"reference\":\"Observation/1\"},{\"label\":\"a|b*c\",\"value\":\"<0.3\"}]}}";

#define ZOLEDRONATE                                                                                \
    "{\"resourceType\":\"ActivityDefinition\",\"id\":\"zol\",\"status\":\"active\","               \
    "\"kind\":\"MedicationRequest\",\"priority\":\"routine\",\"description\":\"Draft order\","     \
    "\"productCodeableConcept\":{\"text\":\"Zoledronic acid\"},"                                   \
    "\"dosage\":[{\"text\":\"old\",\"doseAndRate\":[{\"doseQuantity\":{\"value\":3}}]}],"          \
    "\"dynamicValue\":[{\"path\":\"dosageInstruction[0].text\",\"expression\":" EXPR("Hello") "}," \
    "{\"path\":\"dosageInstruction[0].doseAndRate[0].doseQuantity\",\"expression\":" EXPR("Dose") "}]}"
#define COMPLETE_HEAD                                                                              \
    ",\"contained\":[" ZOLEDRONATE "],\"extension\":["                                             \
    OG_EXT("override-reason", "\"valueCoding\":{\"system\":\"s\",\"code\":\"c\",\"display\":\"d\"}") "]"
#define COMPLETE_ACTION                                                                            \
    ",\"description\":\"Why it matters.\",\"selectionBehavior\":\"at-most-one\",\"dynamicValue\":["\
    "{\"path\":\"title\",\"expression\":" EXPR("Text") "},"                                        \
    "{\"path\":\"priority\",\"expression\":" EXPR("Critical") "}],\"extension\":["                 \
    OG_EXT("evidence", "\"valueExpression\":" EXPR("Rows")) ","                                    \
    OG_EXT("slot", "\"valueString\":\"dose 9\"") "],\"action\":["                                  \
    "{\"id\":\"zol\",\"title\":\"Give it\",\"precheckBehavior\":\"yes\",\"definitionCanonical\":\"#zol\"}," \
    "{\"title\":\"Ask\"},{\"title\":\"Never\",\"condition\":[" WHEN("Null") "]}]"
#define LINK                                                                                       \
    ",{\"type\":\"documentation\",\"label\":\"More\",\"url\":\"https://example.org/more\"}"
/* clang-format on */

/* Copies text to out with `extra` put behind the first `part`. */
static void insert(char *out, size_t size, const char *text, const char *part, const char *extra)
{
    const char *at = strstr(text, part);
    assert_non_null(at);
    at += strlen(part);
    int n = snprintf(out, size, "%.*s%s%s", (int)(at - text), text, extra, at);
    assert_true(n > 0 && (size_t)n < size);
}

/* Where a computed uuid begins at p, the text up to its first character; else 0. */
static size_t uuid_at(const char *p)
{
    static const char *const heads[] = {"\"uuid\":\"", "\"org.osteoguard.alert\":{\"id\":\""};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        if (strncmp(p, heads[i], strlen(heads[i])) == 0)
            return strlen(heads[i]);
    return 0;
}

/* Equal but for uuids: "x" in want stands for any of version 5. */
static void same_but_uuids(og_str have, const char *want)
{
    size_t h = 0;
    while (*want != '\0' && h < have.n) {
        size_t head = uuid_at(want);
        if (head != 0) {
            assert_memory_equal(want, have.p + h, head);
            h += head;
            want += head + 1;
            assert_int_equal(have.p[h + 14], '5');
            h += 36;
        } else if (*want++ != have.p[h++]) {
            fail_msg("differs at \"%.40s\"\nhave \"%.*s\"", want - 1, (int)(have.n - h + 1),
                     have.p + h - 1);
        }
    }
    assert_int_equal(*want, '\0');
    assert_int_equal(h, have.n);
}

static void a_card_is_complete(void **state)
{
    char elm[16384], rule[16384];
    const char *more = "," DEF("Hello", STR("hello")) "," DEF(
        "Dose", "{\"type\":\"Quantity\",\"value\":4.0,\"unit\":\"mg\"}");
    fixture f;
    (void)state;

    insert(elm, sizeof elm, T_ELM, DEF("No", NO), more);
    insert(rule, sizeof rule, RULE("R1", "Yes", COMPLETE_HEAD, COMPLETE_ACTION),
           "\"url\":\"https://example.org/source\"}", LINK);
    fixture_good(&f,
                 fixture_load(&f, NULL, "elm/T.json", elm, "PlanDefinition-R1.json", rule, NULL));
    plan_result r = fixture_evaluate(&f, false), again = fixture_evaluate(&f, false);
    const plan_card *card = fixture_card(&r, "R1"), *second = fixture_card(&again, "R1");
    assert_non_null(card);
    same_but_uuids(card->json, complete_card);
    assert_str(card->slot, "dose 9");
    assert_int_equal(card->evidence_count, 2);
    assert_true(og_str_eq(card->json, second->json));
    assert_true(card->material == second->material);
    fixture_free(&f);
}

static void an_alert_has_its_identity(void **state)
{
    fixture f;
    plan_result r;
    (void)state;
    only(&f, RULE("R1", "Yes", "", TITLED), &r);
    /* uuid5 of "site|p1|R1|" in the project's namespace, computed elsewhere */
    assert_string_equal(r.cards[0].alert_id, "11ca98e0-3869-52d9-92d8-024ffeb5d087");
    char uuid[37], other[37];
    og_str a[] = {OG_STR("a|b"), OG_STR("c")}, b[] = {OG_STR("a"), OG_STR("b|c")};
    plan__uuid(f.arena, a, 2, uuid);
    plan__uuid(f.arena, b, 2, other);
    assert_string_not_equal(uuid, other);
    fixture_free(&f);
}

static void long_summaries_are_cut_and_told(void **state)
{
    fixture f;
    plan_result r;
    (void)state;
    const plan_outcome *o = only(
        &f,
        RULE("R1", "Yes", "",
             TITLED ",\"dynamicValue\":[{\"path\":\"title\",\"expression\":" EXPR("Long") "}]"),
        &r);
    assert_int_equal(o->kind, PLAN_FIRED);
    assert_true(plan__characters(r.cards[0].summary) < 140);
    assert_true(og_str_ends(r.cards[0].summary, OG_STR(" drug,\u2026")) ||
                plan__characters(r.cards[0].summary) > 120);
    assert_contains(o->note, "was cut");
    assert_int_equal(og_utf8_check(r.cards[0].summary), r.cards[0].summary.n);
    fixture_free(&f);
    assert_int_not_equal(
        load_one(&f, RULE("R1", "Yes", "", ",\"title\":\"" LONG_TEXT LONG_TEXT "\"")), OG_OK);
    assert_non_null(strstr(f.problems, "a summary has fewer than 140 characters"));
    fixture_free(&f);
}

/* R1 suppresses R2 suppresses R3: R2 is gone, so R3 stays. Whatever the order of files and names.
 */
static void the_suppressed_do_not_suppress(void **state)
{
    fixture f;
    (void)state;
    fixture_good(
        &f, fixture_load(
                &f, NULL, "elm/T.json", T_ELM, "PlanDefinition-a.json",
                RULE("R3", "Yes", "", TITLED), "PlanDefinition-b.json",
                RULE("R2", "Yes", HEAD(SUPPRESSES("R3")), TITLED), "PlanDefinition-c.json",
                RULE("R9", "Yes", HEAD(SUPPRESSES("R2") "," SUPPRESSES("R5")), TITLED),
                "PlanDefinition-d.json", RULE("R4", "No", HEAD(SUPPRESSES("R3")), TITLED),
                "PlanDefinition-e.json", RULE("R5", "Fails", HEAD(SUPPRESSES("R3")), TITLED),
                "PlanDefinition-f.json", RULE("R7", "Yes", HEAD(SUPPRESSES("R2")), TITLED), NULL));
    plan_result r = fixture_evaluate(&f, false);
    assert_int_equal(fixture_outcome(&r, "R9")->kind, PLAN_FIRED);
    assert_int_equal(fixture_outcome(&r, "R2")->kind, PLAN_SUPPRESSED);
    assert_str(fixture_outcome(&r, "R2")->by, "R7");
    assert_int_equal(fixture_outcome(&r, "R3")->kind, PLAN_FIRED);
    assert_int_equal(fixture_outcome(&r, "R4")->kind, PLAN_NOT_FIRED);
    assert_int_equal(fixture_outcome(&r, "R5")->kind, PLAN_FAILED);
    assert_int_equal(r.card_count, 3);
    fixture_free(&f);
}

static void cards_come_heaviest_first(void **state)
{
    fixture f;
    (void)state;
    fixture_good(&f, fixture_load(&f, NULL, "elm/T.json", T_ELM, "PlanDefinition-a.json",
                                  RULE("A", "Yes", "", TITLED), "PlanDefinition-b.json",
                                  RULE("B", "Yes", "", TITLED ",\"priority\":\"urgent\""),
                                  "PlanDefinition-c.json",
                                  RULE("C", "Yes", "", TITLED ",\"priority\":\"stat\""),
                                  "PlanDefinition-d.json",
                                  RULE("D", "Yes", "", TITLED ",\"priority\":\"asap\""), NULL));
    plan_result r = fixture_evaluate(&f, false);
    const char *want[] = {"C", "B", "D", "A"};
    assert_int_equal(r.card_count, 4);
    for (size_t i = 0; i < 4; i++)
        assert_str(r.cards[i].rule, want[i]);
    fixture_free(&f);
}

static void the_next_look_is_the_earliest(void **state)
{
    static const struct {
        const char *action;
        int64_t next;
    } table[] = {
        {TITLED, 0},
        /* a Date is its first moment at the site, one hour east */
        {TITLED ",\"extension\":[" OG_EXT("next-review", "\"valueExpression\":" EXPR("Later")) "]",
         1777590000000},
        {TITLED ",\"extension\":[" OG_EXT("next-review", "\"valueExpression\":" EXPR("Null")) "]",
         0},
        /* the past: next local midnight */
        {TITLED ",\"extension\":[" OG_EXT("next-review", "\"valueExpression\":" EXPR("Past")) "]",
         1772406000000},
        {TITLED ",\"extension\":[" OG_EXT("next-review", "\"valueExpression\":" EXPR("Soon")) "]",
         1772406000000},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char rule[8192];
        fixture f;
        plan_result r;
        const char *base = RULE("R1", "No", "", "@"), *at = strrchr(base, '@');
        snprintf(rule, sizeof rule, "%.*s%s%s", (int)(at - base), base, table[i].action, at + 1);
        only(&f, rule, &r);
        if (r.next_review_ms != table[i].next)
            fail_msg("row %zu: %lld", i, (long long)r.next_review_ms);
        fixture_free(&f);
    }
}

static void rules_for_hooks_wait_for_their_hook(void **state)
{
    char rule[8192];
    const char *base = RULE("R1", "Yes", "", TITLED);
    const char *at = strstr(base, "{\"type\":\"data-changed\"");
    const char *end = strstr(at, "]}]") + 2;
    fixture f;
    plan_result r;
    (void)state;
    snprintf(rule, sizeof rule, "%.*s{\"type\":\"named-event\",\"name\":\"order-sign\"}%s",
             (int)(at - base), base, end);
    assert_int_equal(only(&f, rule, &r)->kind, PLAN_GATED);
    assert_int_equal(r.card_count, 0);
    fixture_free(&f);
    snprintf(rule, sizeof rule, "%.*s{\"type\":\"periodic\"}%s", (int)(at - base), base, end);
    assert_int_equal(only(&f, rule, &r)->kind, PLAN_FIRED);
    assert_true(r.next_review_ms == 1772406000000);
    r = fixture_ask(&f, "patient-view", false); /* who asks now will ask again */
    assert_int_equal(fixture_outcome(&r, "R1")->kind, PLAN_FIRED);
    assert_true(r.next_review_ms == 0);
    fixture_free(&f);
}

static void why_is_told(void **state)
{
    fixture f;
    plan_result r;
    (void)state;
    const plan_outcome *o = only(&f, RULE("R1", "No", "", TITLED), &r);
    assert_contains(o->explain,
                    "\"because\":\"Not met: \\\"No\\\".\",\"conditions\":[{\"text\":\"No\","
                    "\"holds\":false,\"values\":[],\"resources\":[]}]");
    assert_contains(o->explain, "\"expressions\":[{\"role\":\"condition\",\"library\":\"T\","
                                "\"expression\":\"No\",\"value\":\"false\"}]}");
    fixture_free(&f);
    o = only(&f, RULE("R1", "Fails", "", TITLED), &r);
    assert_contains(o->explain, "\"error\":");
    fixture_free(&f);
}

/* The anchor, not the words, makes a card a new one. */
static void material_is_what_the_rule_says(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } table[] = {
        {",\"title\":\"118 days\"", ",\"title\":\"119 days\"", false},
        {",\"title\":\"118 days\"", ",\"title\":\"118 days\",\"description\":\"other detail\"",
         true},
        {",\"title\":\"118 days\"", ",\"title\":\"118 days\",\"priority\":\"stat\"", false},
        {",\"title\":\"118 days\"", ",\"title\":\"118 days\",\"action\":[{\"title\":\"x\"}]",
         false},
        {",\"title\":\"118 days\",\"extension\":[" OG_EXT("material",
                                                          "\"valueExpression\":" EXPR("Past")) "]",
         ",\"title\":\"119 days\",\"extension\":[" OG_EXT("material",
                                                          "\"valueExpression\":" EXPR("Past")) "]",
         true},
        {",\"title\":\"118 days\",\"extension\":[" OG_EXT("material",
                                                          "\"valueExpression\":" EXPR("Past")) "]",
         ",\"title\":\"118 days\",\"extension\":[" OG_EXT("material",
                                                          "\"valueExpression\":" EXPR("Soon")) "]",
         false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint64_t material[2];
        for (int k = 0; k < 2; k++) {
            char rule[8192];
            fixture f;
            plan_result r;
            const char *base = RULE("R1", "Yes", "", "@"), *at = strrchr(base, '@');
            snprintf(rule, sizeof rule, "%.*s%s%s", (int)(at - base), base,
                     k == 0 ? table[i].a : table[i].b, at + 1);
            only(&f, rule, &r);
            material[k] = r.cards[0].material;
            fixture_free(&f);
        }
        if ((material[0] == material[1]) != table[i].same)
            fail_msg("row %zu", i);
    }
}

static void texts_speak_the_language(void **state)
{
    static const char rule[] = RULE(
        "R1", "Yes", "",
        TITLED ",\"_title\":{\"extension\":[{\"url\":\"http://hl7.org/fhir/StructureDefinition/"
               "translation\",\"extension\":[{\"url\":\"lang\",\"valueCode\":\"de-DE\"},{\"url\":"
               "\"content\",\"valueString\":\"Zusammenfassung\"}]}]}");
    static const char *const table[][2] = {
        {"de", "Zusammenfassung"}, {"fr", "A summary"}, {"en", "A summary"}, {NULL, "A summary"}};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        fixture f;
        plan_options o = {.language = table[i][0]};
        fixture_good(
            &f, fixture_load(&f, &o, "elm/T.json", T_ELM, "PlanDefinition-R1.json", rule, NULL));
        plan_result r = fixture_evaluate(&f, false);
        assert_str(r.cards[0].summary, table[i][1]);
        fixture_free(&f);
    }
}

/* An arena that is too small gives an error, never a partial result. */
static void memory_may_run_out(void **state)
{
    fixture f;
    plan_result r;
    bool done = false;
    (void)state;
    only(&f,
         RULE("R1", "Yes", "",
              TITLED
              ",\"extension\":[" OG_EXT("evidence", "\"valueExpression\":" EXPR("Rows")) "]"),
         &r);
    for (size_t limit = 0; limit < (size_t)1 << 20 && !done; limit += 1024) {
        og_arena *a = og_arena_new(limit);
        plan_patient p = {.tenant = OG_STR("site"), .id = OG_STR("p1")};
        plan_result small = {.card_count = 77};
        og_error err;
        og_error_init(&err);
        og_status s =
            plan_content_evaluate(f.content, a, &p, AS_OF_MS, 60, PLAN_REASONS, &small, &err);
        if (s == OG_OK) {
            done = true;
            assert_int_equal(small.card_count, 1);
        } else {
            assert_int_equal(s, OG_NOMEM);
            assert_int_equal(small.card_count, 77);
        }
        og_arena_free(a);
    }
    assert_true(done);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions_must_be_true),
        cmocka_unit_test(all_conditions_count),
        cmocka_unit_test(a_failing_rule_costs_only_itself),
        cmocka_unit_test(a_card_is_complete),
        cmocka_unit_test(an_alert_has_its_identity),
        cmocka_unit_test(long_summaries_are_cut_and_told),
        cmocka_unit_test(the_suppressed_do_not_suppress),
        cmocka_unit_test(cards_come_heaviest_first),
        cmocka_unit_test(the_next_look_is_the_earliest),
        cmocka_unit_test(rules_for_hooks_wait_for_their_hook),
        cmocka_unit_test(why_is_told),
        cmocka_unit_test(material_is_what_the_rule_says),
        cmocka_unit_test(texts_speak_the_language),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

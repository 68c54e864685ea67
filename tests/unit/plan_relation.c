/* Rules of one run and each other: merging, forbidding. Suppression stands in plan_evaluate.c. */
#include "plan_fixture.h"

#define HEAD(x)        ",\"extension\":[" x "]"
#define SUPPRESSES(id) OG_EXT("suppresses", "\"valueCode\":\"" id "\"")
#define MERGES(id)     OG_EXT("merge-into", "\"valueCode\":\"" id "\"")
#define FORBIDS(set)   OG_EXT("forbids", "\"valueCanonical\":\"urn:set:" set "\"")
#define REASON(code)                                                                               \
    OG_EXT("override-reason", "\"valueCoding\":{\"system\":\"urn:r\",\"code\":\"" code             \
                              "\",\"display\":\"" code "\"}")
#define ATC     "http://www.whocc.no/atc"
#define TITLED  ",\"title\":\"A summary\""
#define SAYS(s) ",\"title\":\"" s "\",\"description\":\"Detail of " s ".\""
#define MEDICINE(id, code)                                                                         \
    "{\"resourceType\":\"ActivityDefinition\",\"id\":\"" id                                        \
    "\",\"status\":\"active\",\"title\":\"" id "\",\"kind\":\"MedicationRequest\","                \
    "\"productCodeableConcept\":{\"coding\":[{\"system\":\"" ATC "\",\"code\":\"" code "\"}]}}"
#define CONTAINED                                                                                  \
    ",\"contained\":[" MEDICINE("zol", "M05BA08") "," MEDICINE("den", "M05BX04") "," MEDICINE(     \
        "ca", "A12AA04") "]"
#define OFFER(title, id)                                                                           \
    "{\"title\":\"" title "\",\"definitionCanonical\":\"#" id "\",\"precheckBehavior\":\"yes\"}"
#define OFFERS(list) ",\"action\":[" list "]"
#define EITHER       ",\"selectionBehavior\":\"at-most-one\""
#define MEDICINES(name, code)                                                                      \
    "{\"resourceType\":\"ValueSet\",\"url\":\"urn:set:" name                                       \
    "\",\"status\":\"active\",\"compose\":{\"include\":[{\"system\":\"" ATC                        \
    "\",\"concept\":[{\"code\":\"" code "\"}]}]}}"

#define TUPLE(l, v)                                                                                \
    "{\"type\":\"Tuple\",\"element\":[{\"name\":\"label\",\"value\":" STR(                         \
        l) "},{\"name\":\"value\",\"value\":" STR(v) "}]}"
#define ROWS(list)     "{\"type\":\"List\",\"element\":[" list "]}"
#define EVIDENCE(name) ",\"extension\":[" OG_EXT("evidence", "\"valueExpression\":" EXPR(name)) "]"
/* clang-format off */
#define LIBRARY_T                                                                                  \
    LIBRARY("T", "", "",                                                                           \
            "," DEF("Yes", YES)                                                                    \
            "," DEF("No", NO)                                                                      \
            "," DEF("Fails", FAILS)                                                                \
            "," DEF("Warning", STR("warning"))                                                     \
            "," DEF("Rows", ROWS(TUPLE("Creatinine", "124") "," TUPLE("Weight", "61")))            \
            "," DEF("More Rows", ROWS(TUPLE("Weight", "61") "," TUPLE("Age", "74"))))
/* clang-format on */

static const char *member(const plan_card *card, const char *path, og_arena *a)
{
    fhir_doc *doc = og_arena_zalloc(a, 1, sizeof *doc);
    assert_int_equal(fhir_decode(a, card->json, NULL, doc, NULL), OG_OK);
    fhir_elem e = fhir_root(doc);
    char name[64];
    while (*path != '\0') {
        size_t n = strcspn(path, "/");
        snprintf(name, sizeof name, "%.*s", (int)n, path);
        e = fhir_get(e, name);
        path += n + (path[n] == '/');
    }
    og_str raw = fhir_raw(e);
    return og_arena_str(a, raw).p;
}

static void a_guest_stands_on_its_hosts_card(void **state)
{
    fixture f;
    (void)state;
    fixture_good(
        &f, fixture_load(
                &f, NULL, "elm/T.json", LIBRARY_T, "PlanDefinition-H.json",
                RULE("H", "Yes", HEAD(REASON("a") "," REASON("b")) CONTAINED,
                     SAYS("host") EVIDENCE("Rows") OFFERS(OFFER("Zoledronic acid", "zol")) EITHER),
                "PlanDefinition-G.json",
                RULE("G", "Yes",
                     HEAD(MERGES("Z") "," MERGES("H") "," REASON("b") "," REASON("c")) CONTAINED,
                     SAYS("guest_1") ",\"priority\":\"stat\"" EVIDENCE("More Rows")
                         OFFERS(OFFER("The same drug", "zol") "," OFFER("Calcium", "ca"))),
                "PlanDefinition-Z.json", RULE("Z", "No", "", TITLED), NULL));
    plan_result r = fixture_evaluate(&f, true);
    const plan_card *card = fixture_card(&r, "H");
    assert_int_equal(r.card_count, 1);
    assert_int_equal(fixture_outcome(&r, "G")->kind, PLAN_MERGED);
    assert_str(fixture_outcome(&r, "G")->by, "H");
    assert_int_equal(fixture_outcome(&r, "H")->kind, PLAN_FIRED);
    assert_int_equal(card->indicator, PLAN_CRITICAL);
    assert_str(card->summary, "host");
    assert_str(card->detail,
               "Detail of host.\n\n### guest\\_1\n\nDetail of guest_1.\n\n"
               "| Finding | Value | Date | Source |\n| --- | --- | --- | --- |\n"
               "| Creatinine | 124 |  |  |\n| Weight | 61 |  |  |\n| Age | 74 |  |  |");
    assert_int_equal(card->evidence_count, 3);
    assert_string_equal(member(card, "extension/org.osteoguard.alert/merged", f.arena),
                        "[{\"rule\":\"G\",\"definition\":\"https://example.org/PlanDefinition/"
                        "G\",\"version\":"
                        "\"7\"}]");
    assert_string_equal(member(card, "overrideReasons", f.arena),
                        "[{\"system\":\"urn:r\",\"code\":\"a\",\"display\":\"a\"},{\"system\":"
                        "\"urn:r\",\"code\":\"b\",\"display\":\"b\"},{\"system\":\"urn:r\","
                        "\"code\":"
                        "\"c\",\"display\":\"c\"}]");
    /* The guest's zoledronic acid is the host's; only one is recommended of what
     * excludes others.
     */
    const char *suggestions = member(card, "suggestions", f.arena);
    assert_non_null(strstr(suggestions, "\"label\":\"Zoledronic acid\""));
    assert_null(strstr(suggestions, "The same drug"));
    assert_non_null(strstr(suggestions, "\"label\":\"Calcium\""));
    assert_non_null(strstr(suggestions, "isRecommended"));
    assert_null(strstr(strstr(suggestions, "isRecommended") + 1, "isRecommended"));
    assert_string_equal(member(card, "selectionBehavior", f.arena), "at-most-one");
    fixture_free(&f);
}

/* The material of the host's card, with the guest's text as given. */
static uint64_t material_with(const char *guest)
{
    fixture f;
    fixture_good(&f, fixture_load(&f, NULL, "elm/T.json", LIBRARY_T, "PlanDefinition-H.json",
                                  RULE("H", "Yes", "", SAYS("host")), "PlanDefinition-G.json",
                                  guest, NULL));
    plan_result r = fixture_evaluate(&f, false);
    uint64_t material = fixture_card(&r, "H")->material;
    fixture_free(&f);
    return material;
}

static void what_a_guest_says_is_material(void **state)
{
    (void)state;
    uint64_t one = material_with(RULE("G", "Yes", HEAD(MERGES("H")), SAYS("one")));
    assert_true(one == material_with(RULE("G", "Yes", HEAD(MERGES("H")), SAYS("one"))));
    assert_true(one != material_with(RULE("G", "Yes", HEAD(MERGES("H")), SAYS("two"))));
    assert_true(one != material_with(RULE("G", "No", HEAD(MERGES("H")), SAYS("one"))));
}

/* G into H into K; a suppressed or failed rule is no host; a merged one still
 * suppresses. */
static void the_last_host_has_the_card(void **state)
{
    fixture f;
    (void)state;
    fixture_good(&f,
                 fixture_load(&f, NULL, "elm/T.json", LIBRARY_T, "PlanDefinition-1.json",
                              RULE("G", "Yes", HEAD(MERGES("H") "," SUPPRESSES("S")), TITLED),
                              "PlanDefinition-2.json", RULE("H", "Yes", HEAD(MERGES("K")), TITLED),
                              "PlanDefinition-3.json", RULE("K", "Yes", "", TITLED),
                              "PlanDefinition-4.json", RULE("S", "Yes", "", TITLED),
                              "PlanDefinition-5.json",
                              RULE("T", "Yes", HEAD(MERGES("S") "," MERGES("F")), TITLED),
                              "PlanDefinition-6.json", RULE("F", "Fails", "", TITLED), NULL));
    plan_result r = fixture_evaluate(&f, true);
    assert_str(fixture_outcome(&r, "G")->by, "K");
    assert_str(fixture_outcome(&r, "H")->by, "K");
    assert_int_equal(fixture_outcome(&r, "S")->kind, PLAN_SUPPRESSED);
    assert_int_equal(fixture_outcome(&r, "T")->kind, PLAN_FIRED);
    assert_int_equal(r.card_count, 2);
    assert_contains(fixture_card(&r, "K")->json, "\"merged\":[{\"rule\":\"G\"");
    fixture_free(&f);
}

static void a_circle_of_merging_is_refused(void **state)
{
    fixture f;
    (void)state;
    assert_int_not_equal(fixture_load(&f, NULL, "elm/T.json", LIBRARY_T, "PlanDefinition-1.json",
                                      RULE("A", "Yes", HEAD(MERGES("B")), TITLED),
                                      "PlanDefinition-2.json",
                                      RULE("B", "Yes", HEAD(MERGES("A")), TITLED), NULL),
                         OG_OK);
    assert_int_equal(f.problem_count, 2);
    assert_non_null(strstr(f.problems, "rule A takes part in a circle of merging"));
    fixture_free(&f);
}

/* C offers three drugs. What forbids them fires, is suppressed, is merged, does not
 * fire, fails. */
static void no_card_offers_what_a_rule_forbids(void **state)
{
    static const struct {
        const char *forbidding, *language, *line;
        bool offered;
    } table[] = {
        {RULE("F", "Yes", HEAD(FORBIDS("Zol")), TITLED), "en",
         "Not offered: Zoledronic acid 4 mg (F: Title of F).", false},
        {RULE("F", "Yes", HEAD(FORBIDS("Zol")), TITLED), "de",
         "Nicht angeboten: Zoledronic acid 4 mg (F: Title of F).", false},
        {RULE("F", "Yes", HEAD(FORBIDS("Zol") "," FORBIDS("Ca")), TITLED), "en",
         "Not offered: Zoledronic acid 4 mg (F: Title of F); Both (F: Title of F).", false},
        {RULE("F", "Yes", HEAD(FORBIDS("Zol") "," MERGES("M")), TITLED), "en",
         "Not offered: Zoledronic acid 4 mg (F: Title of F).", false},
        {RULE("F", "No", HEAD(FORBIDS("Zol")), TITLED), "en", NULL, true},
        {RULE("F", "Fails", HEAD(FORBIDS("Zol")), TITLED), "en", NULL, true},
        {RULE("M0", "Yes", HEAD(FORBIDS("Zol")), TITLED), "en",
         "Not offered: Zoledronic acid 4 mg (M0: Title of M0).", false},
    };
    uint64_t material = 0;
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        fixture f;
        plan_options o = {.language = table[i].language};
        fixture_good(
            &f, fixture_load(
                    &f, &o, "elm/T.json", LIBRARY_T, "PlanDefinition-C.json",
                    RULE("C", "Yes", CONTAINED,
                         SAYS("c") OFFERS(OFFER("Zoledronic acid 4 mg", "zol") "," OFFER(
                             "Denosumab", "den") ",{\"title\":\"Both\","
                                                 "\"definitionCanonical\":\"#den\","
                                                 "\"action\":[" OFFER("ca", "ca") "]}")),
                    "PlanDefinition-F.json", table[i].forbidding, "PlanDefinition-M.json",
                    RULE("M", "Yes", HEAD(SUPPRESSES("M0")), TITLED), "ValueSet-Zol.json",
                    MEDICINES("Zol", "M05BA08"), "ValueSet-Ca.json", MEDICINES("Ca", "A12AA04"),
                    strstr(table[i].forbidding, "\"M0\"") == NULL ? "PlanDefinition-M0.json" : NULL,
                    RULE("M0", "No", "", TITLED), NULL));
        plan_result r = fixture_evaluate(&f, false);
        const plan_card *card = fixture_card(&r, "C");
        const char *suggestions = member(card, "suggestions", f.arena);
        assert_int_equal(strstr(suggestions, "M05BA08") != NULL, table[i].offered);
        assert_non_null(strstr(suggestions, "M05BX04"));
        if (table[i].line != NULL)
            assert_true(og_str_ends(card->detail, og_str_of(table[i].line)));
        else
            assert_str(card->detail, "Detail of c.");
        if (i == 0)
            material = card->material;
        else
            assert_int_equal(card->material == material, table[i].line != NULL && i != 2);
        fixture_free(&f);
    }
}

/* The drug of a merged guest is forbidden too, and told once. */
static void guests_do_not_offer_it_either(void **state)
{
    fixture f;
    (void)state;
    fixture_good(&f, fixture_load(&f, NULL, "elm/T.json", LIBRARY_T, "PlanDefinition-H.json",
                                  RULE("H", "Yes", HEAD(FORBIDS("Zol")) CONTAINED,
                                       SAYS("h") OFFERS(OFFER("Zoledronic acid", "zol"))),
                                  "PlanDefinition-G.json",
                                  RULE("G", "Yes", HEAD(MERGES("H")) CONTAINED,
                                       SAYS("g") OFFERS(OFFER("Zoledronic acid", "zol"))),
                                  "ValueSet-Zol.json", MEDICINES("Zol", "M05BA08"), NULL));
    plan_result r = fixture_evaluate(&f, false);
    assert_str(fixture_card(&r, "H")->detail,
               "Detail of h.\n\n### g\n\nDetail of g.\n\nNot offered: Zoledronic "
               "acid (H: Title of "
               "H).");
    assert_null(strstr(fixture_card(&r, "H")->json.p, "M05BA08"));
    fixture_free(&f);
}

#define WORKLIST                                                                                   \
    ",\"useContext\":[{\"code\":{\"system\":\"http://terminology.hl7.org/CodeSystem/"              \
    "usage-context-type\",\"code\":\"workflow\"},\"valueCodeableConcept\":{\"coding\":[{"          \
    "\"system\":\"https://osteoguard.org/fhir/CodeSystem/channel\",\"code\":\"worklist\"}]}}]"
#define URGENT ",\"priority\":\"urgent\""

static void a_worklist_never_interrupts(void **state)
{
    static const char *const refused[][2] = {
        {RULE("W", "Yes", WORKLIST, TITLED URGENT), "a rule for a worklist has the priority"},
        {RULE("I", "Yes", HEAD(MERGES("W0")), TITLED), "rule W0 is for a worklist, this one"},
    };
    fixture f;
    (void)state;
    fixture_good(
        &f,
        fixture_load(&f, NULL, "elm/T.json", LIBRARY_T, "PlanDefinition-W.json",
                     RULE("W", "Yes", WORKLIST, TITLED), "PlanDefinition-I.json",
                     RULE("I", "Yes", "", TITLED), "PlanDefinition-V.json",
                     RULE("V", "Yes", WORKLIST HEAD(MERGES("I")), TITLED), "PlanDefinition-X.json",
                     RULE("X", "Yes", WORKLIST,
                          TITLED ",\"dynamicValue\":[{\"path\":\"priority\",\"expression\":" EXPR(
                              "Warning") "}]"),
                     NULL));
    plan_result r = fixture_evaluate(&f, false);
    assert_true(fixture_card(&r, "W")->worklist);
    assert_false(fixture_card(&r, "I")->worklist);
    assert_str(fixture_outcome(&r, "V")->by, "I");
    assert_contains(fixture_card(&r, "W")->json, "\"version\":\"7\",\"channel\":\"worklist\"");
    assert_null(strstr(fixture_card(&r, "I")->json.p, "channel"));
    assert_int_equal(fixture_outcome(&r, "X")->kind, PLAN_FAILED);
    assert_string_equal(fixture_outcome(&r, "X")->error.text,
                        "a rule for a worklist is info, this is warning");
    fixture_free(&f);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_not_equal(
            fixture_load(&f, NULL, "elm/T.json", LIBRARY_T, "PlanDefinition-1.json", refused[i][0],
                         "PlanDefinition-W0.json", RULE("W0", "Yes", WORKLIST, TITLED), NULL),
            OG_OK);
        assert_non_null(strstr(f.problems, refused[i][1]));
        fixture_free(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_stands_on_its_hosts_card),
        cmocka_unit_test(what_a_guest_says_is_material),
        cmocka_unit_test(the_last_host_has_the_card),
        cmocka_unit_test(a_circle_of_merging_is_refused),
        cmocka_unit_test(no_card_offers_what_a_rule_forbids),
        cmocka_unit_test(guests_do_not_offer_it_either),
        cmocka_unit_test(a_worklist_never_interrupts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What is noted of a patient, and each way in which it ceases to hold. */
#include "daemon/note.h"
#include "daemon/recall.h"
#include "plan_fixture.h"

#define SNOMED    "http://snomed.info/sct"
#define RETRIEVE  "{\"type\":\"Retrieve\",\"dataType\":\"{http://hl7.org/fhir}"
#define EXISTS(x) "{\"type\":\"Exists\",\"operand\":" x "}"
#define SET(name)                                                                                  \
    "{\"name\":\"" name "\",\"id\":\"https://example.org/ValueSet/" name                           \
    "\",\"accessLevel\":\"Public\"}"
#define VALUESET(name, code)                                                                       \
    "{\"resourceType\":\"ValueSet\",\"url\":\"https://example.org/ValueSet/" name                  \
    "\",\"status\":\"active\",\"compose\":{\"include\":[{\"system\":\"" SNOMED                     \
    "\",\"concept\":[{\"code\":\"" code "\"}]}]}}"
#define IN(type, set)                                                                              \
    RETRIEVE type "\",\"codeProperty\":\"code\",\"codeComparator\":\"in\",\"codes\":{\"type\":"    \
                  "\"ValueSetRef\",\"name\":\"" set "\",\"preserve\":true}}"
#define MOMENT(text) "{\"type\":\"ToDateTime\",\"operand\":" STR(text) "}"
#define REF(name)    "{\"type\":\"ExpressionRef\",\"name\":\"" name "\"}"
#define TITLED       ",\"title\":\"A summary\""
#define NEXT(name)                                                                                 \
    TITLED ",\"extension\":[" OG_EXT("next-review", "\"valueExpression\":" EXPR(name)) "]"

#define EIGHT    1772391600000 /* in the evening of the day of AS_OF_MS */
#define NOON     1772362800000
#define MIDNIGHT 1772406000000

/* clang-format off */
#define DEFS                                                                                       \
    "," DEF("Yes", YES)                                                                            \
    "," DEF("No", NO)                                                                              \
    "," DEF("Fails", FAILS)                                                                        \
    "," DEF("Bone", EXISTS(IN("Condition", "Bone")))                                               \
    "," DEF("Medicine", EXISTS(RETRIEVE "Medication\"}"))                                          \
    "," DEF("Seen", EXISTS(RETRIEVE "Encounter\"}"))                                              \
    "," DEF("Both", "{\"type\":\"And\",\"operand\":[" REF("Seen") "," REF("Medicine") "]}")  \
    "," DEF("Late", "{\"type\":\"Greater\",\"operand\":[{\"type\":\"Now\"},"                     \
                    MOMENT("2026-03-01T20:00:00.000+01:00") "]}")                                  \
    "," DEF("Noon", MOMENT("2026-03-01T12:00:00+01:00"))                                           \
    "," DEF("Text", "{\"type\":\"If\",\"condition\":" EXISTS(RETRIEVE "Goal\"}")                   \
            ",\"then\":" STR("a goal") ",\"else\":" STR("no goal") "}")
/* clang-format on */

/* R1 a diagnosis by its code, R2 a Medication, R3 after eight, R4 always, R5 never, R6 fails. */
static void load(fixture *f, const char *fifth, const char *sixth)
{
    fixture_good(f, fixture_load(f, NULL, "elm/T.json", LIBRARY("T", "", SET("Bone"), DEFS),
                                 "PlanDefinition-1.json", RULE("R1", "Bone", "", TITLED),
                                 "PlanDefinition-2.json", RULE("R2", "Medicine", "", TITLED),
                                 "PlanDefinition-3.json", RULE("R3", "Late", "", TITLED),
                                 "PlanDefinition-4.json", RULE("R4", "Yes", "", TITLED),
                                 "PlanDefinition-5.json", fifth, "PlanDefinition-6.json", sixth,
                                 "ValueSet-Bone.json", VALUESET("Bone", "94222008"), NULL));
}

#define R(type, id, code)                                                                          \
    "{\"resourceType\":\"" type "\",\"id\":\"" id "\",\"code\":{\"coding\":[{\"system\":\"" SNOMED \
    "\",\"code\":\"" code "\"}]}}"
#define PATIENT "{\"resourceType\":\"Patient\",\"id\":\"p\"}"
#define BONE    R("Condition", "bone", "94222008")
#define COLD(n) R("Condition", "cold-" n, "82272006")
#define DRUG(n) R("Medication", "drug-" n, "1")
#define VISIT   "{\"resourceType\":\"Encounter\",\"id\":\"visit\"}"

#define MAX_VIEW 300

typedef struct scene {
    fixture f;
    og_arena *arena; /* of one evaluation */
    recall *m;
    const char *program, *tenant, *patient;
    const char *view[MAX_VIEW + 1]; /* JSON, then NULL */
    int64_t as_of_ms;
    int offset_min;
    char spared[16]; /* rules, as "135"; behind a bar those held */
    plan_result result;
    og_str before, note; /* of the last evaluation; they live in its arena */
} scene;

static scene *scene_new(void)
{
    scene *s = calloc(1, sizeof *s);
    assert_non_null(s);
    load(&s->f, RULE("R5", "No", "", TITLED), RULE("R6", "Fails", "", TITLED));
    s->arena = og_arena_new((size_t)64 << 20);
    s->m = recall_new((size_t)1 << 20);
    assert_non_null(s->arena);
    assert_non_null(s->m);
    s->program = "test";
    s->tenant = "t";
    s->patient = "p";
    s->as_of_ms = AS_OF_MS;
    s->offset_min = 60;
    return s;
}

static void scene_free(scene *s)
{
    recall_free(s->m);
    og_arena_free(s->arena);
    fixture_free(&s->f);
    free(s);
}

static void see(scene *s, ...)
{
    va_list ap;
    size_t n = 0;
    va_start(ap, s);
    do
        s->view[n] = va_arg(ap, const char *);
    while (s->view[n++] != NULL);
    va_end(ap);
}

/* Evaluates what is seen; gives the rules that were spared. */
static const char *ask(scene *s)
{
    og_arena *a = s->arena;
    og_arena_reset(a);
    fhir_resource *list = og_arena_zalloc(a, MAX_VIEW, sizeof *list);
    uint64_t *hashes = og_arena_zalloc(a, MAX_VIEW, sizeof *hashes);
    note_view v;
    size_t count = 0, n = 0;
    assert_non_null(list);
    assert_non_null(hashes);
    for (; s->view[count] != NULL; count++) {
        list[count] = fixture_resource(&s->f, s->view[count]);
        hashes[count] = og_str_hash(og_str_of(s->view[count]));
    }
    plan_patient p = {.tenant = og_str_of(s->tenant),
                      .id = og_str_of(s->patient),
                      .resources = list,
                      .resource_count = count};
    s->before = recall_find(s->m, a, &p);
    note_look(a, s->program, s->f.content, &p, hashes, s->before, s->as_of_ms, s->offset_min, &v);
    for (size_t i = 0; i < plan_content_rule_count(s->f.content); i++)
        if (plan_rules_has(p.spared, i))
            s->spared[n++] = (char)('1' + i);
    assert_int_equal(plan_content_evaluate(s->f.content, a, &p, s->as_of_ms, s->offset_min,
                                           PLAN_CARDS, &s->result, NULL),
                     OG_OK);
    assert_int_equal(s->result.asked + s->result.spared, plan_content_rule_count(s->f.content));
    if (s->result.brief) {
        size_t bar = n;
        s->spared[n++] = '|';
        for (size_t i = 0; i < plan_content_rule_count(s->f.content); i++)
            if (plan_rules_has(p.held->rules, i))
                s->spared[n++] = (char)('1' + i);
        assert_int_equal(s->result.spared, bar + n - bar - 1);
    } else {
        assert_int_equal(s->result.spared, n);
    }
    s->spared[n] = '\0';
    s->note = note_make(a, &v, &s->result, NOTE_MAX_BYTES);
    recall_keep(s->m, &p, s->note);
    return s->spared;
}

/* But for rules that failed. */
static void nothing_changes_and_nobody_is_asked(void **state)
{
    scene *s = scene_new();
    (void)state;
    see(s, BONE, COLD("1"), PATIENT, NULL);
    assert_string_equal(ask(s), "");
    assert_string_equal(ask(s), "235|14");
    s->as_of_ms += 3600000;
    assert_string_equal(ask(s), "235|14");
    assert_ptr_equal(s->note.p, s->before.p); /* it says so already */
    assert_int_equal(fixture_outcome(&s->result, "R1")->kind, PLAN_FIRED);
    assert_int_equal(fixture_outcome(&s->result, "R6")->kind, PLAN_FAILED);
    assert_int_equal(s->result.asked, 1);
    scene_free(s);
}

static void whoever_reads_what_has_changed_is_asked(void **state)
{
    static const struct {
        const char *before[6], *after[6], *spared;
    } table[] = {
        /* new */
        {{PATIENT}, {COLD("1"), PATIENT}, "1235|4"},
        {{PATIENT}, {BONE, PATIENT}, "235"},
        {{PATIENT}, {DRUG("1"), PATIENT}, "135"},
        {{COLD("1"), COLD("3"), PATIENT}, {COLD("1"), COLD("2"), COLD("3"), PATIENT}, "1235|4"},
        {{COLD("1"), COLD("3"), PATIENT}, {COLD("1"), BONE, COLD("3"), DRUG("1"), PATIENT}, "35"},
        /* gone: what it was is remembered */
        {{COLD("1"), PATIENT}, {PATIENT}, "1235|4"},
        {{BONE, PATIENT}, {PATIENT}, "235"},
        {{COLD("1"), DRUG("1"), PATIENT}, {PATIENT}, "135"},
        {{COLD("1"), PATIENT}, {NULL}, ""},
        {{"{\"resourceType\":\"Condition\",\"id\":\"c\"}", PATIENT}, {PATIENT}, "235|4"},
        /* another one now */
        {{COLD("1"), PATIENT}, {R("Condition", "cold-1", "1"), PATIENT}, "1235|4"},
        {{COLD("1"), PATIENT}, {R("Condition", "cold-1", "94222008"), PATIENT}, "235"},
        {{R("Condition", "bone", "94222008"), PATIENT},
         {R("Condition", "bone", "1"), PATIENT},
         "235"},
        {{"{\"resourceType\":\"Condition\",\"id\":\"c\"}", PATIENT},
         {R("Condition", "c", "1"), PATIENT},
         "235|4"}, /* the text alone might have said it */
        {{PATIENT}, {"{\"resourceType\":\"Patient\",\"id\":\"p\",\"active\":true}"}, ""},
        /* in another order, which somebody may look at */
        {{PATIENT, COLD("1"), COLD("2")}, {PATIENT, COLD("2"), COLD("1")}, "1235|4"},
        {{PATIENT, R("Medication", "a", "1"), R("Medication", "b", "1")},
         {PATIENT, R("Medication", "b", "1"), R("Medication", "a", "1")},
         "135"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        scene *s = scene_new();
        const char *const *v = table[i].before;
        see(s, v[0], v[1], v[2], v[3], v[4], v[5], NULL);
        ask(s);
        v = table[i].after;
        see(s, v[0], v[1], v[2], v[3], v[4], v[5], NULL);
        const char *have = ask(s);
        if (strcmp(have, table[i].spared) != 0)
            fail_msg("row %zu: %s, not %s", i, have, table[i].spared);
        scene_free(s);
    }
}

/* R5 asks for medicines only when there is a visit. Who gets an answer that somebody else has asked
 * for already rests on the same. */
static void what_a_rule_did_not_come_to_is_no_reason(void **state)
{
    scene *s = scene_new();
    (void)state;
    fixture_free(&s->f);
    load(&s->f, RULE("R5", "Both", "", TITLED), RULE("R6", "No", "", TITLED));
    see(s, PATIENT, NULL);
    ask(s);
    see(s, DRUG("1"), PATIENT, NULL);
    assert_string_equal(ask(s), "1356");
    see(s, DRUG("1"), PATIENT, VISIT, NULL);
    assert_string_equal(ask(s), "136");
    assert_int_equal(fixture_outcome(&s->result, "R5")->kind, PLAN_FIRED);
    see(s, PATIENT, VISIT, NULL);
    assert_string_equal(ask(s), "136");
    assert_int_equal(fixture_outcome(&s->result, "R5")->kind, PLAN_NOT_FIRED);
    assert_string_equal(ask(s), "12356|4");
    see(s, DRUG("1"), PATIENT, VISIT, NULL);
    assert_string_equal(ask(s), "136");
    assert_int_equal(fixture_outcome(&s->result, "R5")->kind, PLAN_FIRED);
    scene_free(s);
}

/* The first of whom there is nothing has been asked about for all, but for what fires: R4 has the
 * name of its patient. */
static void nothing_is_the_same_of_everybody(void **state)
{
    scene *s = scene_new();
    (void)state;
    see(s, NULL);
    s->patient = "p";
    assert_string_equal(ask(s), "");
    s->patient = "q";
    assert_string_equal(ask(s), "");
    scene_free(s);
    s = scene_new();
    fixture_free(&s->f);
    fixture_good(&s->f, fixture_load(&s->f, NULL, "elm/T.json", LIBRARY("T", "", SET("Bone"), DEFS),
                                     "PlanDefinition-1.json", RULE("R1", "Bone", "", TITLED),
                                     "PlanDefinition-2.json", RULE("R2", "Medicine", "", TITLED),
                                     "ValueSet-Bone.json", VALUESET("Bone", "94222008"), NULL));
    see(s, NULL);
    s->patient = "p";
    assert_string_equal(ask(s), "");
    size_t before = recall_bytes(s->m);
    s->patient = "q";
    assert_string_equal(ask(s), "12");
    assert_int_equal(recall_bytes(s->m), before);
    see(s, BONE, PATIENT, NULL);
    assert_string_equal(ask(s), "");
    assert_int_equal(fixture_outcome(&s->result, "R1")->kind, PLAN_FIRED);
    scene_free(s);
}

/* More than what is looked for in one place: asked for nothing, never the other way round. */
static void much_may_change_at_once(void **state)
{
    scene *s = scene_new();
    char text[MAX_VIEW][160];
    (void)state;
    for (size_t i = 0; i < MAX_VIEW; i++)
        snprintf(text[i], sizeof text[i], COLD("%03zu"), i);
    for (size_t i = 0; i < 100; i++)
        s->view[i] = text[i];
    s->view[100] = DRUG("1");
    s->view[101] = NULL;
    ask(s);
    for (size_t i = 0; i < 250; i++)
        s->view[i] = text[i];
    s->view[250] = DRUG("2");
    s->view[251] = NULL;
    assert_string_equal(ask(s), "135");
    s->view[0] = BONE;
    s->view[1] = DRUG("2");
    s->view[2] = NULL;
    assert_string_equal(ask(s), "35");
    scene_free(s);
}

static void the_clock_is_a_reason(void **state)
{
    static const struct {
        int64_t first, then;
        int offset_min;
        const char *spared;
    } table[] = {
        {AS_OF_MS, AS_OF_MS, 60, "1235|4"},
        {AS_OF_MS, EIGHT - 1, 60, "1235|4"},
        {AS_OF_MS, EIGHT, 60, ""},               /* R3 looks at it */
        {EIGHT + 1, MIDNIGHT - 1, 60, "125|34"}, /* R3 fired */
        {EIGHT + 1, MIDNIGHT, 60, ""},
        {AS_OF_MS, AS_OF_MS - 1, 60, ""}, /* set back */
        {AS_OF_MS, AS_OF_MS + 1, 120, ""},
        {AS_OF_MS, AS_OF_MS + 86400000, 60, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        scene *s = scene_new();
        see(s, PATIENT, NULL);
        s->as_of_ms = table[i].first;
        ask(s);
        s->as_of_ms = table[i].then;
        s->offset_min = table[i].offset_min;
        const char *have = ask(s);
        if (strcmp(have, table[i].spared) != 0)
            fail_msg("row %zu: %s, not %s", i, have, table[i].spared);
        scene_free(s);
    }
}

/* Whose rest began earlier does not begin anew because others were asked since. */
static void what_was_spared_keeps_its_time(void **state)
{
    scene *s = scene_new();
    (void)state;
    see(s, PATIENT, NULL);
    ask(s);
    s->as_of_ms += 1000;
    see(s, COLD("1"), PATIENT, NULL);
    assert_string_equal(ask(s), "1235|4"); /* R3 is not asked and says nothing of eight */
    s->as_of_ms = EIGHT + 1;
    assert_string_equal(ask(s), "");
    assert_int_equal(fixture_outcome(&s->result, "R3")->kind, PLAN_FIRED);
    scene_free(s);
}

static void a_due_review_is_a_reason(void **state)
{
    scene *s = scene_new();
    (void)state;
    fixture_free(&s->f);
    load(&s->f, RULE("R5", "No", "", NEXT("Noon")), RULE("R6", "No", "", TITLED));
    see(s, PATIENT, NULL);
    ask(s);
    s->as_of_ms = NOON - 1;
    assert_string_equal(ask(s), "12356|4");
    assert_int_equal(s->result.next_review_ms, NOON);
    assert_int_equal(s->result.reviews[4], NOON);
    assert_int_equal(s->result.reviews[5], 0);
    s->as_of_ms = NOON;
    assert_string_equal(ask(s), "");
    assert_int_equal(s->result.next_review_ms, MIDNIGHT);
    assert_string_equal(ask(s), "12356|4");
    assert_int_equal(s->result.next_review_ms, MIDNIGHT);
    scene_free(s);
}

static void other_content_is_a_reason(void **state)
{
    scene *s = scene_new();
    (void)state;
    see(s, PATIENT, NULL);
    ask(s);
    assert_string_equal(ask(s), "1235|4");
    fixture_free(&s->f);
    load(&s->f, RULE("R5", "No", "", TITLED), RULE("R6", "No", "", TITLED));
    assert_string_equal(ask(s), "");
    assert_string_equal(ask(s), "12356|4");
    scene_free(s);
}

/* Its words live until the next evaluation. */
static plan_card card_of(const scene *s, const char *rule)
{
    const plan_card *card = fixture_card(&s->result, rule);
    const plan_card none = {.json = OG_STR("")};
    if (card == NULL)
        fail_msg("no card of %s", rule);
    return card != NULL ? *card : none;
}

#define SPEAKS                                                                                     \
    TITLED ",\"dynamicValue\":[{\"path\":\"description\",\"expression\":" EXPR("Text") "}]"
#define ABOVE(id) ",\"extension\":[" OG_EXT("suppresses", "\"valueCode\":\"" id "\"") "]"
#define INTO(id)  ",\"extension\":[" OG_EXT("merge-into", "\"valueCode\":\"" id "\"") "]"

/* What a card only shows is no reason to ask whether it is there, but to make it anew. */
static void a_card_is_made_anew_for_what_it_shows(void **state)
{
    scene *s = scene_new();
    (void)state;
    fixture_free(&s->f);
    load(&s->f, RULE("R5", "Yes", "", SPEAKS), RULE("R6", "No", "", SPEAKS));
    see(s, PATIENT, NULL);
    ask(s);
    assert_contains(card_of(s, "R5").json, "no goal");
    assert_string_equal(ask(s), "1236|45");
    see(s, COLD("1"), PATIENT, NULL);
    assert_string_equal(ask(s), "1236|45");
    see(s, "{\"resourceType\":\"Goal\",\"id\":\"g\"}", PATIENT, NULL);
    assert_string_equal(ask(s), "1236");
    assert_contains(card_of(s, "R5").json, "a goal");
    assert_string_equal(ask(s), "1236|45");
    scene_free(s);
}

/* Together, or not at all: also who is suppressed or stands on another's card. */
static void those_who_fire_are_held_together(void **state)
{
    scene *s = scene_new();
    (void)state;
    fixture_free(&s->f);
    load(&s->f, RULE("R5", "Yes", ABOVE("R6"), TITLED), RULE("R6", "Yes", "", TITLED));
    see(s, PATIENT, NULL);
    ask(s);
    plan_card r4 = card_of(s, "R4"), r5 = card_of(s, "R5");
    assert_string_equal(ask(s), "123|456");
    assert_int_equal(s->result.asked, 0);
    assert_int_equal(fixture_outcome(&s->result, "R6")->kind, PLAN_SUPPRESSED);
    assert_str(fixture_outcome(&s->result, "R6")->by, "R5");
    assert_int_equal(s->result.card_count, 2);
    assert_string_equal(card_of(s, "R4").alert_id, r4.alert_id);
    assert_string_equal(card_of(s, "R5").alert_id, r5.alert_id);
    assert_true(card_of(s, "R5").material == r5.material);
    see(s, BONE, PATIENT, NULL); /* R1 fires besides */
    assert_string_equal(ask(s), "23");
    assert_int_equal(s->result.card_count, 3);
    assert_string_equal(ask(s), "23|1456");
    see(s, PATIENT, NULL); /* and does no more */
    assert_string_equal(ask(s), "23");
    assert_int_equal(s->result.card_count, 2);
    fixture_free(&s->f);
    load(&s->f, RULE("R5", "Yes", INTO("R4"), TITLED), RULE("R6", "Yes", INTO("R5"), TITLED));
    ask(s);
    assert_string_equal(ask(s), "123|456");
    assert_int_equal(fixture_outcome(&s->result, "R5")->kind, PLAN_MERGED);
    assert_str(fixture_outcome(&s->result, "R6")->by, "R4");
    assert_int_equal(s->result.card_count, 1);
    scene_free(s);
}

static void each_patient_is_remembered(void **state)
{
    scene *s = scene_new();
    (void)state;
    see(s, PATIENT, NULL);
    ask(s);
    s->patient = "q";
    assert_string_equal(ask(s), "");
    see(s, BONE, PATIENT, NULL);
    assert_string_equal(ask(s), "235");
    assert_string_equal(ask(s), "235|14");
    s->patient = "p";
    see(s, PATIENT, NULL);
    assert_string_equal(ask(s), "1235|4");
    scene_free(s);
}

static void memory_has_an_end(void **state)
{
    scene *s = scene_new();
    char id[16];
    const size_t max = 64 << 10;
    (void)state;
    recall_free(s->m);
    s->m = recall_new(max);
    s->patient = id;
    see(s, PATIENT, NULL);
    for (int i = 0; i < 1000; i++) {
        snprintf(id, sizeof id, "%d", i);
        assert_string_equal(ask(s), "");
        assert_true(recall_bytes(s->m) <= max);
        if (i % 10 == 9) { /* who comes again and again stays */
            snprintf(id, sizeof id, "0");
            assert_string_equal(ask(s), "1235|4");
        }
    }
    assert_true(recall_bytes(s->m) > max / 2);
    snprintf(id, sizeof id, "1");
    assert_string_equal(ask(s), "");
    snprintf(id, sizeof id, "999");
    assert_string_equal(ask(s), "1235|4");
    scene_free(s);
}

/* One patient does not take the room of all, and what is known of him before goes. */
static void too_much_is_not_remembered(void **state)
{
    scene *s = scene_new();
    (void)state;
    recall_free(s->m);
    s->m = recall_new(16 << 10);
    see(s, PATIENT, NULL);
    ask(s);
    size_t before = recall_bytes(s->m);
    for (size_t i = 0; i < 100; i++)
        s->view[i] = COLD("1");
    s->view[100] = NULL;
    assert_string_equal(ask(s), "");
    assert_true(recall_bytes(s->m) < before);
    assert_string_equal(ask(s), "");
    scene_free(s);
}

/* The same content, loaded once more, is the same. */
static void who_believes_a_note(void **state)
{
    static const struct {
        const char *program, *tenant, *spared;
    } table[] = {{"test", "t", "1235|4"},
                 {"tess", "t", ""},
                 {"test", "u", ""},
                 {"test\n", "t", ""},
                 {NULL, "t", ""}};
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        scene *s = scene_new();
        see(s, PATIENT, NULL);
        ask(s);
        fixture_free(&s->f);
        load(&s->f, RULE("R5", "No", "", TITLED), RULE("R6", "Fails", "", TITLED));
        s->program = table[i].program;
        s->tenant = table[i].tenant;
        const char *have = ask(s);
        if (strcmp(have, table[i].spared) != 0)
            fail_msg("row %zu: %s, not %s", i, have, table[i].spared);
        if (s->program == NULL)
            assert_int_equal(s->note.n, 0);
        scene_free(s);
    }
}

static plan_patient patient_of(const scene *s)
{
    return (plan_patient){.id = og_str_of(s->patient), .resource_count = 1};
}

/* What it says now is what the next evaluation finds. */
static og_str noted(scene *s)
{
    og_str note = og_arena_str(s->f.arena, s->note);
    assert_true(note.n > 0);
    return note;
}

static void put_note(scene *s, og_str note)
{
    plan_patient p = patient_of(s);
    recall_keep(s->m, &p, note);
}

static void a_part_of_a_note_is_none(void **state)
{
    scene *s = scene_new();
    (void)state;
    see(s, COLD("1"), PATIENT, NULL);
    ask(s);
    og_str note = noted(s);
    char *longer = og_arena_zalloc(s->f.arena, note.n + 8, 1);
    assert_non_null(longer);
    for (size_t n = 0; n < note.n; n++) {
        put_note(s, (og_str){note.p, n});
        assert_string_equal(ask(s), "");
    }
    memcpy(longer, note.p, note.n);
    for (size_t n = note.n + 1; n <= note.n + 8; n++) {
        put_note(s, (og_str){longer, n});
        assert_string_equal(ask(s), "");
    }
    put_note(s, note);
    assert_string_equal(ask(s), "1235|4");
    scene_free(s);
}

/* Whatever bytes come: rules may be spared wrongly then, which the store's checksums prevent, but
 * nothing else is touched. */
typedef struct bad_note {
    scene *s;
    og_str note;
    fhir_resource list[2];
    uint64_t hashes[2];
} bad_note;

/* True: it was believed. No rule of these has a review. */
static bool try_other(bad_note *x, size_t at, unsigned bit)
{
    scene *s = x->s;
    og_arena *a = s->arena;
    note_view v;
    plan_patient p = {
        .tenant = OG_STR("t"), .id = OG_STR("p"), .resources = x->list, .resource_count = 2};
    og_arena_reset(a);
    char *other = og_arena_zalloc(a, x->note.n, 1);
    assert_non_null(other);
    memcpy(other, x->note.p, x->note.n);
    other[at] ^= (char)(1u << bit);
    note_look(a, "test", s->f.content, &p, x->hashes, (og_str){other, x->note.n}, AS_OF_MS, 60, &v);
    for (size_t i = 0; p.spared_reviews != NULL && i < plan_content_rule_count(s->f.content); i++)
        assert_int_equal(p.spared_reviews[i], 0);
    assert_int_equal(
        plan_content_evaluate(s->f.content, a, &p, AS_OF_MS, 60, PLAN_CARDS, &s->result, NULL),
        OG_OK);
    assert_true(note_make(a, &v, &s->result, NOTE_MAX_BYTES).n > 0);
    return v.before.n > 0;
}

/* Of what was seen then, and of something else. */
static void any_bytes_do_no_harm(void **state)
{
    static const char *const first[] = {BONE, DRUG("1")};
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        bad_note x = {.s = scene_new()};
        size_t believed = 0;
        see(x.s, BONE, PATIENT, NULL);
        ask(x.s);
        x.note = noted(x.s);
        const char *seen[2] = {first[k], PATIENT};
        for (size_t i = 0; i < 2; i++) {
            x.list[i] = fixture_resource(&x.s->f, seen[i]);
            x.hashes[i] = og_str_hash(og_str_of(seen[i]));
        }
        for (size_t i = 0; i < x.note.n; i++)
            for (unsigned bit = 0; bit < 8; bit++)
                believed += try_other(&x, i, bit);
        assert_in_range(believed, 1, 8 * x.note.n - 1);
        scene_free(x.s);
    }
}

/* Its bytes are few, also of somebody of whom much is known. */
static void a_note_is_small(void **state)
{
    scene *s = scene_new();
    char text[MAX_VIEW][160];
    (void)state;
    see(s, BONE, COLD("1"), PATIENT, NULL);
    ask(s);
    assert_in_range(s->note.n, 100, 400);
    for (size_t i = 0; i < 250; i++) {
        snprintf(text[i], sizeof text[i], COLD("%03zu"), i);
        s->view[i] = text[i];
    }
    s->view[250] = NULL;
    ask(s);
    assert_in_range(s->note.n, 9 * 250, 9 * 250 + 400);
    scene_free(s);
}

/* More than one note can hold: not a part of it either. */
static void a_note_has_an_end(void **state)
{
    scene *s = scene_new();
    const size_t most = 2000;
    og_arena *a = s->arena;
    (void)state;
    fhir_resource *list = og_arena_zalloc(s->f.arena, most, sizeof *list);
    uint64_t *hashes = og_arena_zalloc(s->f.arena, most, sizeof *hashes);
    assert_non_null(list);
    assert_non_null(hashes);
    for (size_t i = 0; i < most; i++)
        list[i] = fixture_resource(&s->f, COLD("1"));
    for (size_t n = 1700; n <= most; n += 100) {
        note_view v;
        plan_patient p = {.id = OG_STR("p"), .resources = list, .resource_count = n};
        og_arena_reset(a);
        note_look(a, "test", s->f.content, &p, hashes, OG_STR(""), AS_OF_MS, 60, &v);
        assert_int_equal(
            plan_content_evaluate(s->f.content, a, &p, AS_OF_MS, 60, PLAN_CARDS, &s->result, NULL),
            OG_OK);
        og_str note = note_make(a, &v, &s->result, NOTE_MAX_BYTES);
        if (n == 1700)
            assert_in_range(note.n, n * 9, NOTE_MAX_BYTES);
        if (n == most)
            assert_null(note.p);
    }
    scene_free(s);
}

static void without_memory_all_are_asked(void **state)
{
    scene *s = scene_new();
    (void)state;
    recall_free(s->m);
    s->m = NULL;
    see(s, PATIENT, NULL);
    ask(s);
    assert_string_equal(ask(s), "");
    s->m = recall_new((size_t)1 << 20);
    ask(s);
    for (size_t bytes = 0; bytes < 4096; bytes += 64) { /* the arena ends somewhere */
        og_arena *a = og_arena_new(bytes);
        fhir_resource list[2] = {fixture_resource(&s->f, COLD("1")),
                                 fixture_resource(&s->f, PATIENT)};
        uint64_t hashes[2] = {1, 2};
        plan_patient p = {.id = OG_STR("p"), .resources = list, .resource_count = 2};
        note_view v;
        note_look(a, "test", s->f.content, &p, hashes, recall_find(s->m, a, &p), AS_OF_MS, 60, &v);
        if (p.spared != NULL)
            assert_non_null(p.spared_reviews);
        og_arena_free(a);
    }
    scene_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_changes_and_nobody_is_asked),
        cmocka_unit_test(whoever_reads_what_has_changed_is_asked),
        cmocka_unit_test(what_a_rule_did_not_come_to_is_no_reason),
        cmocka_unit_test(nothing_is_the_same_of_everybody),
        cmocka_unit_test(much_may_change_at_once),
        cmocka_unit_test(the_clock_is_a_reason),
        cmocka_unit_test(what_was_spared_keeps_its_time),
        cmocka_unit_test(a_due_review_is_a_reason),
        cmocka_unit_test(other_content_is_a_reason),
        cmocka_unit_test(a_card_is_made_anew_for_what_it_shows),
        cmocka_unit_test(those_who_fire_are_held_together),
        cmocka_unit_test(each_patient_is_remembered),
        cmocka_unit_test(memory_has_an_end),
        cmocka_unit_test(too_much_is_not_remembered),
        cmocka_unit_test(who_believes_a_note),
        cmocka_unit_test(a_part_of_a_note_is_none),
        cmocka_unit_test(any_bytes_do_no_harm),
        cmocka_unit_test(a_note_is_small),
        cmocka_unit_test(a_note_has_an_end),
        cmocka_unit_test(without_memory_all_are_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

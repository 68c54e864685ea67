/* What comes out when a result meets the alerts that are stored. */
#include "plan_fixture.h"

#define YES_RULE RULE("R1", "Yes", "", ",\"title\":\"A summary\"")

static void load(fixture *f)
{
    fixture_good(f, fixture_load(f, NULL, "elm/T.json", LIBRARY("T", "", "", "," DEF("Yes", YES)),
                                 "PlanDefinition-R1.json", YES_RULE, NULL));
}

static size_t compare(fixture *f, const plan_alert *open, size_t count, const plan_result *r,
                      int64_t now, const plan_change **ret)
{
    size_t n = 99;
    og_error err;
    og_error_init(&err);
    assert_int_equal(plan_alert_compare(f->arena, f->content, open, count, r, now, ret, &n, &err),
                     OG_OK);
    return n;
}

/* One alert's life: opened, unchanged, changed, resolved, opened again. */
static void an_alert_lives(void **state)
{
    fixture f;
    const plan_change *c;
    (void)state;
    load(&f);
    plan_result r = fixture_evaluate(&f, false),
                none = {.outcomes = r.outcomes, .outcome_count = 1};
    plan_outcome quiet = r.outcomes[0];
    quiet.kind = PLAN_NOT_FIRED;
    none.outcomes = &quiet;

    assert_int_equal(compare(&f, NULL, 0, &r, 1000, &c), 1);
    plan_alert first = c[0].alert;
    assert_int_equal(c[0].kind, PLAN_OPENED);
    assert_string_equal(c[0].retracts, "");
    assert_int_equal(first.revision, 1);
    assert_int_equal(first.state, PLAN_ALERT_ACTIVE);
    assert_true(first.opened_ms == 1000 && first.changed_ms == 1000 && first.resolved_ms == 0);
    assert_str(first.digest, plan_content_digest(f.content));
    char start[64];
    snprintf(start, sizeof start, "{\"uuid\":\"%s\",\"summary\":", first.card_uuid);
    assert_memory_equal(first.card.p, start, strlen(start));
    assert_memory_equal(first.card_uuid, first.id, PLAN_ALERT_MARK);
    assert_true(og_str_is_uuid(og_str_of(first.card_uuid), false) && first.card_uuid[14] == '8');

    assert_int_equal(compare(&f, &first, 1, &r, 2000, &c), 0);
    assert_true(plan_alert_is_said(&first, 1, &r));
    assert_false(plan_alert_is_said(NULL, 0, &r));
    assert_true(plan_alert_is_said(&first, 1, &none));

    plan_card *card = (plan_card *)r.cards;
    card->material++;
    assert_false(plan_alert_is_said(&first, 1, &r));
    assert_int_equal(compare(&f, &first, 1, &r, 3000, &c), 1);
    plan_alert second = c[0].alert;
    assert_int_equal(c[0].kind, PLAN_CHANGED);
    assert_string_equal(c[0].retracts, first.card_uuid);
    assert_string_not_equal(second.card_uuid, first.card_uuid);
    assert_string_equal(second.id, first.id);
    assert_int_equal(second.revision, 2);
    assert_true(second.opened_ms == 1000 && second.changed_ms == 3000);

    assert_int_equal(compare(&f, &second, 1, &none, 4000, &c), 1);
    plan_alert gone = c[0].alert;
    assert_int_equal(c[0].kind, PLAN_RESOLVED);
    assert_string_equal(c[0].retracts, second.card_uuid);
    assert_int_equal(gone.state, PLAN_ALERT_RESOLVED);
    assert_int_equal(gone.revision, 2);
    assert_true(gone.resolved_ms == 4000 && gone.opened_ms == 1000);
    assert_int_equal(compare(&f, &gone, 1, &none, 5000, &c), 0);
    assert_false(plan_alert_is_said(&gone, 1, &r));

    assert_int_equal(compare(&f, &gone, 1, &r, 6000, &c), 1);
    assert_int_equal(c[0].kind, PLAN_OPENED);
    assert_string_equal(c[0].retracts, "");
    assert_int_equal(c[0].alert.revision, 3);
    assert_true(c[0].alert.opened_ms == 6000 && c[0].alert.resolved_ms == 0);
    assert_string_not_equal(c[0].alert.card_uuid, second.card_uuid);
    fixture_free(&f);
}

/* How long an override holds is the rule's to say, for each of its reasons. */
static void a_reason_has_its_own_time(void **state)
{
    fixture f;
    (void)state;
#define REASON(code, more)                                                                         \
    OG_EXT("override-reason",                                                                      \
           "\"valueCoding\":{\"system\":\"s\",\"code\":\"" code "\",\"display\":\"d\"" more "}")
    fixture_good(&f,
                 fixture_load(&f, NULL, "elm/T.json", LIBRARY("T", "", "", "," DEF("Yes", YES)),
                              "PlanDefinition-R1.json",
                              RULE("R1", "Yes",
                                   ",\"extension\":[" REASON(
                                       "a", ",\"extension\":[" OG_EXT(
                                                "override-days",
                                                "\"valueInteger\":30") "]") "," REASON("b", "") "]",
                                   ",\"title\":\"A summary\""),
                              NULL));
    assert_int_equal(plan_content_override_days(f.content, OG_STR("R1"), OG_STR("s"), OG_STR("a")),
                     30);
    assert_int_equal(plan_content_override_days(f.content, OG_STR("R1"), OG_STR("s"), OG_STR("b")),
                     -1);
    assert_int_equal(plan_content_override_days(f.content, OG_STR("R1"), OG_STR("t"), OG_STR("a")),
                     -1);
    assert_int_equal(plan_content_override_days(f.content, OG_STR("R2"), OG_STR("s"), OG_STR("a")),
                     -1);
    fixture_free(&f);
}

/* What somebody answered holds for what was material then, over a gap too, and not for more. */
static void an_override_holds_while_nothing_material_changes(void **state)
{
    fixture f;
    const plan_change *c;
    plan_alert silent, shown, back;
    plan_feedback said = {.answer = PLAN_OVERRIDDEN,
                          .who = OG_STR("ehr"),
                          .system = OG_STR("s"),
                          .code = OG_STR("c"),
                          .at_ms = 1500,
                          .until_ms = 9000};
    (void)state;
    load(&f);
    plan_result r = fixture_evaluate(&f, false);
    plan_outcome quiet = r.outcomes[0];
    quiet.kind = PLAN_NOT_FIRED;
    plan_result none = {.outcomes = &quiet, .outcome_count = 1};
    compare(&f, NULL, 0, &r, 1000, &c);
    plan_alert first = c[0].alert;
    assert_true(plan_alert_answer(f.arena, f.content, &first, &said, 2000, &silent));
    assert_true(plan_alert_is_silent(&silent));
    assert_string_equal(silent.card_uuid, first.card_uuid);
    assert_false(plan_alert_answer(f.arena, f.content, &silent, &said, 2000, &shown));
    assert_true(plan_alert_read(f.arena, plan_alert_write(f.arena, &silent), &back, NULL) == OG_OK);
    assert_int_equal(back.feedback.answer, PLAN_OVERRIDDEN);
    assert_str(back.feedback.code, "c");
    assert_true(back.feedback.at_ms == 1500 && back.feedback.until_ms == 9000);
    assert_int_equal(back.feedback.shown_ms, 1000);
    assert_int_equal(compare(&f, &silent, 1, &r, 3000, &c), 0);

    compare(&f, &silent, 1, &none, 3000, &c);
    plan_alert gone = c[0].alert;
    assert_int_equal(compare(&f, &gone, 1, &r, 4000, &c), 1);
    assert_true(plan_alert_is_silent(&c[0].alert));
    assert_int_equal(compare(&f, &gone, 1, &r, 9000, &c), 1); /* too late */
    assert_false(plan_alert_is_silent(&c[0].alert));

    assert_false(plan_alert_lapse(f.arena, f.content, &silent, 8999, &shown));
    assert_true(plan_alert_lapse(f.arena, f.content, &silent, 9000, &shown));
    assert_int_equal(shown.revision, 2);
    assert_string_not_equal(shown.card_uuid, silent.card_uuid);
    assert_true(plan_alert_read(f.arena, plan_alert_write(f.arena, &shown), &back, NULL) == OG_OK);
    assert_int_equal(back.feedback.answer, PLAN_LAPSED);
    assert_false(plan_alert_answer(f.arena, f.content, &shown, &said, 9000, &back));

    ((plan_card *)r.cards)->material++;
    assert_int_equal(compare(&f, &silent, 1, &r, 4000, &c), 1);
    assert_int_equal(c[0].kind, PLAN_CHANGED);
    assert_int_equal(c[0].alert.feedback.answer, PLAN_UNANSWERED);
    fixture_free(&f);
}

static void silence_is_noted(void **state)
{
    fixture f;
    const plan_change *c;
    plan_alert ignored, back;
    (void)state;
    load(&f);
    plan_result r = fixture_evaluate(&f, false);
    compare(&f, NULL, 0, &r, 1000, &c);
    plan_alert first = c[0].alert;
    assert_int_equal(plan_alert_ignored_ms(&first, 500), 1500);
    assert_int_equal(plan_alert_ignored_ms(&first, 0), 0); /* never */
    assert_false(plan_alert_ignore(&first, 0, 9000, &ignored));
    assert_false(plan_alert_ignore(&first, 500, 1499, &ignored));
    assert_true(plan_alert_ignore(&first, 500, 9000, &ignored));
    assert_false(plan_alert_is_silent(&ignored));
    assert_string_equal(ignored.card_uuid, first.card_uuid);
    assert_int_equal(plan_alert_ignored_ms(&ignored, 500), 0); /* once */
    assert_true(plan_alert_read(f.arena, plan_alert_write(f.arena, &ignored), &back, NULL) ==
                OG_OK);
    assert_int_equal(back.feedback.answer, PLAN_IGNORED);
    assert_true(back.feedback.shown_ms == 1000 && back.feedback.at_ms == 1500);
    fixture_free(&f);
}

/* A rule that could not be asked has not said that the danger is over. */
static void a_failed_rule_resolves_nothing(void **state)
{
    static const struct {
        plan_outcome_kind kind;
        size_t changes;
    } table[] = {{PLAN_FAILED, 0},
                 {PLAN_GATED, 0},
                 {PLAN_NOT_FIRED, 1},
                 {PLAN_SUPPRESSED, 1},
                 {PLAN_MERGED, 1}};
    fixture f;
    const plan_change *c;
    (void)state;
    load(&f);
    plan_result r = fixture_evaluate(&f, false);
    compare(&f, NULL, 0, &r, 1000, &c);
    plan_alert open = c[0].alert;
    for (size_t i = 0; i < 4; i++) {
        plan_outcome o = r.outcomes[0];
        plan_result now = {.outcomes = &o, .outcome_count = 1};
        o.kind = table[i].kind;
        assert_int_equal(compare(&f, &open, 1, &now, 2000, &c), table[i].changes);
    }
    plan_result empty = {0}; /* the rule has left the content */
    assert_int_equal(compare(&f, &open, 1, &empty, 2000, &c), 1);
    assert_int_equal(c[0].kind, PLAN_RESOLVED);
    fixture_free(&f);
}

/* Another slot is another alert: the old one is over, a new one opens. Resolved ones come last. */
static void a_slot_is_part_of_the_identity(void **state)
{
    fixture f;
    const plan_change *c;
    (void)state;
    load(&f);
    plan_result r = fixture_evaluate(&f, false);
    compare(&f, NULL, 0, &r, 1000, &c);
    plan_alert open = c[0].alert;
    og_str parts[] = {OG_STR("site"), OG_STR("p1"), OG_STR("R1"), OG_STR("other")};
    plan_card *card = (plan_card *)r.cards;
    plan__uuid(f.arena, parts, 4, card->alert_id);
    assert_int_equal(compare(&f, &open, 1, &r, 2000, &c), 2);
    assert_int_equal(c[0].kind, PLAN_OPENED);
    assert_int_equal(c[0].alert.revision, 1);
    assert_int_equal(c[1].kind, PLAN_RESOLVED);
    assert_string_equal(c[1].alert.id, open.id);
    fixture_free(&f);
}

/* The same alert stored twice (a take-over in the middle) counts once, by its higher revision. */
static void the_higher_revision_counts(void **state)
{
    fixture f;
    const plan_change *c;
    (void)state;
    load(&f);
    plan_result r = fixture_evaluate(&f, false), empty = {0};
    compare(&f, NULL, 0, &r, 1000, &c);
    plan_alert list[2] = {c[0].alert, c[0].alert};
    list[0].revision = 4;
    list[0].material++;
    list[1].revision = 5;
    assert_int_equal(compare(&f, list, 2, &r, 2000, &c), 0);
    assert_int_equal(compare(&f, list, 2, &empty, 2000, &c), 1);
    assert_int_equal(c[0].alert.revision, 5);
    fixture_free(&f);
}

static bool same(const plan_alert *a, const plan_alert *b)
{
    return strcmp(a->id, b->id) == 0 && og_str_eq(a->rule, b->rule) &&
           og_str_eq(a->slot, b->slot) && a->state == b->state && a->revision == b->revision &&
           a->material == b->material && a->indicator == b->indicator &&
           a->worklist == b->worklist && a->opened_ms == b->opened_ms &&
           a->changed_ms == b->changed_ms && a->resolved_ms == b->resolved_ms &&
           strcmp(a->card_uuid, b->card_uuid) == 0 && og_str_eq(a->card, b->card) &&
           og_str_eq(a->digest, b->digest);
}

static plan_alert sample(void)
{
    return (plan_alert){
        .id = "03799627-caa6-5f07-8411-0eda7b19dfc3",
        .rule = OG_STR("D3"),
        .slot = OG_STR("quote \" back\\slash \xc3\xa4"),
        .state = PLAN_ALERT_RESOLVED,
        .revision = UINT32_MAX,
        .material = UINT64_MAX,
        .indicator = PLAN_INFO,
        .worklist = true,
        .opened_ms = -1,
        .changed_ms = 1772352000000,
        .resolved_ms = 9999999999999,
        .card_uuid = "464a5094-95b2-5b71-a879-11f9ccefada7",
        .card = OG_STR("{\"uuid\":\"464a5094-95b2-5b71-a879-11f9ccefada7\",\"x\":1.00}"),
        .digest = OG_STR("abc")};
}

static void an_alert_survives_writing(void **state)
{
    og_arena *a = og_arena_new(1 << 20);
    plan_alert x = sample(), y = {0};
    og_error err;
    (void)state;
    og_error_init(&err);
    og_str text = plan_alert_write(a, &x);
    assert_int_equal(og_str_find(text, '\n'), -1);
    assert_int_equal(plan_alert_read(a, text, &y, &err), OG_OK);
    assert_true(same(&x, &y));
    assert_true(og_str_eq(text, plan_alert_write(a, &y)));
    x.lost_ms = 1772319580000;
    assert_int_equal(plan_alert_read(a, plan_alert_write(a, &x), &y, &err), OG_OK);
    assert_true(y.lost_ms == x.lost_ms);
    x.lost_ms = -1;
    assert_int_equal(plan_alert_read(a, plan_alert_write(a, &x), &y, &err), OG_INVALID);
    assert_string_equal(err.path, "lost");
    og_error_init(&err);
    x.lost_ms = 0;
    x.material = 7;
    x.indicator = PLAN_CRITICAL;
    x.worklist = false;
    x.slot = (og_str){0};
    assert_int_equal(plan_alert_read(a, plan_alert_write(a, &x), &y, &err), OG_OK);
    assert_true(same(&x, &y));
    x.state = PLAN_ALERT_SHOWN;
    assert_int_equal(plan_alert_read(a, plan_alert_write(a, &x), &y, &err), OG_INVALID);
    assert_string_equal(err.path, "hook");
    x.hook = OG_STR("order-sign");
    assert_int_equal(plan_alert_read(a, plan_alert_write(a, &x), &y, &err), OG_OK);
    assert_true(same(&x, &y));
    assert_true(og_str_is(y.hook, "order-sign"));
    og_arena_free(a);
}

/* Cut off or changed anywhere: an error or another alert, never harm. */
static void damaged_alerts_are_refused(void **state)
{
    og_arena *a = og_arena_new(16 << 20);
    plan_alert x = sample(), y = {.revision = 4711};
    og_error err;
    (void)state;
    og_str text = plan_alert_write(a, &x);
    char copy[2048];
    assert_true(text.n < sizeof copy);
    for (size_t i = 0; i < text.n; i++) {
        og_error_init(&err);
        assert_int_not_equal(plan_alert_read(a, (og_str){text.p, i}, &y, &err), OG_OK);
        assert_int_equal(y.revision, 4711);
        assert_true(err.text[0] != '\0');
    }
    for (size_t i = 0; i < text.n; i++) {
        plan_alert z;
        memcpy(copy, text.p, text.n);
        copy[i] = copy[i] == '0' ? '}' : '0';
        og_error_init(&err);
        if (plan_alert_read(a, (og_str){copy, text.n}, &z, &err) != OG_OK)
            assert_true(err.text[0] != '\0');
    }
    static const char *const fields[] = {"id",       "rule",      "slot",   "state",   "revision",
                                         "material", "indicator", "opened", "changed", "resolved",
                                         "uuid",     "digest",    "card"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char key[32];
        snprintf(key, sizeof key, "\"%s\":", fields[i]);
        memcpy(copy, text.p, text.n);
        char *at = memmem(copy, text.n, key, strlen(key));
        assert_non_null(at);
        at[1] = '#';
        og_error_init(&err);
        assert_int_equal(plan_alert_read(a, (og_str){copy, text.n}, &y, &err), OG_INVALID);
        assert_string_equal(err.path, fields[i]);
    }
    og_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_alert_lives),
        cmocka_unit_test(an_override_holds_while_nothing_material_changes),
        cmocka_unit_test(silence_is_noted),
        cmocka_unit_test(a_reason_has_its_own_time),
        cmocka_unit_test(a_failed_rule_resolves_nothing),
        cmocka_unit_test(a_slot_is_part_of_the_identity),
        cmocka_unit_test(the_higher_revision_counts),
        cmocka_unit_test(an_alert_survives_writing),
        cmocka_unit_test(damaged_alerts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* osteoguard test: the clinical cases of a content folder.
 *
 * A case is a patient, a time, the cards that must appear and those that must not
 * (rules/content/README.md). What differs is said in words that whoever wrote the case understands:
 * the rule, what was expected, what came, and why a rule kept silent. Each case is evaluated twice,
 * the second time with its records in reverse order: events come in any order, and a rule that
 * minds is wrong. */
#include "daemon/cmd_test.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>

#include "daemon/bilingual.h"
#include "daemon/cmd.h"
#include "daemon/content_dir.h"
#include "daemon/coverage.h"
#include "daemon/file.h"
#include "daemon/moment.h"
#include "daemon/patients.h"
#include "fhir/base/table.h"

#define MAX_CASE_BYTES ((size_t)64 << 20)
#define ARENA_BYTES    ((size_t)1 << 30)
#define MAX_DIFFERENCE ((size_t)1 << 20)
#define MAX_REVIEWS    16
#define HORIZON_DAYS   400 /* how far a case looks ahead for what time alone changes */

typedef struct tests {
    const char *content_dir, *only, *language;
    bool verbose, covers;
    plan_content *content, *translated; /* the same folder; translated may be NULL */
    bilingual *texts;
    coverage *coverage;
    og_arena *names; /* ids of cases seen */
    og_table ids;
    unsigned passed, failed, matched;
} tests;

typedef struct trial { /* one case, or one variant of it */
    tests *t;
    og_arena *arena;
    const char *file;
    fhir_elem top, variant; /* variant absent: the case itself */
    og_str id, title;
    moment as_of;
    og_buf differences; /* a line each */
    const fhir_resource *resources;
    size_t resource_count;
    plan_patient patient;
    plan_result result;
} trial;

static void usage(FILE *to)
{
    fputs("usage: osteoguard test --content DIR [options]\n"
          "\n"
          "Runs the clinical cases DIR/cases/*.json against the rules in DIR and says what\n"
          "differs from what they expect. Each case also runs in a second language: it must\n"
          "give the same cards there, and every text must be translated.\n"
          "\n"
          "  --content DIR      content folder\n"
          "  --case ID          only this case, or this variant\n"
          "  --coverage         which conditions of the rules the cases have seen true and\n"
          "                     false; one that was never both is a gap\n"
          "  --translation CODE the second language (default: de; none: no second one)\n"
          "  --verbose          names the cases that pass, too\n"
          "  --help             this text\n"
          "\n"
          "Exit status: 0 all passed; 1 a case differs, the coverage has a gap, or the\n"
          "content has errors; 2 usage.\n",
          to);
}

/* ---- differences ---- */

static void differ(trial *x, const char *fmt, ...) OG_PRINTF(2, 3);

static void differ(trial *x, const char *fmt, ...)
{
    char line[2048];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    og_buf_addf(&x->differences, "  - %s\n", line);
}

static void differ_at(trial *x, fhir_elem e, const char *fmt, ...) OG_PRINTF(3, 4);

/* The same with the place in the case's file. */
static void differ_at(trial *x, fhir_elem e, const char *fmt, ...)
{
    char line[1024];
    uint32_t row = 0, column = 0;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    og_str raw = fhir_raw(e);
    if (raw.p == NULL) {
        differ(x, "%s", line);
        return;
    }
    og_text_place((og_str){e.doc->text, e.doc->size}, (size_t)(raw.p - e.doc->text), &row, &column);
    differ(x, "%s:%u:%u: error: %s", x->file, row, column, line);
}

static void differ_error(void *ctx, const og_error *err)
{
    char line[1400];
    og_error_format(err, line, sizeof line);
    differ(ctx, "%s", line);
}

/* ---- reading a case ---- */

static void check_keys(trial *x, fhir_elem object, const char *what, const char *const *known)
{
    if (fhir_kind_of(object) != FHIR_OBJECT) {
        differ_at(x, object, "%s must be an object", what);
        return;
    }
    for (fhir_elem c = fhir_first(object); fhir_exists(c); c = fhir_next(object, c)) {
        size_t i = 0;
        while (known[i] != NULL && !og_str_is(fhir_key_of(c), known[i]))
            i++;
        if (known[i] == NULL)
            differ_at(x, c, "%s has no field '%.*s'", what, OG_STR_ARG(fhir_key_of(c)));
    }
}

/* A list of strings. */
static void check_strings(trial *x, fhir_elem object, const char *name)
{
    fhir_elem list = fhir_get(object, name);

    if (!fhir_exists(list))
        return;
    if (fhir_kind_of(list) != FHIR_ARRAY) {
        differ_at(x, list, "%s must be a list of texts", name);
        return;
    }
    for (fhir_elem c = fhir_first(list); fhir_exists(c); c = fhir_next(list, c))
        if (fhir_kind_of(c) != FHIR_STRING)
            differ_at(x, c, "%s must be a list of texts", name);
}

static void check_expectation(trial *x, fhir_elem e)
{
    static const char *const known[] = {
        "rule",          "indicator",        "translated",  "summaryContains",
        "summaryLacks",  "detailContains",   "detailLacks", "suggestions",
        "noSuggestions", "evidenceContains", "merges",      NULL};
    static const char *const texts[] = {"summaryContains",
                                        "summaryLacks",
                                        "detailContains",
                                        "detailLacks",
                                        "suggestions",
                                        "noSuggestions",
                                        NULL};
    fhir_elem translated = fhir_get(e, "translated");

    check_keys(x, e, "an expectation", known);
    if (fhir_kind_of(fhir_get(e, "rule")) != FHIR_STRING)
        differ_at(x, e, "an expectation needs a rule");
    for (size_t i = 3; known[i] != NULL; i++)
        check_strings(x, e, known[i]);
    for (fhir_elem c = fhir_first(translated); fhir_exists(c); c = fhir_next(translated, c)) {
        check_keys(x, c, "translated", texts);
        for (size_t i = 0; texts[i] != NULL; i++)
            check_strings(x, c, texts[i]);
    }
}

/* What a case and a variant have in common. */
static void check_common(trial *x, fhir_elem e)
{
    fhir_elem expect = fhir_get(e, "expect");

    check_strings(x, e, "only");
    check_strings(x, e, "absent");
    check_strings(x, e, "allowed");
    if (fhir_exists(expect) && fhir_kind_of(expect) != FHIR_ARRAY)
        differ_at(x, expect, "expect must be a list");
    else
        for (fhir_elem c = fhir_first(expect); fhir_exists(c); c = fhir_next(expect, c))
            check_expectation(x, c);
    if (!fhir_exists(expect) && !fhir_exists(fhir_get(e, "absent")))
        differ_at(x, e, "a case needs expect or absent");
}

static void check_shape(trial *x)
{
    static const char *const of_case[] = {"id",      "title",   "description", "asOf",
                                          "patient", "bundle",  "only",        "expect",
                                          "absent",  "allowed", "variants",    NULL};
    static const char *const of_variant[] = {"id",     "title",   "description", "asOf",
                                             "remove", "put",     "only",        "expect",
                                             "absent", "allowed", NULL};

    if (fhir_exists(x->variant)) {
        check_keys(x, x->variant, "a variant", of_variant);
        check_strings(x, x->variant, "remove");
        check_common(x, x->variant);
        return;
    }
    check_keys(x, x->top, "a case", of_case);
    check_common(x, x->top);
    if (fhir_kind_of(fhir_get(x->top, "bundle")) != FHIR_OBJECT)
        differ_at(x, x->top, "a case needs a bundle");
}

static fhir_elem own(const trial *x)
{
    return fhir_exists(x->variant) ? x->variant : x->top;
}

static void read_as_of(trial *x)
{
    fhir_elem e = fhir_get(own(x), "asOf");
    og_temporal t;

    if (!fhir_exists(e))
        e = fhir_get(x->top, "asOf");
    og_str text = fhir_string(x->arena, e);
    if (!og_temporal_parse_fhir(text, &t) || !t.has_offset || !moment_parse(text, false, &x->as_of))
        differ_at(x, fhir_exists(e) ? e : x->top,
                  "asOf must be a dateTime with an offset, like 2026-03-01T09:00:00+01:00");
}

static void read_name(trial *x)
{
    fhir_elem e = own(x);

    x->id = fhir_string(x->arena, fhir_get(e, "id"));
    x->title = fhir_string(x->arena, fhir_get(e, "title"));
    if (x->id.n == 0)
        differ_at(x, e, "a case needs an id");
    if (x->title.n == 0)
        differ_at(x, e, "a case needs a title");
    if (x->id.n == 0)
        x->id = OG_STR("?");
    else if (og_table_get(&x->t->ids, x->id) != NULL)
        differ_at(x, e, "another case has the id %.*s", OG_STR_ARG(x->id));
    else
        og_table_put(&x->t->ids, og_arena_str(x->t->names, x->id), x->t);
}

/* ---- the patient ---- */

static void put_resources(trial *x, patients *p)
{
    fhir_elem list = fhir_get(x->variant, "put");

    for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c)) {
        fhir_resource r;
        og_error err;
        og_error_init(&err);
        if (fhir_resource_of(c, &r, &err) != OG_OK || patients_put(p, &r, &err) != OG_OK)
            differ_at(x, c, "%s%s%s", err.text, err.path[0] != '\0' ? " at " : "", err.path);
    }
}

static void remove_resources(trial *x, patients *p)
{
    fhir_elem list = fhir_get(x->variant, "remove");

    for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c)) {
        og_str reference = fhir_string(x->arena, c);
        if (!patients_remove(p, reference))
            differ_at(x, c, "the case has no %.*s to remove", OG_STR_ARG(reference));
    }
}

static bool find_patient(trial *x, const patients *p, size_t *ret)
{
    fhir_elem named = fhir_get(x->top, "patient");
    og_str id = fhir_string(x->arena, named);

    for (size_t i = 0; i < patients_count(p); i++)
        if (fhir_exists(named) ? og_str_eq(patients_id(p, i), id) : patients_count(p) == 1) {
            *ret = i;
            return true;
        }
    if (fhir_exists(named))
        differ_at(x, named, "the bundle has no patient %.*s", OG_STR_ARG(id));
    else
        differ_at(x, fhir_get(x->top, "bundle"),
                  "the bundle has %zu patients: say which with \"patient\"", patients_count(p));
    return false;
}

static bool gather(trial *x, patients *p)
{
    og_report report = {.fn = differ_error, .ctx = x};
    fhir_elem bundle = fhir_get(x->top, "bundle");
    og_str raw = fhir_raw(bundle);
    og_error err;
    size_t i;
    uint32_t line = 1, column;

    og_error_init(&err);
    if (raw.p != NULL)
        og_text_place((og_str){bundle.doc->text, bundle.doc->size},
                      (size_t)(raw.p - bundle.doc->text), &line, &column);
    patients_add(p, raw, x->file, line, &report);
    remove_resources(x, p);
    put_resources(x, p);
    if (x->differences.n != 0 || !find_patient(x, p, &i))
        return false;
    x->patient = (plan_patient){.tenant = OG_STR("default"), .id = patients_id(p, i)};
    if (patients_view(p, i, x->arena, &x->resources, &x->resource_count, &err) != OG_OK) {
        differ_error(x, &err);
        return false;
    }
    return true;
}

/* ---- comparing ---- */

static const plan_card *card_of(const plan_result *r, og_str rule)
{
    for (size_t i = 0; i < r->card_count; i++)
        if (og_str_eq(r->cards[i].rule, rule))
            return &r->cards[i];
    return NULL;
}

static const plan_outcome *outcome_of(const plan_result *r, og_str rule)
{
    for (size_t i = 0; i < r->outcome_count; i++)
        if (og_str_eq(r->outcomes[i].rule, rule))
            return &r->outcomes[i];
    return NULL;
}

static bool contains(og_str text, og_str part)
{
    return part.n == 0 || (part.n <= text.n && memmem(text.p, text.n, part.p, part.n) != NULL);
}

/* The conditions that are not true. */
static void add_conditions(og_buf *why, const plan_outcome *o)
{
    const char *join = ": ";

    for (size_t i = 0; i < o->condition_count; i++) {
        const plan_condition *c = &o->conditions[i];
        if (c->offer.n != 0 || c->holds == PLAN_TRUE)
            continue;
        og_buf_addf(why, "%s\"%.*s\" is %s", join,
                    OG_STR_ARG(c->words.n != 0 ? c->words : c->expression),
                    c->holds == PLAN_FALSE ? "false" : "null");
        join = ", ";
    }
}

static void explain_silence(trial *x, og_str rule)
{
    const plan_outcome *o = outcome_of(&x->result, rule);
    og_buf why;

    og_buf_init(&why, 4096);
    if (o == NULL) {
        og_buf_addz(&why, "there is no such rule");
    } else if (o->kind == PLAN_SUPPRESSED) {
        og_buf_addf(&why, "rule %.*s suppresses it", OG_STR_ARG(o->by));
    } else if (o->kind == PLAN_MERGED) {
        og_buf_addf(&why, "it stands on the card of %.*s: write it into \"merges\" there",
                    OG_STR_ARG(o->by));
    } else if (o->kind == PLAN_FAILED) {
        og_buf_addz(&why, "it could not be evaluated");
    } else if (o->kind == PLAN_GATED) {
        og_buf_addz(&why, "it runs only when its hook calls");
    } else {
        og_buf_addz(&why, "its conditions do not hold");
        add_conditions(&why, o);
    }
    differ(x, "%.*s should appear but does not; %.*s", OG_STR_ARG(rule),
           OG_STR_ARG(og_buf_str(&why)));
    og_buf_done(&why);
}

static void expect_parts(trial *x, fhir_elem list, og_str rule, const char *what, og_str text)
{
    for (fhir_elem c = fhir_first(list); fhir_exists(c); c = fhir_next(list, c)) {
        og_str part = fhir_string(x->arena, c);
        if (!contains(text, part))
            differ(x, "%.*s: the %s lacks \"%.*s\"; it is \"%.*s\"", OG_STR_ARG(rule), what,
                   OG_STR_ARG(part), OG_STR_ARG(text));
    }
}

static void expect_no_parts(trial *x, fhir_elem list, og_str rule, const char *what, og_str text)
{
    for (fhir_elem c = fhir_first(list); fhir_exists(c); c = fhir_next(list, c)) {
        og_str part = fhir_string(x->arena, c);
        if (contains(text, part))
            differ(x, "%.*s: the %s must not say \"%.*s\"; it is \"%.*s\"", OG_STR_ARG(rule), what,
                   OG_STR_ARG(part), OG_STR_ARG(text));
    }
}

/* The labels of a card's suggestions, each in quotes. */
static og_str labels_of(trial *x, const plan_card *card)
{
    fhir_doc *doc = og_arena_zalloc(x->arena, 1, sizeof *doc);
    og_buf b;

    if (doc == NULL || fhir_decode(x->arena, card->json, NULL, doc, NULL) != OG_OK)
        return (og_str){0};
    fhir_elem list = fhir_get(fhir_root(doc), "suggestions");
    og_buf_init(&b, MAX_DIFFERENCE);
    for (fhir_elem c = fhir_first(list); fhir_exists(c); c = fhir_next(list, c)) {
        og_str label = fhir_string(x->arena, fhir_get(c, "label"));
        og_buf_addf(&b, "%s\"%.*s\"", b.n != 0 ? ", " : "", OG_STR_ARG(label));
    }
    og_str text = og_arena_str(x->arena, og_buf_str(&b));
    og_buf_done(&b);
    return text;
}

static void expect_suggestions(trial *x, fhir_elem e, const plan_card *card)
{
    og_str labels = labels_of(x, card);
    fhir_elem wanted = fhir_get(e, "suggestions"), unwanted = fhir_get(e, "noSuggestions");

    for (fhir_elem c = fhir_first(wanted); fhir_exists(c); c = fhir_next(wanted, c)) {
        og_str part = fhir_string(x->arena, c);
        if (!contains(labels, part))
            differ(x, "%.*s: no suggestion says \"%.*s\"; there %s %.*s", OG_STR_ARG(card->rule),
                   OG_STR_ARG(part), labels.n != 0 ? "is" : "are none", OG_STR_ARG(labels));
    }
    for (fhir_elem c = fhir_first(unwanted); fhir_exists(c); c = fhir_next(unwanted, c)) {
        og_str part = fhir_string(x->arena, c);
        if (contains(labels, part))
            differ(x, "%.*s: \"%.*s\" must not be suggested; there is %.*s", OG_STR_ARG(card->rule),
                   OG_STR_ARG(part), OG_STR_ARG(labels));
    }
}

/* What people read: the fields are the same for both languages. */
static void expect_texts(trial *x, fhir_elem e, const plan_card *card)
{
    expect_parts(x, fhir_get(e, "summaryContains"), card->rule, "summary", card->summary);
    expect_no_parts(x, fhir_get(e, "summaryLacks"), card->rule, "summary", card->summary);
    expect_parts(x, fhir_get(e, "detailContains"), card->rule, "detail", card->detail);
    expect_no_parts(x, fhir_get(e, "detailLacks"), card->rule, "detail", card->detail);
    expect_suggestions(x, e, card);
}

static void expect_evidence(trial *x, fhir_elem list, const plan_card *card)
{
    for (fhir_elem c = fhir_first(list); fhir_exists(c); c = fhir_next(list, c)) {
        og_str part = fhir_string(x->arena, c);
        bool found = false;
        for (size_t i = 0; i < card->evidence_count && !found; i++)
            found = contains(card->evidence[i].label, part) ||
                    contains(card->evidence[i].value, part) ||
                    contains(card->evidence[i].date, part) ||
                    contains(card->evidence[i].reference, part);
        if (!found)
            differ(x, "%.*s: the evidence lacks \"%.*s\"", OG_STR_ARG(card->rule),
                   OG_STR_ARG(part));
    }
}

/* The rules that are to stand on this card. */
static void expect_guests(trial *x, fhir_elem e, og_str host)
{
    fhir_elem wanted = fhir_get(e, "merges");

    for (fhir_elem c = fhir_first(wanted); fhir_exists(c); c = fhir_next(wanted, c)) {
        og_str guest = fhir_string(x->arena, c);
        const plan_outcome *o = outcome_of(&x->result, guest);
        if (o == NULL || o->kind != PLAN_MERGED || !og_str_eq(o->by, host))
            differ(x, "%.*s should stand on the card of %.*s but does not", OG_STR_ARG(guest),
                   OG_STR_ARG(host));
    }
}

static void expect_card(trial *x, fhir_elem e)
{
    static const char *const indicators[] = {"info", "warning", "critical"};
    og_str rule = fhir_string(x->arena, fhir_get(e, "rule"));
    const plan_card *card = card_of(&x->result, rule);
    fhir_elem indicator = fhir_get(e, "indicator");

    if (card == NULL) {
        explain_silence(x, rule);
        return;
    }
    if (fhir_exists(indicator) && !fhir_is(indicator, indicators[card->indicator]))
        differ(x, "%.*s should be %.*s but is %s: \"%.*s\"", OG_STR_ARG(rule),
               OG_STR_ARG(fhir_string(x->arena, indicator)), indicators[card->indicator],
               OG_STR_ARG(card->summary));
    expect_texts(x, e, card);
    expect_evidence(x, fhir_get(e, "evidenceContains"), card);
    expect_guests(x, e, rule);
}

static bool lists(trial *x, fhir_elem list, og_str rule)
{
    for (fhir_elem c = fhir_first(list); fhir_exists(c); c = fhir_next(list, c)) {
        og_str name = fhir_kind_of(c) == FHIR_OBJECT ? fhir_string(x->arena, fhir_get(c, "rule"))
                                                     : fhir_string(x->arena, c);
        if (og_str_eq(name, rule))
            return true;
    }
    return false;
}

/* The rules that a case speaks of: a variant's own list, else its case's; absent: all. */
static fhir_elem only_of(const trial *x)
{
    fhir_elem mine = fhir_get(own(x), "only");

    return fhir_exists(mine) ? mine : fhir_get(x->top, "only");
}

static bool is_spoken_of(trial *x, og_str rule)
{
    fhir_elem only = only_of(x);

    return !fhir_exists(only) || lists(x, only, rule) || lists(x, fhir_get(own(x), "absent"), rule);
}

static void compare_card(trial *x, const plan_card *card)
{
    fhir_elem e = own(x);

    if (lists(x, fhir_get(e, "expect"), card->rule) ||
        lists(x, fhir_get(e, "allowed"), card->rule) || !is_spoken_of(x, card->rule))
        return;
    differ(x, "%.*s %s: \"%.*s\"", OG_STR_ARG(card->rule),
           lists(x, fhir_get(e, "absent"), card->rule) ? "must not appear but does"
                                                       : "appears, which the case does not expect",
           OG_STR_ARG(card->summary));
}

/* A rule that stands on the card of another. */
static void compare_guest(trial *x, const plan_outcome *o)
{
    fhir_elem e = own(x), expect = fhir_get(e, "expect");

    for (fhir_elem c = fhir_first(expect); fhir_exists(c); c = fhir_next(expect, c))
        if (fhir_is_str(fhir_get(c, "rule"), o->by) && lists(x, fhir_get(c, "merges"), o->rule))
            return;
    if (lists(x, fhir_get(e, "allowed"), o->rule) || !is_spoken_of(x, o->rule))
        return;
    differ(x, "%.*s %s the card of %.*s", OG_STR_ARG(o->rule),
           lists(x, fhir_get(e, "absent"), o->rule) ? "must not appear but stands on"
                                                    : "appears, which the case does not expect, on",
           OG_STR_ARG(o->by));
}

static void compare(trial *x)
{
    fhir_elem expect = fhir_get(own(x), "expect"), only = only_of(x);

    for (fhir_elem c = fhir_first(expect); fhir_exists(c); c = fhir_next(expect, c)) {
        og_str rule = fhir_string(x->arena, fhir_get(c, "rule"));
        if (fhir_exists(only) && !lists(x, only, rule))
            differ_at(x, c, "%.*s is expected but not among the rules of \"only\"",
                      OG_STR_ARG(rule));
        expect_card(x, c);
    }
    for (size_t i = 0; i < x->result.card_count; i++)
        compare_card(x, &x->result.cards[i]);
    for (size_t i = 0; i < x->result.outcome_count; i++) {
        const plan_outcome *o = &x->result.outcomes[i];
        char line[1400];
        og_error_format(&o->error, line, sizeof line);
        if (o->kind == PLAN_MERGED)
            compare_guest(x, o);
        if (o->kind == PLAN_FAILED)
            differ(x, "%.*s could not be evaluated: %s", OG_STR_ARG(o->rule), line);
        if (o->note.n != 0)
            differ(x, "%.*s: %.*s", OG_STR_ARG(o->rule), OG_STR_ARG(o->note));
    }
}

/* ---- evaluating ---- */

static bool evaluate(trial *x, const plan_content *content, int64_t at_ms, plan_depth depth,
                     plan_result *ret)
{
    og_error err;

    og_error_init(&err);
    x->patient.resources = x->resources;
    x->patient.resource_count = x->resource_count;
    if (plan_content_evaluate(content, x->arena, &x->patient, at_ms, x->as_of.offset_min, depth,
                              ret, &err) == OG_OK)
        return true;
    differ_error(x, &err);
    return false;
}

/* The same records the other way round must give the same cards. */
static void compare_reversed(trial *x)
{
    plan_result first = x->result, second;
    fhir_resource *list = og_arena_zalloc(x->arena, x->resource_count + 1, sizeof *list);

    if (list == NULL)
        return;
    for (size_t i = 0; i < x->resource_count; i++)
        list[i] = x->resources[x->resource_count - 1 - i];
    x->resources = list;
    if (!evaluate(x, x->t->content, x->as_of.ms, PLAN_CARDS, &second))
        return;
    for (size_t i = 0; i < first.card_count; i++) {
        const plan_card *other = card_of(&second, first.cards[i].rule);
        if (other == NULL || !og_str_eq(other->json, first.cards[i].json))
            differ(x, "%.*s depends on the order in which the records come",
                   OG_STR_ARG(first.cards[i].rule));
    }
    if (second.card_count > first.card_count)
        differ(x, "there are more cards when the records come in another order");
}

static void differ_by_time(trial *x, og_str rule, const char *how, int64_t until_ms)
{
    moment m = {until_ms, x->as_of.offset_min};
    char text[48];
    size_t n = moment_format(&m, text);
    differ(x, "%.*s %s by time alone before the next review (%.*s): nobody would notice",
           OG_STR_ARG(rule), how, (int)n, text);
}

static void compare_times(trial *x, const plan_result *now, const plan_result *then, int64_t until)
{
    for (size_t i = 0; i < now->card_count; i++) {
        const plan_card *card = &now->cards[i], *other = card_of(then, card->rule);
        if (other == NULL || strcmp(other->alert_id, card->alert_id) != 0)
            differ_by_time(x, card->rule, "goes away", until);
        else if (other->material != card->material)
            differ_by_time(x, card->rule, "changes", until);
    }
    for (size_t i = 0; i < then->card_count; i++)
        if (card_of(now, then->cards[i].rule) == NULL)
            differ_by_time(x, then->cards[i].rule, "appears", until);
}

/* Without new data nothing may change before the next review, or the clock would not show it; so
 * from review to review. */
static void compare_reviews(trial *x)
{
    int64_t horizon = x->as_of.ms + HORIZON_DAYS * 86400000LL;
    plan_result now = x->result, then;
    size_t before = x->differences.n;

    for (int i = 0; i < MAX_REVIEWS && x->differences.n == before; i++) {
        int64_t review = now.next_review_ms;
        int64_t until = review == 0 || review > horizon ? horizon : review - 1;
        if (!evaluate(x, x->t->content, until, PLAN_CARDS, &then))
            return;
        compare_times(x, &now, &then, until);
        if (until == horizon || !evaluate(x, x->t->content, review, PLAN_CARDS, &now))
            return;
    }
}

static void differ_line(void *ctx, const char *line)
{
    differ(ctx, "%s", line);
}

/* The same cards in the other language, nothing in the first one's words, and the words that the
 * case wants there. */
static void compare_languages(trial *x)
{
    fhir_elem expect = fhir_get(own(x), "expect");
    plan_result other;

    if (x->t->translated == NULL || !evaluate(x, x->t->translated, x->as_of.ms, PLAN_CARDS, &other))
        return;
    bilingual_compare(x->t->texts, x->arena, x->id, &x->result, &other, differ_line, x);
    for (fhir_elem c = fhir_first(expect); fhir_exists(c); c = fhir_next(expect, c)) {
        const plan_card *card = card_of(&other, fhir_string(x->arena, fhir_get(c, "rule")));
        if (card != NULL)
            expect_texts(x, fhir_get(fhir_get(c, "translated"), x->t->language), card);
    }
}

static bool speaks_of(void *ctx, og_str rule)
{
    return is_spoken_of(ctx, rule);
}

static bool chosen(const trial *x)
{
    return x->t->only == NULL || og_str_is(x->id, x->t->only);
}

static void report(trial *x)
{
    bool good = x->differences.n == 0;

    x->t->matched++;
    if (good)
        x->t->passed++;
    else
        x->t->failed++;
    if (good && !x->t->verbose)
        return;
    printf("%s %.*s %.*s (%s)\n", good ? "ok  " : "FAIL", OG_STR_ARG(x->id), OG_STR_ARG(x->title),
           x->file);
    if (!good)
        fwrite(x->differences.p, 1, x->differences.n, stdout);
}

static void run_trial(tests *t, og_arena *a, const char *file, fhir_elem top, fhir_elem variant)
{
    trial x = {.t = t, .arena = a, .file = file, .top = top, .variant = variant};
    patients *p = patients_new();

    og_buf_init(&x.differences, MAX_DIFFERENCE);
    read_name(&x);
    if (!chosen(&x))
        goto out;
    check_shape(&x);
    read_as_of(&x);
    if (p == NULL)
        differ(&x, "out of memory");
    if (x.differences.n == 0 && gather(&x, p) &&
        evaluate(&x, t->content, x.as_of.ms, PLAN_CONDITIONS, &x.result)) {
        if (!coverage_add(t->coverage, &x.result, speaks_of, &x))
            differ(&x, "out of memory");
        compare(&x);
        compare_languages(&x);
        compare_reviews(&x);
        compare_reversed(&x);
    }
    report(&x);
out:
    og_buf_done(&x.differences);
    patients_free(p);
}

static void run_file(tests *t, const char *path)
{
    og_arena *a = og_arena_new(ARENA_BYTES);
    fhir_doc *doc = a != NULL ? og_arena_zalloc(a, 1, sizeof *doc) : NULL;
    og_buf text;
    og_error err;
    char line[1400];

    og_error_init(&err);
    og_buf_init(&text, MAX_CASE_BYTES);
    if (doc == NULL)
        og_fail(&err, OG_NOMEM, "out of memory");
    else if (file_read(path, MAX_CASE_BYTES, &text, &err) == OG_OK &&
             fhir_decode(a, og_buf_str(&text), NULL, doc, &err) == OG_OK) {
        fhir_elem top = fhir_root(doc), variants = fhir_get(top, "variants");
        run_trial(t, a, path, top, FHIR_ABSENT);
        for (fhir_elem v = fhir_each_first(variants); fhir_exists(v);
             v = fhir_each_next(variants, v))
            run_trial(t, a, path, top, v);
    }
    if (err.status != OG_OK) {
        og_error_origin(&err, path);
        if (err.byte >= 0)
            og_text_place(og_buf_str(&text), (size_t)err.byte, &err.line, &err.column);
        og_error_format(&err, line, sizeof line);
        printf("FAIL %s\n", line);
        t->failed++;
    }
    og_buf_done(&text);
    og_arena_free(a);
}

static bool run_folder(tests *t)
{
    char dir[4096], path[8192];
    const char *const *names;
    size_t count;
    og_error err;

    og_error_init(&err);
    snprintf(dir, sizeof dir, "%s/cases", t->content_dir);
    if (file_list(t->names, dir, &names, &count, &err) != OG_OK) {
        cmd_print_problem(NULL, &err);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!og_str_ends(og_str_of(names[i]), OG_STR(".json")))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        run_file(t, path);
    }
    return true;
}

/* Returns -1 when all is well, else an exit status. */
static int read_options(tests *t, int argc, char **argv)
{
    enum { CONTENT = 1, CASE, COVERAGE, TRANSLATION, VERBOSE, HELP };
    static const struct option options[] = {
        {"content", required_argument, NULL, CONTENT},
        {"case", required_argument, NULL, CASE},
        {"coverage", no_argument, NULL, COVERAGE},
        {"translation", required_argument, NULL, TRANSLATION},
        {"verbose", no_argument, NULL, VERBOSE},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    int o;

    optind = 0;
    opterr = 0;
    while ((o = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        switch (o) {
        case CONTENT: t->content_dir = optarg; break;
        case CASE: t->only = optarg; break;
        case COVERAGE: t->covers = true; break;
        case TRANSLATION: t->language = optarg; break;
        case VERBOSE: t->verbose = true; break;
        case HELP: usage(stdout); return 0;
        case ':': return cmd_misuse("test", "%s needs a value", argv[optind - 1]);
        default: return cmd_misuse("test", "unknown option %s", argv[optind - 1]);
        }
    }
    if (optind < argc)
        return cmd_misuse("test", "%s is too much", argv[optind]);
    if (t->content_dir == NULL)
        return cmd_misuse("test", "--content DIR is missing");
    return -1;
}

/* The folder in both languages: what differs between them is only the words. */
static bool load_contents(tests *t)
{
    og_report problems = {.fn = cmd_print_problem}, warnings = {.fn = cmd_print_warning};
    og_report untranslated = bilingual_report(t->texts);
    plan_options options = {.warnings = &warnings};
    plan_options translated = {.language = t->language, .untranslated = &untranslated};

    if (content_dir_load(t->content_dir, &options, &t->content, &problems) != OG_OK)
        return false;
    return strcmp(t->language, "none") == 0 ||
           content_dir_load(t->content_dir, &translated, &t->translated, &problems) == OG_OK;
}

static int conclude(tests *t)
{
    unsigned gaps = t->covers ? coverage_print(t->coverage, stdout) : 0;
    unsigned untranslated = bilingual_print(t->texts, stdout);

    if (untranslated != 0)
        printf("FAIL %u texts are not translated into '%s'\n", untranslated, t->language);
    t->failed += untranslated != 0;
    printf("%u passed, %u failed\n", t->passed, t->failed);
    return t->failed != 0 || t->passed == 0 || gaps != 0;
}

int cmd_test(int argc, char **argv)
{
    tests t = {.language = "de"};
    int status = read_options(&t, argc, argv);

    if (status >= 0)
        return status;
    status = 1;
    t.names = og_arena_new(ARENA_BYTES);
    t.texts = bilingual_new();
    t.coverage = coverage_new();
    if (t.names == NULL || t.texts == NULL || t.coverage == NULL) {
        cmd_misuse("test", "out of memory");
        goto out;
    }
    og_table_init(&t.ids, t.names);
    if (!load_contents(&t) || !run_folder(&t))
        goto out;
    if (t.only != NULL && t.matched == 0 && t.failed == 0)
        status = cmd_misuse("test", "there is no case %s", t.only);
    else
        status = conclude(&t);
out:
    plan_content_free(t.translated);
    plan_content_free(t.content);
    coverage_free(t.coverage);
    bilingual_free(t.texts);
    og_arena_free(t.names);
    return status;
}

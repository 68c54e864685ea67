/* Why each rule did what it did, for a pharmacist at a terminal:
 *
 *   D3  Denosumab ended without follow-on: card, warning
 *       Denosumab stopped 118 days ago, no follow-on ...
 *       All conditions are met.
 *     + At least two doses of denosumab 120 mg were given
 *           Denosumab 120 Doses: 30, the latest: Denosumab 120 mg, 2025-11-03
 * (MedicationAdministration/a30)
 *     - ...
 *     ? ...
 *
 * + is met, - is not, ? is not known. What a met condition found nothing of ("none") is left out:
 * it is met because there is nothing. */
#include "daemon/explain_text.h"

#include "fhir/base/table.h"

#define MAX_RECORDS 4

typedef struct page {
    og_buf *out;
    og_arena *arena;
    og_table told; /* values of this rule */
    bool german;
} page;

static const char *word(const page *p, const char *english, const char *german)
{
    return p->german ? german : english;
}

static const char *indicator_word(const page *p, plan_indicator i)
{
    switch (i) {
    case PLAN_INFO: return word(p, "info", "Information");
    case PLAN_WARNING: return word(p, "warning", "Warnung");
    default: return word(p, "critical", "kritisch");
    }
}

static void add_outcome(const page *p, const plan_outcome *o, const plan_card *card)
{
    switch (o->kind) {
    case PLAN_FIRED:
        og_buf_addf(p->out, "%s, %s", word(p, "card", "Karte"),
                    card != NULL ? indicator_word(p, card->indicator) : "");
        break;
    case PLAN_NOT_FIRED: og_buf_addz(p->out, word(p, "no card", "keine Karte")); break;
    case PLAN_SUPPRESSED:
        og_buf_addf(p->out,
                    word(p, "suppressed by %.*s",
                         "unterdr\xc3\xbc"
                         "ckt durch %.*s"),
                    OG_STR_ARG(o->by));
        break;
    case PLAN_MERGED:
        og_buf_addf(p->out, word(p, "on the card of %.*s", "auf der Karte von %.*s"),
                    OG_STR_ARG(o->by));
        break;
    case PLAN_FAILED: og_buf_addz(p->out, word(p, "FAILED", "FEHLER")); break;
    case PLAN_GATED: og_buf_addz(p->out, word(p, "not run", "nicht ausgef\xc3\xbchrt")); break;
    }
}

static og_str string_at(const page *p, fhir_elem e, const char *name)
{
    return fhir_string(p->arena, fhir_get(e, name));
}

/* Values that say only that there is nothing. */
static bool says_nothing(const page *p, og_str value)
{
    return og_str_is(value, word(p, "none", "keine")) || og_str_is(value, word(p, "no", "nein")) ||
           og_str_is(value, "\xe2\x80\x93");
}

/* A met condition tells only what the rule has not told before. */
static bool is_worth(page *p, og_str name, og_str value, bool met, bool setting)
{
    og_str key = og_arena_printf(p->arena, "%.*s: %.*s", OG_STR_ARG(name), OG_STR_ARG(value));

    if (met && (setting || says_nothing(p, value) || og_table_get(&p->told, key) != NULL))
        return false;
    og_table_put(&p->told, key, p);
    return true;
}

static void add_values(page *p, fhir_elem list, bool met)
{
    bool fact = !met; /* a setting explains a value: without one it says nothing */

    for (fhir_elem v = fhir_first(list); fhir_exists(v); v = fhir_next(list, v)) {
        og_str name = string_at(p, v, "name"), value = string_at(p, v, "value");
        og_str reference = string_at(p, v, "reference");
        bool setting = fhir_exists(fhir_get(v, "setting"));
        if (setting && !fact)
            continue;
        if (!is_worth(p, name, value, met, setting && !fact))
            continue;
        fact = true;
        og_buf_addf(p->out, "          %.*s: %.*s", OG_STR_ARG(name), OG_STR_ARG(value));
        if (setting)
            og_buf_addz(p->out, word(p, " (setting)", " (Einstellung)"));
        if (reference.n != 0)
            og_buf_addf(p->out, " (%.*s)", OG_STR_ARG(reference));
        og_buf_addc(p->out, '\n');
    }
}

/* Records that no value has named. */
static void add_records(page *p, fhir_elem list)
{
    size_t shown = 0, more = 0;

    for (fhir_elem r = fhir_first(list); fhir_exists(r); r = fhir_next(list, r)) {
        og_str words = string_at(p, r, "shown");
        if (fhir_exists(fhir_get(r, "named")))
            continue;
        if (shown++ >= MAX_RECORDS) {
            more++;
            continue;
        }
        og_buf_addf(p->out, "          %.*s%s(%.*s)\n", OG_STR_ARG(words), words.n != 0 ? " " : "",
                    OG_STR_ARG(string_at(p, r, "reference")));
    }
    if (more != 0)
        og_buf_addf(p->out,
                    word(p, "          and %zu more records\n",
                         "          und %zu weitere Eintr\xc3\xa4ge\n"),
                    more);
}

static void add_condition(page *p, fhir_elem c)
{
    fhir_elem holds = fhir_get(c, "holds"), values = fhir_get(c, "values");
    bool met = fhir_kind_of(holds) == FHIR_TRUE;
    const char *mark = met ? "+" : fhir_kind_of(holds) == FHIR_FALSE ? "-" : "?";

    og_buf_addf(p->out, "    %s %.*s\n", mark, OG_STR_ARG(string_at(p, c, "text")));
    add_values(p, values, met);
    add_records(p, fhir_get(c, "resources"));
}

static void add_rule(page *p, const plan_outcome *o, const plan_card *card)
{
    fhir_doc *doc = og_arena_zalloc(p->arena, 1, sizeof *doc);

    if (doc == NULL || fhir_decode(p->arena, o->explain, NULL, doc, NULL) != OG_OK)
        return;
    fhir_elem root = fhir_root(doc), list = fhir_get(root, "conditions");
    og_table_init(&p->told, p->arena);
    og_buf_addf(p->out, "\n%.*s  %.*s: ", OG_STR_ARG(o->rule),
                OG_STR_ARG(string_at(p, root, "title")));
    add_outcome(p, o, card);
    og_buf_addc(p->out, '\n');
    if (card != NULL)
        og_buf_addf(p->out, "    \"%.*s\"\n", OG_STR_ARG(card->summary));
    og_buf_addf(p->out, "    %.*s\n", OG_STR_ARG(string_at(p, root, "because")));
    for (fhir_elem c = fhir_first(list); fhir_exists(c); c = fhir_next(list, c))
        add_condition(p, c);
}

static bool is_meant(const plan_outcome *o, const char *only)
{
    return only == NULL || og_str_is(o->rule, only);
}

void explain_text(og_buf *out, og_arena *a, const plan_result *result, const char *language,
                  const char *only)
{
    static const plan_outcome_kind order[] = {PLAN_MERGED, PLAN_SUPPRESSED, PLAN_FAILED,
                                              PLAN_NOT_FIRED, PLAN_GATED};
    page p = {
        .out = out, .arena = a, .german = language != NULL && strncmp(language, "de", 2) == 0};

    for (size_t i = 0; i < result->card_count; i++)
        for (size_t k = 0; k < result->outcome_count; k++)
            if (og_str_eq(result->outcomes[k].rule, result->cards[i].rule) &&
                is_meant(&result->outcomes[k], only))
                add_rule(&p, &result->outcomes[k], &result->cards[i]);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        for (size_t k = 0; k < result->outcome_count; k++)
            if (result->outcomes[k].kind == order[i] && is_meant(&result->outcomes[k], only))
                add_rule(&p, &result->outcomes[k], NULL);
}

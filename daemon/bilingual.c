/* Static texts are missing where the definition has no translation extension: the loader tells.
 * What CQL puts together is found by its words: a summary, a label or a sentence that reads the
 * same in both languages has not been translated. Names and numbers do read the same ("Denosumab
 * 120 mg"), so a text counts only with several words of some length. */
#include "daemon/bilingual.h"

#include <stdarg.h>
#include <stdlib.h>

#include "fhir/base/table.h"

#define ARENA_BYTES ((size_t)64 << 20)
#define WORD_BYTES  3 /* shorter ones are units and abbreviations */

typedef struct note { /* a place where a translation is missing */
    og_str text, example;
    unsigned count;
} note;

struct bilingual {
    og_arena *arena;
    og_table notes; /* what → note */
    og_report report;
};

bilingual *bilingual_new(void)
{
    bilingual *b = calloc(1, sizeof *b);

    if (b != NULL)
        b->arena = og_arena_new(ARENA_BYTES);
    if (b == NULL || b->arena == NULL) {
        free(b);
        return NULL;
    }
    og_table_init(&b->notes, b->arena);
    return b;
}

void bilingual_free(bilingual *b)
{
    if (b == NULL)
        return;
    og_arena_free(b->arena);
    free(b);
}

static void remember(bilingual *b, og_str text, og_str example)
{
    note *n = og_table_get(&b->notes, text);

    if (n == NULL) {
        n = og_arena_zalloc(b->arena, 1, sizeof *n);
        if (n == NULL)
            return;
        n->text = og_arena_str(b->arena, text);
        n->example = og_arena_str(b->arena, example);
        og_table_put(&b->notes, n->text, n);
    }
    n->count++;
}

static void on_untranslated(void *ctx, const og_error *err)
{
    bilingual *b = ctx;
    remember(
        b,
        og_arena_printf(b->arena, "%s:%u:%u: %s", err->origin, err->line, err->column, err->text),
        (og_str){0});
}

og_report bilingual_report(bilingual *b)
{
    return (og_report){.fn = on_untranslated, .ctx = b};
}

/* ---- the same words ---- */

static bool letter(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

static size_t words_of(og_str s)
{
    size_t n = 0, length = 0;

    for (size_t i = 0; i <= s.n; i++) {
        if (i < s.n && letter((unsigned char)s.p[i])) {
            length++;
            continue;
        }
        n += length >= WORD_BYTES;
        length = 0;
    }
    return n;
}

static og_str trimmed(og_str s)
{
    while (s.n != 0 && (unsigned char)s.p[0] <= ' ')
        s = og_str_from(s, 1);
    while (s.n != 0 && (unsigned char)s.p[s.n - 1] <= ' ')
        s.n--;
    return s;
}

/* Up to the next end of a sentence or of a line; *rest is what follows. */
static og_str next_sentence(og_str *rest)
{
    size_t i = 0;

    while (i < rest->n && rest->p[i] != '\n' &&
           !(rest->p[i] == '.' && (i + 1 == rest->n || rest->p[i + 1] <= ' ')))
        i++;
    og_str sentence = {rest->p, i};
    *rest = og_str_from(*rest, i < rest->n ? i + 1 : i);
    return trimmed(sentence);
}

static bool has_sentence(og_str text, og_str sentence)
{
    while (text.n != 0)
        if (og_str_eq(next_sentence(&text), sentence))
            return true;
    return false;
}

/* The first sentence of at least three words that stands in both. Rows of the table are data, but
 * for their labels. */
static og_str common_sentence(og_str first, og_str second)
{
    while (second.n != 0) {
        og_str sentence = next_sentence(&second);
        if (words_of(sentence) >= 3 && sentence.p[0] != '|' && has_sentence(first, sentence))
            return sentence;
    }
    return (og_str){0};
}

/* ---- two results ---- */

typedef struct comparison {
    bilingual *b;
    og_arena *arena;
    og_str case_id;
    void (*differ)(void *ctx, const char *line);
    void *ctx;
} comparison;

static void differ(comparison *c, const char *fmt, ...) OG_PRINTF(2, 3);

static void differ(comparison *c, const char *fmt, ...)
{
    char line[2048];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    c->differ(c->ctx, line);
}

/* Numbers do not make another text. */
static void same_text(comparison *c, og_str rule, const char *field, og_str text)
{
    char *shown = og_arena_alloc(c->arena, text.n + 1);

    if (shown == NULL)
        return;
    for (size_t i = 0; i < text.n; i++)
        shown[i] = text.p[i] >= '0' && text.p[i] <= '9' ? '#' : text.p[i];
    remember(c->b,
             og_arena_printf(c->arena, "%.*s: the %s is the same in both languages: \"%.*s\"",
                             OG_STR_ARG(rule), field, (int)text.n, shown),
             c->case_id);
}

static fhir_elem suggestions_of(og_arena *a, const plan_card *card)
{
    fhir_doc *doc = og_arena_zalloc(a, 1, sizeof *doc);

    if (doc == NULL || fhir_decode(a, card->json, NULL, doc, NULL) != OG_OK)
        return FHIR_ABSENT;
    return fhir_get(fhir_root(doc), "suggestions");
}

static void compare_suggestions(comparison *c, const plan_card *first, const plan_card *second)
{
    fhir_elem a = suggestions_of(c->arena, first), b = suggestions_of(c->arena, second);

    if (fhir_length(a) != fhir_length(b)) {
        differ(c, "%.*s has %u suggestions in one language and %u in the other",
               OG_STR_ARG(first->rule), fhir_length(a), fhir_length(b));
        return;
    }
    fhir_elem y = fhir_first(b);
    for (fhir_elem x = fhir_first(a); fhir_exists(x) && fhir_exists(y);
         x = fhir_next(a, x), y = fhir_next(b, y)) {
        og_str label = fhir_string(c->arena, fhir_get(y, "label"));
        if (og_str_eq(label, fhir_string(c->arena, fhir_get(x, "label"))) && words_of(label) >= 2)
            same_text(c, first->rule, "label", label);
    }
}

/* Labels of the evidence are the rule's words; what else stands there is the patient's. */
static void compare_evidence(comparison *c, const plan_card *first, const plan_card *second)
{
    for (size_t i = 0; i < second->evidence_count; i++)
        for (size_t k = 0; k < first->evidence_count; k++)
            if (og_str_eq(second->evidence[i].label, first->evidence[k].label) &&
                words_of(second->evidence[i].label) >= 2) {
                same_text(c, first->rule, "label of evidence", second->evidence[i].label);
                break;
            }
}

static void compare_cards(comparison *c, const plan_card *first, const plan_card *second)
{
    if (first->indicator != second->indicator)
        differ(c, "%.*s has another indicator in the other language", OG_STR_ARG(first->rule));
    if (strcmp(first->alert_id, second->alert_id) != 0)
        differ(c, "%.*s has the slot \"%.*s\" in one language and \"%.*s\" in the other",
               OG_STR_ARG(first->rule), OG_STR_ARG(first->slot), OG_STR_ARG(second->slot));
    if (og_str_eq(first->summary, second->summary) && words_of(first->summary) >= 2)
        same_text(c, first->rule, "summary", first->summary);
    og_str sentence = common_sentence(first->detail, second->detail);
    if (sentence.n != 0)
        same_text(c, first->rule, "detail", sentence);
    compare_evidence(c, first, second);
    compare_suggestions(c, first, second);
}

static const plan_card *card_of(const plan_result *r, og_str rule)
{
    for (size_t i = 0; i < r->card_count; i++)
        if (og_str_eq(r->cards[i].rule, rule))
            return &r->cards[i];
    return NULL;
}

void bilingual_compare(bilingual *b, og_arena *a, og_str case_id, const plan_result *first,
                       const plan_result *second, void (*tell)(void *ctx, const char *line),
                       void *ctx)
{
    comparison c = {b, a, case_id, tell, ctx};

    for (size_t i = 0; i < first->card_count; i++) {
        const plan_card *other = card_of(second, first->cards[i].rule);
        if (other == NULL)
            differ(&c, "%.*s has no card in the other language", OG_STR_ARG(first->cards[i].rule));
        else
            compare_cards(&c, &first->cards[i], other);
    }
    for (size_t i = 0; i < second->card_count; i++)
        if (card_of(first, second->cards[i].rule) == NULL)
            differ(&c, "%.*s has a card in the other language only",
                   OG_STR_ARG(second->cards[i].rule));
    for (size_t i = 0; i < second->outcome_count; i++) {
        const plan_outcome *o = &second->outcomes[i];
        char line[1400];
        og_error_format(&o->error, line, sizeof line);
        if (o->kind == PLAN_FAILED)
            differ(&c, "%.*s could not be evaluated in the other language: %s", OG_STR_ARG(o->rule),
                   line);
        if (o->note.n != 0)
            differ(&c, "%.*s in the other language: %.*s", OG_STR_ARG(o->rule),
                   OG_STR_ARG(o->note));
    }
}

unsigned bilingual_print(const bilingual *b, FILE *to)
{
    for (uint32_t i = 0; i < b->notes.count; i++) {
        const note *n = b->notes.entries[i].value;
        fprintf(to, "untranslated: %.*s", OG_STR_ARG(n->text));
        if (n->example.n != 0)
            fprintf(to, " (%.*s", OG_STR_ARG(n->example));
        if (n->example.n != 0 && n->count > 1)
            fprintf(to, " and %u more", n->count - 1);
        fputs(n->example.n != 0 ? ")\n" : "\n", to);
    }
    return b->notes.count;
}

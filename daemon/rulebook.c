/* The rule book is made of the files themselves, not of what was compiled: a commission signs what
 * stands in them. Of each rule its page says what it is for, when it fires (in words, and the CQL
 * beneath), with which thresholds and codes, what it says, what it means for other rules, and which
 * cases show it. Definitions and value sets that many rules use stand once, behind the rules; links
 * lead there. */
#include "daemon/rulebook.h"

#include <stdlib.h>

#include "daemon/book.h"
#include "daemon/cql_source.h"
#include "daemon/file.h"
#include "daemon/moment.h"
#include "daemon/patients.h"

#define MAX_FILE    ((size_t)64 << 20)
#define MAX_ARENA   ((size_t)1 << 30)
#define EXT         "https://osteoguard.org/fhir/StructureDefinition/"
#define TRANSLATION "http://hl7.org/fhir/StructureDefinition/translation"
#define RULE_SYSTEM "https://osteoguard.org/rule"
#define CASES_OPEN  12 /* a longer list is folded */

typedef struct document { /* a JSON file */
    const char *name;
    fhir_doc doc;
} document;

typedef struct documents {
    document *at;
    size_t count, cap;
} documents;

typedef struct sighting { /* a case that speaks of a rule */
    og_str rule, id, title, what;
    bool fires;
    fhir_elem top, variant; /* the case, whose card can serve as an example; absent for a guest */
} sighting;

typedef struct writer {
    const rulebook_options *o;
    og_arena *arena;
    book b;
    source_set sources;
    documents plans, sets, activities;
    sighting *sightings;
    size_t sighting_count, sighting_cap;
    source_item **reached; /* by the rule under way, in the order of reaching */
    size_t reached_count, reached_cap;
    bool failed;
} writer;

/* ---- reading ---- */

static og_status read_text(writer *w, const char *path, og_str *ret, og_error *err)
{
    og_buf b;

    og_buf_init(&b, MAX_FILE);
    og_status s = file_read(path, MAX_FILE, &b, err);
    if (s == OG_OK) {
        *ret = og_arena_str(w->arena, og_buf_str(&b));
        if (ret->p == NULL)
            s = og_fail(err, OG_NOMEM, "no memory for the rule book");
    }
    og_buf_done(&b);
    return s;
}

static og_status read_json(writer *w, const char *path, fhir_doc *ret, og_error *err)
{
    og_str text;
    og_status s = read_text(w, path, &text, err);

    if (s == OG_OK)
        s = fhir_decode(w->arena, text, NULL, ret, err);
    if (s != OG_OK)
        og_error_origin(err, path);
    return s;
}

static og_status add_document(writer *w, documents *list, const char *path, const char *name,
                              og_error *err)
{
    if (list->count == list->cap) {
        size_t cap = list->cap != 0 ? list->cap * 2 : 64;
        document *grown = og_arena_zalloc(w->arena, cap, sizeof *grown);
        if (grown == NULL)
            return og_fail(err, OG_NOMEM, "no memory for the rule book");
        for (size_t i = 0; i < list->count; i++)
            grown[i] = list->at[i];
        list->at = grown;
        list->cap = cap;
    }
    list->at[list->count].name = name;
    return read_json(w, path, &list->at[list->count++].doc, err);
}

static og_status add_library(writer *w, const char *path, og_error *err)
{
    og_str text;
    bool bad;
    og_status s = read_text(w, path, &text, err);

    if (s != OG_OK)
        return s;
    if (source_add(&w->sources, text, &bad))
        return OG_OK;
    og_fail(err, bad ? OG_SYNTAX : OG_NOMEM, "%s",
            bad ? "there is no library statement" : "no memory for the rule book");
    og_error_origin(err, path);
    return err->status;
}

static og_status read_folder(writer *w, og_error *err)
{
    const char *const *names;
    size_t count;
    char path[4096];
    og_status s = file_list(w->arena, w->o->content_dir, &names, &count, err);

    for (size_t i = 0; s == OG_OK && i < count; i++) {
        og_str n = og_str_of(names[i]);
        snprintf(path, sizeof path, "%s/%s", w->o->content_dir, names[i]);
        if (og_str_ends(n, OG_STR(".cql")))
            s = add_library(w, path, err);
        else if (!og_str_ends(n, OG_STR(".json")))
            continue;
        else if (og_str_starts(n, OG_STR("PlanDefinition-")))
            s = add_document(w, &w->plans, path, names[i], err);
        else if (og_str_starts(n, OG_STR("ValueSet-")))
            s = add_document(w, &w->sets, path, names[i], err);
        else if (og_str_starts(n, OG_STR("ActivityDefinition-")))
            s = add_document(w, &w->activities, path, names[i], err);
    }
    return s;
}

/* ---- elements ---- */

static og_str text_at(writer *w, fhir_elem object, const char *name)
{
    return fhir_string(w->arena, fhir_get(object, name));
}

static og_str german_at(writer *w, fhir_elem object, const char *name)
{
    char sibling[64];

    snprintf(sibling, sizeof sibling, "_%s", name);
    fhir_elem list = fhir_get(fhir_get(object, sibling), "extension");
    for (fhir_elem x = fhir_each_first(list); fhir_exists(x); x = fhir_each_next(list, x)) {
        fhir_elem parts = fhir_get(x, "extension");
        og_str lang = {0}, content = {0};
        for (fhir_elem p = fhir_each_first(parts); fhir_exists(p); p = fhir_each_next(parts, p)) {
            if (fhir_is(fhir_get(p, "url"), "lang"))
                lang = text_at(w, p, "valueCode");
            else if (fhir_is(fhir_get(p, "url"), "content"))
                content = fhir_string(w->arena, fhir_choice(p, "value", NULL));
        }
        if (og_str_starts(lang, OG_STR("de")) && fhir_is(fhir_get(x, "url"), TRANSLATION))
            return content;
    }
    return (og_str){0};
}

/* Both languages, a line each. */
static og_str both_at(writer *w, fhir_elem object, const char *name)
{
    og_str english = text_at(w, object, name), german = german_at(w, object, name);

    return german.n != 0
               ? og_arena_printf(w->arena, "%.*s\n%.*s", OG_STR_ARG(english), OG_STR_ARG(german))
               : english;
}

static og_str rule_id(writer *w, fhir_elem plan)
{
    fhir_elem list = fhir_get(plan, "identifier");
    for (fhir_elem i = fhir_each_first(list); fhir_exists(i); i = fhir_each_next(list, i))
        if (fhir_is(fhir_get(i, "system"), RULE_SYSTEM))
            return text_at(w, i, "value");
    return (og_str){0};
}

static fhir_elem plan_at(const writer *w, size_t i)
{
    return fhir_root(&w->plans.at[i].doc);
}

static bool mentions(writer *w, fhir_elem plan, const char *extension, og_str id)
{
    fhir_elem list = fhir_get(plan, "extension");
    for (fhir_elem x = fhir_each_first(list); fhir_exists(x); x = fhir_each_next(list, x))
        if (fhir_is(fhir_get(x, "url"), extension) && fhir_is_str(fhir_get(x, "valueCode"), id))
            return true;
    (void)w;
    return false;
}

static og_str joined(writer *w, og_str list, og_str item, const char *join)
{
    return list.n == 0
               ? item
               : og_arena_printf(w->arena, "%.*s%s%.*s", OG_STR_ARG(list), join, OG_STR_ARG(item));
}

static const char *anchor(writer *w, const char *kind, og_str name)
{
    og_str text = og_arena_printf(w->arena, "%s-%.*s", kind, OG_STR_ARG(name));
    return text.p != NULL ? text.p : "";
}

/* One line of a comment that may have several. */
static og_str one_line(writer *w, og_str s)
{
    char *p = og_arena_alloc(w->arena, s.n + 1);
    size_t n = 0;

    for (size_t i = 0; p != NULL && i < s.n; i++) {
        bool space = (unsigned char)s.p[i] <= ' ';
        if (!space || (n != 0 && p[n - 1] != ' '))
            p[n++] = space ? ' ' : s.p[i];
    }
    return (og_str){p, n};
}

static og_str after_slash(og_str url)
{
    for (size_t i = url.n; i-- > 0;)
        if (url.p[i] == '/')
            return og_str_from(url, i + 1);
    return url;
}

/* ---- definitions ---- */

/* The define that an expression of the rule names. */
static source_item *item_of(writer *w, fhir_elem plan, og_str name)
{
    fhir_elem list = fhir_get(plan, "library");
    ptrdiff_t dot = og_str_find(name, '.');

    for (fhir_elem l = fhir_each_first(list); fhir_exists(l); l = fhir_each_next(list, l)) {
        og_str library = after_slash(fhir_string(w->arena, l));
        ptrdiff_t bar = og_str_find(library, '|');
        if (bar >= 0)
            library.n = (size_t)bar;
        source_item *found = source_find(&w->sources, library, name);
        if (found == NULL && dot > 0 && og_str_eq(library, (og_str){name.p, (size_t)dot}))
            found = source_find(&w->sources, library, og_str_from(name, (size_t)dot + 1));
        if (found != NULL)
            return found;
    }
    return NULL;
}

static void reach(void *ctx, source_item *item)
{
    writer *w = ctx;

    if (item->seen)
        return;
    item->seen = true;
    if (w->reached_count == w->reached_cap) {
        size_t cap = w->reached_cap != 0 ? w->reached_cap * 2 : 256;
        source_item **grown =
            og_arena_grow(w->arena, w->reached, w->reached_cap * sizeof(source_item *),
                          cap * sizeof(source_item *));
        if (grown == NULL) {
            w->failed = true;
            return;
        }
        w->reached = grown;
        w->reached_cap = cap;
    }
    w->reached[w->reached_count++] = item;
    source_each_mention(&w->sources, item, reach, w);
}

static void forget_reached(writer *w)
{
    for (size_t i = 0; i < w->reached_count; i++)
        w->reached[i]->seen = false;
    w->reached_count = 0;
}

/* Everything that the expressions of an element name, at any depth. */
static void reach_expressions(writer *w, fhir_elem plan, fhir_elem e)
{
    bool object = fhir_kind_of(e) == FHIR_OBJECT;

    if (!object && fhir_kind_of(e) != FHIR_ARRAY)
        return;
    for (fhir_elem c = fhir_first(e); fhir_exists(c); c = fhir_next(e, c)) {
        if (object && og_str_is(fhir_key_of(c), "expression") && fhir_kind_of(c) == FHIR_STRING) {
            source_item *item = item_of(w, plan, fhir_string(w->arena, c));
            if (item != NULL)
                reach(w, item);
        } else {
            reach_expressions(w, plan, c);
        }
    }
}

static bool is_logic(const source_item *item)
{
    return item->kind == SOURCE_DEFINE || item->kind == SOURCE_FUNCTION;
}

/* A library that holds rules, not what they share. */
static bool is_of_rules(const source_library *l)
{
    return og_str_ends(l->name, OG_STR("Rules"));
}

static og_str with_comment(writer *w, const source_item *item)
{
    return item->comment.n != 0 ? og_arena_printf(w->arena, "/* %.*s */\n%.*s",
                                                  OG_STR_ARG(item->comment), OG_STR_ARG(item->text))
                                : item->text;
}

/* ---- parts of a rule's page ---- */

static void write_evidence(writer *w, fhir_elem plan)
{
    fhir_elem list = fhir_get(plan, "relatedArtifact");
    static const char *const heads[] = {"Source", "What it says", "Address", NULL};

    book_heading(&w->b, 2, OG_STR("Evidence"));
    book_table_begin(&w->b, heads);
    for (fhir_elem e = fhir_each_first(list); fhir_exists(e); e = fhir_each_next(list, e)) {
        og_str label = text_at(w, e, "label");
        book_row_begin(&w->b);
        book_cell(&w->b, label.n != 0 ? label : text_at(w, e, "display"));
        book_cell(&w->b, text_at(w, e, "citation"));
        book_cell(&w->b, text_at(w, e, "url"));
        book_row_end(&w->b);
    }
    book_table_end(&w->b);
}

static og_str trigger_words(writer *w, fhir_elem t)
{
    fhir_elem data = fhir_get(t, "data");
    og_str types = {0};

    if (fhir_is(fhir_get(t, "type"), "periodic"))
        return OG_STR("every day");
    if (fhir_is(fhir_get(t, "type"), "named-event"))
        return og_arena_printf(w->arena, "when the EHR calls %.*s",
                               OG_STR_ARG(text_at(w, t, "name")));
    for (fhir_elem d = fhir_each_first(data); fhir_exists(d); d = fhir_each_next(data, d))
        types = joined(w, types, text_at(w, d, "type"), ", ");
    return og_arena_printf(w->arena, "when one of these changes: %.*s", OG_STR_ARG(types));
}

static void write_trigger(writer *w, fhir_elem action)
{
    fhir_elem list = fhir_get(action, "trigger");
    og_str all = {0};

    for (fhir_elem t = fhir_each_first(list); fhir_exists(t); t = fhir_each_next(list, t))
        all = joined(w, all, trigger_words(w, t), "\n");
    book_field(&w->b, "Evaluated", all);
}

static void write_definition(writer *w, fhir_elem plan, fhir_elem expression)
{
    og_str name = text_at(w, expression, "expression");
    const source_item *item = item_of(w, plan, name);

    book_code(&w->b, NULL, item != NULL ? with_comment(w, item) : name);
}

static void write_conditions(writer *w, fhir_elem plan, fhir_elem action)
{
    fhir_elem list = fhir_get(action, "condition");
    unsigned number = 0;

    book_heading(&w->b, 2, OG_STR("Fires when all of this is true"));
    for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c)) {
        fhir_elem x = fhir_get(c, "expression");
        og_str words = text_at(w, x, "description");
        if (words.n == 0)
            words = text_at(w, x, "expression");
        book_heading(&w->b, 3, og_arena_printf(w->arena, "%u. %.*s", ++number, OG_STR_ARG(words)));
        book_quiet(&w->b, german_at(w, x, "description"));
        write_definition(w, plan, x);
    }
}

/* Definitions of the rules' own libraries that the conditions lead to, and links to shared ones. */
static void write_logic(writer *w, const source_item *const *shown, size_t shown_count)
{
    size_t own = 0, shared = 0;

    for (size_t i = 0; i < w->reached_count; i++) {
        const source_item *item = w->reached[i];
        bool above = false;
        for (size_t k = 0; k < shown_count; k++)
            above |= shown[k] == item;
        own += is_logic(item) && is_of_rules(item->library) && !above;
        shared += is_logic(item) && !is_of_rules(item->library);
    }
    if (own != 0) {
        book_fold_begin(
            &w->b,
            og_arena_printf(w->arena, "Definitions of this group that the rule uses (%zu)", own));
        for (size_t i = 0; i < w->reached_count; i++) {
            const source_item *item = w->reached[i];
            bool above = false;
            for (size_t k = 0; k < shown_count; k++)
                above |= shown[k] == item;
            if (is_logic(item) && is_of_rules(item->library) && !above)
                book_code(&w->b, NULL, with_comment(w, item));
        }
        book_fold_end(&w->b);
    }
    if (shared == 0)
        return;
    book_field(&w->b, "Shared definitions",
               og_arena_printf(w->arena, "%zu of those that stand behind the rules", shared));
    book_screen_begin(&w->b, OG_STR("Which"));
    book_links_begin(&w->b);
    for (size_t i = 0; i < w->reached_count; i++) {
        const source_item *item = w->reached[i];
        if (is_logic(item) && !is_of_rules(item->library))
            book_link(&w->b,
                      anchor(w, "def",
                             og_arena_printf(w->arena, "%.*s-%.*s", OG_STR_ARG(item->library->name),
                                             OG_STR_ARG(item->name))),
                      item->name, item->library->name);
    }
    book_links_end(&w->b);
    book_fold_end(&w->b);
}

/* What the site has set the parameter to; empty: its default holds. */
static og_str site_value(const writer *w, const source_item *p)
{
    for (size_t i = 0; i < w->o->setting_count; i++) {
        og_str name = og_str_of(w->o->settings[i].name);
        og_str library = p->library->name;
        if (og_str_starts(name, library) && name.n > library.n && name.p[library.n] == '.')
            name = og_str_from(name, library.n + 1);
        if (og_str_eq(name, p->name))
            return og_str_of(w->o->settings[i].value);
    }
    return (og_str){0};
}

static void write_threshold(writer *w, const source_item *p)
{
    og_str site = site_value(w, p), origin = one_line(w, p->comment);

    book_row_begin(&w->b);
    book_cell(&w->b, p->name);
    book_cell(&w->b, p->value);
    book_cell(&w->b, site.n != 0 ? site : OG_STR("\xe2\x80\x93"));
    book_cell(&w->b, joined(w, origin, p->note, p->note.n != 0 ? " \xe2\x80\x93 " : ""));
    book_row_end(&w->b);
}

/* Those of the rule's own group first, then those of shared definitions. */
static void write_thresholds(writer *w)
{
    static const char *const heads[] = {"Parameter", "Default", "This site", "Where it comes from",
                                        NULL};
    bool any = false;

    for (int shared = 0; shared < 2; shared++)
        for (size_t i = 0; i < w->reached_count; i++) {
            const source_item *p = w->reached[i];
            if (p->kind != SOURCE_PARAMETER || og_str_is(p->name, "Language") ||
                is_of_rules(p->library) == (shared == 1))
                continue;
            if (!any) {
                book_heading(&w->b, 2, OG_STR("Thresholds"));
                book_table_begin(&w->b, heads);
            }
            any = true;
            write_threshold(w, p);
        }
    if (any)
        book_table_end(&w->b);
}

static fhir_elem set_of(writer *w, og_str url)
{
    for (size_t i = 0; i < w->sets.count; i++)
        if (fhir_is_str(fhir_get(fhir_root(&w->sets.at[i].doc), "url"), url))
            return fhir_root(&w->sets.at[i].doc);
    return FHIR_ABSENT;
}

static size_t code_count(fhir_elem set)
{
    fhir_elem includes = fhir_path(set, "compose.include");
    size_t n = 0;

    for (fhir_elem x = fhir_each_first(includes); fhir_exists(x); x = fhir_each_next(includes, x))
        n += fhir_length(fhir_get(x, "concept"));
    return n;
}

static og_str title_of(writer *w, fhir_elem set)
{
    og_str title = text_at(w, set, "title");
    return title.n != 0 ? title : text_at(w, set, "name");
}

static void write_sets(writer *w)
{
    static const char *const heads[] = {"Value set", "Version", "Codes", "Description", NULL};
    bool any = false;

    for (size_t i = 0; i < w->reached_count; i++) {
        if (w->reached[i]->kind != SOURCE_VALUESET)
            continue;
        fhir_elem set = set_of(w, w->reached[i]->value);
        if (!any) {
            book_heading(&w->b, 2, OG_STR("Codes"));
            book_table_begin(&w->b, heads);
        }
        any = true;
        book_row_begin(&w->b);
        book_cell_link(&w->b, anchor(w, "set", after_slash(w->reached[i]->value)),
                       title_of(w, set));
        book_cell(&w->b, text_at(w, set, "version"));
        book_cell(&w->b, og_arena_printf(w->arena, "%zu", code_count(set)));
        book_cell(&w->b, text_at(w, set, "description"));
        book_row_end(&w->b);
    }
    if (any)
        book_table_end(&w->b);
}

/* ---- what the rule says ---- */

static og_str dynamic_at(writer *w, fhir_elem action, const char *path)
{
    fhir_elem list = fhir_get(action, "dynamicValue");

    for (fhir_elem d = fhir_each_first(list); fhir_exists(d); d = fhir_each_next(list, d)) {
        og_str at = text_at(w, d, "path");
        if (og_str_starts(at, OG_STR("action.")))
            at = og_str_from(at, 7);
        if (og_str_is(at, path))
            return text_at(w, fhir_get(d, "expression"), "expression");
    }
    return (og_str){0};
}

static void write_said(writer *w, fhir_elem plan, fhir_elem action, const char *label,
                       const char *element)
{
    og_str name = dynamic_at(w, action, element);
    const source_item *item = name.n != 0 ? item_of(w, plan, name) : NULL;

    book_heading(&w->b, 3, og_str_of(label));
    if (item != NULL)
        book_code(&w->b, NULL, with_comment(w, item));
    book_field(&w->b, item != NULL ? "If that is empty" : "Text", both_at(w, action, element));
}

static fhir_elem activity_of(writer *w, fhir_elem plan, og_str canonical)
{
    fhir_elem list = fhir_get(plan, "contained");
    ptrdiff_t bar = og_str_find(canonical, '|');

    if (canonical.n > 1 && canonical.p[0] == '#') {
        for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c))
            if (fhir_is_str(fhir_get(c, "id"), og_str_from(canonical, 1)))
                return c;
        return FHIR_ABSENT;
    }
    if (bar >= 0)
        canonical.n = (size_t)bar;
    for (size_t i = 0; i < w->activities.count; i++)
        if (fhir_is_str(fhir_get(fhir_root(&w->activities.at[i].doc), "url"), canonical))
            return fhir_root(&w->activities.at[i].doc);
    return FHIR_ABSENT;
}

/* "MedicationRequest: Zoledronic acid i.v.; i.v. over at least 15 min" */
static og_str draft_words(writer *w, fhir_elem plan, fhir_elem action)
{
    fhir_elem a = activity_of(w, plan, text_at(w, action, "definitionCanonical"));
    og_str what = text_at(w, fhir_get(a, "productCodeableConcept"), "text");

    if (!fhir_exists(a))
        return (og_str){0};
    if (what.n == 0)
        what = text_at(w, fhir_get(a, "code"), "text");
    if (what.n == 0)
        what = text_at(w, a, "title");
    og_str dose = text_at(w, fhir_each_first(fhir_get(a, "dosage")), "text");
    return og_arena_printf(w->arena, "%.*s: %.*s%s%.*s", OG_STR_ARG(text_at(w, a, "kind")),
                           OG_STR_ARG(what), dose.n != 0 ? "; " : "", OG_STR_ARG(dose));
}

static og_str when_words(writer *w, fhir_elem action)
{
    fhir_elem list = fhir_get(action, "condition");
    og_str all = {0};

    for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c)) {
        fhir_elem x = fhir_get(c, "expression");
        og_str words = text_at(w, x, "description");
        all = joined(w, all, words.n != 0 ? words : text_at(w, x, "expression"), "\n");
    }
    return all;
}

static void write_offer(writer *w, fhir_elem plan, fhir_elem action)
{
    fhir_elem parts = fhir_get(action, "action");
    og_str dynamic = dynamic_at(w, action, "title"), drafts = draft_words(w, plan, action);
    og_str label = both_at(w, action, "title");

    for (fhir_elem p = fhir_each_first(parts); fhir_exists(p); p = fhir_each_next(parts, p)) {
        og_str when = when_words(w, p), one = draft_words(w, plan, p);
        if (when.n != 0)
            one = og_arena_printf(w->arena, "%.*s (when %.*s)", OG_STR_ARG(one), OG_STR_ARG(when));
        drafts = joined(w, drafts, one, "\n");
    }
    book_row_begin(&w->b);
    book_cell(&w->b, dynamic.n != 0 ? og_arena_printf(w->arena, "%.*s\n(label: %.*s)",
                                                      OG_STR_ARG(label), OG_STR_ARG(dynamic))
                                    : label);
    book_cell(&w->b, when_words(w, action));
    book_cell(&w->b, drafts);
    book_row_end(&w->b);
}

/* The case's records, with what its variant puts and removes. */
static patients *people_of(writer *w, const sighting *s)
{
    patients *p = patients_new();
    fhir_elem out = fhir_get(s->variant, "remove"), in = fhir_get(s->variant, "put");

    if (p == NULL)
        return NULL;
    patients_add(p, fhir_raw(fhir_get(s->top, "bundle")), "", 1, NULL);
    for (fhir_elem e = fhir_first(out); fhir_exists(e); e = fhir_next(out, e))
        (void)patients_remove(p, fhir_string(w->arena, e));
    for (fhir_elem e = fhir_first(in); fhir_exists(e); e = fhir_next(in, e)) {
        fhir_resource r;
        if (fhir_resource_of(e, &r, NULL) == OG_OK && patients_put(p, &r, NULL) == OG_OK)
            continue;
        patients_free(p);
        return NULL; /* the case's fault, which `osteoguard test` tells */
    }
    return p;
}

/* The card of a case, as the content makes it. NULL: there is none. */
static const plan_card *card_of_case(writer *w, const plan_content *content, const sighting *s,
                                     const patients *people)
{
    og_str as_of = text_at(w, s->variant, "asOf"), named = text_at(w, s->top, "patient");
    plan_result result;
    moment at;
    plan_patient p = {.tenant = OG_STR("default")};
    size_t i = 0;

    if (!moment_parse(as_of.n != 0 ? as_of : text_at(w, s->top, "asOf"), false, &at))
        return NULL;
    while (i < patients_count(people) && named.n != 0 && !og_str_eq(patients_id(people, i), named))
        i++;
    if (i == patients_count(people) ||
        patients_view(people, i, w->arena, &p.resources, &p.resource_count, NULL) != OG_OK)
        return NULL;
    p.id = patients_id(people, i);
    if (plan_content_evaluate(content, w->arena, &p, at.ms, at.offset_min, PLAN_CARDS, &result,
                              NULL) != OG_OK)
        return NULL;
    for (i = 0; i < result.card_count; i++)
        if (og_str_eq(result.cards[i].rule, s->rule))
            return &result.cards[i];
    return NULL;
}

static void write_example_card(writer *w, const sighting *s, const patients *people,
                               const plan_content *content, const char *language)
{
    const plan_card *card = card_of_case(w, content, s, people);

    if (card == NULL)
        return;
    book_field(&w->b, language, card->summary);
    book_markdown(&w->b, card->detail);
}

/* The first case that shows the rule on a card of its own; variants only if there is no other. */
static const sighting *example_of(const writer *w, og_str id)
{
    const sighting *found = NULL;

    for (size_t i = 0; i < w->sighting_count; i++) {
        const sighting *s = &w->sightings[i];
        if (!og_str_eq(s->rule, id) || !fhir_exists(s->top))
            continue;
        if (!fhir_exists(s->variant))
            return s;
        found = found != NULL ? found : s;
    }
    return found;
}

/* What a card looks like that the rule really makes. */
static void write_example(writer *w, og_str id)
{
    const sighting *s = example_of(w, id);
    patients *people = s != NULL ? people_of(w, s) : NULL;

    if (people == NULL)
        return;
    book_heading(&w->b, 3,
                 og_arena_printf(w->arena, "For example, case %.*s: %.*s", OG_STR_ARG(s->id),
                                 OG_STR_ARG(s->title)));
    write_example_card(w, s, people, w->o->english, "English");
    write_example_card(w, s, people, w->o->german, "German");
    patients_free(people);
}

static void write_offers(writer *w, fhir_elem plan, fhir_elem action)
{
    static const char *const heads[] = {"Suggestion", "Offered when", "Drafts", NULL};
    fhir_elem list = fhir_get(action, "action");

    if (!fhir_exists(fhir_each_first(list)))
        return;
    book_heading(&w->b, 3, OG_STR("Suggestions"));
    if (fhir_is(fhir_get(action, "selectionBehavior"), "at-most-one"))
        book_text(&w->b, OG_STR("At most one of them can be taken."));
    book_table_begin(&w->b, heads);
    for (fhir_elem a = fhir_each_first(list); fhir_exists(a); a = fhir_each_next(list, a))
        write_offer(w, plan, a);
    book_table_end(&w->b);
}

static void write_reasons(writer *w, fhir_elem plan)
{
    static const char *const heads[] = {"Code", "English", "German", NULL};
    fhir_elem list = fhir_get(plan, "extension");
    bool any = false;

    for (fhir_elem x = fhir_each_first(list); fhir_exists(x); x = fhir_each_next(list, x)) {
        fhir_elem coding = fhir_get(x, "valueCoding");
        if (!fhir_is(fhir_get(x, "url"), EXT "override-reason"))
            continue;
        if (!any) {
            book_heading(&w->b, 3, OG_STR("Reasons for not following it"));
            book_table_begin(&w->b, heads);
        }
        any = true;
        book_row_begin(&w->b);
        book_cell(&w->b, text_at(w, coding, "code"));
        book_cell(&w->b, text_at(w, coding, "display"));
        book_cell(&w->b, german_at(w, coding, "display"));
        book_row_end(&w->b);
    }
    if (any)
        book_table_end(&w->b);
}

static og_str indicator_words(writer *w, fhir_elem action)
{
    fhir_elem p = fhir_get(action, "priority");
    og_str dynamic = dynamic_at(w, action, "priority");
    const char *word = fhir_is(p, "stat")                           ? "critical"
                       : fhir_is(p, "urgent") || fhir_is(p, "asap") ? "warning"
                                                                    : "info";

    return dynamic.n != 0
               ? og_arena_printf(w->arena, "as %.*s says, else %s", OG_STR_ARG(dynamic), word)
               : og_str_of(word);
}

/* ---- the rule among others ---- */

static og_str mentioned(writer *w, fhir_elem plan, const char *extension)
{
    fhir_elem list = fhir_get(plan, "extension");
    og_str all = {0};

    for (fhir_elem x = fhir_each_first(list); fhir_exists(x); x = fhir_each_next(list, x))
        if (fhir_is(fhir_get(x, "url"), extension)) {
            fhir_elem set = set_of(w, text_at(w, x, "valueCanonical"));
            all = joined(w, all, fhir_exists(set) ? title_of(w, set) : text_at(w, x, "valueCode"),
                         ", ");
        }
    return all;
}

static og_str mentioned_by(writer *w, og_str id, const char *extension)
{
    og_str all = {0};
    for (size_t i = 0; i < w->plans.count; i++)
        if (mentions(w, plan_at(w, i), extension, id))
            all = joined(w, all, rule_id(w, plan_at(w, i)), ", ");
    return all;
}

static void write_relations(writer *w, fhir_elem plan, og_str id)
{
    og_str suppresses = mentioned(w, plan, EXT "suppresses");
    og_str suppressed = mentioned_by(w, id, EXT "suppresses");
    og_str into = mentioned(w, plan, EXT "merge-into");
    og_str guests = mentioned_by(w, id, EXT "merge-into");
    og_str forbids = mentioned(w, plan, EXT "forbids");

    if (suppresses.n + suppressed.n + into.n + guests.n + forbids.n == 0)
        return;
    book_heading(&w->b, 2, OG_STR("Among the other rules"));
    book_field(&w->b, "Takes the place of", suppresses);
    book_field(&w->b, "Gives way to", suppressed);
    book_field(&w->b, "Stands on the card of", into);
    book_field(&w->b, "Takes onto its card", guests);
    book_field(&w->b, "No card then offers", forbids);
}

/* ---- cases ---- */

static void add_sighting(writer *w, sighting s)
{
    if (w->sighting_count == w->sighting_cap) {
        size_t cap = w->sighting_cap != 0 ? w->sighting_cap * 2 : 1024;
        sighting *grown = og_arena_grow(w->arena, w->sightings, w->sighting_cap * sizeof *grown,
                                        cap * sizeof *grown);
        if (grown == NULL) {
            w->failed = true;
            return;
        }
        w->sightings = grown;
        w->sighting_cap = cap;
    }
    w->sightings[w->sighting_count++] = s;
}

static void read_case(writer *w, fhir_elem top, fhir_elem variant)
{
    fhir_elem c = fhir_exists(variant) ? variant : top;
    fhir_elem expect = fhir_get(c, "expect"), absent = fhir_get(c, "absent");
    sighting s = {.id = text_at(w, c, "id"),
                  .title = text_at(w, c, "title"),
                  .top = FHIR_ABSENT,
                  .variant = FHIR_ABSENT};

    for (fhir_elem e = fhir_first(expect); fhir_exists(e); e = fhir_next(expect, e)) {
        fhir_elem guests = fhir_get(e, "merges");
        og_str how = text_at(w, e, "indicator");
        s.rule = text_at(w, e, "rule");
        s.fires = true;
        s.top = top;
        s.variant = variant;
        s.what = how.n != 0 ? og_arena_printf(w->arena, "fires, %.*s", OG_STR_ARG(how))
                            : OG_STR("fires");
        add_sighting(w, s);
        s.top = FHIR_ABSENT;
        s.what = og_arena_printf(w->arena, "fires, on the card of %.*s", OG_STR_ARG(s.rule));
        for (fhir_elem g = fhir_first(guests); fhir_exists(g); g = fhir_next(guests, g)) {
            s.rule = fhir_string(w->arena, g);
            add_sighting(w, s);
        }
    }
    s.fires = false;
    s.what = OG_STR("does not fire");
    for (fhir_elem a = fhir_first(absent); fhir_exists(a); a = fhir_next(absent, a)) {
        s.rule = fhir_string(w->arena, a);
        add_sighting(w, s);
    }
}

static og_status read_cases(writer *w, og_error *err)
{
    char dir[4096], path[8192];
    const char *const *names;
    size_t count = 0;

    snprintf(dir, sizeof dir, "%s/cases", w->o->content_dir);
    if (!file_is_dir(dir))
        return OG_OK;
    og_status s = file_list(w->arena, dir, &names, &count, err);
    for (size_t i = 0; s == OG_OK && i < count; i++) {
        if (!og_str_ends(og_str_of(names[i]), OG_STR(".json")))
            continue;
        fhir_doc *doc = og_arena_zalloc(w->arena, 1, sizeof *doc);
        if (doc == NULL)
            return og_fail(err, OG_NOMEM, "no memory for the rule book");
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        s = read_json(w, path, doc, err);
        if (s != OG_OK)
            break;
        fhir_elem top = fhir_root(doc), variants = fhir_get(top, "variants");
        read_case(w, top, FHIR_ABSENT);
        for (fhir_elem v = fhir_each_first(variants); fhir_exists(v);
             v = fhir_each_next(variants, v))
            read_case(w, top, v);
    }
    return s;
}

static size_t count_sightings(const writer *w, og_str id, bool fires)
{
    size_t n = 0;
    for (size_t i = 0; i < w->sighting_count; i++)
        n += og_str_eq(w->sightings[i].rule, id) && w->sightings[i].fires == fires;
    return n;
}

static void write_sightings(writer *w, og_str id, bool fires)
{
    static const char *const heads[] = {"Case", "Title", "The rule", NULL};

    book_table_begin(&w->b, heads);
    for (size_t i = 0; i < w->sighting_count; i++) {
        const sighting *s = &w->sightings[i];
        if (!og_str_eq(s->rule, id) || s->fires != fires)
            continue;
        book_row_begin(&w->b);
        book_cell(&w->b, s->id);
        book_cell(&w->b, s->title);
        book_cell(&w->b, s->what);
        book_row_end(&w->b);
    }
    book_table_end(&w->b);
}

/* Paper has those that fire; of the others a long list is for the screen. */
static void write_cases(writer *w, og_str id)
{
    size_t fires = count_sightings(w, id, true), silent = count_sightings(w, id, false);

    book_heading(&w->b, 2, OG_STR("Cases that show it"));
    book_text(&w->b,
              og_arena_printf(w->arena, "It fires in %zu, and must not in %zu.", fires, silent));
    if (fires > CASES_OPEN)
        book_fold_begin(&w->b, OG_STR("Where it fires"));
    if (fires != 0)
        write_sightings(w, id, true);
    if (fires > CASES_OPEN)
        book_fold_end(&w->b);
    if (silent > CASES_OPEN)
        book_screen_begin(&w->b, OG_STR("Where it must not fire"));
    if (silent != 0)
        write_sightings(w, id, false);
    if (silent > CASES_OPEN)
        book_fold_end(&w->b);
}

/* ---- a rule ---- */

static bool is_for_worklist(fhir_elem plan)
{
    fhir_elem list = fhir_get(plan, "useContext");
    for (fhir_elem u = fhir_each_first(list); fhir_exists(u); u = fhir_each_next(list, u)) {
        fhir_elem codings = fhir_path(u, "valueCodeableConcept.coding");
        for (fhir_elem c = fhir_each_first(codings); fhir_exists(c); c = fhir_each_next(codings, c))
            if (fhir_is(fhir_get(c, "code"), "worklist"))
                return true;
    }
    return false;
}

static bool is_disabled(const writer *w, og_str id)
{
    for (size_t i = 0; i < w->o->disabled_count; i++)
        if (og_str_is(id, w->o->disabled[i]))
            return true;
    return false;
}

/* The definitions that stand on the page already: those of the conditions and of the texts. */
static size_t shown_items(writer *w, fhir_elem plan, fhir_elem action, const source_item **shown,
                          size_t cap)
{
    static const char *const texts[] = {"title", "description"};
    fhir_elem list = fhir_get(action, "condition");
    size_t n = 0;

    for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c)) {
        const source_item *item =
            item_of(w, plan, text_at(w, fhir_get(c, "expression"), "expression"));
        if (item != NULL && n < cap)
            shown[n++] = item;
    }
    for (size_t i = 0; i < 2; i++) {
        const source_item *item = item_of(w, plan, dynamic_at(w, action, texts[i]));
        if (item != NULL && n < cap)
            shown[n++] = item;
    }
    return n;
}

static void write_rule(writer *w, fhir_elem plan)
{
    const source_item *shown[128];
    og_str id = rule_id(w, plan), status = text_at(w, plan, "status");
    fhir_elem action = fhir_each_first(fhir_get(plan, "action"));
    size_t shown_count = shown_items(w, plan, action, shown, sizeof shown / sizeof *shown);

    reach_expressions(w, plan, action);
    book_page(&w->b, anchor(w, "rule", id),
              og_arena_printf(w->arena, "%.*s  %.*s", OG_STR_ARG(id),
                              OG_STR_ARG(text_at(w, plan, "title"))));
    book_quiet(&w->b, german_at(w, plan, "title"));
    book_field(
        &w->b, "Status",
        og_arena_printf(w->arena, "%.*s, version %.*s%s%s", OG_STR_ARG(status),
                        OG_STR_ARG(text_at(w, plan, "version")),
                        is_for_worklist(plan) ? ", for the worklist: it interrupts nobody" : "",
                        is_disabled(w, id) ? ", SWITCHED OFF at this site" : ""));
    book_field(&w->b, "Purpose", text_at(w, plan, "purpose"));
    book_field(&w->b, "What it looks for", text_at(w, plan, "description"));
    book_field(&w->b, "In use", text_at(w, plan, "usage"));
    book_field(&w->b, "Weight", indicator_words(w, action));
    write_trigger(w, action);
    write_relations(w, plan, id);
    write_evidence(w, plan);
    write_conditions(w, plan, action);
    write_logic(w, shown, shown_count);
    write_thresholds(w);
    book_heading(&w->b, 2, OG_STR("What the card says"));
    write_example(w, id);
    write_said(w, plan, action, "Summary", "title");
    write_said(w, plan, action, "Detail", "description");
    write_offers(w, plan, action);
    write_reasons(w, plan);
    write_sets(w);
    write_cases(w, id);
    book_signatures(&w->b);
    book_page_end(&w->b);
    forget_reached(w);
}

/* ---- the front, and what stands behind the rules ---- */

static const source_library *group_of(writer *w, fhir_elem plan)
{
    fhir_elem list = fhir_get(plan, "library");
    for (fhir_elem l = fhir_each_first(list); fhir_exists(l); l = fhir_each_next(list, l)) {
        og_str name = after_slash(fhir_string(w->arena, l));
        for (size_t i = 0; i < w->sources.count; i++)
            if (og_str_eq(w->sources.libraries[i].name, name) &&
                is_of_rules(&w->sources.libraries[i]))
                return &w->sources.libraries[i];
    }
    return NULL;
}

/* The first sentence of the library's comment is the heading. */
static void write_group(writer *w, const source_library *group)
{
    og_str comment = group != NULL ? one_line(w, group->comment) : OG_STR("Other rules");
    ptrdiff_t dot = og_str_find(comment, '.');

    book_heading(&w->b, 3, dot > 0 ? (og_str){comment.p, (size_t)dot} : comment);
    if (dot > 0)
        book_quiet(&w->b, one_line(w, og_str_from(comment, (size_t)dot + 1)));
}

static void write_contents(writer *w)
{
    const source_library *group = NULL;

    for (size_t i = 0; i < w->plans.count; i++) {
        fhir_elem plan = plan_at(w, i);
        const source_library *mine = group_of(w, plan);
        if (i == 0 || mine != group) {
            if (i != 0)
                book_links_end(&w->b);
            write_group(w, mine);
            book_links_begin(&w->b);
            group = mine;
        }
        og_str id = rule_id(w, plan);
        book_link(&w->b, anchor(w, "rule", id),
                  og_arena_printf(w->arena, "%.*s  %.*s", OG_STR_ARG(id),
                                  OG_STR_ARG(text_at(w, plan, "title"))),
                  text_at(w, plan, "status"));
    }
    if (w->plans.count != 0)
        book_links_end(&w->b);
    book_links_begin(&w->b);
    book_link(&w->b, "shared", OG_STR("Shared definitions"), (og_str){0});
    book_link(&w->b, "sets", OG_STR("Value sets"), (og_str){0});
    book_links_end(&w->b);
}

static void write_settings(writer *w)
{
    static const char *const heads[] = {"Parameter", "This site", NULL};

    if (w->o->setting_count == 0)
        return;
    book_heading(&w->b, 2, OG_STR("What this site has set"));
    book_table_begin(&w->b, heads);
    for (size_t i = 0; i < w->o->setting_count; i++) {
        book_row_begin(&w->b);
        book_cell(&w->b, og_str_of(w->o->settings[i].name));
        book_cell(&w->b, og_str_of(w->o->settings[i].value));
        book_row_end(&w->b);
    }
    book_table_end(&w->b);
}

static void write_front(writer *w)
{
    book_page(&w->b, "front", OG_STR("Rule book"));
    book_text(&w->b,
              OG_STR("Rules for osteoprotection in cancer with bone involvement: what each of "
                     "them looks for, on which evidence, with which thresholds and codes, what "
                     "it says, and which cases show it."));
    book_field(&w->b, "Rules", og_arena_printf(w->arena, "%zu", w->plans.count));
    book_field(&w->b, "Content", og_str_of(w->o->digest));
    book_quiet(&w->b, OG_STR("This fingerprint stands with every alert that the content makes. "
                             "Another one is another rule book."));
    write_settings(w);
    book_heading(&w->b, 2, OG_STR("Contents"));
    write_contents(w);
    book_page_end(&w->b);
}

static void write_shared(writer *w)
{
    book_page(&w->b, "shared", OG_STR("Shared definitions"));
    book_text(&w->b, OG_STR("Each stands here once and means the same in every rule."));
    for (size_t i = 0; i < w->sources.count; i++) {
        const source_library *l = &w->sources.libraries[i];
        size_t shown = 0;
        for (size_t k = 0; k < l->count && !is_of_rules(l); k++)
            shown += is_logic(&l->items[k]) && !og_str_is(l->name, "FHIRHelpers");
        if (shown == 0)
            continue;
        book_heading(&w->b, 2, l->name);
        book_quiet(&w->b, one_line(w, l->comment));
        for (size_t k = 0; k < l->count; k++) {
            const source_item *item = &l->items[k];
            if (is_logic(item))
                book_code(&w->b,
                          anchor(w, "def",
                                 og_arena_printf(w->arena, "%.*s-%.*s", OG_STR_ARG(l->name),
                                                 OG_STR_ARG(item->name))),
                          with_comment(w, item));
        }
    }
    book_page_end(&w->b);
}

static og_str source_of(writer *w, fhir_elem concept)
{
    fhir_elem list = fhir_get(concept, "extension");
    for (fhir_elem x = fhir_each_first(list); fhir_exists(x); x = fhir_each_next(list, x))
        if (fhir_is(fhir_get(x, "url"), EXT "code-source"))
            return text_at(w, x, "valueString");
    return (og_str){0};
}

/* The name that people know a code system by. */
static og_str system_words(og_str url)
{
    static const char *const names[][2] = {
        {"http://snomed.info/sct", "SNOMED CT"},
        {"http://loinc.org", "LOINC"},
        {"http://www.whocc.no/atc", "ATC (WHO)"},
        {"http://fhir.de/CodeSystem/bfarm/atc", "ATC (BfArM)"},
        {"http://www.nlm.nih.gov/research/umls/rxnorm", "RxNorm"},
        {"http://hl7.org/fhir/sid/icd-10", "ICD-10 (WHO)"},
        {"http://hl7.org/fhir/sid/icd-10-cm", "ICD-10-CM"},
        {"http://fhir.de/CodeSystem/bfarm/icd-10-gm", "ICD-10-GM"},
        {"http://fhir.de/CodeSystem/bfarm/ops", "OPS"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (og_str_is(url, names[i][0]))
            return og_str_of(names[i][1]);
    return url;
}

static void write_set(writer *w, fhir_elem set)
{
    static const char *const heads[] = {"System", "Code", "Meaning", "Verified in", NULL};
    fhir_elem includes = fhir_path(set, "compose.include");

    book_heading(&w->b, 2, title_of(w, set));
    book_text(&w->b, text_at(w, set, "description"));
    book_quiet(&w->b,
               og_arena_printf(w->arena, "%.*s, version %.*s", OG_STR_ARG(text_at(w, set, "url")),
                               OG_STR_ARG(text_at(w, set, "version"))));
    book_table_begin(&w->b, heads);
    for (fhir_elem x = fhir_each_first(includes); fhir_exists(x); x = fhir_each_next(includes, x)) {
        fhir_elem list = fhir_get(x, "concept"), sets = fhir_get(x, "valueSet");
        for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c)) {
            book_row_begin(&w->b);
            book_cell(&w->b, system_words(text_at(w, x, "system")));
            book_cell(&w->b, text_at(w, c, "code"));
            book_cell(&w->b, text_at(w, c, "display"));
            book_cell(&w->b, source_of(w, c));
            book_row_end(&w->b);
        }
        for (fhir_elem s = fhir_each_first(sets); fhir_exists(s); s = fhir_each_next(sets, s)) {
            og_str url = fhir_string(w->arena, s);
            book_row_begin(&w->b);
            book_cell(&w->b, OG_STR("all codes of"));
            book_cell_link(&w->b, anchor(w, "set", after_slash(url)), title_of(w, set_of(w, url)));
            book_cell(&w->b, OG_STR(""));
            book_cell(&w->b, OG_STR(""));
            book_row_end(&w->b);
        }
    }
    book_table_end(&w->b);
}

static void write_all_sets(writer *w)
{
    book_page(&w->b, "sets", OG_STR("Value sets"));
    for (size_t i = 0; i < w->sets.count; i++) {
        fhir_elem set = fhir_root(&w->sets.at[i].doc);
        book_anchor(&w->b, anchor(w, "set", after_slash(text_at(w, set, "url"))));
        write_set(w, set);
    }
    book_page_end(&w->b);
}

og_status rulebook_write(const rulebook_options *o, og_buf *out, og_error *err)
{
    writer w = {.o = o, .b = {.out = out, .html = o->html}};
    og_status s;

    w.arena = og_arena_new(MAX_ARENA);
    if (w.arena == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the rule book");
    w.sources.arena = w.arena;
    s = read_folder(&w, err);
    if (s == OG_OK)
        s = read_cases(&w, err);
    if (s == OG_OK) {
        book_begin(&w.b, OG_STR("Rule book"));
        write_front(&w);
        for (size_t i = 0; i < w.plans.count; i++)
            write_rule(&w, plan_at(&w, i));
        write_shared(&w);
        write_all_sets(&w);
        book_end(&w.b);
        if (w.failed || og_arena_failed(w.arena) || og_buf_failed(out))
            s = og_fail(err, OG_NOMEM, "no memory for the rule book");
    }
    og_arena_free(w.arena);
    return s;
}

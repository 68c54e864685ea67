/* What a condition rests on, for people who do not read CQL: the values that it names, and the
 * records that these come from, in words.
 *
 * A condition mentions definitions. Those that say yes or no are followed to what they mention in
 * turn; the first one that is something else (a number, a date, a dose, a list of findings) is a
 * fact and is told, also when it stands in the rows of a query: it is the same for all of them. How
 * a fact came about is not told: that stands in the tree of explain.c. */
#include "rules/plan/plan_private.h"

#include <stdlib.h>

#define MAX_FACTS  12
#define MAX_LEVEL  5              /* definitions that say yes or no, below a condition */
#define MAX_FIELDS 6              /* of a tuple that no convention describes */
#define MAX_ITEMS  4              /* of a list of plain values */
#define MAX_SHOWN  160            /* bytes of one text */
#define NOTHING    "\xe2\x80\x93" /* null: there is none, or it is not known; CQL does not say */

typedef struct telling {
    plan__eval *eval;
    og_arena *arena;
    og_buf *out;
    og_table seen;  /* definitions and parameters of this condition */
    og_table named; /* records that stand among the facts */
    size_t count;
} telling;

static const char *word(const plan__eval *e, const char *english, const char *german)
{
    return og_str_starts(e->content->language, OG_STR("de")) ? german : english;
}

/* ---- records in words ---- */

static void add_part(og_buf *b, const char *join, og_str s)
{
    if (s.n == 0)
        return;
    if (b->n != 0)
        og_buf_addz(b, join);
    if (s.n > MAX_SHOWN) {
        s.n = MAX_SHOWN;
        while (s.n != 0 && ((unsigned char)s.p[s.n] & 0xC0) == 0x80)
            s.n--;
        og_buf_adds(b, s);
        og_buf_addz(b, "\xe2\x80\xa6");
        return;
    }
    og_buf_adds(b, s);
}

static og_str taken(og_arena *a, og_buf *b)
{
    og_str text = og_buf_failed(b) ? (og_str){0} : og_arena_str(a, og_buf_str(b));
    og_buf_done(b);
    return text;
}

/* "https://…/ValueSet/CalciumTotal" is called Calcium Total. */
static og_str set_words(og_arena *a, const fhir_valueset *set)
{
    og_str url = fhir_valueset_url(set);
    og_buf b;

    for (size_t i = url.n; i-- > 0;)
        if (url.p[i] == '/') {
            url = og_str_from(url, i + 1);
            break;
        }
    og_buf_init(&b, 512);
    for (size_t i = 0; i < url.n; i++) {
        if (i > 0 && url.p[i] >= 'A' && url.p[i] <= 'Z' && url.p[i - 1] >= 'a')
            og_buf_addc(&b, ' ');
        og_buf_addc(&b, url.p[i]);
    }
    return taken(a, &b);
}

/* What a value set calls a code of its own; else it gives its name. */
static og_str display_in(og_arena *a, const fhir_valueset *set, og_str code)
{
    for (size_t n = 0; n < fhir_valueset_count(set); n++) {
        og_str its_system, its_code, display;
        fhir_valueset_code(set, n, &its_system, &its_code, &display);
        if (display.n != 0 && og_str_eq(its_code, code))
            return display;
    }
    return set_words(a, set);
}

/* What the value sets of the rules call a code; empty when none has it. */
static og_str display_of(const plan__eval *e, og_arena *a, og_str system, og_str code)
{
    const og_table *wants = &e->content->wants;

    for (uint32_t i = 0; system.n != 0 && i < wants->count; i++) {
        const plan__want *w = wants->entries[i].value;
        for (const plan__filter *f = w->filters; f != NULL; f = f->next)
            for (size_t k = 0; k < f->part_count; k++)
                if (f->parts[k]->valueset != NULL &&
                    fhir_valueset_has(f->parts[k]->valueset, system, code))
                    return display_in(a, f->parts[k]->valueset, code);
    }
    return (og_str){0};
}

static og_str concept_words(const plan__eval *e, og_arena *a, fhir_elem concept)
{
    fhir_elem list = fhir_get(concept, "coding");
    og_str text = fhir_string(a, fhir_get(concept, "text"));

    for (fhir_elem c = fhir_each_first(list); text.n == 0 && fhir_exists(c);
         c = fhir_each_next(list, c))
        text = fhir_string(a, fhir_get(c, "display"));
    for (fhir_elem c = fhir_each_first(list); text.n == 0 && fhir_exists(c);
         c = fhir_each_next(list, c))
        text = display_of(e, a, fhir_string(a, fhir_get(c, "system")),
                          fhir_string(a, fhir_get(c, "code")));
    if (text.n == 0)
        text = fhir_string(a, fhir_get(fhir_each_first(list), "code"));
    return text;
}

static const fhir_resource *resource_of(const plan__eval *e, og_str reference)
{
    const cql_request *q = &e->request;
    for (size_t i = 0; i < q->resource_count; i++) {
        const fhir_resource *r = &q->resources[i];
        if (r->id.n != 0 && reference.n == r->type.n + 1 + r->id.n &&
            og_str_starts(reference, r->type) && reference.p[r->type.n] == '/' &&
            og_str_ends(reference, r->id))
            return r;
    }
    return NULL;
}

static og_str medicine_words(const plan__eval *e, og_arena *a, fhir_elem root)
{
    fhir_elem reference = fhir_get(root, "medicationReference");
    og_str named = fhir_string(a, fhir_get(reference, "reference"));
    const fhir_resource *r = resource_of(e, named);
    fhir_elem contained = fhir_get(root, "contained");

    for (fhir_elem c = fhir_each_first(contained); named.n > 1 && fhir_exists(c);
         c = fhir_each_next(contained, c))
        if (named.p[0] == '#' && fhir_is_str(fhir_get(c, "id"), og_str_from(named, 1)))
            return concept_words(e, a, fhir_get(c, "code"));
    if (r != NULL)
        return concept_words(e, a, fhir_get(r->root, "code"));
    return fhir_string(a, fhir_get(reference, "display"));
}

static og_str quantity_words(og_arena *a, fhir_elem q)
{
    fhir_elem value = fhir_get(q, "value");
    og_str unit = fhir_string(a, fhir_get(q, "unit"));

    if (!fhir_exists(value))
        return (og_str){0};
    if (unit.n == 0)
        unit = fhir_string(a, fhir_get(q, "code"));
    return og_arena_printf(a, "%.*s%.*s%s%.*s",
                           OG_STR_ARG(fhir_string(a, fhir_get(q, "comparator"))),
                           OG_STR_ARG(fhir_raw(value)), unit.n != 0 ? " " : "", OG_STR_ARG(unit));
}

static og_str value_words(const plan__eval *e, og_arena *a, fhir_elem root)
{
    og_str type = {0};
    fhir_elem value = fhir_choice(root, "value", &type);

    if (og_str_is(type, "Quantity"))
        return quantity_words(a, value);
    if (og_str_is(type, "CodeableConcept"))
        return concept_words(e, a, value);
    return fhir_kind_of(value) == FHIR_OBJECT || !fhir_exists(value) ? (og_str){0}
           : fhir_kind_of(value) == FHIR_NUMBER                      ? fhir_raw(value)
                                                                     : fhir_string(a, value);
}

static og_str dose_words(og_arena *a, fhir_elem root)
{
    static const char *const lists[] = {"dosage", "dosageInstruction"};

    for (size_t i = 0; i < 2; i++) {
        fhir_elem dosage = fhir_each_first(fhir_get(root, lists[i]));
        og_str dose = quantity_words(a, fhir_get(dosage, "dose"));
        fhir_elem rate = fhir_each_first(fhir_get(dosage, "doseAndRate"));
        if (dose.n == 0)
            dose = quantity_words(a, fhir_get(rate, "doseQuantity"));
        if (dose.n != 0)
            return dose;
    }
    return (og_str){0};
}

/* The day or moment of a record, as it is written. */
static og_str date_words(og_arena *a, fhir_elem root)
{
    static const char *const choices[] = {"effective", "performed", "onset", "occurrence"};
    static const char *const plain[] = {"authoredOn", "recordedDate", "issued", "dateAsserted"};

    for (size_t i = 0; i < 4; i++) {
        og_str type;
        fhir_elem e = fhir_choice(root, choices[i], &type);
        if (fhir_kind_of(e) == FHIR_OBJECT) {
            og_str start = fhir_string(a, fhir_get(e, "start"));
            og_str end = fhir_string(a, fhir_get(e, "end"));
            if (start.n != 0 || end.n != 0)
                return og_arena_printf(a, "%.*s \xe2\x80\x93 %.*s", OG_STR_ARG(start),
                                       OG_STR_ARG(end));
        } else if (fhir_exists(e)) {
            return fhir_string(a, e);
        }
    }
    for (size_t i = 0; i < 4; i++)
        if (fhir_exists(fhir_get(root, plain[i])))
            return fhir_string(a, fhir_get(root, plain[i]));
    return (og_str){0};
}

/* A status that says more than that the record holds. */
static og_str status_words(const plan__eval *e, og_arena *a, fhir_elem root)
{
    static const char *const plain[] = {"final", "completed", "active", "confirmed"};
    og_str status = fhir_string(a, fhir_get(root, "status"));

    if (status.n == 0)
        status = concept_words(e, a, fhir_get(root, "clinicalStatus"));
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (og_str_is(status, plain[i]))
            return (og_str){0};
    return status;
}

og_str plan__record_words(const plan__eval *e, og_arena *a, const fhir_resource *r)
{
    og_buf b;
    og_str name = concept_words(e, a, fhir_get(r->root, "code"));

    if (name.n == 0)
        name = concept_words(e, a, fhir_get(r->root, "medicationCodeableConcept"));
    if (name.n == 0)
        name = medicine_words(e, a, r->root);
    og_buf_init(&b, 4096);
    add_part(&b, "", name);
    add_part(&b, " ", value_words(e, a, r->root));
    add_part(&b, " ", dose_words(a, r->root));
    add_part(&b, ", ", status_words(e, a, r->root));
    add_part(&b, ", ", date_words(a, r->root));
    return taken(a, &b);
}

/* ---- values in words ---- */

static og_str plain_words(const plan__eval *e, og_arena *a, cql_value v)
{
    og_str text = {0};

    switch ((cql_kind)v.kind) {
    case CQL_NULL: return OG_STR(NOTHING);
    case CQL_BOOLEAN: return og_str_of(v.boolean ? word(e, "yes", "ja") : word(e, "no", "nein"));
    case CQL_QUANTITY:
        return og_arena_printf(
            a, "%.*s %.*s",
            OG_STR_ARG(plain_words(e, a, cql_decimal(v.quantity->value, v.quantity->scale))),
            OG_STR_ARG(v.quantity->unit));
    case CQL_CODE: return v.code->display.n != 0 ? v.code->display : v.code->code;
    case CQL_CONCEPT:
        if (v.concept->display.n != 0 || v.concept->count == 0)
        return v.concept
        ->display;
        return v.concept->codes[0].display.n != 0 ? v.concept->codes[0].display
                                                  : v.concept->codes[0].code;
    default: plan__value_text(a, v, &text); return text;
    }
}

static bool is_plain(cql_value v)
{
    return v.kind != CQL_LIST && v.kind != CQL_TUPLE && v.kind != CQL_ELEMENT &&
           v.kind != CQL_INTERVAL && v.kind != CQL_RATIO && v.kind != CQL_VALUESET &&
           v.kind != CQL_CODESYSTEM;
}

static cql_value field(cql_value tuple, const char *name)
{
    for (size_t i = 0; tuple.kind == CQL_TUPLE && i < tuple.tuple->count; i++)
        if (og_str_is(tuple.tuple->names[i], name))
            return tuple.tuple->items[i];
    return CQL_NULL_VALUE;
}

/* The first of the fields that has a value; names ends with NULL. */
static og_str first_field(const plan__eval *e, og_arena *a, cql_value tuple,
                          const char *const *names)
{
    for (; *names != NULL; names++) {
        cql_value v = field(tuple, *names);
        if (!cql_is_null(v) && is_plain(v))
            return plain_words(e, a, v);
    }
    return (og_str){0};
}

static og_str day_of(const plan__eval *e, og_arena *a, cql_value v)
{
    static const char *const days[] = {"date",   "written", "stopped", "measured", "day",
                                       "latest", "at",      "last",    NULL};
    if (v.kind == CQL_ELEMENT && v.element->resource != NULL)
        return date_words(a, v.element->resource->root);
    return first_field(e, a, v, days);
}

static og_str reference_of(const plan__eval *e, og_arena *a, cql_value v)
{
    static const char *const names[] = {"reference", NULL};

    if (v.kind == CQL_ELEMENT && v.element->resource != NULL)
        return og_arena_printf(a, "%.*s/%.*s", OG_STR_ARG(v.element->resource->type),
                               OG_STR_ARG(v.element->resource->id));
    return first_field(e, a, v, names);
}

/* A record as the libraries hand it on: what, how much, when. */
static og_str known_tuple(const plan__eval *e, og_arena *a, cql_value v)
{
    static const char *const names[] = {"label", "name", "drug", NULL};
    static const char *const values[] = {"shown", "value", NULL};
    static const char *const strengths[] = {"strength", NULL};
    static const char *const reasons[] = {"reason", NULL};
    og_str name = first_field(e, a, v, names), value = first_field(e, a, v, values);
    og_str strength = first_field(e, a, v, strengths);
    og_buf b;

    og_buf_init(&b, 4096);
    add_part(&b, "", name);
    add_part(&b, cql_is_null(field(v, "label")) ? " " : ": ", value);
    if (strength.n != 0 && value.n == 0)
        add_part(&b, " ", og_arena_printf(a, "%.*s mg", OG_STR_ARG(strength)));
    if (!cql_is_null(field(v, "stopped")))
        add_part(&b, ", ", og_str_of(word(e, "stopped", "abgesetzt")));
    add_part(&b, cql_is_null(field(v, "stopped")) ? ", " : " ", day_of(e, a, v));
    add_part(&b, ", ", first_field(e, a, v, reasons));
    return taken(a, &b);
}

static og_str any_tuple(const plan__eval *e, og_arena *a, cql_value v)
{
    og_buf b;
    size_t shown = 0;

    og_buf_init(&b, 4096);
    for (size_t i = 0; i < v.tuple->count && shown < MAX_FIELDS; i++) {
        cql_value x = v.tuple->items[i];
        og_str text = is_plain(x) && !cql_is_null(x) ? plain_words(e, a, x) : (og_str){0};
        if (text.n == 0)
            continue;
        add_part(&b, ", ",
                 og_arena_printf(a, "%.*s %.*s", OG_STR_ARG(v.tuple->names[i]), OG_STR_ARG(text)));
        shown++;
    }
    return taken(a, &b);
}

static og_str item_words(const plan__eval *e, og_arena *a, cql_value v)
{
    if (v.kind == CQL_ELEMENT)
        return v.element->resource != NULL ? plan__record_words(e, a, v.element->resource)
                                           : (og_str){0};
    if (v.kind == CQL_TUPLE)
        return cql_is_null(field(v, "reference")) && cql_is_null(field(v, "label"))
                   ? any_tuple(e, a, v)
                   : known_tuple(e, a, v);
    if (v.kind == CQL_INTERVAL)
        return og_arena_printf(a, "%.*s \xe2\x80\x93 %.*s",
                               OG_STR_ARG(plain_words(e, a, v.interval->low)),
                               OG_STR_ARG(plain_words(e, a, v.interval->high)));
    return is_plain(v) ? plain_words(e, a, v) : (og_str){0};
}

/* Many records: how many, and the latest. Many numbers: the first few. */
static og_str list_words(const plan__eval *e, og_arena *a, cql_value v, og_str *ret_reference)
{
    const cql_list *list = v.list;
    const cql_value *latest = NULL;
    og_str day = {0};
    og_buf b;

    if (list->count == 0)
        return og_str_of(word(e, "none", "keine"));
    if (is_plain(list->items[0]) || list->items[0].kind == CQL_LIST) {
        og_buf_init(&b, 4096);
        for (size_t i = 0; i < list->count && i < MAX_ITEMS; i++)
            add_part(&b, ", ", item_words(e, a, list->items[i]));
        if (list->count > MAX_ITEMS)
            og_buf_addz(&b, ", \xe2\x80\xa6");
        return taken(a, &b);
    }
    for (size_t i = 0; i < list->count; i++) {
        og_str at = day_of(e, a, list->items[i]);
        if (latest != NULL && og_str_cmp(at, day) <= 0)
            continue;
        latest = &list->items[i];
        day = at;
    }
    *ret_reference = reference_of(e, a, *latest);
    og_str text = item_words(e, a, *latest);
    if (list->count == 1)
        return text;
    return og_arena_printf(a, word(e, "%zu, the latest: %.*s", "%zu, zuletzt: %.*s"), list->count,
                           OG_STR_ARG(text));
}

/* ---- facts ---- */

static og_str trimmed(og_str s)
{
    while (s.n != 0 && s.p[0] == ' ')
        s = og_str_from(s, 1);
    while (s.n != 0 && s.p[s.n - 1] == ' ')
        s.n--;
    return s;
}

static void add_fact(telling *t, og_str name, og_str value, og_str reference, bool setting)
{
    value = trimmed(value);
    if (value.n == 0 || t->count == MAX_FACTS)
        return;
    og_buf_addz(t->out, t->count++ > 0 ? ",{\"name\":" : "{\"name\":");
    og_buf_add_json(t->out, name);
    og_buf_addz(t->out, ",\"value\":");
    og_buf_add_json(t->out, value);
    if (reference.n != 0) {
        og_buf_addz(t->out, ",\"reference\":");
        og_buf_add_json(t->out, reference);
    }
    og_buf_addz(t->out, setting ? ",\"setting\":true}" : "}");
}

static bool is_first(telling *t, const plan__part *p)
{
    og_str key =
        og_arena_printf(t->arena, "%.*s.%.*s", OG_STR_ARG(p->library), OG_STR_ARG(p->name));
    return key.p != NULL && og_table_get(&t->seen, key) == NULL && og_table_put(&t->seen, key, t);
}

/* "D3 Days" is called "Days" under D3: what stands before a name's first space and is an id of a
 * rule is no word for people. */
static og_str spoken(const plan__eval *e, og_str name)
{
    ptrdiff_t space = og_str_find(name, ' ');

    if (space > 0 && plan__rule_find(e->content->rules, e->content->rule_count,
                                     (og_str){name.p, (size_t)space}) != NULL)
        return og_str_from(name, (size_t)space + 1);
    return name;
}

static void tell_define(telling *t, const cql_define *d, unsigned level);

/* The records that a fact is made of need not be told again. */
static void name_records(telling *t, cql_value v)
{
    size_t count = v.kind == CQL_LIST ? v.list->count : 1;

    for (size_t i = 0; i < count; i++) {
        og_str reference =
            reference_of(t->eval, t->arena, v.kind == CQL_LIST ? v.list->items[i] : v);
        if (reference.n != 0)
            og_table_put(&t->named, reference, t);
    }
}

static void tell_part(telling *t, const plan__part *p, unsigned level)
{
    const cql_library *lib = cql_set_find(t->eval->content->cql, p->library, (og_str){0});
    const cql_define *d = lib != NULL ? cql_library_define(lib, p->name) : NULL;
    og_str reference = {0};
    cql_value v;

    if (d == NULL) { /* a parameter: the limit that a value is compared with */
        if (!og_str_is(p->name, "Language"))
            add_fact(t, spoken(t->eval, p->name), p->value, reference, true);
        return;
    }
    if (cql_run_define(t->eval->run, d, &v, NULL) != OG_OK)
        return;
    if (v.kind != CQL_BOOLEAN) {
        og_str text = v.kind == CQL_LIST ? list_words(t->eval, t->arena, v, &reference)
                                         : item_words(t->eval, t->arena, v);
        if (v.kind != CQL_LIST)
            reference = reference_of(t->eval, t->arena, v);
        name_records(t, v);
        add_fact(t, spoken(t->eval, p->name), text, reference, false);
        return;
    }
    size_t before = t->count;
    if (level < MAX_LEVEL)
        tell_define(t, d, level + 1);
    if (t->count == before)
        add_fact(t, spoken(t->eval, p->name), plain_words(t->eval, t->arena, v), reference, false);
}

/* A function hides what it looks at: the clearance in "Clearance Below"(30). */
static void tell_uses(telling *t, const plan__part *call, unsigned level)
{
    for (fhir_elem u = fhir_first(call->uses); fhir_exists(u); u = fhir_next(call->uses, u)) {
        plan__part p = {.name = fhir_string(t->arena, fhir_get(u, "name")),
                        .library = fhir_string(t->arena, fhir_get(u, "library")),
                        .is_ref = true};
        if (!og_str_is(p.name, "Patient") && is_first(t, &p))
            tell_part(t, &p, level);
    }
}

static void tell_define(telling *t, const cql_define *d, unsigned level)
{
    const plan__part *parts = plan__parts_of(t->eval, d)->list;
    size_t count = plan__parts_of(t->eval, d)->count;

    for (size_t i = 0; i < count; i++) {
        if (fhir_exists(parts[i].uses))
            tell_uses(t, &parts[i], level);
        if (parts[i].is_ref && !og_str_is(parts[i].name, "Patient") && is_first(t, &parts[i]))
            tell_part(t, &parts[i], level);
    }
}

/* ---- a condition ---- */

typedef struct record {
    const fhir_resource *resource;
    og_str day;
} record;

static int by_day(const void *a, const void *b)
{
    const record *x = a, *y = b;
    int order = og_str_cmp(y->day, x->day);
    return order != 0 ? order : og_str_cmp(x->resource->id, y->resource->id);
}

/* Everything that the condition's value rests on but the Patient, the latest first. */
static void add_records(telling *t, const cql_define *d)
{
    const fhir_resource *const *sources;
    size_t count = cql_run_sources(t->eval->run, d, &sources), n = 0;
    record *list = og_arena_zalloc(t->arena, count + 1, sizeof *list);

    for (size_t i = 0; list != NULL && i < count; i++)
        if (sources[i]->id.n != 0 && !og_str_is(sources[i]->type, "Patient"))
            list[n++] = (record){sources[i], date_words(t->arena, sources[i]->root)};
    if (n > 1)
        qsort(list, n, sizeof *list, by_day);
    for (size_t i = 0; i < n; i++) {
        const fhir_resource *r = list[i].resource;
        og_str reference =
            og_arena_printf(t->arena, "%.*s/%.*s", OG_STR_ARG(r->type), OG_STR_ARG(r->id));
        og_str words = plan__record_words(t->eval, t->arena, r);
        og_buf_addz(t->out, i > 0 ? ",{\"reference\":" : "{\"reference\":");
        og_buf_add_json(t->out, reference);
        og_buf_addz(t->out, words.n != 0 ? ",\"shown\":" : "");
        if (words.n != 0)
            og_buf_add_json(t->out, words);
        og_buf_addz(t->out, og_table_get(&t->named, reference) != NULL ? ",\"named\":true}" : "}");
    }
}

static const char *truth_text(plan_truth t)
{
    return t == PLAN_TRUE ? "true" : t == PLAN_FALSE ? "false" : "null";
}

og_str plan__conditions_json(plan__eval *e, const plan__rule *r, const plan_outcome *o)
{
    og_buf b;

    og_buf_init(&b, (size_t)16 << 20);
    og_buf_addc(&b, '[');
    for (size_t i = 0; o->kind != PLAN_GATED && i < r->condition_count; i++) {
        const plan_condition *c = &o->conditions[i];
        telling t = {.eval = e, .arena = e->arena, .out = &b};
        og_table_init(&t.seen, e->arena);
        og_table_init(&t.named, e->arena);
        og_buf_addz(&b, i > 0 ? ",{\"text\":" : "{\"text\":");
        og_buf_add_json(&b, c->words.n != 0 ? c->words : c->expression);
        og_buf_addf(&b, ",\"holds\":%s,\"values\":[", truth_text(c->holds));
        tell_define(&t, r->conditions[i].define, 0);
        og_buf_addz(&b, "],\"resources\":[");
        add_records(&t, r->conditions[i].define);
        og_buf_addz(&b, "]}");
    }
    og_buf_addc(&b, ']');
    return taken(e->arena, &b);
}

/* ---- why, in one sentence ---- */

static og_str not_true(plan__eval *e, const plan__rule *r, const plan_outcome *o)
{
    const plan_condition *first = NULL;
    size_t more = 0;

    for (size_t i = 0; i < r->condition_count; i++) {
        const plan_condition *c = &o->conditions[i];
        if (c->holds != PLAN_TRUE && first != NULL)
            more++;
        else if (c->holds != PLAN_TRUE)
            first = c;
    }
    if (first == NULL)
        return (og_str){0};
    og_str words = first->words.n != 0 ? first->words : first->expression;
    const char *how =
        first->holds == PLAN_FALSE
            ? word(e, "Not met: \"%.*s\"", "Nicht erf\xc3\xbcllt: \xe2\x80\x9e%.*s\xe2\x80\x9c")
            : word(e, "Not known: \"%.*s\"", "Nicht bekannt: \xe2\x80\x9e%.*s\xe2\x80\x9c");
    og_str text = og_arena_printf(e->arena, how, OG_STR_ARG(words));
    if (more == 0)
        return og_arena_printf(e->arena, "%.*s.", OG_STR_ARG(text));
    return og_arena_printf(
        e->arena,
        more == 1 ? word(e, "%.*s, and one more condition.", "%.*s und eine weitere Bedingung.")
                  : word(e, "%.*s, and %zu more conditions.", "%.*s und %zu weitere Bedingungen."),
        OG_STR_ARG(text), more);
}

static og_str by_other(plan__eval *e, og_str by, const char *how)
{
    const plan__rule *other = plan__rule_find(e->content->rules, e->content->rule_count, by);
    return og_arena_printf(e->arena, how, OG_STR_ARG(by),
                           OG_STR_ARG(other != NULL ? other->title : (og_str){0}));
}

og_str plan__because(plan__eval *e, const plan__rule *r, const plan_outcome *o)
{
    switch (o->kind) {
    case PLAN_FIRED:
        return og_str_of(
            word(e, "All conditions are met.", "Alle Bedingungen sind erf\xc3\xbcllt."));
    case PLAN_NOT_FIRED: return not_true(e, r, o);
    case PLAN_SUPPRESSED:
        return by_other(
            e, o->by,
            word(e, "All conditions are met, but rule %.*s (%.*s) takes its place.",
                 "Alle Bedingungen sind erf\xc3\xbcllt, aber Regel %.*s (%.*s) tritt an "
                 "ihre Stelle."));
    case PLAN_MERGED:
        return by_other(
            e, o->by,
            word(e, "All conditions are met; it stands on the card of rule %.*s (%.*s).",
                 "Alle Bedingungen sind erf\xc3\xbcllt; sie steht auf der Karte von Regel "
                 "%.*s (%.*s)."));
    case PLAN_FAILED:
        return og_arena_printf(
            e->arena,
            word(e, "It could not be evaluated: %s.", "Sie konnte nicht ausgewertet werden: %s."),
            o->error.text);
    default:
        return og_str_of(word(e, "It runs only when the EHR asks for it.",
                              "Sie l\xc3\xa4uft nur, wenn das Krankenhaussystem danach fragt."));
    }
}

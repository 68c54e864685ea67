/* A folder's worth of knowledge: checked as a whole, then immutable.
 *
 * Loading goes down the floors: JSON, terminology, CQL, rules, settings. A floor that has problems
 * reports all of them; what stands on it is then checked only as far as that makes sense, so that
 * the author sees causes and not their consequences. Nothing of a folder with a problem is ever
 * used. */
#include "rules/plan/plan_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CONTENT_BYTES ((size_t)1 << 30)

/* ---- reporting ---- */

static void pass_on(plan__load *l, const og_error *err)
{
    if (l->count++ == 0)
        l->status = err->status != OG_OK ? err->status : OG_INVALID;
    og_report_add(l->report, err);
}

static void problem_v(plan__load *l, const char *file, og_str text, int64_t at, const char *fmt,
                      va_list ap)
{
    og_error err;
    char sentence[sizeof err.text];

    og_error_init(&err);
    vsnprintf(sentence, sizeof sentence, fmt, ap);
    og_fail(&err, OG_INVALID, "%s", sentence);
    og_error_origin(&err, file);
    if (at >= 0) {
        uint32_t line, column;
        og_text_place(text, (size_t)at, &line, &column);
        og_error_at(&err, line, column);
    }
    pass_on(l, &err);
}

void plan__problem(plan__load *l, const char *file, og_str text, int64_t at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    problem_v(l, file, text, at, fmt, ap);
    va_end(ap);
}

uint32_t plan__elem_byte(fhir_elem e)
{
    uint32_t pos = e.doc->nodes[e.at].pos;
    fhir_kind kind = fhir_kind_of(e);
    return kind == FHIR_STRING && pos > 0 ? pos - 1 : pos; /* the quote, not what is inside */
}

void plan__problem_at(plan__load *l, const char *file, fhir_elem e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (fhir_exists(e))
        problem_v(l, file, (og_str){e.doc->text, e.doc->size}, plan__elem_byte(e), fmt, ap);
    else
        problem_v(l, file, (og_str){0}, -1, fmt, ap);
    va_end(ap);
}

void plan__place_at(const char *file, fhir_elem e, og_error *err)
{
    uint32_t line, column;

    og_error_origin(err, file);
    og_text_place((og_str){e.doc->text, e.doc->size}, plan__elem_byte(e), &line, &column);
    og_error_at(err, line, column);
}

/* One step of a path: a name or an index. Returns the position behind it. */
static size_t path_step(og_str path, size_t at, og_str *ret_name, long *ret_index)
{
    *ret_index = -1;
    while (at < path.n && strchr("./$", path.p[at]) != NULL)
        at++;
    if (at < path.n && path.p[at] == '[') {
        *ret_index = 0;
        for (at++; at < path.n && path.p[at] >= '0' && path.p[at] <= '9' && *ret_index < 1 << 24;
             at++)
            *ret_index = *ret_index * 10 + (path.p[at] - '0');
        while (at < path.n && path.p[at++] != ']')
            ;
        return at;
    }
    size_t begin = at;
    while (at < path.n && strchr("./[", path.p[at]) == NULL)
        at++;
    *ret_name = (og_str){path.p + begin, at - begin};
    return at;
}

static fhir_elem child_at(fhir_elem array, long index)
{
    fhir_elem c = fhir_kind_of(array) == FHIR_ARRAY ? fhir_first(array) : FHIR_ABSENT;
    while (index-- > 0 && fhir_exists(c))
        c = fhir_next(array, c);
    return c;
}

static long digits_of(og_str s)
{
    long n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || n > 1 << 24)
            return -1;
        n = n * 10 + (s.p[i] - '0');
    }
    return s.n != 0 ? n : -1;
}

int64_t plan__path_byte(const fhir_doc *doc, og_str path)
{
    fhir_elem e = fhir_root(doc);

    for (size_t at = 0; at < path.n;) {
        og_str name = {0};
        long index;
        fhir_elem next;
        size_t before = at;
        at = path_step(path, at, &name, &index);
        if (at == before)
            break;
        if (index < 0 && fhir_kind_of(e) == FHIR_ARRAY)
            index = digits_of(name); /* a JSON pointer's index */
        next = index >= 0 ? child_at(e, index) : fhir_get_str(e, name);
        if (!fhir_exists(next) && fhir_is_str(fhir_get(e, "resourceType"), name))
            continue; /* FHIR paths begin with the type */
        if (!fhir_exists(next))
            break;
        e = next;
    }
    return plan__elem_byte(e);
}

/* Errors of the rooms below come with a path; the author wants line and column. */
static void relay(void *ctx, const og_error *from)
{
    plan__load *l = ctx;
    og_error err = *from;

    for (size_t i = 0; i < l->source_count && err.line == 0; i++) {
        const plan__source *s = &l->sources[i];
        if (strcmp(s->name, err.origin) != 0 || !s->decoded)
            continue;
        int64_t at = err.byte;
        if (err.path[0] != '\0')
            at = plan__path_byte(&s->doc, og_str_of(err.path));
        if (at >= 0)
            og_text_place(s->text, (size_t)at, &err.line, &err.column);
    }
    pass_on(l, &err);
}

/* ---- files ---- */

typedef enum source_kind {
    SOURCE_NONE, /* not ours: README, cases, scripts */
    SOURCE_PLAN,
    SOURCE_ACTIVITY,
    SOURCE_TERMS,
    SOURCE_ELM,
    SOURCE_LIBRARY, /* FHIR Library that carries ELM */
    SOURCE_CQL,
    SOURCE_UNKNOWN /* JSON where only ours may be */
} source_kind;

static const struct {
    const char *prefix, *type;
    source_kind kind;
} source_kinds[] = {
    {"PlanDefinition-", "PlanDefinition", SOURCE_PLAN},
    {"ActivityDefinition-", "ActivityDefinition", SOURCE_ACTIVITY},
    {"ValueSet-", "ValueSet", SOURCE_TERMS},
    {"ConceptMap-", "ConceptMap", SOURCE_TERMS},
    {"CodeSystem-", "CodeSystem", SOURCE_TERMS},
    {"Library-", "Library", SOURCE_LIBRARY},
};

static source_kind kind_of(const char *name, const char **ret_type)
{
    og_str n = og_str_of(name);

    *ret_type = NULL;
    if (og_str_starts(n, OG_STR("elm/")))
        return og_str_ends(n, OG_STR(".json")) && strchr(name + 4, '/') == NULL ? SOURCE_ELM
                                                                                : SOURCE_NONE;
    if (strchr(name, '/') != NULL)
        return SOURCE_NONE;
    if (og_str_ends(n, OG_STR(".cql")))
        return SOURCE_CQL;
    if (!og_str_ends(n, OG_STR(".json")))
        return SOURCE_NONE;
    for (size_t i = 0; i < sizeof source_kinds / sizeof *source_kinds; i++)
        if (og_str_starts(n, og_str_of(source_kinds[i].prefix))) {
            *ret_type = source_kinds[i].type;
            return source_kinds[i].kind;
        }
    return SOURCE_UNKNOWN;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const plan__source *)a)->name, ((const plan__source *)b)->name);
}

/* Rules borrow their texts from their files; the others are forgotten after loading. */
static og_arena *arena_for(plan__load *l, source_kind kind)
{
    return kind == SOURCE_PLAN || kind == SOURCE_ACTIVITY ? l->content->arena : l->scratch;
}

/* Takes the files that are ours, in byte order of their names. */
static bool collect(plan__load *l, const plan_file *files, size_t count)
{
    const char *type;

    l->sources = og_arena_zalloc(l->scratch, count + 1, sizeof *l->sources);
    if (l->sources == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        source_kind kind = kind_of(files[i].name, &type);
        if (kind == SOURCE_NONE)
            continue;
        plan__source *s = &l->sources[l->source_count++];
        s->name = og_arena_str(l->content->arena, og_str_of(files[i].name)).p;
        s->text = og_arena_str(arena_for(l, kind), files[i].text);
        if (s->name == NULL || s->text.p == NULL)
            return false;
    }
    qsort(l->sources, l->source_count, sizeof *l->sources, by_name);
    for (size_t i = 1; i < l->source_count; i++)
        if (strcmp(l->sources[i - 1].name, l->sources[i].name) == 0)
            plan__problem(l, l->sources[i].name, (og_str){0}, -1, "the file was given twice");
    return true;
}

static void decode_one(plan__load *l, plan__source *s)
{
    const char *type;
    og_error err;
    source_kind kind = kind_of(s->name, &type);

    if (kind == SOURCE_CQL)
        return;
    if (kind == SOURCE_UNKNOWN) {
        plan__problem(l, s->name, (og_str){0}, -1,
                      "a content folder holds PlanDefinition-, ActivityDefinition-, ValueSet-, "
                      "ConceptMap-, CodeSystem- and Library-*.json");
        return;
    }
    og_error_init(&err);
    if (fhir_decode(arena_for(l, kind), s->text, NULL, &s->doc, &err) != OG_OK) {
        og_error_origin(&err, s->name);
        if (err.byte >= 0) {
            uint32_t line, column;
            og_text_place(s->text, (size_t)err.byte, &line, &column);
            og_error_at(&err, line, column);
        }
        pass_on(l, &err);
        return;
    }
    fhir_elem root = fhir_root(&s->doc);
    if (type != NULL && !fhir_is(fhir_get(root, "resourceType"), type))
        plan__problem_at(l, s->name, root, "the file's name says %s, its resourceType does not",
                         type);
    else
        s->decoded = true;
}

/* ---- terminology ---- */

static void load_terms(plan__load *l)
{
    og_report relayed = {.fn = relay, .ctx = l};
    const char *type;

    for (size_t i = 0; i < l->source_count; i++) {
        plan__source *s = &l->sources[i];
        if (!s->decoded || kind_of(s->name, &type) != SOURCE_TERMS)
            continue;
        fhir_elem root = fhir_root(&s->doc);
        unsigned before = l->count;
        plan__check_elements(l, s->name, root);
        if (fhir_terminology_add(l->content->terms, root, s->name, &relayed) != OG_OK &&
            l->count == before)
            plan__problem_at(l, s->name, root, "the %s cannot be read", type);
        l->content->translates |= strcmp(type, "ConceptMap") == 0;
    }
    unsigned before = l->count;
    og_status status = fhir_terminology_link(l->content->terms, &relayed);
    if (status != OG_OK && l->count == before)
        plan__problem(l, "", (og_str){0}, -1, "the value sets cannot be linked: %s",
                      og_status_text(status));
    for (size_t i = 0; i < l->source_count && status == OG_OK; i++)
        if (l->sources[i].decoded && kind_of(l->sources[i].name, &type) == SOURCE_TERMS &&
            strcmp(type, "ValueSet") == 0)
            plan__check_disjoint(l, l->sources[i].name, fhir_root(&l->sources[i].doc));
}

/* ---- CQL ---- */

static fhir_elem library_root(const plan__source *s)
{
    return fhir_get(fhir_root(&s->doc), "library");
}

/* The translator's mark: which CQL text the ELM was made of. Empty when there is none. */
static og_str source_mark(plan__load *l, const plan__source *s)
{
    fhir_elem list = fhir_get(library_root(s), "annotation");
    for (fhir_elem x = fhir_each_first(list); fhir_exists(x); x = fhir_each_next(list, x))
        if (fhir_is(fhir_get(x, "type"), "OsteoguardSource"))
            return fhir_string(l->scratch, fhir_get(x, "source"));
    return (og_str){0};
}

static const plan__source *find_source(const plan__load *l, const char *name)
{
    for (size_t i = 0; i < l->source_count; i++)
        if (strcmp(l->sources[i].name, name) == 0)
            return &l->sources[i];
    return NULL;
}

/* A .cql without its ELM, or with the ELM of another text, would be read by people and not be run.
 */
static void check_cql(plan__load *l, const plan__source *cql)
{
    char name[512], want[64];
    int stem = (int)strlen(cql->name) - 4;

    snprintf(name, sizeof name, "elm/%.*s.json", stem, cql->name);
    const plan__source *elm = find_source(l, name);
    if (elm == NULL) {
        plan__problem(l, cql->name, (og_str){0}, -1, "%s is missing: run ./translate", name);
        return;
    }
    if (!elm->decoded)
        return;
    snprintf(want, sizeof want, "crc32c:%08x:%zu", og_crc32c(0, cql->text.p, cql->text.n),
             cql->text.n);
    og_str mark = source_mark(l, elm);
    if (mark.n == 0)
        plan__problem(l, elm->name, (og_str){0}, -1,
                      "it does not say which text it was made of: run ./translate on %s",
                      cql->name);
    else if (!og_str_is(mark, want))
        plan__problem(l, elm->name, (og_str){0}, -1,
                      "it was not made of the present %s: run ./translate", cql->name);
}

static void load_cql(plan__load *l)
{
    og_report relayed = {.fn = relay, .ctx = l};
    const char *type;
    bool good = true;

    for (size_t i = 0; i < l->source_count; i++) {
        const plan__source *s = &l->sources[i];
        source_kind kind = kind_of(s->name, &type);
        unsigned before = l->count;
        if (kind == SOURCE_CQL)
            check_cql(l, s);
        if (kind != SOURCE_ELM && kind != SOURCE_LIBRARY)
            continue;
        og_status status =
            s->decoded ? cql_set_add(l->content->cql, s->text, s->name, &relayed) : OG_SYNTAX;
        good &= status == OG_OK;
        if (status != OG_OK && s->decoded && l->count == before)
            plan__problem(l, s->name, (og_str){0}, -1, "the library cannot be read: %s",
                          og_status_text(status));
    }
    if (!good)
        return;
    unsigned before = l->count;
    og_status status = cql_set_link(l->content->cql, l->content->terms, &relayed);
    if (status != OG_OK && l->count == before)
        plan__problem(l, "", (og_str){0}, -1, "the CQL libraries cannot be linked: %s",
                      og_status_text(status));
    l->linked = status == OG_OK;
}

/* ---- rules ---- */

static int by_id(const void *a, const void *b)
{
    return og_str_cmp(((const plan__rule *)a)->id, ((const plan__rule *)b)->id);
}

const plan__rule *plan__rule_find(const plan__rule *rules, size_t count, og_str id)
{
    for (size_t i = 0; i < count; i++)
        if (og_str_eq(rules[i].id, id))
            return &rules[i];
    return NULL;
}

static void check_mentions(plan__load *l, const plan__rule *rules, size_t count,
                           const plan__rule *r, const plan__mentions *mentions, const char *what)
{
    og_str text = {r->doc->text, r->doc->size};

    for (size_t k = 0; k < mentions->count; k++)
        if (mentions->at[k].id.n != 0 && plan__rule_find(rules, count, mentions->at[k].id) == NULL)
            plan__problem(l, r->file, text, mentions->at[k].at, "there is no rule '%.*s' to %s",
                          OG_STR_ARG(mentions->at[k].id), what);
}

static void check_rules(plan__load *l, const plan__rule *rules, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        og_str text = {rules[i].doc->text, rules[i].doc->size};
        if (i > 0 && rules[i].id.n != 0 && og_str_eq(rules[i].id, rules[i - 1].id))
            plan__problem(l, rules[i].file, text, 0, "rule %.*s stands in %s too",
                          OG_STR_ARG(rules[i].id), rules[i - 1].file);
        check_mentions(l, rules, count, &rules[i], &rules[i].suppresses, "suppress");
        check_mentions(l, rules, count, &rules[i], &rules[i].merge_into, "merge into");
    }
}

static void disable_rules(plan__load *l, plan__rule *rules, size_t count)
{
    const plan_options *o = l->options;

    for (size_t k = 0; o != NULL && k < o->disabled_count; k++) {
        size_t found = 0;
        for (size_t i = 0; i < count; i++)
            if (og_str_is(rules[i].id, o->disabled[k])) {
                rules[i].off = true;
                found++;
            }
        if (found == 0)
            plan__problem(l, "", (og_str){0}, -1, "there is no rule '%s' to switch off",
                          o->disabled[k]);
    }
}

/* ---- ActivityDefinitions that several rules share ---- */

static bool is_activity(const plan__source *s)
{
    const char *type;
    return s != NULL && s->decoded && kind_of(s->name, &type) == SOURCE_ACTIVITY;
}

plan__source *plan__activity_find(const plan__load *l, og_str canonical)
{
    ptrdiff_t bar = og_str_find(canonical, '|');
    og_str url = {canonical.p, bar < 0 ? canonical.n : (size_t)bar};
    og_str version = bar < 0 ? (og_str){0} : og_str_from(canonical, (size_t)bar + 1);

    for (size_t i = 0; i < l->source_count; i++) {
        plan__source *s = &l->sources[i];
        if (is_activity(s) && fhir_is_str(fhir_get(fhir_root(&s->doc), "url"), url) &&
            (version.n == 0 || fhir_is_str(fhir_get(fhir_root(&s->doc), "version"), version)))
            return s;
    }
    return NULL;
}

static void check_activities(plan__load *l)
{
    for (size_t i = 0; i < l->source_count; i++) {
        plan__source *s = &l->sources[i];
        if (!is_activity(s))
            continue;
        unsigned before = l->count;
        fhir_elem root = fhir_root(&s->doc), url = fhir_get(root, "url");
        plan__check_elements(l, s->name, root);
        const plan__source *first = plan__activity_find(l, fhir_string(l->scratch, url));
        if (!fhir_exists(url))
            plan__problem_at(l, s->name, root, "an ActivityDefinition needs a url: its name");
        else if (first != s && first != NULL)
            plan__problem_at(l, s->name, url, "%s has this url too", first->name);
        s->faulty = l->count != before;
    }
}

static void warn_of_unused(plan__load *l)
{
    for (size_t i = 0; i < l->source_count && l->options != NULL; i++) {
        og_error err;
        if (!is_activity(&l->sources[i]) || l->sources[i].used)
            continue;
        og_error_init(&err);
        og_fail(&err, OG_INVALID, "no rule names this ActivityDefinition");
        og_error_origin(&err, l->sources[i].name);
        og_error_at(&err, 1, 1);
        og_report_add(l->options->warnings, &err);
    }
}

static bool load_rules(plan__load *l)
{
    plan_content *c = l->content;
    plan__rule *rules = og_arena_zalloc(c->arena, l->source_count + 1, sizeof *rules);
    size_t count = 0, on = 0;
    const char *type;

    if (rules == NULL)
        return false;
    check_activities(l);
    for (size_t i = 0; i < l->source_count; i++) {
        const plan__source *s = &l->sources[i];
        if (!s->decoded || kind_of(s->name, &type) != SOURCE_PLAN)
            continue;
        plan__check_elements(l, s->name, fhir_root(&s->doc));
        plan__definition_read(l, s, &rules[count++]);
    }
    warn_of_unused(l);
    qsort(rules, count, sizeof *rules, by_id);
    check_rules(l, rules, count);
    disable_rules(l, rules, count);
    for (size_t i = 0; i < count; i++)
        if (!rules[i].off)
            rules[on++] = rules[i];
    c->rules = rules;
    c->rule_count = on;
    return plan__relations_resolve(l);
}

/* ---- settings ---- */

/* The parameter's System type as ELM says it ("Integer"), as far as it does; else empty. */
static og_str parameter_type(plan__load *l, og_str library, og_str name)
{
    for (size_t i = 0; i < l->source_count; i++) {
        const plan__source *s = &l->sources[i];
        if (!s->decoded || !og_str_starts(og_str_of(s->name), OG_STR("elm/")) ||
            !fhir_is_str(fhir_path(library_root(s), "identifier.id"), library))
            continue;
        fhir_elem list = fhir_get(fhir_get(library_root(s), "parameters"), "def");
        for (fhir_elem p = fhir_each_first(list); fhir_exists(p); p = fhir_each_next(list, p)) {
            if (!fhir_is_str(fhir_get(p, "name"), name))
                continue;
            fhir_elem t = fhir_path(p, "parameterTypeSpecifier.name");
            if (!fhir_exists(t))
                t = fhir_get(p, "resultTypeName");
            if (!fhir_exists(t))
                t = fhir_path(p, "default.valueType");
            og_str type = fhir_string(l->scratch, t);
            ptrdiff_t brace = og_str_find(type, '}');
            if (brace >= 0)
                return og_str_from(type, (size_t)brace + 1);
            return fhir_is(fhir_path(p, "default.type"), "Quantity") ? OG_STR("Quantity")
                                                                     : (og_str){0};
        }
    }
    return (og_str){0};
}

/* True when the value is one of the type; an Integer for a Decimal is made one. */
static bool value_fits(cql_value *v, og_str type)
{
    static const struct {
        const char *name;
        cql_kind kind;
    } kinds[] = {{"Boolean", CQL_BOOLEAN},   {"Integer", CQL_INTEGER}, {"Long", CQL_LONG},
                 {"Decimal", CQL_DECIMAL},   {"String", CQL_STRING},   {"Date", CQL_DATE},
                 {"DateTime", CQL_DATETIME}, {"Time", CQL_TIME},       {"Quantity", CQL_QUANTITY},
                 {"Ratio", CQL_RATIO}};

    if (og_str_is(type, "Decimal") && v->kind == CQL_INTEGER)
        *v = cql_decimal(og_decimal_of(v->integer), 0);
    if (og_str_is(type, "Long") && v->kind == CQL_INTEGER)
        *v = cql_long(v->integer);
    if (v->kind == CQL_NULL)
        return true;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (og_str_is(type, kinds[i].name))
            return v->kind == kinds[i].kind;
    return true;
}

static bool declares(const cql_library *lib, og_str name)
{
    for (size_t i = 0; i < cql_library_parameter_count(lib); i++)
        if (og_str_eq(cql_library_parameter_at(lib, i), name))
            return true;
    return false;
}

/* "Overdue Warn", or "Schedule.Overdue Warn": does the setting mean this library's parameter? */
static bool setting_means(og_str setting, const cql_library *lib, og_str *ret_name)
{
    og_str library = cql_library_name(lib);

    *ret_name = setting;
    if (declares(lib, setting))
        return true;
    if (!og_str_starts(setting, library) || setting.n <= library.n || setting.p[library.n] != '.')
        return false;
    *ret_name = og_str_from(setting, library.n + 1);
    return declares(lib, *ret_name);
}

static void add_parameter(plan__load *l, cql_parameter *list, const char *setting,
                          const cql_library *lib, og_str name, cql_value value)
{
    plan_content *c = l->content;
    og_str library = cql_library_name(lib), type = parameter_type(l, library, name);

    if (!value_fits(&value, type)) {
        plan__problem(l, "", (og_str){0}, -1, "the parameter '%s' of %.*s is a %.*s", setting,
                      OG_STR_ARG(library), OG_STR_ARG(type));
        return;
    }
    for (size_t i = 0; i < c->parameter_count; i++)
        if (og_str_eq(list[i].library, library) && og_str_eq(list[i].name, name)) {
            plan__problem(l, "", (og_str){0}, -1, "the parameter '%s' is set twice", setting);
            return;
        }
    list[c->parameter_count++] = (cql_parameter){library, og_arena_str(c->arena, name), value};
}

static void load_setting(plan__load *l, const plan_setting *s, cql_parameter *list)
{
    plan_content *c = l->content;
    og_error err;
    cql_value value;
    size_t found = 0;

    og_error_init(&err);
    if (cql_literal(c->arena, og_arena_str(c->arena, og_str_of(s->value)), &value, &err) != OG_OK) {
        plan__problem(l, "", (og_str){0}, -1, "the parameter '%s' has no CQL literal: %s", s->name,
                      err.text);
        return;
    }
    for (size_t i = 0; i < cql_set_count(c->cql); i++) {
        const cql_library *lib = cql_set_at(c->cql, i);
        og_str name;
        if (!setting_means(og_str_of(s->name), lib, &name))
            continue;
        found++;
        add_parameter(l, list, s->name, lib, name, value);
    }
    if (found == 0)
        plan__problem(l, "", (og_str){0}, -1, "no CQL library has a parameter '%s'", s->name);
}

/* Libraries that can speak several languages have a String parameter Language. */
static void add_language(plan__load *l, cql_parameter *list)
{
    plan_content *c = l->content;

    for (size_t i = 0; c->language.n != 0 && i < cql_set_count(c->cql); i++) {
        const cql_library *lib = cql_set_at(c->cql, i);
        bool set = false;
        for (size_t k = 0; k < c->parameter_count; k++)
            set |= og_str_eq(list[k].library, cql_library_name(lib)) &&
                   og_str_is(list[k].name, "Language");
        if (!set && declares(lib, OG_STR("Language")))
            list[c->parameter_count++] =
                (cql_parameter){cql_library_name(lib), OG_STR("Language"), cql_string(c->language)};
    }
}

static bool load_settings(plan__load *l)
{
    plan_content *c = l->content;
    size_t settings = l->options != NULL ? l->options->setting_count : 0;
    size_t most = (settings + 1) * (cql_set_count(c->cql) + 1);
    cql_parameter *list = og_arena_zalloc(c->arena, most, sizeof *list);

    if (list == NULL)
        return false;
    for (size_t i = 0; i < settings; i++)
        load_setting(l, &l->options->settings[i], list);
    add_language(l, list);
    c->parameters = list;
    return true;
}

/* ---- the whole ---- */

/* SHA-1 over every file and setting, through UUIDv5: 122 bits are plenty to tell versions apart. */
static void make_digest(plan__load *l)
{
    const plan_options *o = l->options;
    char uuid[37] = "";
    size_t n = 0;

#define FOLD(x, y)                                                                                 \
    do {                                                                                           \
        og_str parts[] = {og_str_of(uuid), (x), (y)};                                              \
        char next[37];                                                                             \
        plan__uuid(l->scratch, parts, 3, next);                                                    \
        memcpy(uuid, next, sizeof uuid);                                                           \
    } while (0)

    for (size_t i = 0; i < l->source_count; i++)
        FOLD(og_str_of(l->sources[i].name), l->sources[i].text);
    for (size_t i = 0; o != NULL && i < o->setting_count; i++)
        FOLD(og_str_of(o->settings[i].name), og_str_of(o->settings[i].value));
    for (size_t i = 0; o != NULL && i < o->disabled_count; i++)
        FOLD(OG_STR("disabled"), og_str_of(o->disabled[i]));
    FOLD(OG_STR("language"), l->content->language);
#undef FOLD
    for (const char *p = uuid; *p != '\0'; p++)
        if (*p != '-')
            l->content->digest[n++] = *p;
    l->content->digest[n] = '\0';
}

static og_status load_all(plan__load *l, const plan_file *files, size_t count)
{
    plan_content *c = l->content;
    og_error err;

    if (l->options != NULL)
        c->limits = l->options->limits;
    if (l->options != NULL && l->options->language != NULL)
        c->language = og_arena_str(c->arena, og_str_of(l->options->language));
    if (!collect(l, files, count))
        return OG_NOMEM;
    for (size_t i = 0; i < l->source_count; i++)
        decode_one(l, &l->sources[i]);
    load_terms(l);
    load_cql(l);
    if (!load_rules(l) || (l->linked && !load_settings(l)))
        return OG_NOMEM;
    og_error_init(&err);
    if (l->count == 0 && (!plan__wants_build(c, &err) || !plan__readers_build(c, &err)))
        return err.status;
    make_digest(l);
    for (size_t i = 0; i < c->rule_count; i++)
        c->rules[i].doc = NULL; /* goes with the scratch arena */
    return og_arena_failed(c->arena) || og_arena_failed(l->scratch) ? OG_NOMEM : l->status;
}

og_status plan_content_load(const plan_file *files, size_t count, const plan_options *options,
                            plan_content **ret, og_report *report)
{
    plan_content *c = calloc(1, sizeof *c);
    plan__load l = {.content = c, .options = options, .report = report};
    og_status status = OG_NOMEM;

    if (c == NULL)
        goto out;
    c->arena = og_arena_new(CONTENT_BYTES);
    c->terms = fhir_terminology_new();
    c->cql = cql_set_new();
    l.scratch = og_arena_new(CONTENT_BYTES);
    if (c->arena == NULL || c->terms == NULL || c->cql == NULL || l.scratch == NULL)
        goto out;
    status = load_all(&l, files, count);
out:
    if (status == OG_NOMEM && l.count == 0) {
        og_error err;
        og_error_init(&err);
        og_fail(&err, OG_NOMEM, "no memory for the content");
        og_report_add(report, &err);
    }
    og_arena_free(l.scratch);
    if (status != OG_OK) {
        plan_content_free(c);
        return status;
    }
    *ret = c;
    return OG_OK;
}

void plan_content_free(plan_content *c)
{
    if (c == NULL)
        return;
    cql_set_free(c->cql);
    fhir_terminology_free(c->want_terms);
    fhir_terminology_free(c->terms);
    og_arena_free(c->arena);
    free(c);
}

const char *plan_content_digest(const plan_content *c)
{
    return c->digest;
}

const cql_set *plan_content_cql(const plan_content *c)
{
    return c->cql;
}

const fhir_terminology *plan_content_terminology(const plan_content *c)
{
    return c->terms;
}

size_t plan_content_rule_count(const plan_content *c)
{
    return c->rule_count;
}

bool plan_content_rests_on_absence(const plan_content *c, og_str rule)
{
    for (size_t i = 0; i < c->rule_count; i++)
        if (og_str_eq(c->rules[i].id, rule))
            return c->rules[i].on_absence;
    return false;
}

const char *plan_content_rule_id(const plan_content *c, size_t i)
{
    return i < c->rule_count ? c->rules[i].id.p : "";
}

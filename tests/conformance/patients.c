/* Whole libraries over whole patients: CDS Connect statin-use (every expression) and the eCQM
 * measures (population counts). Their value sets come in forms of their own and are turned into
 * FHIR ValueSets. */
#include "conformance.h"

#include <dirent.h>
#include <stdlib.h>

#include "rules/cql/ops.h"

static const fhir_limits deep = {.max_bytes = 128u << 20, .max_depth = 4000};

typedef struct problems {
    unsigned count;
    char first[500];
} problems;

static void keep_problem(void *ctx, const og_error *err)
{
    problems *p = ctx;
    if (p->count++ == 0)
        og_error_format(err, p->first, sizeof p->first);
}

static bool decode_file(og_arena *a, const char *path, fhir_doc *ret, char **ret_text)
{
    size_t size;
    og_error err;
    og_error_init(&err);
    if (!read_whole(path, ret_text, &size))
        return false;
    if (fhir_decode(a, (og_str){*ret_text, size}, &deep, ret, &err) == OG_OK)
        return true;
    fprintf(stderr, "%s: %s\n", path, err.text);
    free(*ret_text);
    *ret_text = NULL;
    return false;
}

/* ---- value sets ---- */

static void add_code(og_arena *a, og_buf *out, fhir_elem code, bool first)
{
    bool pair = fhir_kind_of(code) == FHIR_ARRAY; /* [system, code] */
    fhir_elem one = fhir_first(code);
    fhir_elem system = pair ? one : fhir_get(code, "system");
    fhir_elem value = pair ? fhir_next(code, one) : fhir_get(code, "code");
    og_buf_addz(out, first ? "{\"system\":" : ",{\"system\":");
    og_buf_add_json(out, fhir_string(a, system));
    og_buf_addz(out, ",\"code\":");
    og_buf_add_json(out, fhir_string(a, value));
    og_buf_addz(out, "}");
}

/* {url: [[system, code]...]} or {url: {version: [{code, system}...]}} */
static bool load_valuesets(og_arena *a, fhir_terminology *t, fhir_elem sets, problems *p)
{
    og_report report = {.fn = keep_problem, .ctx = p};
    og_error err;
    for (fhir_elem s = fhir_first(sets); fhir_exists(s); s = fhir_next(sets, s)) {
        fhir_elem codes = fhir_kind_of(s) == FHIR_OBJECT ? fhir_first(s) : s;
        fhir_doc *doc = og_arena_alloc(a, sizeof *doc);
        bool first = true;
        og_buf b;
        og_buf_init(&b, (size_t)64 << 20);
        og_buf_addz(&b, "{\"resourceType\":\"ValueSet\",\"status\":\"active\",\"url\":");
        og_buf_add_json(&b, fhir_key_of(s));
        og_buf_addz(&b, ",\"expansion\":{\"timestamp\":\"2020-01-01\",\"contains\":[");
        for (fhir_elem c = fhir_first(codes); fhir_exists(c); c = fhir_next(codes, c)) {
            add_code(a, &b, c, first);
            first = false;
        }
        og_buf_addz(&b, "]}}");
        og_str text = og_arena_str(a, og_buf_str(&b));
        og_buf_done(&b);
        og_error_init(&err);
        if (fhir_decode(a, text, &deep, doc, &err) != OG_OK)
            return false;
        if (fhir_terminology_add(t, fhir_root(doc), "valuesets", &report) != OG_OK)
            return false;
    }
    return fhir_terminology_link(t, &report) == OG_OK;
}

/* ---- patients ---- */

static fhir_resource *resources_of(og_arena *a, fhir_elem list, size_t *ret_count)
{
    fhir_resource *r = og_arena_zalloc(a, fhir_length(list) + 1, sizeof *r);
    og_error err;
    size_t n = 0;
    for (fhir_elem e = fhir_first(list); fhir_exists(e); e = fhir_next(list, e)) {
        og_error_init(&err);
        if (fhir_resource_of(e, &r[n], &err) == OG_OK)
            n++;
        else
            fprintf(stderr, "resource left out: %s\n", err.text);
    }
    *ret_count = n;
    return r;
}

/* Plain JSON as the other engines print it: true, text, number, null, list of these. */
static bool same_json(og_arena *a, fhir_elem wanted, cql_value got)
{
    switch (fhir_kind_of(wanted)) {
    case FHIR_NULL: return cql_is_null(got);
    case FHIR_TRUE: return got.kind == CQL_BOOLEAN && got.boolean;
    case FHIR_FALSE: return got.kind == CQL_BOOLEAN && !got.boolean;
    case FHIR_STRING:
        return got.kind == CQL_STRING && og_str_eq(fhir_string(a, wanted), cql_str(got));
    case FHIR_ARRAY: {
        size_t i = 0;
        if (got.kind != CQL_LIST || got.list->count != fhir_length(wanted))
            return false;
        for (fhir_elem e = fhir_first(wanted); fhir_exists(e); e = fhir_next(wanted, e))
            if (!same_json(a, e, got.list->items[i++]))
                return false;
        return true;
    }
    case FHIR_NUMBER: {
        og_decimal d;
        int scale;
        if (!og_decimal_parse(fhir_raw(wanted), true, &d, &scale))
            return false;
        return got.kind == CQL_INTEGER ? d == og_decimal_of(got.integer)
                                       : got.kind == CQL_DECIMAL && d == got.decimal;
    }
    default: return false;
    }
}

static void describe(cql_value v, char *out, size_t size)
{
    og_buf b;
    og_buf_init(&b, (size_t)16 << 20);
    cql_value_format(&b, v);
    snprintf(out, size, "%.*s", OG_STR_ARG(og_buf_str(&b)));
    og_buf_done(&b);
}

/* ---- statin-use ---- */

static bool load_folder(cql_set *set, const char *folder, problems *p)
{
    struct dirent **names;
    og_report report = {.fn = keep_problem, .ctx = p};
    int n = scandir(folder, &names, NULL, alphasort);
    bool ok = n > 0;
    for (int i = 0; i < n; i++) {
        char path[2048], *text;
        size_t size;
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        if (names[i]->d_name[0] != '.' && read_whole(path, &text, &size)) {
            ok &= cql_set_add(set, (og_str){text, size}, names[i]->d_name, &report) == OG_OK;
            free(text);
        }
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    return ok;
}

static void run_statin_patient(context *c, tally *t, const cql_set *set, const cql_library *lib,
                               const char *folder, const char *patient)
{
    char path[1024], *bundle_text = NULL, *expected_text = NULL;
    og_arena *a = og_arena_new((size_t)512 << 20);
    fhir_doc bundle, expected;
    snprintf(path, sizeof path, "%s/bundles/%s.json", folder, patient);
    bool ok = decode_file(a, path, &bundle, &bundle_text);
    snprintf(path, sizeof path, "%s/expected-%s.json", folder, patient);
    ok = ok && decode_file(a, path, &expected, &expected_text);
    if (!ok) {
        t->wrong++;
        goto out;
    }
    cql_request request = {.as_of_ms = 1655294400000LL}; /* 2022-06-15T12:00:00Z */
    request.resources =
        resources_of(a, fhir_get(fhir_root(&bundle), "data"), &request.resource_count);
    cql_run *run = cql_run_begin(a, set, &request);
    fhir_elem results = fhir_get(fhir_root(&expected), "results");
    for (fhir_elem e = fhir_first(results); fhir_exists(e); e = fhir_next(results, e)) {
        char id[64], name[200], got[500], wanted[500];
        og_error err;
        cql_value v;
        og_str key = fhir_key_of(e);
        const cql_define *d = cql_library_define(lib, key);
        og_error_init(&err);
        snprintf(name, sizeof name, "%.*s", OG_STR_ARG(key));
        snprintf(id, sizeof id, "%.12s/%.*s", patient, (int)(key.n < 50 ? key.n : 50), key.p);
        snprintf(wanted, sizeof wanted, "%.*s", OG_STR_ARG(fhir_raw(e)));
        if (c->only != NULL && strstr(id, c->only) == NULL)
            continue;
        bool pass = d != NULL && cql_run_define(run, d, &v, &err) == OG_OK;
        if (pass)
            describe(v, got, sizeof got);
        else
            og_error_format(&err, got, sizeof got);
        settle(c, t, id, "statin-use", pass && same_json(a, e, v), wanted, got);
    }
out:
    og_arena_free(a);
    free(bundle_text);
    free(expected_text);
}

void run_statin(context *c, const char *folder)
{
    static const char *const patients[] = {"Adolfo777_Braun514", "Adrian111_Wunsch504",
                                           "Cher186_Crooks415", "Debora709_Mayer370",
                                           "unhealthy_patient"};
    char path[1024], *text = NULL;
    problems p = {0};
    tally t = {0};
    fhir_doc doc;
    og_report report = {.fn = keep_problem, .ctx = &p};
    og_arena *a = og_arena_new((size_t)256 << 20);
    cql_set *set = cql_set_new();
    fhir_terminology *terms = fhir_terminology_new();
    snprintf(path, sizeof path, "%s/valuesets.json", folder);
    bool ok = decode_file(a, path, &doc, &text) && load_valuesets(a, terms, fhir_root(&doc), &p);
    snprintf(path, sizeof path, "%s/libraries", folder);
    ok = ok && load_folder(set, path, &p) && cql_set_link(set, terms, &report) == OG_OK;
    const cql_library *lib = cql_set_find(
        set, OG_STR("USPSTFStatinUseForPrimaryPreventionOfCVDInAdultsFHIRv401"), (og_str){NULL, 0});
    if (!ok || lib == NULL) {
        printf("  statin-use cannot be loaded: %s\n", p.first);
        t.wrong++;
    }
    for (size_t i = 0; ok && i < sizeof patients / sizeof patients[0]; i++)
        run_statin_patient(c, &t, set, lib, folder, patients[i]);
    print_tally("statin-use", &t);
    add_tally(&c->total, &t);
    cql_set_free(set);
    fhir_terminology_free(terms);
    og_arena_free(a);
    free(text);
}

/* ---- eCQM ---- */

/* The measurement period from the first instant of its first day to the last of its last one. */
static bool period_of(og_arena *a, fhir_elem period, cql_value *ret)
{
    cql_interval *i = og_arena_zalloc(a, 1, sizeof *i);
    og_temporal low, high;
    if (!og_temporal_parse_fhir(fhir_string(a, fhir_get(period, "start")), &low) ||
        !og_temporal_parse_fhir(fhir_string(a, fhir_get(period, "end")), &high))
        return false;
    low.precision = high.precision = OG_MILLISECOND;
    low.has_offset = high.has_offset = 1;
    high.hour = 23;
    high.minute = high.second = 59;
    high.ms = 999;
    *i = (cql_interval){.low = {.kind = CQL_DATETIME, .temporal = low},
                        .high = {.kind = CQL_DATETIME, .temporal = high},
                        .low_closed = true,
                        .high_closed = true,
                        .point = CQL_DATETIME};
    *ret = (cql_value){.kind = CQL_INTERVAL, .interval = i};
    return true;
}

/* The populations of a proportion measure build on each other (FHIR Clinical Reasoning, "Measure
 * Scoring"): the denominator lies in the initial population, exclusions in the denominator, the
 * numerator in the denominator without the excluded, exceptions in what remains of it. */
enum { INITIAL, DENOMINATOR, EXCLUSION, NUMERATOR, NUMERATOR_EXCLUSION, EXCEPTION, POPULATIONS };

static const char *const population_codes[POPULATIONS] = {
    "initial-population", "denominator",         "denominator-exclusion",
    "numerator",          "numerator-exclusion", "denominator-exception"};

typedef struct population {
    cql_value members; /* list: of true for a measure of patients, of episodes else */
} population;

static int population_of(fhir_elem code)
{
    for (int i = 0; i < POPULATIONS; i++)
        if (fhir_is(code, population_codes[i]))
            return i;
    return -1;
}

static cql_value list_of(og_arena *a, const cql_value *items, size_t count)
{
    cql_list *l = og_arena_zalloc(a, 1, sizeof *l);
    *l = (cql_list){items, count};
    return (cql_value){.kind = CQL_LIST, .list = l};
}

static cql_value members_of(og_arena *a, cql_value v)
{
    cql_value *yes = og_arena_zalloc(a, 1, sizeof *yes);
    if (v.kind == CQL_LIST)
        return v;
    *yes = cql_bool(true);
    return list_of(a, yes, v.kind == CQL_BOOLEAN && v.boolean);
}

static bool has_member(cql_op_context *c, cql_value list, cql_value v)
{
    for (size_t i = 0; i < list.list->count; i++)
        if (cql_equal(c, list.list->items[i], v) == CQL_TRUE)
            return true;
    return false;
}

/* The members of from that are (wanted) or are not (not wanted) in others. */
static cql_value keep(og_arena *a, cql_value from, cql_value others, bool wanted)
{
    og_error err;
    cql_op_context c = {.arena = a, .err = &err, .max_list = 100000};
    cql_value *items = og_arena_zalloc(a, from.list->count + 1, sizeof *items);
    size_t n = 0;
    og_error_init(&err);
    for (size_t i = 0; i < from.list->count; i++)
        if (has_member(&c, others, from.list->items[i]) == wanted)
            items[n++] = from.list->items[i];
    return list_of(a, items, n);
}

static void build_on_each_other(og_arena *a, population *p)
{
    p[DENOMINATOR].members = keep(a, p[DENOMINATOR].members, p[INITIAL].members, true);
    cql_value in = p[DENOMINATOR].members;
    p[EXCLUSION].members = keep(a, p[EXCLUSION].members, in, true);
    cql_value left = keep(a, in, p[EXCLUSION].members, false);
    p[NUMERATOR].members = keep(a, p[NUMERATOR].members, left, true);
    p[NUMERATOR_EXCLUSION].members =
        keep(a, p[NUMERATOR_EXCLUSION].members, p[NUMERATOR].members, true);
    p[EXCEPTION].members = keep(a, p[EXCEPTION].members, left, true);
    p[EXCEPTION].members = keep(a, p[EXCEPTION].members, p[NUMERATOR].members, false);
}

static const cql_define *define_of(og_arena *a, const cql_library *lib, fhir_elem group, int which)
{
    for (fhir_elem g = fhir_first(group); fhir_exists(g); g = fhir_next(group, g))
        if (fhir_is(fhir_get(g, "code"), population_codes[which]))
            return cql_library_define(lib, fhir_string(a, fhir_get(g, "expression")));
    return NULL;
}

/* One group of one case; false with what was wanted and what came. */
static bool run_group(og_arena *a, cql_run *run, const cql_library *lib, fhir_elem group,
                      fhir_elem expected, char wanted[500], char got[500])
{
    population p[POPULATIONS] = {0};
    for (int i = 0; i < POPULATIONS; i++) {
        const cql_define *d = define_of(a, lib, group, i);
        cql_value v = CQL_NULL_VALUE;
        og_error err;
        og_error_init(&err);
        if (d != NULL && cql_run_define(run, d, &v, &err) != OG_OK) {
            snprintf(wanted, 500, "%s without an error", population_codes[i]);
            og_error_format(&err, got, 500);
            return false;
        }
        p[i].members = members_of(a, v);
    }
    build_on_each_other(a, p);
    for (fhir_elem x = fhir_first(expected); fhir_exists(x); x = fhir_next(expected, x)) {
        int which = population_of(fhir_get(x, "code"));
        size_t count = strtoul(fhir_raw(fhir_get(x, "count")).p, NULL, 10);
        if (which < 0 || p[which].members.list->count == count)
            continue; /* observations are functions of the members, measured by others */
        snprintf(wanted, 500, "%s = %zu", population_codes[which], count);
        snprintf(got, 500, "%zu", p[which].members.list->count);
        return false;
    }
    return true;
}

static void run_case(context *c, tally *t, const cql_set *set, const cql_library *lib,
                     const char *measure, fhir_elem e)
{
    og_arena *a = og_arena_new((size_t)512 << 20);
    char id[64], got[500] = "", wanted[500] = "";
    bool pass = true;
    og_str key = fhir_raw(fhir_get(e, "id"));
    snprintf(id, sizeof id, "%.10s/%.*s", measure, OG_STR_ARG(key));
    if (c->only != NULL && strstr(id, c->only) == NULL)
        goto out;
    cql_parameter period = {.name = OG_STR("Measurement Period")};
    if (!period_of(a, fhir_get(e, "period"), &period.value)) {
        t->skipped++;
        goto out;
    }
    cql_request request = {.parameters = &period, .parameter_count = 1, .by_profile = true};
    request.as_of_ms = og_temporal_latest_ms(&period.value.interval->high.temporal, 0);
    request.resources = resources_of(a, fhir_get(e, "resources"), &request.resource_count);
    cql_run *run = cql_run_begin(a, set, &request);
    fhir_elem groups = fhir_get(e, "groups"), expected = fhir_get(e, "expected");
    fhir_elem group = fhir_first(groups);
    for (fhir_elem x = fhir_first(expected); fhir_exists(x) && pass; x = fhir_next(expected, x)) {
        pass = run_group(a, run, lib, group, x, wanted, got);
        if (fhir_exists(group))
            group = fhir_next(groups, group);
    }
    settle(c, t, id, measure, pass, wanted, got);
out:
    og_arena_free(a);
}

static bool load_measure(cql_set *set, fhir_elem libraries, problems *p)
{
    og_report report = {.fn = keep_problem, .ctx = p};
    bool ok = true;
    for (fhir_elem l = fhir_first(libraries); fhir_exists(l); l = fhir_next(libraries, l))
        ok &= cql_set_add(set, fhir_raw(l), "libraries.json", &report) == OG_OK;
    return ok;
}

static void run_measure(context *c, const char *folder, const char *measure)
{
    char path[2048], *sets_text = NULL, *libraries_text = NULL, *cases = NULL;
    size_t size = 0;
    problems p = {0};
    tally t = {0};
    fhir_doc sets, libraries;
    og_report report = {.fn = keep_problem, .ctx = &p};
    og_arena *a = og_arena_new((size_t)1 << 30);
    cql_set *set = cql_set_new();
    fhir_terminology *terms = fhir_terminology_new();
    cql_set_allow_missing_valuesets(set, true);
    snprintf(path, sizeof path, "%s/%s/valuesets.json", folder, measure);
    bool ok =
        decode_file(a, path, &sets, &sets_text) && load_valuesets(a, terms, fhir_root(&sets), &p);
    snprintf(path, sizeof path, "%s/%s/libraries.json", folder, measure);
    ok = ok && decode_file(a, path, &libraries, &libraries_text) &&
         load_measure(set, fhir_get(fhir_root(&libraries), "libraries"), &p) &&
         cql_set_link(set, terms, &report) == OG_OK;
    snprintf(path, sizeof path, "%s/%s/cases.jsonl", folder, measure);
    ok = ok && read_whole(path, &cases, &size);
    const cql_library *lib =
        ok ? cql_set_find(set, fhir_string(a, fhir_get(fhir_root(&libraries), "main")),
                          (og_str){NULL, 0})
           : NULL;
    if (lib == NULL) {
        printf("  %s cannot be loaded: %s\n", measure, p.first);
        t.wrong++;
        t.failed++;
    }
    for (size_t at = 0; lib != NULL && at < size;) {
        size_t n = strcspn(cases + at, "\n");
        og_arena *b = og_arena_new((size_t)512 << 20);
        fhir_doc doc;
        if (n != 0 && fhir_decode(b, (og_str){cases + at, n}, &deep, &doc, NULL) == OG_OK)
            run_case(c, &t, set, lib, measure, fhir_root(&doc));
        og_arena_free(b);
        at += n + 1;
    }
    char name[60];
    snprintf(name, sizeof name, "ecqm %.39s", measure);
    print_tally(name, &t);
    add_tally(&c->total, &t);
    cql_set_free(set);
    fhir_terminology_free(terms);
    og_arena_free(a);
    free(sets_text);
    free(libraries_text);
    free(cases);
}

void run_ecqm(context *c, const char *folder)
{
    struct dirent **names;
    int n = scandir(folder, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (names[i]->d_name[0] != '.')
            run_measure(c, folder, names[i]->d_name);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

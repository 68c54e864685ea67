/* Templates from what the rules read, and queries from templates. */
#include "daemon/prefetch.h"

#include "connectors/http_client.h"
#include "fhir/base/table.h"
#include "fhir/reference.h"

#define MAX_TEMPLATES 64
#define MAX_CODES     200 /* in one template: an address may not become too long */
#define MAX_QUERY     65536
#define PATIENT_TOKEN "{{context.patientId}}"

/* ---- templates ---- */

/* The search parameter that finds what a rule's filter on this element finds (R4 search
 * parameters). */
static const char *search_parameter(og_str path)
{
    static const struct {
        const char *path, *parameter;
    } table[] = {
        {"code", "code"},           {"medication", "code"},   {"component.code", "component-code"},
        {"value", "value-concept"}, {"category", "category"}, {"vaccineCode", "vaccine-code"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (og_str_is(path, table[i].path))
            return table[i].parameter;
    return NULL;
}

typedef struct templates {
    prefetch_fn *fn;
    void *ctx;
    struct {
        char name[96];
    } names[MAX_TEMPLATES];
    size_t count;
    bool whole_only; /* this round: types that are read whole */
    og_table whole;  /* their names */
    og_arena *arena;
} templates;

/* condition, observation, observationComponentCode: the type, and the parameter unless it is the
 * code. */
static void name_template(char *out, size_t size, og_str type, const char *parameter)
{
    size_t n = (size_t)snprintf(out, size, "%c%.*s", type.p[0] | 0x20, (int)type.n - 1, type.p + 1);
    bool upper = true;
    if (parameter == NULL || strcmp(parameter, "code") == 0)
        return;
    for (const char *p = parameter; *p != '\0' && n + 1 < size; p++) {
        if (*p != '-')
            out[n++] = upper ? (char)(*p & ~0x20) : *p;
        upper = *p == '-';
    }
    out[n] = '\0';
}

static void write_query(og_buf *b, og_str type, const char *parameter, const fhir_valueset *codes)
{
    og_str system, code, display;
    og_buf_addf(b, "%.*s?patient=" PATIENT_TOKEN, OG_STR_ARG(type));
    for (size_t i = 0; codes != NULL && i < fhir_valueset_count(codes); i++) {
        fhir_valueset_code(codes, i, &system, &code, &display);
        if (i == 0)
            og_buf_addf(b, "&%s=", parameter);
        else
            og_buf_addc(b, ',');
        http_url_encode(b, system, ":/");
        og_buf_addc(b, '|');
        http_url_encode(b, code, ":/");
    }
}

static void add_template(templates *t, og_str type, const char *parameter,
                         const fhir_valueset *codes)
{
    char name[96];
    og_buf query;
    name_template(name, sizeof name, type, parameter);
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->names[i].name, name) == 0)
            return;
    if (t->count == MAX_TEMPLATES)
        return;
    memcpy(t->names[t->count++].name, name, sizeof name);
    og_buf_init(&query, MAX_QUERY);
    write_query(&query, type, parameter, codes);
    if (!og_buf_failed(&query))
        t->fn(t->ctx, name, og_buf_str(&query));
    og_buf_done(&query);
}

static void on_want(void *ctx, og_str type, og_str path, const fhir_valueset *codes)
{
    templates *t = ctx;
    const char *parameter = codes != NULL ? search_parameter(path) : NULL;
    bool whole = parameter == NULL || fhir_valueset_count(codes) > MAX_CODES;
    if (og_str_is(type, "Patient") || !fhir_in_patient_compartment(type))
        return; /* there already, or not to be found by patient */
    if (t->whole_only) {
        if (whole && og_table_get(&t->whole, type) == NULL) {
            (void)og_table_put(&t->whole, type, t);
            add_template(t, type, NULL, NULL);
        }
        return;
    }
    if (whole || og_table_get(&t->whole, type) != NULL)
        return;
    add_template(t, type, parameter, codes);
}

void prefetch_each(const plan_content *c, prefetch_fn *fn, void *ctx)
{
    templates t = {.fn = fn, .ctx = ctx, .arena = og_arena_new((size_t)1 << 20)};
    fn(ctx, "patient", OG_STR("Patient/" PATIENT_TOKEN));
    if (t.arena != NULL) {
        og_table_init(&t.whole, t.arena);
        t.whole_only = true;
        plan_content_each_want(c, on_want, &t);
        t.whole_only = false;
        plan_content_each_want(c, on_want, &t);
    }
    og_arena_free(t.arena);
}

/* ---- queries ---- */

typedef struct needs {
    const plan_content *content;
    og_arena *arena;
    og_str patient;
    const hook_request *request; /* NULL: of no call, everything is needed */
    bool known, failed;
    prefetch_need *list;
    size_t count, cap;
} needs;

static void add_need(needs *n, og_str path, og_str type)
{
    og_str p = og_arena_str(n->arena, path), t = og_arena_str(n->arena, type);
    if (n->count == n->cap) {
        size_t cap = n->cap != 0 ? 2 * n->cap : 32;
        void *grown =
            og_arena_grow(n->arena, n->list, n->cap * sizeof *n->list, cap * sizeof *n->list);
        n->failed |= grown == NULL;
        if (grown == NULL)
            return;
        n->list = grown;
        n->cap = cap;
    }
    n->failed |= p.p == NULL || t.p == NULL;
    if (!n->failed)
        n->list[n->count++] = (prefetch_need){p.p, t.p};
}

/* Does the call say of itself what stands under this name? */
static bool is_lacking(const needs *n, const char *name)
{
    fhir_elem value = n->request != NULL ? fhir_get(n->request->prefetch, name) : FHIR_ABSENT;
    if (!fhir_exists(value))
        return !n->known;
    return fhir_is(fhir_get(value, "resourceType"), "OperationOutcome");
}

static bool refers_to_medication(og_str type)
{
    return og_str_is(type, "MedicationRequest") || og_str_is(type, "MedicationStatement") ||
           og_str_is(type, "MedicationAdministration") || og_str_is(type, "MedicationDispense");
}

static void on_template(void *ctx, const char *name, og_str query)
{
    needs *n = ctx;
    const size_t token = strlen(PATIENT_TOKEN);
    const char *at = strstr(query.p, PATIENT_TOKEN);
    size_t type_n = strcspn(query.p, "?/");
    og_buf path;
    if (at == NULL || !is_lacking(n, name))
        return;
    og_buf_init(&path, MAX_QUERY + 1024);
    og_buf_add(&path, query.p, (size_t)(at - query.p));
    http_url_encode(&path, n->patient, "");
    og_buf_addz(&path, at + token);
    if (query.p[type_n] == '?') {
        og_str type = {query.p, type_n};
        og_buf_addz(&path, "&_count=200");
        if (refers_to_medication(type) && plan_content_wants_type(n->content, OG_STR("Medication")))
            og_buf_addf(&path, "&_include=%.*s:medication", OG_STR_ARG(type));
    }
    n->failed |= og_buf_failed(&path);
    if (!og_buf_failed(&path))
        add_need(n, og_buf_str(&path), (og_str){query.p, type_n});
    og_buf_done(&path);
}

fhir_elem prefetch_next_page(fhir_elem bundle)
{
    fhir_elem links = fhir_get(bundle, "link");
    for (fhir_elem l = fhir_each_first(links); fhir_exists(l); l = fhir_each_next(links, l))
        if (fhir_is(fhir_get(l, "relation"), "next"))
            return fhir_get(l, "url");
    return FHIR_ABSENT;
}

/* The rest of what was sent along in part. */
static void add_pages(needs *n)
{
    fhir_elem all = n->request->prefetch;
    for (fhir_elem e = fhir_first(all); fhir_exists(e); e = fhir_next(all, e)) {
        if (!fhir_is(fhir_get(e, "resourceType"), "Bundle"))
            continue;
        fhir_elem url = prefetch_next_page(e);
        if (fhir_kind_of(url) == FHIR_STRING)
            add_need(n, fhir_string(n->arena, url), OG_STR(""));
    }
}

static og_status collect(needs *n, const prefetch_need **ret, size_t *ret_count, og_error *err)
{
    prefetch_each(n->content, on_template, n);
    if (n->request != NULL)
        add_pages(n);
    if (n->failed)
        return og_fail(err, OG_NOMEM, "no memory for queries");
    *ret = n->list;
    *ret_count = n->count;
    return OG_OK;
}

og_status prefetch_all(const plan_content *c, og_arena *a, og_str patient,
                       const prefetch_need **ret, size_t *ret_count, og_error *err)
{
    needs n = {.content = c, .arena = a, .patient = patient};
    return collect(&n, ret, ret_count, err);
}

og_status prefetch_lacks(const plan_content *c, og_arena *a, const hook_request *q, bool known,
                         const prefetch_need **ret, size_t *ret_count, og_error *err)
{
    needs n = {.content = c, .arena = a, .patient = q->patient_id, .request = q, .known = known};
    return collect(&n, ret, ret_count, err);
}

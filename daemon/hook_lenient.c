/* A resource without the elements that cannot be read: written again member by member. */
#include "daemon/hook_lenient.h"

#define MAX_CUTS 16

/* MedicationRequest.dosageInstruction[0].text → dosageInstruction */
static og_str element_of(og_str path)
{
    ptrdiff_t dot = og_str_find(path, '.');
    og_str name = dot < 0 ? path : og_str_from(path, (size_t)dot + 1);
    size_t n = 0;
    while (n < name.n && name.p[n] != '.' && name.p[n] != '[')
        n++;
    return (og_str){name.p, n};
}

/* Is it the element, or what it has beside its value (_element)? */
static bool is_element(og_str key, og_str element)
{
    if (key.n > 0 && key.p[0] == '_')
        key = og_str_from(key, 1);
    if (element.n > 0 && element.p[0] == '_')
        element = og_str_from(element, 1);
    return og_str_eq(key, element);
}

/* What says whose it is, or turns the meaning of the whole, is not left out. */
static bool is_vital(og_str element)
{
    static const char *const names[] = {
        "resourceType",  "status",           "intent",         "doNotPerform",
        "subject",       "patient",          "clinicalStatus", "verificationStatus",
        "implicitRules", "modifierExtension"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (is_element(og_str_of(names[i]), element))
            return true;
    return element.n == 0;
}

static void write_without(const fhir_resource *r, og_str element, og_buf *b)
{
    og_buf_addc(b, '{');
    for (fhir_elem e = fhir_first(r->root); fhir_exists(e); e = fhir_next(r->root, e)) {
        og_str key = fhir_key_of(e);
        const char *quote = fhir_kind_of(e) == FHIR_STRING ? "\"" : "";
        if (is_element(key, element))
            continue;
        og_buf_addf(b, "%s\"%.*s\":%s", b->n > 1 ? "," : "", OG_STR_ARG(key), quote);
        og_buf_adds(b, fhir_raw(e));
        og_buf_addz(b, quote);
    }
    og_buf_addc(b, '}');
}

static og_status cut(og_arena *a, fhir_resource *r, og_str element)
{
    fhir_doc *doc = og_arena_zalloc(a, 1, sizeof *doc);
    og_buf b;
    og_buf_init(&b, fhir_raw(r->root).n + 16);
    write_without(r, element, &b);
    og_str text = og_buf_failed(&b) ? (og_str){NULL, 0} : og_arena_str(a, og_buf_str(&b));
    og_buf_done(&b);
    if (doc == NULL || text.p == NULL)
        return OG_NOMEM;
    if (text.n >= fhir_raw(r->root).n) /* it is not at the top, or has no name of its own */
        return OG_INVALID;
    og_status s = fhir_decode(a, text, NULL, doc, NULL);
    return s == OG_OK ? fhir_resource_of(fhir_root(doc), r, NULL) : s;
}

og_status hook_cut_misread(og_arena *a, fhir_resource *r, unsigned *ret_cut, og_error *err)
{
    *ret_cut = 0;
    for (unsigned i = 0; i < MAX_CUTS; i++) {
        og_error why;
        og_error_init(&why);
        og_status s = fhir_resource_check(r, &why);
        if (s == OG_OK || s == OG_NOMEM)
            return s;
        if (i == 0)
            *err = why;
        og_str element = element_of(og_str_of(why.path));
        s = is_vital(element) ? OG_INVALID : cut(a, r, element);
        if (s != OG_OK)
            return s;
        (*ret_cut)++;
    }
    return OG_INVALID;
}

/* Local codes: a resource gets the codings that the hospital's ConceptMaps add, beside its own.
 *
 * The bytes are spliced, not written anew: numbers and everything else stay as they came, and what
 * is stored stays what was sent, so that changed maps hold for old records at once. */
#include "rules/plan/plan_private.h"

#include <stdlib.h>

typedef struct splice {
    uint32_t at; /* before the bracket that ends a coding array */
    og_str text;
    struct splice *next;
} splice;

typedef struct splicer {
    const plan_content *content;
    og_arena *arena;
    splice *first, **end;
} splicer;

static bool has_coding(og_arena *a, fhir_elem codings, og_str system, og_str code)
{
    for (fhir_elem x = fhir_first(codings); fhir_exists(x); x = fhir_next(codings, x))
        if (og_str_eq(fhir_string(a, fhir_get(x, "system")), system) &&
            og_str_eq(fhir_string(a, fhir_get(x, "code")), code))
            return true;
    return false;
}

static og_str coding_text(og_arena *a, og_str system, og_str code)
{
    og_buf b;
    og_buf_init(&b, (size_t)1 << 20);
    og_buf_addz(&b, ",{\"system\":");
    og_buf_add_json(&b, system);
    og_buf_addz(&b, ",\"code\":");
    og_buf_add_json(&b, code);
    og_buf_addc(&b, '}');
    og_str text = og_buf_failed(&b) ? (og_str){0} : og_arena_str(a, og_buf_str(&b));
    og_buf_done(&b);
    return text;
}

static void add_splice(splicer *s, fhir_elem codings, og_str system, og_str code)
{
    splice *x = og_arena_zalloc(s->arena, 1, sizeof *x);
    if (x == NULL)
        return;
    og_str raw = fhir_raw(codings);
    x->at = (uint32_t)(raw.p + raw.n - 1 - codings.doc->text);
    x->text = coding_text(s->arena, system, code);
    *s->end = x;
    s->end = &x->next;
}

static void translate_codings(splicer *s, fhir_elem codings)
{
    og_str seen_system[8], seen_code[8];
    size_t seen = 0;

    for (fhir_elem x = fhir_first(codings); fhir_exists(x); x = fhir_next(codings, x)) {
        og_str to_system, to_code;
        og_str system = fhir_string(s->arena, fhir_get(x, "system"));
        if (system.n == 0 || !fhir_translates(s->content->terms, system))
            continue; /* most */
        og_str code = fhir_string(s->arena, fhir_get(x, "code"));
        bool known = false;
        if (code.n == 0 || !fhir_translate(s->content->terms, system, code, &to_system, &to_code) ||
            has_coding(s->arena, codings, to_system, to_code))
            continue;
        for (size_t i = 0; i < seen; i++)
            known |= og_str_eq(seen_system[i], to_system) && og_str_eq(seen_code[i], to_code);
        if (known)
            continue;
        if (seen < 8) {
            seen_system[seen] = to_system;
            seen_code[seen++] = to_code;
        }
        add_splice(s, codings, to_system, to_code);
    }
}

static og_status splice_text(const splicer *s, og_str raw, uint32_t base, og_str *ret)
{
    og_buf b;
    uint32_t from = 0;

    og_buf_init(&b, (size_t)256 << 20);
    for (const splice *x = s->first; x != NULL; x = x->next) {
        uint32_t at = x->at - base;
        og_buf_add(&b, raw.p + from, at - from);
        og_buf_adds(&b, x->text);
        from = at;
    }
    og_buf_add(&b, raw.p + from, raw.n - from);
    bool failed = og_buf_failed(&b);
    *ret = failed ? (og_str){0} : og_arena_str(s->arena, og_buf_str(&b));
    og_buf_done(&b);
    return failed || og_arena_failed(s->arena) ? OG_NOMEM : OG_OK;
}

og_status plan__translate(const plan_content *c, og_arena *a, const fhir_resource *r,
                          fhir_resource *ret, og_error *err)
{
    splicer s = {.content = c, .arena = a};
    og_str text;

    *ret = *r;
    if (!c->translates)
        return OG_OK;
    s.end = &s.first;
    /* In document order, so that the splices come out sorted. */
    fhir_elem list = fhir_find_array(r->root, OG_STR("coding"), FHIR_ABSENT);
    for (; fhir_exists(list); list = fhir_find_array(r->root, OG_STR("coding"), list))
        translate_codings(&s, list);
    if (s.first == NULL)
        return OG_OK;
    og_str raw = fhir_raw(r->root);
    fhir_doc *doc = og_arena_zalloc(a, 1, sizeof *doc);
    if (doc == NULL || splice_text(&s, raw, (uint32_t)(raw.p - r->root.doc->text), &text) != OG_OK)
        return og_fail(err, OG_NOMEM, "no memory to translate a resource");
    fhir_limits limits = {.max_bytes = (256u << 20) - 1, .max_depth = 65536};
    og_status status = fhir_decode(a, text, &limits, doc, err);
    if (status != OG_OK)
        return status;
    return fhir_resource_of(fhir_root(doc), ret, err);
}

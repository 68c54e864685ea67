/* Envelopes: a path into JSON, and base64. */
#include "daemon/envelope.h"

#define BASE64 "base64:"

typedef struct envelope {
    og_str path; /* empty: the whole value */
    bool base64;
} envelope;

static envelope form_of(const char *form)
{
    envelope f = {.path = og_str_of(form)};
    if (og_str_starts(f.path, OG_STR(BASE64))) {
        f.base64 = true;
        f.path = og_str_from(f.path, strlen(BASE64));
    }
    if (og_str_is(f.path, "."))
        f.path.n = 0;
    return f;
}

const char *envelope_check(const char *form)
{
    envelope f = form_of(form);
    if (f.path.n == 0)
        return og_str_ends(og_str_of(form), OG_STR(".")) ? NULL : "names no member";
    if (f.path.p[0] == '.' || f.path.p[f.path.n - 1] == '.')
        return "a path neither begins nor ends with a dot";
    for (size_t i = 1; i < f.path.n; i++)
        if (f.path.p[i] == '.' && f.path.p[i - 1] == '.')
            return "a member in the path has no name";
    return NULL;
}

/* ---- base64 ---- */

static int value_of(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+' || c == '-' ? 62
           : c == '/' || c == '_' ? 63
                                  : -1;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Line breaks are passed over; padding may be missing, but not wrong. *ret_bad: where it ends to be
 * base64. */
static bool decode(og_str s, char *out, size_t *ret_n, size_t *ret_bad)
{
    uint32_t bits = 0;
    size_t n = 0, digits = 0, padding = 0, i;
    for (i = 0; i < s.n; i++) {
        int v = value_of(s.p[i]);
        if (is_blank(s.p[i]))
            continue;
        if (s.p[i] == '=' && digits % 4 + padding >= 2 && digits % 4 + padding < 4) {
            padding++;
            continue;
        }
        *ret_bad = i;
        if (v < 0 || padding > 0)
            return false;
        bits = bits << 6 | (uint32_t)v;
        if (++digits % 4 != 1)
            out[n++] = (char)(bits >> (4 - digits % 4) % 4 * 2);
    }
    *ret_bad = s.n;
    *ret_n = n;
    return digits % 4 != 1 && (padding == 0 || digits % 4 + padding == 4);
}

static og_status from_base64(og_arena *a, og_str text, og_str *ret, og_error *err)
{
    size_t n, bad;
    char *out = og_arena_alloc(a, text.n + 1);
    if (out == NULL)
        return og_fail(err, OG_NOMEM, "no memory for an envelope");
    if (!decode(text, out, &n, &bad)) {
        og_status status = og_fail(err, OG_UNSUPPORTED, "is no base64");
        og_error_byte(err, (int64_t)bad);
        return status;
    }
    *ret = (og_str){out, n};
    return OG_OK;
}

/* ---- the member ---- */

static fhir_elem member_at(fhir_elem e, og_str path)
{
    while (path.n > 0) {
        ptrdiff_t dot = og_str_find(path, '.');
        og_str name = {path.p, dot < 0 ? path.n : (size_t)dot};
        e = fhir_kind_of(e) == FHIR_OBJECT ? fhir_get_str(e, name) : FHIR_ABSENT;
        path = og_str_from(path, name.n + (dot >= 0));
    }
    return e;
}

static og_status at_path(og_error *err, og_str path, og_status status)
{
    char text[256];
    snprintf(text, sizeof text, "%.*s", OG_STR_ARG(path));
    if (status != OG_OK)
        og_error_path(err, text);
    return status;
}

static og_status open_member(og_arena *a, const envelope *f, fhir_elem root, og_str *ret,
                             og_error *err)
{
    fhir_elem e = member_at(root, f->path);
    fhir_kind kind = fhir_kind_of(e);
    if (!fhir_exists(e) || kind == FHIR_NULL)
        return og_fail(err, OG_NOTFOUND, "the envelope has no such member");
    if (kind == FHIR_OBJECT && !f->base64 && f->path.n > 0) {
        *ret = fhir_raw(e);
        return OG_OK;
    }
    if (kind != FHIR_STRING)
        return og_fail(err, OG_UNSUPPORTED,
                       f->base64 ? "is no text in base64" : "is neither an object nor a text");
    og_str text = fhir_string(a, e);
    if (text.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for an envelope");
    if (f->base64)
        return from_base64(a, text, ret, err);
    *ret = text;
    return OG_OK;
}

/* Base64 alone, as it stands. */
static bool is_bare(const envelope *f, og_str value)
{
    size_t i = 0;
    while (i < value.n && is_blank(value.p[i]))
        i++;
    return f->base64 && f->path.n == 0 && i < value.n && value_of(value.p[i]) >= 0;
}

og_status envelope_open(og_arena *a, const char *form, const fhir_limits *limits, og_str value,
                        og_str *ret, og_error *err)
{
    envelope f = form_of(form);
    fhir_doc *doc = og_arena_zalloc(a, 1, sizeof *doc);
    if (doc == NULL)
        return og_fail(err, OG_NOMEM, "no memory for an envelope");
    if (is_bare(&f, value))
        return from_base64(a, value, ret, err);
    og_status status = fhir_decode(a, value, limits, doc, err);
    if (status != OG_OK)
        return status;
    fhir_elem root = fhir_root(doc);
    if (fhir_kind_of(fhir_get(root, "resourceType")) == FHIR_STRING) {
        *ret = value;
        return OG_OK;
    }
    return at_path(err, f.path, open_member(a, &f, root, ret, err));
}

/* The lexical forms of the FHIR R4 primitives (datatypes.html). Texts are looked at one byte of
 * their unescaped form at a time, so that no length needs memory; what has a short longest form is
 * copied to the stack first. */
#include "fhir/resource.h"

#include "fhir/base/temporal.h"
#include "fhir/fhir_private.h"
#include "fhir/model.h"

#define LONGEST_TEXT   (1024u * 1024u) /* characters of a string (R4 datatypes.html#string) */
#define LONGEST_COPIED 256u

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* 1: in every id; 2: only in those that are read all the same. */
static const unsigned char id_bytes[256] = {
    ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1, ['0' ... '9'] = 1, ['-'] = 1, ['.'] = 1, ['_'] = 2};

static bool id_of(og_str s, size_t longest, unsigned char most)
{
    if (s.n == 0 || s.n > longest)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)(id_bytes[(unsigned char)s.p[i]] - 1) >= most)
            return false;
    return true;
}

bool fhir_id_usable(og_str s)
{
    return id_of(s, FHIR_ID_MAX, 2);
}

/* What has a fixed form, unescaped; what does not fit is longer than any of them. */
static og_str short_text(fhir_elem e, char buf[LONGEST_COPIED])
{
    return fhir__short_text(fhir_raw(e), buf, LONGEST_COPIED);
}

/* --- numbers --- */

/* A whole number as R4 writes it: no sign but a minus before something that is not zero, no
 * fraction. */
static bool whole_number(og_str s, int64_t min, int64_t max)
{
    int64_t v;
    bool minus = s.n > 1 && s.p[0] == '-';
    return !(minus && s.p[1] == '0') && s.n - minus <= 10 && og_str_int(s, min, max, &v);
}

/* --- texts of any length --- */

/* [ \r\n\t\S]+, not empty, not longer than R4 allows. */
static bool string_valid(og_str raw)
{
    size_t characters = 0;
    for (const char *p = raw.p, *end = raw.p + raw.n; p < end;) {
        char out[4];
        size_t n = fhir__unescape(&p, end, out);
        unsigned char c = (unsigned char)out[0];
        if (n == 1 && c < 0x20 && c != '\t' && c != '\r' && c != '\n')
            return false;
        if ((c & 0xC0) != 0x80)
            characters++;
    }
    return characters >= 1 && characters <= LONGEST_TEXT;
}

/* \S+ */
static bool uri_valid(og_str raw)
{
    for (const char *p = raw.p, *end = raw.p + raw.n; p < end;) {
        char out[4];
        size_t n = fhir__unescape(&p, end, out);
        if (n == 1 && (is_space(out[0]) || (unsigned char)out[0] < 0x20))
            return false;
    }
    return raw.n != 0;
}

/* [^\s]+(\s[^\s]+)* */
static bool code_valid(og_str raw)
{
    bool after_space = true; /* so that none stands at the start */
    for (const char *p = raw.p, *end = raw.p + raw.n; p < end;) {
        char out[4];
        size_t n = fhir__unescape(&p, end, out);
        bool space = n == 1 && is_space(out[0]);
        if ((space && after_space) || (n == 1 && (unsigned char)out[0] < 0x20 && !space))
            return false;
        after_space = space;
    }
    return !after_space;
}

/* Groups of four; = only at the end; white space anywhere between. RFC 4648 section 4. */
static bool base64_valid(og_str raw)
{
    size_t digits = 0, padding = 0;
    for (const char *p = raw.p, *end = raw.p + raw.n; p < end;) {
        char out[4];
        size_t n = fhir__unescape(&p, end, out);
        char c = out[0];
        if (n == 1 && is_space(c))
            continue;
        if (n == 1 && c == '=')
            padding++;
        else if (n == 1 && padding == 0 && (is_letter(c) || is_digit(c) || c == '+' || c == '/'))
            digits++;
        else
            return false;
    }
    return digits >= 2 && padding <= 2 && (digits + padding) % 4 == 0;
}

/* --- texts of a fixed form --- */

/* urn:oid:[0-2](\.(0|[1-9][0-9]*))+ */
static bool oid_valid(og_str s)
{
    if (!og_str_starts(s, OG_STR("urn:oid:")))
        return false;
    s = og_str_from(s, 8);
    if (s.n < 3 || s.p[0] < '0' || s.p[0] > '2')
        return false;
    size_t at = 1;
    while (at < s.n) {
        size_t from = at + 1;
        if (s.p[at] != '.' || from == s.n || !is_digit(s.p[from]))
            return false;
        for (at = from; at < s.n && is_digit(s.p[at]);)
            at++;
        if (s.p[from] == '0' && at - from > 1)
            return false;
    }
    return true;
}

static bool uuid_valid(og_str s)
{
    return og_str_starts(s, OG_STR("urn:uuid:")) && og_str_is_uuid(og_str_from(s, 9), false);
}

static bool temporal_valid(og_str s, fhir_primitive kind)
{
    og_temporal t;
    if (kind == FHIR_PRIMITIVE_TIME)
        return og_temporal_parse_time(s, &t) && t.precision >= OG_SECOND;
    if (!og_temporal_parse_fhir(s, &t))
        return false;
    if (kind == FHIR_PRIMITIVE_DATE)
        return t.precision <= OG_DAY;
    if (kind == FHIR_PRIMITIVE_INSTANT)
        return t.precision >= OG_SECOND && t.has_offset;
    return t.precision <= OG_DAY || t.has_offset;
}

static bool number_valid(fhir_primitive kind, fhir_elem e)
{
    if (fhir_kind_of(e) != FHIR_NUMBER)
        return false;
    switch (kind) {
    case FHIR_PRIMITIVE_INTEGER: return whole_number(fhir_raw(e), INT32_MIN, INT32_MAX);
    case FHIR_PRIMITIVE_UNSIGNED_INT: return whole_number(fhir_raw(e), 0, INT32_MAX);
    case FHIR_PRIMITIVE_POSITIVE_INT: return whole_number(fhir_raw(e), 1, INT32_MAX);
    default: return true; /* a decimal's form is that of a JSON number */
    }
}

static bool text_valid(fhir_primitive kind, fhir_elem e)
{
    char buf[LONGEST_COPIED];
    if (fhir_kind_of(e) != FHIR_STRING)
        return false;
    switch (kind) {
    case FHIR_PRIMITIVE_STRING:
    case FHIR_PRIMITIVE_MARKDOWN:
    case FHIR_PRIMITIVE_XHTML: return string_valid(fhir_raw(e));
    case FHIR_PRIMITIVE_URI:
    case FHIR_PRIMITIVE_URL:
    case FHIR_PRIMITIVE_CANONICAL: return uri_valid(fhir_raw(e));
    case FHIR_PRIMITIVE_CODE: return code_valid(fhir_raw(e));
    case FHIR_PRIMITIVE_BASE64BINARY: return base64_valid(fhir_raw(e));
    case FHIR_PRIMITIVE_OID: return oid_valid(short_text(e, buf));
    case FHIR_PRIMITIVE_UUID: return uuid_valid(short_text(e, buf));
    case FHIR_PRIMITIVE_ID: return id_of(short_text(e, buf), 64, 1);
    default: return temporal_valid(short_text(e, buf), kind);
    }
}

bool fhir__primitive_json(fhir_primitive kind, fhir_elem e)
{
    fhir_kind k = fhir_kind_of(e);
    switch (kind) {
    case FHIR_PRIMITIVE_NONE: return false;
    case FHIR_PRIMITIVE_BOOLEAN: return k == FHIR_TRUE || k == FHIR_FALSE;
    case FHIR_PRIMITIVE_INTEGER:
    case FHIR_PRIMITIVE_UNSIGNED_INT:
    case FHIR_PRIMITIVE_POSITIVE_INT:
    case FHIR_PRIMITIVE_DECIMAL: return k == FHIR_NUMBER;
    default: return k == FHIR_STRING;
    }
}

bool fhir__primitive_form(fhir_primitive kind, fhir_elem e)
{
    switch (kind) {
    case FHIR_PRIMITIVE_NONE:
    case FHIR_PRIMITIVE_BOOLEAN: return fhir__primitive_json(kind, e);
    case FHIR_PRIMITIVE_INTEGER:
    case FHIR_PRIMITIVE_UNSIGNED_INT:
    case FHIR_PRIMITIVE_POSITIVE_INT:
    case FHIR_PRIMITIVE_DECIMAL: return number_valid(kind, e);
    default: return text_valid(kind, e);
    }
}

bool fhir_primitive_valid(og_str type, fhir_elem e)
{
    return fhir__primitive_form(fhir_type_primitive(fhir_type_of(type)), e);
}

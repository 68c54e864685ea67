/* Reads CQL literals and selectors of constants: what cql_value_format writes, FHIR elements and
 * class instances apart, and what people write into a configuration (28, 35.5, 28 days, 'x',
 * @2012-01-01). CQL 1.5 grammar, `literal` and the selectors. Recursion is counted. */
#include "rules/cql/cql.h"
#include "rules/cql/ops_private.h"

typedef struct reader {
    cql_op_context c;
    og_str s;
    size_t at;
    int depth;
} reader;

static bool refuse(reader *r, const char *what)
{
    og_error_byte(r->c.err, (int64_t)r->at);
    og_fail(r->c.err, OG_SYNTAX, "%s at position %zu", what, r->at);
    og_error_byte(r->c.err, (int64_t)r->at);
    return false;
}

static char peek(const reader *r)
{
    return r->at < r->s.n ? r->s.p[r->at] : '\0';
}

static void skip_space(reader *r)
{
    while (r->at < r->s.n && strchr(" \t\r\n", r->s.p[r->at]) != NULL && r->s.p[r->at] != '\0')
        r->at++;
}

static bool take(reader *r, char ch)
{
    skip_space(r);
    if (peek(r) != ch || r->at >= r->s.n)
        return false;
    r->at++;
    return true;
}

static bool expect(reader *r, char ch)
{
    char what[] = "expected ' '";
    what[10] = ch;
    return take(r, ch) || refuse(r, what);
}

static bool is_letter(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_';
}

static bool is_digit(char ch)
{
    return ch >= '0' && ch <= '9';
}

/* The identifier at the reader, empty when there is none; does not advance. */
static og_str word_at(const reader *r)
{
    size_t end = r->at;
    while (end < r->s.n && (is_letter(r->s.p[end]) || (end > r->at && is_digit(r->s.p[end]))))
        end++;
    return (og_str){r->s.p + r->at, end - r->at};
}

static bool take_word(reader *r, const char *word)
{
    skip_space(r);
    if (!og_str_is(word_at(r), word))
        return false;
    r->at += strlen(word);
    return true;
}

/* ---- strings ---- */

static int hex_value(char ch)
{
    if (is_digit(ch))
        return ch - '0';
    if (ch >= 'a' && ch <= 'f')
        return ch - 'a' + 10;
    return ch >= 'A' && ch <= 'F' ? ch - 'A' + 10 : -1;
}

static bool read_hex(og_str s, size_t at, uint32_t *ret)
{
    uint32_t v = 0;
    if (at + 4 > s.n)
        return false;
    for (size_t i = at; i < at + 4; i++) {
        int h = hex_value(s.p[i]);
        if (h < 0)
            return false;
        v = v * 16 + (uint32_t)h;
    }
    *ret = v;
    return true;
}

/* The character that the escape at s[*at] (behind the backslash) means; advances behind it. */
static bool read_escape(og_str s, size_t *at, uint32_t *ret)
{
    static const char from[] = "\"'`\\/fnrt", to[] = "\"'`\\/\f\n\r\t";
    if (*at >= s.n)
        return false;
    char ch = s.p[(*at)++];
    const char *f = ch != '\0' ? strchr(from, ch) : NULL;
    if (f != NULL) {
        *ret = (unsigned char)to[f - from];
        return true;
    }
    uint32_t low;
    if (ch != 'u' || !read_hex(s, *at, ret))
        return false;
    *at += 4;
    if (*ret < 0xD800 || *ret > 0xDFFF)
        return true;
    if (*ret > 0xDBFF || *at + 6 > s.n || s.p[*at] != '\\' || s.p[*at + 1] != 'u' ||
        !read_hex(s, *at + 2, &low) || low < 0xDC00 || low > 0xDFFF)
        return false;
    *at += 6;
    *ret = 0x10000 + ((*ret - 0xD800) << 10) + (low - 0xDC00);
    return true;
}

bool cql__parse_string(og_arena *a, og_str s, size_t *at, og_str *ret)
{
    char quote = s.p[*at];
    char *out = og_arena_alloc(a, s.n - *at + 1);
    if (out == NULL)
        return false;
    size_t i = *at + 1, n = 0;
    while (i < s.n && s.p[i] != quote) {
        if (s.p[i] != '\\') {
            out[n++] = s.p[i++];
            continue;
        }
        uint32_t cp;
        i++;
        if (!read_escape(s, &i, &cp))
            return false;
        n += og_utf8_put(cp, out + n); /* an escape is never shorter than what it means */
    }
    if (i >= s.n)
        return false;
    out[n] = '\0';
    *at = i + 1;
    *ret = (og_str){out, n};
    return true;
}

static bool read_string(reader *r, og_str *ret)
{
    return cql__parse_string(r->c.arena, r->s, &r->at, ret) || refuse(r, "not a string");
}

/* ---- numbers and quantities ---- */

static og_str number_at(reader *r)
{
    size_t from = r->at;
    if (peek(r) == '-' || peek(r) == '+')
        r->at++;
    while (is_digit(peek(r)))
        r->at++;
    if (peek(r) == '.' && r->at + 1 < r->s.n && is_digit(r->s.p[r->at + 1]))
        for (r->at++; is_digit(peek(r));)
            r->at++;
    return (og_str){r->s.p + from, r->at - from};
}

/* The unit behind a number, false when there is none: 'code' or a calendar word. */
static bool read_unit(reader *r, og_str *ret, bool *ret_failed)
{
    *ret_failed = false;
    size_t before = r->at;
    skip_space(r);
    if (peek(r) == '\'') {
        *ret_failed = !read_string(r, ret);
        return !*ret_failed;
    }
    *ret = word_at(r);
    if (cql__unit_of_word(*ret) != CQL__UNIT_NONE) {
        r->at += ret->n;
        return true;
    }
    r->at = before;
    return false;
}

static bool whole_number(reader *r, og_str text, cql_value *ret)
{
    cql_value s = cql_string(text);
    bool is_long = peek(r) == 'L';
    r->at += is_long;
    *ret = is_long ? cql_op_ToLong(&r->c, &s, 1) : cql_op_ToInteger(&r->c, &s, 1);
    return !cql_is_null(*ret) ||
           refuse(r, is_long ? "out of the range of Long" : "out of the range of Integer");
}

/* A number, or a quantity when a unit follows. */
static bool read_number(reader *r, cql_value *ret)
{
    og_str text = number_at(r), unit;
    bool failed;
    if (text.n == 0 || !is_digit(text.p[text.n - 1]))
        return refuse(r, "not a number");
    size_t behind = r->at;
    bool has_unit = read_unit(r, &unit, &failed);
    if (failed)
        return false;
    og_decimal d = 0;
    int scale = 0;
    if (has_unit) {
        if (!og_decimal_parse(text, true, &d, &scale))
            return refuse(r, "out of the range of Decimal");
        og_str own = og_arena_str(r->c.arena, unit);
        *ret = own.p != NULL ? cql_quantity_make(&r->c, d, scale, own) : CQL_NULL_VALUE;
        return true;
    }
    r->at = behind;
    if (og_str_find(text, '.') < 0)
        return whole_number(r, text, ret);
    if (!og_decimal_parse(text, false, &d, &scale))
        return refuse(r, "out of the range of Decimal");
    *ret = cql_decimal(d, scale);
    return true;
}

static bool read_quantity(reader *r, cql_value *ret)
{
    skip_space(r);
    if (!read_number(r, ret))
        return false;
    *ret = cql_op_ToQuantity(&r->c, ret, 1);
    return true;
}

/* A number, a quantity, or a ratio of two of them. */
static bool read_number_or_ratio(reader *r, cql_value *ret)
{
    if (!read_number(r, ret))
        return false;
    size_t behind = r->at;
    if (!take(r, ':')) {
        r->at = behind;
        return true;
    }
    cql_value parts[2] = {cql_op_ToQuantity(&r->c, ret, 1)};
    if (!read_quantity(r, &parts[1]))
        return false;
    *ret = cql_op_Ratio(&r->c, parts, 2);
    return true;
}

/* ---- dates and times ---- */

static bool read_temporal(reader *r, cql_value *ret)
{
    size_t from = ++r->at;
    while (r->at < r->s.n && strchr("0123456789T:.+-Z", r->s.p[r->at]) != NULL && peek(r) != '\0')
        r->at++;
    og_str text = {r->s.p + from, r->at - from};
    og_temporal t;
    bool has_t;
    if (text.n > 0 && text.p[0] == 'T') {
        if (!cql__parse_time(text, &t))
            return refuse(r, "not a time");
        *ret = cql__temporal(CQL_TIME, t);
        return true;
    }
    if (!cql__parse_date_time(text, &t, &has_t))
        return refuse(r, "not a date");
    *ret = cql__temporal(has_t ? CQL_DATETIME : CQL_DATE, t);
    return true;
}

/* ---- selectors ---- */

static bool read_term(reader *r, cql_value *ret);

static bool read_interval(reader *r, cql_value *ret)
{
    cql_value low, high;
    bool low_closed = take(r, '[');
    if (!low_closed && !expect(r, '('))
        return false;
    if (!read_term(r, &low) || !expect(r, ',') || !read_term(r, &high))
        return false;
    bool high_closed = take(r, ']');
    if (!high_closed && !expect(r, ')'))
        return false;
    *ret = cql_interval_make(&r->c, low, high, low_closed, high_closed, CQL_NULL);
    return ret->kind == CQL_INTERVAL || refuse(r, "not an interval");
}

typedef struct items {
    cql_value *values;
    og_str *names;
    size_t count, cap;
} items;

static bool add_item(reader *r, items *l, og_str name, cql_value v)
{
    if (l->count == l->cap) {
        size_t cap = l->cap != 0 ? l->cap * 2 : 8;
        cql_value *values = og_arena_alloc(r->c.arena, cap * sizeof *values);
        og_str *names = og_arena_alloc(r->c.arena, cap * sizeof *names);
        if (values == NULL || names == NULL)
            return false;
        if (l->count != 0) {
            memcpy(values, l->values, l->count * sizeof *values);
            memcpy(names, l->names, l->count * sizeof *names);
        }
        *l = (items){values, names, l->count, cap};
    }
    l->names[l->count] = name;
    l->values[l->count++] = v;
    return true;
}

static bool read_list(reader *r, cql_value *ret)
{
    items l = {0};
    if (!take(r, '}')) {
        do {
            cql_value v;
            if (!read_term(r, &v) || !add_item(r, &l, (og_str){0}, v))
                return false;
        } while (take(r, ','));
        if (!expect(r, '}'))
            return false;
    }
    *ret = cql__list(&r->c, l.values, l.count);
    return true;
}

/* { name: value, ... } */
static bool read_members(reader *r, items *l)
{
    if (!expect(r, '{'))
        return false;
    if (take(r, ':'))
        return expect(r, '}');
    do {
        og_str name;
        cql_value v;
        skip_space(r);
        if (peek(r) == '"') {
            if (!read_string(r, &name))
                return false;
        } else {
            name = og_arena_str(r->c.arena, word_at(r));
            r->at += name.n;
            if (name.n == 0)
                return refuse(r, "expected a name");
        }
        if (!expect(r, ':') || !read_term(r, &v) || !add_item(r, l, name, v))
            return false;
    } while (take(r, ','));
    return expect(r, '}');
}

static bool read_tuple(reader *r, cql_value *ret)
{
    items l = {0};
    cql_tuple *t = og_arena_zalloc(r->c.arena, 1, sizeof *t);
    if (t == NULL || !read_members(r, &l))
        return false;
    *t = (cql_tuple){.names = l.names, .items = l.values, .count = l.count};
    *ret = (cql_value){.kind = CQL_TUPLE, .tuple = t};
    return true;
}

static cql_value member(const items *l, const char *name)
{
    for (size_t i = 0; i < l->count; i++)
        if (og_str_is(l->names[i], name))
            return l->values[i];
    return CQL_NULL_VALUE;
}

static og_str text_member(const items *l, const char *name)
{
    cql_value v = member(l, name);
    return v.kind == CQL_STRING ? cql_str(v) : (og_str){0};
}

static bool read_code(reader *r, cql_value *ret)
{
    items l = {0};
    cql_code *code = og_arena_zalloc(r->c.arena, 1, sizeof *code);
    if (code == NULL || !read_members(r, &l))
        return false;
    *code = (cql_code){.code = text_member(&l, "code"),
                       .system = text_member(&l, "system"),
                       .version = text_member(&l, "version"),
                       .display = text_member(&l, "display")};
    *ret = (cql_value){.kind = CQL_CODE, .code = code};
    return true;
}

static bool read_concept(reader *r, cql_value *ret)
{
    items l = {0};
    if (!read_members(r, &l))
        return false;
    cql_value codes = member(&l, "codes"), made;
    if (codes.kind != CQL_LIST && codes.kind != CQL_CODE)
        return refuse(r, "a Concept needs codes");
    made = cql_op_ToConcept(&r->c, &codes, 1);
    cql_concept *whole = og_arena_zalloc(r->c.arena, 1, sizeof *whole);
    if (whole == NULL || made.kind != CQL_CONCEPT)
        return false;
    *whole = *made.concept;
    whole->display = text_member(&l, "display");
    *ret = (cql_value){.kind = CQL_CONCEPT, .concept = whole};
    return true;
}

static bool read_named(reader *r, cql_value *ret)
{
    if (take_word(r, "null"))
        *ret = CQL_NULL_VALUE;
    else if (take_word(r, "true"))
        *ret = cql_bool(true);
    else if (take_word(r, "false"))
        *ret = cql_bool(false);
    else if (take_word(r, "Interval"))
        return read_interval(r, ret);
    else if (take_word(r, "Tuple"))
        return read_tuple(r, ret);
    else if (take_word(r, "Code"))
        return read_code(r, ret);
    else if (take_word(r, "Concept"))
        return read_concept(r, ret);
    else
        return refuse(r, "not a CQL literal");
    return true;
}

static bool read_term(reader *r, cql_value *ret)
{
    bool ok;
    *ret = CQL_NULL_VALUE;
    if (r->depth >= CQL__MAX_VALUE_DEPTH)
        return refuse(r, "nested too deeply");
    r->depth++;
    skip_space(r);
    char ch = peek(r);
    if (ch == '\'') {
        og_str s;
        ok = read_string(r, &s);
        if (ok)
            *ret = cql_string(s);
    } else if (ch == '@') {
        ok = read_temporal(r, ret);
    } else if (ch == '{') {
        r->at++;
        ok = read_list(r, ret);
    } else if (is_digit(ch) || ch == '-' || ch == '+') {
        ok = read_number_or_ratio(r, ret);
    } else {
        ok = read_named(r, ret);
    }
    r->depth--;
    return ok;
}

og_status cql_literal(og_arena *a, og_str text, cql_value *ret, og_error *err)
{
    og_error own;
    og_error_init(&own);
    reader r = {.c = {.arena = a, .err = &own}, .s = text};
    cql_value v = CQL_NULL_VALUE;
    if (og_utf8_check(text) != text.n)
        return og_fail(err, OG_SYNTAX, "not valid UTF-8");
    bool ok = read_term(&r, &v);
    skip_space(&r);
    if (ok && r.at != text.n)
        ok = refuse(&r, "something follows the literal");
    if (og_arena_failed(a))
        return og_fail(err, OG_NOMEM, "no memory for a literal");
    if (!ok) {
        og_fail(err, own.status != OG_OK ? own.status : OG_SYNTAX, "%s", own.text);
        og_error_byte(err, (int64_t)r.at);
        return own.status != OG_OK ? own.status : OG_SYNTAX;
    }
    *ret = v;
    return OG_OK;
}

/* Strings: CQL 1.5 Appendix B.7. Positions and lengths count Unicode code points, never bytes.
 *
 * Regular expressions are PCRE2 in UTF mode with `.` matching line ends too, limited in the steps
 * they may take: a pattern that cannot be read or goes beyond the limit is a run-time error. Case
 * is the simple mapping of Unicode, of no locale. */
#include "rules/cql/ops_private.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define DEFAULT_MATCH_LIMIT 100000u
#define MAX_STRING          ((size_t)4 << 20)

/* ---- case ---- */

typedef struct cql__case_run {
    uint32_t first, last;
    int32_t step, delta;
} cql__case_run;

#include "rules/cql/case.inc"

static uint32_t mapped(const cql__case_run *runs, size_t count, uint32_t cp)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const cql__case_run *r = &runs[middle];
        if (cp < r->first)
            high = middle;
        else if (cp > r->last)
            low = middle + 1;
        else
            return (cp - r->first) % (uint32_t)r->step == 0 ? (uint32_t)((int32_t)cp + r->delta)
                                                            : cp;
    }
    return cp;
}

uint32_t cql__lower(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
    return mapped(lower_runs, sizeof lower_runs / sizeof *lower_runs, cp);
}

uint32_t cql__upper(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= 'a' && cp <= 'z' ? cp - 32 : cp;
    return mapped(upper_runs, sizeof upper_runs / sizeof *upper_runs, cp);
}

/* ---- code points ---- */

static bool strings(const cql_value *args, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (args[i].kind != CQL_STRING)
            return false;
    return true;
}

static size_t length_of(og_str s)
{
    size_t n = 0;
    for (size_t at = 0; at < s.n; n++)
        og_utf8_next(s, &at);
    return n;
}

/* The byte where code point number `index` begins; s.n when there are not so many. */
static size_t byte_of(og_str s, size_t index)
{
    size_t at = 0;
    for (; index > 0 && at < s.n; index--)
        og_utf8_next(s, &at);
    return at;
}

static int32_t position_in(og_str s, size_t byte)
{
    return (int32_t)length_of((og_str){s.p, byte});
}

/* A new string of n bytes in the arena; its bytes go to *ret. */
static cql_value new_string(cql_op_context *c, size_t n, char **ret)
{
    if (n > MAX_STRING)
        return cql_op_fail(c, "a string would be longer than %zu bytes", MAX_STRING);
    char *p = og_arena_alloc(c->arena, n + 1);
    if (p == NULL)
        return CQL_NULL_VALUE;
    p[n] = '\0';
    *ret = p;
    return cql_string((og_str){p, n});
}

/* ---- simple operators ---- */

/* Length(argument String) Integer, Length(argument List<T>) Integer */
cql_value cql_op_Length(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    if (args[0].kind == CQL_LIST)
        return args[0].list->count <= INT32_MAX ? cql_integer((int32_t)args[0].list->count)
                                                : CQL_NULL_VALUE;
    if (args[0].kind != CQL_STRING)
        return CQL_NULL_VALUE;
    return cql_integer((int32_t)length_of(cql_str(args[0])));
}

/* Indexer(argument String, index Integer) String, Indexer(argument List<T>, index Integer) T: from
 * 0, null out of range. */
cql_value cql_op_Indexer(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    if (args[1].kind != CQL_INTEGER || args[1].integer < 0)
        return CQL_NULL_VALUE;
    size_t index = (size_t)args[1].integer;
    if (args[0].kind == CQL_LIST)
        return index < args[0].list->count ? args[0].list->items[index] : CQL_NULL_VALUE;
    if (args[0].kind != CQL_STRING)
        return CQL_NULL_VALUE;
    og_str s = cql_str(args[0]);
    size_t at = byte_of(s, index), end = at;
    if (at >= s.n)
        return CQL_NULL_VALUE;
    og_utf8_next(s, &end);
    return cql_string((og_str){s.p + at, end - at});
}

/* Substring(stringToSub String, startIndex Integer, length Integer) String */
cql_value cql_op_Substring(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c;
    if (args[0].kind != CQL_STRING || args[1].kind != CQL_INTEGER || args[1].integer < 0)
        return CQL_NULL_VALUE;
    og_str s = cql_str(args[0]);
    size_t at = byte_of(s, (size_t)args[1].integer);
    if (at >= s.n && !(s.n == 0 && args[1].integer == 0))
        return CQL_NULL_VALUE;
    og_str rest = {s.p + at, s.n - at};
    if (count < 3 || args[2].kind != CQL_INTEGER)
        return cql_string(rest);
    size_t length = args[2].integer > 0 ? (size_t)args[2].integer : 0;
    return cql_string((og_str){rest.p, byte_of(rest, length)});
}

/* StartsWith(argument String, prefix String) Boolean */
cql_value cql_op_StartsWith(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c;
    if (!strings(args, count))
        return CQL_NULL_VALUE;
    return cql_bool(og_str_starts(cql_str(args[0]), cql_str(args[1])));
}

/* EndsWith(argument String, suffix String) Boolean */
cql_value cql_op_EndsWith(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c;
    if (!strings(args, count))
        return CQL_NULL_VALUE;
    return cql_bool(og_str_ends(cql_str(args[0]), cql_str(args[1])));
}

/* The byte of the first appearance, or -1. An empty pattern appears everywhere. */
static ptrdiff_t find(og_str s, og_str pattern)
{
    if (pattern.n == 0)
        return 0;
    const char *f = s.n >= pattern.n ? memmem(s.p, s.n, pattern.p, pattern.n) : NULL;
    return f != NULL ? f - s.p : -1;
}

/* PositionOf(pattern String, argument String) Integer */
cql_value cql_op_PositionOf(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c;
    if (!strings(args, count))
        return CQL_NULL_VALUE;
    og_str s = cql_str(args[1]);
    ptrdiff_t at = find(s, cql_str(args[0]));
    return cql_integer(at < 0 ? -1 : position_in(s, (size_t)at));
}

/* LastPositionOf(pattern String, argument String) Integer */
cql_value cql_op_LastPositionOf(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c;
    if (!strings(args, count))
        return CQL_NULL_VALUE;
    og_str pattern = cql_str(args[0]), s = cql_str(args[1]);
    for (size_t at = s.n + 1; at-- > 0;)
        if (og_str_starts(og_str_from(s, at), pattern))
            return cql_integer(position_in(s, at));
    return cql_integer(-1);
}

static cql_value with_case(cql_op_context *c, cql_value v, uint32_t (*map)(uint32_t))
{
    if (v.kind != CQL_STRING)
        return CQL_NULL_VALUE;
    og_str s = cql_str(v);
    char *p = NULL, four[4];
    size_t n = 0;
    for (size_t at = 0; at < s.n;)
        n += og_utf8_put(map(og_utf8_next(s, &at)), four);
    cql_value result = new_string(c, n, &p);
    if (p == NULL)
        return result;
    for (size_t at = 0, to = 0; at < s.n;) {
        size_t wide = og_utf8_put(map(og_utf8_next(s, &at)), four);
        memcpy(p + to, four, wide);
        to += wide;
    }
    return result;
}

/* Lower(argument String) String */
cql_value cql_op_Lower(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return with_case(c, args[0], cql__lower);
}

/* Upper(argument String) String */
cql_value cql_op_Upper(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return with_case(c, args[0], cql__upper);
}

/* The strings one behind the other, with separator between them. Items that are none are left out.
 */
static cql_value joined(cql_op_context *c, const cql_value *items, size_t count, og_str separator)
{
    size_t n = 0, seen = 0;
    for (size_t i = 0; i < count; i++)
        if (items[i].kind == CQL_STRING)
            n += items[i].length + (seen++ > 0 ? separator.n : 0);
    if (seen == 0)
        return CQL_NULL_VALUE;
    char *p = NULL;
    cql_value result = new_string(c, n, &p);
    if (p == NULL)
        return result;
    seen = 0;
    for (size_t i = 0; i < count; i++) {
        if (items[i].kind != CQL_STRING)
            continue;
        if (seen++ > 0 && separator.n != 0)
            p = mempcpy(p, separator.p, separator.n);
        if (items[i].length != 0)
            p = mempcpy(p, items[i].string, items[i].length);
    }
    return result;
}

/* +(left String, right String) String: null when one is null (`&` makes nulls empty beforehand). */
cql_value cql_op_Concatenate(cql_op_context *c, const cql_value *args, size_t count)
{
    return strings(args, count) ? joined(c, args, count, (og_str){0}) : CQL_NULL_VALUE;
}

/* Combine(source List<String>, separator String) String: nulls in the list are left out. */
cql_value cql_op_Combine(cql_op_context *c, const cql_value *args, size_t count)
{
    if (args[0].kind != CQL_LIST)
        return CQL_NULL_VALUE;
    og_str separator = count > 1 && args[1].kind == CQL_STRING ? cql_str(args[1]) : (og_str){0};
    return joined(c, args[0].list->items, args[0].list->count, separator);
}

/* ---- lists of pieces ---- */

typedef struct pieces {
    cql_value *items;
    size_t count, cap;
} pieces;

static bool add_piece(cql_op_context *c, pieces *p, og_str s)
{
    uint32_t most = c->max_list != 0 ? c->max_list : 100000;
    if (p->count >= most) {
        cql_op_fail(c, "a string would be split into more than %u pieces", most);
        return false;
    }
    if (p->count == p->cap) {
        size_t cap = p->cap != 0 ? p->cap * 2 : 8;
        cql_value *items =
            og_arena_grow(c->arena, p->items, p->cap * sizeof *items, cap * sizeof *items);
        if (items == NULL)
            return false;
        p->items = items;
        p->cap = cap;
    }
    p->items[p->count++] = cql_string(s);
    return true;
}

/* Split(stringToSplit String, separator String) List<String>: an empty separator gives the
 * characters. */
cql_value cql_op_Split(cql_op_context *c, const cql_value *args, size_t count)
{
    pieces p = {0};
    if (args[0].kind != CQL_STRING)
        return CQL_NULL_VALUE;
    og_str s = cql_str(args[0]);
    if (count > 1 && args[1].kind == CQL_STRING && args[1].length == 0)
        return cql_op_ToChars(c, args, 1);
    while (count > 1 && args[1].kind == CQL_STRING) {
        ptrdiff_t at = find(s, cql_str(args[1]));
        if (at < 0)
            break;
        if (!add_piece(c, &p, (og_str){s.p, (size_t)at}))
            return CQL_NULL_VALUE;
        s = og_str_from(s, (size_t)at + args[1].length);
    }
    return add_piece(c, &p, s) ? cql__list(c, p.items, p.count) : CQL_NULL_VALUE;
}

/* ToChars(argument String) List<String> */
cql_value cql_op_ToChars(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    pieces p = {0};
    if (args[0].kind != CQL_STRING)
        return CQL_NULL_VALUE;
    og_str s = cql_str(args[0]);
    for (size_t at = 0, next = 0; at < s.n; at = next) {
        og_utf8_next(s, &next);
        if (!add_piece(c, &p, (og_str){s.p + at, next - at}))
            return CQL_NULL_VALUE;
    }
    return cql__list(c, p.items, p.count);
}

/* ---- regular expressions ---- */

typedef struct regex {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    PCRE2_SIZE *ends; /* pairs of start and end of the last match */
    uint32_t groups;
    bool checked; /* the subject is valid UTF-8: not to be checked again for every match */
} regex;

static void regex_done(regex *r)
{
    pcre2_match_context_free(r->limits);
    pcre2_match_data_free(r->match);
    pcre2_code_free(r->code);
}

/* False with an error recorded when the pattern cannot be read. whole: it must match all of a
 * string. */
static bool regex_init(cql_op_context *c, regex *r, og_str pattern, bool whole)
{
    int code;
    PCRE2_SIZE at;
    uint32_t options = PCRE2_UTF | PCRE2_DOTALL | (whole ? PCRE2_ANCHORED | PCRE2_ENDANCHORED : 0);
    *r = (regex){0};
    r->code = pcre2_compile((PCRE2_SPTR)(pattern.p != NULL ? pattern.p : ""), pattern.n, options,
                            &code, &at, NULL);
    if (r->code == NULL) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(code, text, sizeof text);
        cql_op_fail(c, "the regular expression is wrong at position %zu: %s", (size_t)at,
                    (char *)text);
        return false;
    }
    r->match = pcre2_match_data_create_from_pattern(r->code, NULL);
    r->limits = pcre2_match_context_create(NULL);
    if (r->match == NULL || r->limits == NULL) {
        regex_done(r);
        og_fail(c->err, OG_NOMEM, "no memory for a regular expression");
        return false;
    }
    uint32_t most = c->match_limit != 0 ? c->match_limit : DEFAULT_MATCH_LIMIT;
    pcre2_set_match_limit(r->limits, most);
    pcre2_set_depth_limit(r->limits, most);
    pcre2_set_heap_limit(r->limits, 20 * 1024); /* KiB */
    pcre2_pattern_info(r->code, PCRE2_INFO_CAPTURECOUNT, &r->groups);
    r->ends = pcre2_get_ovector_pointer(r->match);
    return true;
}

/* 1: a match from byte `at` on, 0: none, -1: an error is recorded. */
static int regex_match(cql_op_context *c, regex *r, og_str s, size_t at, uint32_t options)
{
    if (r->checked)
        options |= PCRE2_NO_UTF_CHECK;
    int n = pcre2_match(r->code, (PCRE2_SPTR)(s.p != NULL ? s.p : ""), s.n, at, options, r->match,
                        r->limits);
    r->checked = n >= 0 || n == PCRE2_ERROR_NOMATCH;
    if (r->checked)
        return n >= 0;
    PCRE2_UCHAR text[128];
    pcre2_get_error_message(n, text, sizeof text);
    cql_op_fail(c, "a regular expression failed: %s", (char *)text);
    return -1;
}

/* Matches(argument String, pattern String) Boolean: the whole string. */
cql_value cql_op_Matches(cql_op_context *c, const cql_value *args, size_t count)
{
    regex r;
    if (!strings(args, count) || !regex_init(c, &r, cql_str(args[1]), true))
        return CQL_NULL_VALUE;
    int found = regex_match(c, &r, cql_str(args[0]), 0, 0);
    regex_done(&r);
    return found < 0 ? CQL_NULL_VALUE : cql_bool(found == 1);
}

/* The next match at or behind *at that moves on: after an empty match the next character is passed
 * over. */
static int next_match(cql_op_context *c, regex *r, og_str s, size_t *at, bool *empty)
{
    if (*empty) {
        int found = regex_match(c, r, s, *at, PCRE2_NOTEMPTY_ATSTART | PCRE2_ANCHORED);
        if (found != 0)
            return found;
        if (*at >= s.n)
            return 0;
        og_utf8_next(s, at);
    }
    return regex_match(c, r, s, *at, 0);
}

/* Appends what the substitution says: $1, ${name}, \$ for a dollar. False with an error recorded.
 */
static bool add_substitution(cql_op_context *c, og_buf *out, regex *r, og_str s, og_str sub)
{
    for (size_t i = 0; i < sub.n; i++) {
        if (sub.p[i] == '\\' && i + 1 < sub.n) {
            og_buf_addc(out, sub.p[++i]);
            continue;
        }
        if (sub.p[i] != '$') {
            og_buf_addc(out, sub.p[i]);
            continue;
        }
        int group = -1;
        if (i + 1 < sub.n && sub.p[i + 1] == '{') {
            og_str name = og_str_from(sub, i + 2);
            ptrdiff_t close = og_str_find(name, '}');
            char text[64];
            if (close > 0 && (size_t)close < sizeof text) {
                memcpy(text, name.p, (size_t)close);
                text[close] = '\0';
                group = pcre2_substring_number_from_name(r->code, (PCRE2_SPTR)text);
                i += (size_t)close + 2;
            }
        } else if (i + 1 < sub.n && sub.p[i + 1] >= '0' && sub.p[i + 1] <= '9') {
            group = sub.p[++i] - '0';
            while (i + 1 < sub.n && sub.p[i + 1] >= '0' && sub.p[i + 1] <= '9' &&
                   group * 10 + (sub.p[i + 1] - '0') <= (int)r->groups)
                group = group * 10 + (sub.p[++i] - '0');
        }
        if (group < 0 || (uint32_t)group > r->groups) {
            cql_op_fail(c, "the substitution names a group that the pattern does not have");
            return false;
        }
        PCRE2_SIZE from = r->ends[2 * group], to = r->ends[2 * group + 1];
        if (from != PCRE2_UNSET && to > from)
            og_buf_add(out, s.p + from, to - from);
    }
    return true;
}

/* ReplaceMatches(argument String, pattern String, substitution String) String */
cql_value cql_op_ReplaceMatches(cql_op_context *c, const cql_value *args, size_t count)
{
    regex r;
    if (!strings(args, count) || !regex_init(c, &r, cql_str(args[1]), false))
        return CQL_NULL_VALUE;
    og_str s = cql_str(args[0]);
    cql_value result = CQL_NULL_VALUE;
    size_t at = 0, copied = 0;
    bool empty = false;
    int found;
    og_buf out;
    og_buf_init(&out, MAX_STRING);
    while ((found = next_match(c, &r, s, &at, &empty)) == 1) {
        size_t from = r.ends[0], to = r.ends[1];
        if (to < from) /* \K in a lookahead can say so */
            to = from;
        if (from > copied)
            og_buf_add(&out, s.p + copied, from - copied);
        if (!add_substitution(c, &out, &r, s, cql_str(args[2])) || og_buf_failed(&out))
            goto done;
        copied = to;
        at = to;
        empty = from == to;
    }
    if (found < 0)
        goto done;
    if (s.n > copied)
        og_buf_add(&out, s.p + copied, s.n - copied);
    if (og_buf_failed(&out))
        goto done;
    og_str kept = og_arena_str(c->arena, og_buf_str(&out));
    if (kept.p != NULL)
        result = cql_string(kept);
done:
    if (og_buf_failed(&out))
        cql_op_fail(c, "a string would be longer than %zu bytes", MAX_STRING);
    og_buf_done(&out);
    regex_done(&r);
    return result;
}

/* SplitOnMatches(stringToSplit String, separatorPattern String) List<String>; empty matches do not
 * split. */
cql_value cql_op_SplitOnMatches(cql_op_context *c, const cql_value *args, size_t count)
{
    regex r;
    pieces p = {0};
    if (args[0].kind != CQL_STRING)
        return CQL_NULL_VALUE;
    if (count < 2 || args[1].kind != CQL_STRING)
        return cql_op_Split(c, args, 1);
    if (!regex_init(c, &r, cql_str(args[1]), false))
        return CQL_NULL_VALUE;
    og_str s = cql_str(args[0]);
    size_t from = 0, at = 0;
    bool empty = false, ok = true;
    int found = 0;
    while (ok && (found = next_match(c, &r, s, &at, &empty)) == 1) {
        empty = r.ends[1] <= r.ends[0];
        at = empty ? r.ends[0] : r.ends[1];
        if (empty)
            continue;
        ok = r.ends[0] < from || add_piece(c, &p, (og_str){s.p + from, r.ends[0] - from});
        from = at;
    }
    regex_done(&r);
    if (!ok || found < 0 || !add_piece(c, &p, og_str_from(s, from)))
        return CQL_NULL_VALUE;
    return cql__list(c, p.items, p.count);
}

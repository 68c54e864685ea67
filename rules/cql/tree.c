/* ELM expressions → nodes. One reader per family of node types; what is a plain operator over
 * operands is read by its line in the operator tables. Names stay names here: bind.c resolves them.
 *
 * Every error is recorded with its JSON path and the reader goes on with the next sibling, so that
 * an author sees all of them at once. A NULL node always means that an error was recorded, or that
 * memory is out (the arena remembers it). ELM: CQL 1.5, "ELM Reference". */
#include "rules/cql/tree.h"

#include <stdarg.h>

#include "fhir/model.h"
#include "rules/cql/ops_private.h"

#define MAX_FIELDS 8

typedef struct node_spec node_spec;
typedef cql__node *(*read_fn)(cql__reader *r, fhir_elem e, const cql__path *at,
                              const node_spec *spec);

struct node_spec {
    const char *name;
    read_fn read;
    int detail; /* what read makes of it */
    const cql__operator *op;
    const char *const *fields; /* where the operands stand, NULL: "operand" */
};

/* ---- errors, texts ---- */

static void format_path(og_buf *out, const cql__path *p)
{
    if (p == NULL)
        return;
    format_path(out, p->up);
    if (out->n != 0)
        og_buf_addc(out, '.');
    og_buf_addz(out, p->name);
    if (p->index >= 0)
        og_buf_addf(out, "[%d]", p->index);
}

/* The last part of a path that does not fit says more than the first. */
static void set_path(og_error *err, const cql__path *at)
{
    og_buf b;
    og_buf_init(&b, (size_t)64 << 10);
    format_path(&b, at);
    og_str s = og_buf_str(&b);
    if (!og_buf_failed(&b) && s.n != 0) {
        size_t room = sizeof err->path - 1;
        og_error_path(err, s.n > room ? s.p + (s.n - room) : s.p);
    }
    og_buf_done(&b);
}

void cql__read_fail(cql__reader *r, fhir_elem e, const cql__path *at, og_status status,
                    const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (r->status == OG_OK)
        r->status = status;
    if (r->errors++ >= 100) /* the rest of a file that is no ELM would say nothing new */
        return;

    og_error err;
    og_error_init(&err);
    cql__place place = cql__read_place(r, e);
    if (place.line != 0)
        (void)og_fail(&err, status, "%s (CQL %u:%u)", text, place.line, place.column);
    else
        (void)og_fail(&err, status, "%s", text);
    og_error_origin(&err, r->origin);
    set_path(&err, at);
    if (fhir_exists(e)) {
        uint32_t line, column, pos = e.doc->nodes[e.at].pos;
        og_text_place((og_str){e.doc->text, e.doc->size}, pos, &line, &column);
        og_error_at(&err, line, column);
        og_error_byte(&err, pos);
    }
    og_report_add(r->report, &err);
}

og_str cql__intern(cql_set *set, og_str s)
{
    if (s.n == 0)
        return (og_str){"", 0};
    const char *known = og_table_get(&set->strings, s);
    if (known != NULL)
        return (og_str){known, s.n};
    og_str copy = og_arena_str(set->arena, s);
    if (copy.p == NULL || !og_table_put(&set->strings, copy, (void *)copy.p))
        return (og_str){"", 0}; /* the arena has failed, and says so at the end */
    return copy;
}

bool cql__make_step(cql_set *set, og_str name, cql__step *ret)
{
    cql__member *m = og_table_get(&set->members, name);
    if (m == NULL) {
        m = og_arena_zalloc(set->arena, 1, sizeof *m);
        if (m == NULL)
            return false;
        m->name = cql__intern(set, name);
        if (!og_table_put(&set->members, m->name, m))
            return false;
    }
    *ret = (cql__step){
        .name = m->name, .member = m, .index = -1, .is_value = og_str_is(name, "value")};
    return true;
}

og_str cql__read_string(cql__reader *r, fhir_elem object, const char *name, const cql__path *at)
{
    fhir_elem e = fhir_get(object, name);
    if (!fhir_exists(e) || fhir_kind_of(e) == FHIR_NULL)
        return (og_str){NULL, 0};
    if (fhir_kind_of(e) != FHIR_STRING) {
        cql__path p = {at, name, -1};
        cql__read_fail(r, e, &p, OG_INVALID, "text expected");
        return (og_str){NULL, 0};
    }
    return cql__intern(r->set, fhir_string(r->scratch, e));
}

bool cql__read_bool(cql__reader *r, fhir_elem object, const char *name, bool otherwise,
                    const cql__path *at)
{
    fhir_elem e = fhir_get(object, name);
    switch (fhir_kind_of(e)) {
    case FHIR_TRUE: return true;
    case FHIR_FALSE: return false;
    case FHIR_NONE:
    case FHIR_NULL: return otherwise;
    default: break;
    }
    if (fhir_is(e, "true") || fhir_is(e, "false")) /* XML turned into JSON by simple tools */
        return fhir_is(e, "true");
    cql__path p = {at, name, -1};
    cql__read_fail(r, e, &p, OG_INVALID, "true or false expected");
    return otherwise;
}

/* "12:5-12:30" or "12:5". */
static bool read_pair(og_str s, size_t *at, uint32_t *ret_line, uint32_t *ret_column)
{
    uint32_t v[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        size_t start = *at;
        while (*at < s.n && s.p[*at] >= '0' && s.p[*at] <= '9' && v[i] < 100000000)
            v[i] = v[i] * 10 + (uint32_t)(s.p[(*at)++] - '0');
        if (*at == start)
            return false;
        if (i == 0 && (*at >= s.n || s.p[(*at)++] != ':'))
            return false;
    }
    *ret_line = v[0];
    *ret_column = v[1];
    return true;
}

cql__place cql__read_place(cql__reader *r, fhir_elem object)
{
    cql__place p = {0};
    if (fhir_kind_of(object) != FHIR_OBJECT)
        return p;
    og_str s = fhir_string(r->scratch, fhir_get(object, "locator"));
    size_t at = 0;
    if (s.n == 0 || !read_pair(s, &at, &p.line, &p.column))
        return (cql__place){0};
    p.end_line = p.line;
    p.end_column = p.column;
    if (at < s.n && s.p[at] == '-') {
        at++;
        (void)read_pair(s, &at, &p.end_line, &p.end_column);
    }
    return p;
}

/* ---- nodes ---- */

static cql__node *new_node(cql__reader *r, fhir_elem e, cql__kind kind, uint32_t argc)
{
    cql__node *n = og_arena_zalloc(r->arena, 1, sizeof *n);
    if (n == NULL)
        return NULL;
    n->kind = (uint8_t)kind;
    n->argc = argc;
    n->place = cql__read_place(r, e);
    if (argc != 0) {
        n->args = og_arena_zalloc(r->arena, argc, sizeof *n->args);
        if (n->args == NULL)
            return NULL;
    }
    return n;
}

static cql__node *new_constant(cql__reader *r, fhir_elem e, cql_value v)
{
    cql__node *n = new_node(r, e, CQL__CONSTANT, 0);
    if (n != NULL)
        n->value = v;
    return n;
}

static cql__node *new_op(cql__reader *r, fhir_elem e, const char *name, uint32_t argc,
                         const cql__path *at)
{
    const node_spec *spec = og_table_get(&r->set->nodes, og_str_of(name));
    if (spec == NULL || spec->op == NULL) {
        cql__read_fail(r, e, at, OG_UNSUPPORTED, "operator %s is not supported", name);
        return NULL;
    }
    cql__node *n = new_node(r, e, CQL__OP, argc);
    if (n != NULL) {
        n->op = spec->op->fn;
        n->may_fail = cql__operator_may_fail(name);
    }
    return n;
}

cql__node *cql__read_member(cql__reader *r, fhir_elem object, const char *name, bool required,
                            const cql__path *at)
{
    fhir_elem e = fhir_get(object, name);
    cql__path p = {at, name, -1};
    if (fhir_exists(e) && fhir_kind_of(e) != FHIR_NULL)
        return cql__read_node(r, e, &p);
    if (required)
        cql__read_fail(r, object, &p, OG_INVALID, "%s is missing", name);
    return NULL;
}

static const cql__node *required(cql__reader *r, fhir_elem e, const char *name, const cql__path *at)
{
    return cql__read_member(r, e, name, true, at);
}

static const cql__node *optional(cql__reader *r, fhir_elem e, const char *name, const cql__path *at)
{
    return cql__read_member(r, e, name, false, at);
}

/* The array e.name as nodes behind what n->args holds already. */
static bool read_list(cql__reader *r, fhir_elem e, const char *name, cql__node *n,
                      const cql__path *at)
{
    fhir_elem list = fhir_get(e, name);
    uint32_t count = fhir_kind_of(list) == FHIR_ARRAY ? fhir_length(list) : fhir_exists(list);
    const cql__node **args = og_arena_zalloc(r->arena, n->argc + count + 1, sizeof *args);
    if (args == NULL)
        return false;
    if (n->argc != 0)
        memcpy(args, n->args, n->argc * sizeof *args);
    n->args = args;
    int32_t i = 0;
    for (fhir_elem c = fhir_each_first(list); fhir_exists(c) && count != 0;
         c = fhir_each_next(list, c), i++) {
        cql__path p = {at, name, fhir_kind_of(list) == FHIR_ARRAY ? i : -1};
        args[n->argc++] = cql__read_node(r, c, &p);
    }
    return true;
}

static bool complete(const cql__node *n)
{
    for (uint32_t i = 0; i < n->argc; i++)
        if (n->args[i] == NULL)
            return false;
    return true;
}

/* ---- literals ---- */

static bool read_integer(og_str s, int64_t min, int64_t max, int64_t *ret)
{
    bool plus = s.n > 1 && s.p[0] == '+' && s.p[1] != '-';
    return og_str_int(plus ? og_str_from(s, 1) : s, min, max, ret);
}

/* The value of a literal (CQL 1.5 "Literals": what is out of range is an error of the author). */
static bool literal_value(cql_set *set, uint8_t kind, og_str s, cql_value *ret)
{
    int64_t i;
    og_decimal d;
    int scale;
    og_temporal t;
    switch (kind) {
    case CQL_BOOLEAN:
        *ret = cql_bool(og_str_is(s, "true"));
        return og_str_is(s, "true") || og_str_is(s, "false");
    case CQL_INTEGER:
        if (!read_integer(s, INT32_MIN, INT32_MAX, &i))
            return false;
        *ret = cql_integer((int32_t)i);
        return true;
    case CQL_LONG:
        if (s.n != 0 && s.p[s.n - 1] == 'L')
            s.n--;
        if (!read_integer(s, INT64_MIN, INT64_MAX, &i))
            return false;
        *ret = cql_long(i);
        return true;
    case CQL_DECIMAL:
        if (!og_decimal_parse(s, false, &d, &scale))
            return false;
        *ret = cql_decimal(d, scale);
        return true;
    case CQL_STRING: *ret = cql_string(cql__intern(set, s)); return true;
    case CQL_DATE:
    case CQL_DATETIME:
        if (!og_temporal_parse_fhir(s, &t))
            return false;
        *ret = (cql_value){.kind = kind, .temporal = t};
        return kind == CQL_DATETIME || t.precision <= OG_DAY;
    case CQL_TIME:
        if (!og_temporal_parse_time(s, &t))
            return false;
        *ret = (cql_value){.kind = kind, .temporal = t};
        return true;
    default: return false;
    }
}

static cql__node *read_literal(cql__reader *r, fhir_elem e, const cql__path *at,
                               const node_spec *spec)
{
    (void)spec;
    cql__type t;
    og_str type = cql__read_string(r, e, "valueType", at);
    if (!cql__type_named(type, &t) || t.kind != CQL__TYPE_SYSTEM) {
        cql__read_fail(r, e, at, OG_INVALID, "literal of unknown type %.*s", OG_STR_ARG(type));
        return NULL;
    }
    fhir_elem text = fhir_get(e, "value");
    cql_value v;
    og_str s = fhir_kind_of(text) == FHIR_STRING ? fhir_string(r->scratch, text) : fhir_raw(text);
    if (fhir_kind_of(text) == FHIR_OBJECT || fhir_kind_of(text) == FHIR_ARRAY ||
        (t.system != CQL_STRING && s.n == 0) || !literal_value(r->set, t.system, s, &v)) {
        cql__read_fail(r, e, at, OG_INVALID, "'%.*s' is no %.*s", (int)(s.n > 60 ? 60 : s.n),
                       s.n != 0 ? s.p : "", OG_STR_ARG(og_str_from(type, 26)));
        return NULL;
    }
    return new_constant(r, e, v);
}

static cql__node *read_null(cql__reader *r, fhir_elem e, const cql__path *at, const node_spec *spec)
{
    (void)at;
    (void)spec;
    return new_constant(r, e, CQL_NULL_VALUE);
}

/* The literal -2147483648 reaches us as Negate(2147483648), whose operand alone is no Integer. */
static cql__node *read_negate(cql__reader *r, fhir_elem e, const cql__path *at,
                              const node_spec *spec)
{
    fhir_elem operand = fhir_get(e, "operand");
    if (fhir_is(fhir_get(operand, "type"), "Literal")) {
        og_str s = fhir_string(r->scratch, fhir_get(operand, "value"));
        cql__type t;
        bool known = cql__type_named(fhir_string(r->scratch, fhir_get(operand, "valueType")), &t) &&
                     t.kind == CQL__TYPE_SYSTEM;
        if (known && t.system == CQL_INTEGER && og_str_is(s, "2147483648"))
            return new_constant(r, e, cql_integer(INT32_MIN));
        if (known && t.system == CQL_LONG &&
            (og_str_is(s, "9223372036854775808") || og_str_is(s, "9223372036854775808L")))
            return new_constant(r, e, cql_long(INT64_MIN));
    }
    cql__node *n = new_op(r, e, spec->name, 1, at);
    if (n == NULL)
        return NULL;
    n->args[0] = required(r, e, "operand", at);
    return complete(n) ? n : NULL;
}

void cql__quantity_unit(cql_quantity *q, og_str unit)
{
    cql__unit word = cql__unit_of_word(unit);
    q->calendar = word != CQL__UNIT_NONE;
    q->unit = q->calendar ? cql__unit_word(word) : unit.n != 0 ? unit : OG_STR("1");
}

static bool read_quantity_at(cql__reader *r, fhir_elem e, cql_quantity *ret, const cql__path *at)
{
    fhir_elem value = fhir_get(e, "value");
    og_str s =
        fhir_kind_of(value) == FHIR_STRING ? fhir_string(r->scratch, value) : fhir_raw(value);
    int scale;
    *ret = (cql_quantity){0};
    if (fhir_kind_of(value) != FHIR_NUMBER && fhir_kind_of(value) != FHIR_STRING) {
        cql__read_fail(r, e, at, OG_INVALID, "quantity without a number");
        return false;
    }
    /* A JSON number, which translators may have written from a double: what is finer than a
     * Decimal's step is rounded. */
    if (!og_decimal_parse(s, true, &ret->value, &scale)) {
        cql__read_fail(r, e, at, OG_INVALID, "'%.*s' is no Decimal", (int)(s.n > 60 ? 60 : s.n),
                       s.p);
        return false;
    }
    ret->scale = (uint8_t)scale;
    cql__quantity_unit(ret, cql__read_string(r, e, "unit", at));
    return true;
}

static cql__node *read_quantity(cql__reader *r, fhir_elem e, const cql__path *at,
                                const node_spec *spec)
{
    (void)spec;
    cql_quantity *q = og_arena_zalloc(r->arena, 1, sizeof *q);
    if (q == NULL || !read_quantity_at(r, e, q, at))
        return NULL;
    return new_constant(r, e, (cql_value){.kind = CQL_QUANTITY, .quantity = q});
}

static cql__node *read_ratio(cql__reader *r, fhir_elem e, const cql__path *at,
                             const node_spec *spec)
{
    (void)spec;
    cql_ratio *q = og_arena_zalloc(r->arena, 1, sizeof *q);
    cql__path n = {at, "numerator", -1}, d = {at, "denominator", -1};
    if (q == NULL || !read_quantity_at(r, fhir_get(e, "numerator"), &q->numerator, &n) ||
        !read_quantity_at(r, fhir_get(e, "denominator"), &q->denominator, &d))
        return NULL;
    return new_constant(r, e, (cql_value){.kind = CQL_RATIO, .ratio = q});
}

/* MinValue and MaxValue of a type are constants; of a type without order they are an error. */
static cql__node *read_extreme(cql__reader *r, fhir_elem e, const cql__path *at,
                               const node_spec *spec)
{
    og_str type = cql__read_string(r, e, "valueType", at);
    cql_value v = spec->detail != 0 ? cql_max_value(type) : cql_min_value(type);
    if (cql_is_null(v)) {
        cql__read_fail(r, e, at, OG_INVALID, "%.*s has no %s", OG_STR_ARG(type), spec->name);
        return NULL;
    }
    return new_constant(r, e, v);
}

/* ---- operators ---- */

static const char *const fields_source[] = {"source", NULL};
static const char *const fields_index_of[] = {"source", "element", NULL};
static const char *const fields_slice[] = {"source", "startIndex", "endIndex", NULL};
static const char *const fields_combine[] = {"source", "separator", NULL};
static const char *const fields_split[] = {"stringToSplit", "separator", NULL};
static const char *const fields_split_on[] = {"stringToSplit", "separatorPattern", NULL};
static const char *const fields_position[] = {"pattern", "string", NULL};
static const char *const fields_substring[] = {"stringToSub", "startIndex", "length", NULL};
static const char *const fields_round[] = {"operand", "precision", NULL};
static const char *const fields_date[] = {"year", "month", "day", NULL};
static const char *const fields_time[] = {"hour", "minute", "second", "millisecond", NULL};
static const char *const fields_datetime[] = {
    "year", "month", "day", "hour", "minute", "second", "millisecond", "timezoneOffset", NULL};

static const struct {
    const char *name;
    const char *const *fields;
} shapes[] = {
    {"IndexOf", fields_index_of},
    {"Slice", fields_slice},
    {"Combine", fields_combine},
    {"Split", fields_split},
    {"SplitOnMatches", fields_split_on},
    {"PositionOf", fields_position},
    {"LastPositionOf", fields_position},
    {"Substring", fields_substring},
    {"Round", fields_round},
    {"Date", fields_date},
    {"Time", fields_time},
    {"DateTime", fields_datetime},
    {"First", fields_source},
    {"Last", fields_source},
    {"Count", fields_source},
    {"Sum", fields_source},
    {"Product", fields_source},
    {"GeometricMean", fields_source},
    {"Min", fields_source},
    {"Max", fields_source},
    {"Avg", fields_source},
    {"Median", fields_source},
    {"Mode", fields_source},
    {"Variance", fields_source},
    {"PopulationVariance", fields_source},
    {"StdDev", fields_source},
    {"PopulationStdDev", fields_source},
    {"AllTrue", fields_source},
    {"AnyTrue", fields_source},
};

static bool read_precision(cql__reader *r, fhir_elem e, cql__node *n, const cql__path *at)
{
    static const char *const names[] = {"year",   "month",  "day",        "hour",
                                        "minute", "second", "millisecond"};
    fhir_elem p = fhir_get(e, "precision");
    if (fhir_kind_of(p) != FHIR_STRING)
        return true; /* absent, or the expression that Round has there */
    og_str s = fhir_string(r->scratch, p);
    for (int i = 0; i < 7; i++)
        if (og_str_ieq(s, og_str_of(names[i])))
            n->precision = (uint8_t)(OG_YEAR + i);
    if (og_str_ieq(s, OG_STR("week"))) {
        n->precision = OG_DAY;
        n->weeks = true;
    }
    if (n->precision != 0)
        return true;
    cql__path q = {at, "precision", -1};
    cql__read_fail(r, p, &q, OG_INVALID, "unknown precision %.*s", OG_STR_ARG(s));
    return false;
}

/* Operands that are absent at the end are left out, those before a present one are null. */
static bool read_operands(cql__reader *r, fhir_elem e, const node_spec *spec, cql__node *n,
                          const cql__path *at)
{
    static const char *const plain[] = {"operand", NULL};
    const char *const *fields = spec->fields != NULL ? spec->fields : plain;
    const cql__node *args[MAX_FIELDS];
    uint32_t count = 0, used = 0;
    bool ok = true;
    if (fields[1] == NULL && fhir_kind_of(fhir_get(e, fields[0])) == FHIR_ARRAY)
        return read_list(r, e, fields[0], n, at);
    for (; fields[count] != NULL; count++) {
        fhir_elem f = fhir_get(e, fields[count]);
        args[count] = NULL;
        if (!fhir_exists(f) || fhir_kind_of(f) == FHIR_NULL)
            continue;
        args[count] = required(r, e, fields[count], at);
        ok = ok && args[count] != NULL;
        used = count + 1;
    }
    if (!ok)
        return false;
    if (used == 0 && spec->fields != NULL && fhir_exists(fhir_get(e, "operand")))
        return read_list(r, e, "operand", n, at); /* older translators */
    n->argc = used;
    n->args = og_arena_zalloc(r->arena, used + 1, sizeof *n->args);
    for (uint32_t i = 0; i < used && n->args != NULL; i++)
        n->args[i] = args[i] != NULL ? args[i] : new_constant(r, FHIR_ABSENT, CQL_NULL_VALUE);
    return n->args != NULL;
}

static const cql__step *read_steps(cql__reader *r, fhir_elem e, og_str path, uint32_t *ret_count,
                                   const cql__path *at);

/* Aggregates and First, Last may look at an element of each item (`path`, `orderBy`). */
static bool read_item_path(cql__reader *r, fhir_elem e, cql__node *n, const cql__path *at)
{
    og_str path = cql__read_string(r, e, "path", at);
    og_str order = cql__read_string(r, e, "orderBy", at);
    if (order.n != 0) {
        cql__read_fail(r, e, at, OG_UNSUPPORTED, "orderBy is not supported, use a sort clause");
        return false;
    }
    if (path.n == 0)
        return true;
    cql__node *each = new_node(r, e, CQL__EACH, 1);
    if (each == NULL)
        return false;
    each->path.steps = read_steps(r, e, path, &each->path.count, at);
    each->args[0] = n->args[0];
    n->args[0] = each;
    return each->path.steps != NULL;
}

static cql__node *read_operator(cql__reader *r, fhir_elem e, const cql__path *at,
                                const node_spec *spec)
{
    cql__node *n = new_op(r, e, spec->name, 0, at);
    if (n == NULL || !read_precision(r, e, n, at) || !read_operands(r, e, spec, n, at))
        return NULL;
    n->may_fail |= n->precision != 0; /* a precision that the values do not have */
    if (!complete(n))
        return NULL;
    if (n->argc < spec->op->min || n->argc > spec->op->max) {
        cql__read_fail(r, e, at, OG_INVALID, "%s has %u operands, not %u to %u", spec->name,
                       n->argc, spec->op->min, spec->op->max);
        return NULL;
    }
    if (spec->fields == fields_source && !read_item_path(r, e, n, at))
        return NULL;
    return n;
}

/* Nodes that eval.c knows: detail is the kind, the fields are the arguments, all required. */
static cql__node *read_fixed(cql__reader *r, fhir_elem e, const cql__path *at,
                             const node_spec *spec)
{
    uint32_t count = 0;
    while (spec->fields[count] != NULL)
        count++;
    cql__node *n = new_node(r, e, (cql__kind)spec->detail, count);
    for (uint32_t i = 0; n != NULL && i < count; i++)
        n->args[i] = required(r, e, spec->fields[i], at);
    return n != NULL && complete(n) ? n : NULL;
}

/* And, Or, Implies. */
static cql__node *read_logic(cql__reader *r, fhir_elem e, const cql__path *at,
                             const node_spec *spec)
{
    cql__node *n = new_node(r, e, (cql__kind)spec->detail, 0);
    if (n == NULL || !read_list(r, e, "operand", n, at) || !complete(n))
        return NULL;
    if (n->argc != 2) {
        cql__read_fail(r, e, at, OG_INVALID, "%s has %u operands, not 2", spec->name, n->argc);
        return NULL;
    }
    return n;
}

static cql__node *read_coalesce(cql__reader *r, fhir_elem e, const cql__path *at,
                                const node_spec *spec)
{
    cql__node *n = new_node(r, e, CQL__COALESCE, 0);
    if (n == NULL || !read_list(r, e, "operand", n, at) || !complete(n))
        return NULL;
    if (n->argc == 0) {
        cql__read_fail(r, e, at, OG_INVALID, "%s has no operands", spec->name);
        return NULL;
    }
    return n;
}

static cql__node *read_not_equal(cql__reader *r, fhir_elem e, const cql__path *at,
                                 const node_spec *spec)
{
    (void)spec;
    cql__node *equal = new_op(r, e, "Equal", 0, at);
    cql__node *n = new_op(r, e, "Not", 1, at);
    if (n == NULL || equal == NULL || !read_list(r, e, "operand", equal, at) || !complete(equal))
        return NULL;
    if (equal->argc != 2) {
        cql__read_fail(r, e, at, OG_INVALID, "NotEqual has %u operands, not 2", equal->argc);
        return NULL;
    }
    n->args[0] = equal;
    return n;
}

/* ---- conditions ---- */

static cql__node *read_case(cql__reader *r, fhir_elem e, const cql__path *at, const node_spec *spec)
{
    (void)spec;
    fhir_elem items = fhir_get(e, "caseItem");
    uint32_t count = 0, at_arg = 0;
    for (fhir_elem c = fhir_each_first(items); fhir_exists(c); c = fhir_each_next(items, c))
        count++;
    bool comparand = fhir_exists(fhir_get(e, "comparand"));
    cql__node *n = new_node(r, e, CQL__CASE, count * 2 + 1 + comparand);
    if (n == NULL)
        return NULL;
    n->flag = comparand;
    if (comparand)
        n->args[at_arg++] = required(r, e, "comparand", at);
    int32_t i = 0;
    for (fhir_elem c = fhir_each_first(items); fhir_exists(c); c = fhir_each_next(items, c), i++) {
        cql__path p = {at, "caseItem", i};
        n->args[at_arg++] = required(r, c, "when", &p);
        n->args[at_arg++] = required(r, c, "then", &p);
    }
    n->args[at_arg] = required(r, e, "else", at);
    return complete(n) ? n : NULL;
}

/* ---- types ---- */

static cql__node *read_type_test(cql__reader *r, fhir_elem e, const cql__path *at,
                                 const node_spec *spec)
{
    bool is = spec->detail == CQL__IS;
    cql__node *n = new_node(r, e, (cql__kind)spec->detail, 1);
    if (n == NULL)
        return NULL;
    n->args[0] = required(r, e, "operand", at);
    n->type = cql__read_type_member(r, e, is ? "isType" : "asType",
                                    is ? "isTypeSpecifier" : "asTypeSpecifier", at);
    n->flag = cql__read_bool(r, e, "strict", false, at);
    n->may_fail = !is && n->flag;
    if (n->type == NULL && r->errors == 0)
        cql__read_fail(r, e, at, OG_INVALID, "%s without a type", spec->name);
    return n->args[0] != NULL && n->type != NULL ? n : NULL;
}

/* Convert and CanConvert name a type; each target has its own operator. */
static cql__node *read_convert(cql__reader *r, fhir_elem e, const cql__path *at,
                               const node_spec *spec)
{
    char name[40];
    const cql__type *t = cql__read_type_member(r, e, "toType", "toTypeSpecifier", at);
    const cql__node *operand = required(r, e, "operand", at);
    if (t == NULL || operand == NULL) {
        if (t == NULL && operand != NULL)
            cql__read_fail(r, e, at, OG_INVALID, "%s without a type", spec->name);
        return NULL;
    }
    og_buf b;
    og_buf_init(&b, 256);
    cql__type_format(&b, t);
    og_str s = og_buf_str(&b);
    if (t->kind == CQL__TYPE_LIST)
        s = OG_STR("System.List");
    snprintf(name, sizeof name, "%s%.*s", spec->detail != 0 ? "ConvertsTo" : "To",
             OG_STR_ARG(og_str_from(s, 7)));
    og_buf_done(&b);
    if (t->kind != CQL__TYPE_SYSTEM && t->kind != CQL__TYPE_LIST) {
        cql__read_fail(r, e, at, OG_UNSUPPORTED, "%s to this type is not supported", spec->name);
        return NULL;
    }
    cql__node *n = new_op(r, e, name, 1, at);
    if (n != NULL)
        n->args[0] = operand;
    return n;
}

/* ---- selectors ---- */

static cql__node *read_interval(cql__reader *r, fhir_elem e, const cql__path *at,
                                const node_spec *spec)
{
    (void)spec;
    static const char *const open[] = {"lowClosed", "highClosed"};
    static const char *const dynamic[] = {"lowClosedExpression", "highClosedExpression"};
    cql__node *n = new_node(r, e, CQL__INTERVAL, 4);
    if (n == NULL)
        return NULL;
    n->may_fail = true;
    unsigned before = r->errors;
    n->args[0] = optional(r, e, "low", at);
    n->args[1] = optional(r, e, "high", at);
    for (int i = 0; i < 2; i++) {
        if (n->args[i] == NULL)
            n->args[i] = new_constant(r, e, CQL_NULL_VALUE);
        n->args[2 + i] = optional(r, e, dynamic[i], at);
        /* An expression wins over the attribute, which translators write beside it. */
        if (n->args[2 + i] == NULL)
            n->args[2 + i] = new_constant(r, e, cql_bool(cql__read_bool(r, e, open[i], true, at)));
    }
    return r->errors == before && complete(n) ? n : NULL;
}

static cql__node *read_list_selector(cql__reader *r, fhir_elem e, const cql__path *at,
                                     const node_spec *spec)
{
    (void)spec;
    cql__node *n = new_node(r, e, CQL__LIST_OF, 0);
    if (n == NULL || !read_list(r, e, "element", n, at))
        return NULL;
    return complete(n) ? n : NULL;
}

/* `element: [{name, value}]` of Tuple and Instance. */
static cql__node *read_tuple(cql__reader *r, fhir_elem e, const cql__path *at,
                             const node_spec *spec)
{
    fhir_elem list = fhir_get(e, "element");
    uint32_t count = 0, i = 0;
    for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c))
        count++;
    cql__node *n = new_node(r, e, (cql__kind)spec->detail, count);
    og_str *names = og_arena_zalloc(r->arena, count + 1, sizeof *names);
    if (n == NULL || names == NULL)
        return NULL;
    for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c), i++) {
        cql__path p = {at, "element", (int32_t)i};
        names[i] = cql__read_string(r, c, "name", &p);
        n->args[i] = required(r, c, "value", &p);
    }
    n->tuple.names = names;
    if (spec->detail == CQL__INSTANCE) {
        fhir_elem type = fhir_get(e, "classType");
        cql__path p = {at, "classType", -1};
        n->tuple.class_name = cql__read_string(r, e, "classType", at);
        n->type = cql__read_type(r, type, &p);
        if (n->type == NULL)
            return NULL;
        n->may_fail = true;
    }
    return complete(n) ? n : NULL;
}

static cql__node *read_setref(cql__reader *r, fhir_elem e, const cql__path *at,
                              const node_spec *spec);

static cql__node *instance(cql__reader *r, fhir_elem e, const char *class_name, uint32_t count,
                           const char *const *names)
{
    cql__node *n = new_node(r, e, CQL__INSTANCE, count);
    og_str *copy = og_arena_zalloc(r->arena, count, sizeof *copy);
    cql__type *t = og_arena_zalloc(r->arena, 1, sizeof *t);
    if (n == NULL || copy == NULL || t == NULL)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        copy[i] = og_str_of(names[i]);
    n->tuple.names = copy;
    n->tuple.class_name = og_str_of(class_name);
    (void)cql__type_named(n->tuple.class_name, t);
    n->type = t;
    n->may_fail = true;
    return n;
}

/* The Code selector: code, display, and a reference to a code system. */
static cql__node *read_code(cql__reader *r, fhir_elem e, const cql__path *at, const node_spec *spec)
{
    static const char *const names[] = {"code", "display", "system"};
    static const node_spec system = {.name = "CodeSystemRef", .detail = 1};
    (void)spec;
    cql__node *n = instance(r, e, "{urn:hl7-org:elm-types:r1}Code", 3, names);
    if (n == NULL)
        return NULL;
    og_str display = cql__read_string(r, e, "display", at);
    n->args[0] = new_constant(r, e, cql_string(cql__read_string(r, e, "code", at)));
    n->args[1] = new_constant(r, e, display.p != NULL ? cql_string(display) : CQL_NULL_VALUE);
    cql__path p = {at, "system", -1};
    fhir_elem s = fhir_get(e, "system");
    n->args[2] =
        fhir_exists(s) ? read_setref(r, s, &p, &system) : new_constant(r, e, CQL_NULL_VALUE);
    return complete(n) ? n : NULL;
}

static cql__node *read_concept(cql__reader *r, fhir_elem e, const cql__path *at,
                               const node_spec *spec)
{
    static const char *const names[] = {"codes", "display"};
    cql__node *n = instance(r, e, "{urn:hl7-org:elm-types:r1}Concept", 2, names);
    cql__node *codes = new_node(r, e, CQL__LIST_OF, 0);
    fhir_elem list = fhir_get(e, "code");
    uint32_t count = fhir_kind_of(list) == FHIR_ARRAY ? fhir_length(list) : fhir_exists(list);
    if (n == NULL || codes == NULL)
        return NULL;
    codes->args = og_arena_zalloc(r->arena, count + 1, sizeof *codes->args);
    int32_t i = 0;
    for (fhir_elem c = fhir_each_first(list); fhir_exists(c) && codes->args != NULL;
         c = fhir_each_next(list, c), i++) {
        cql__path p = {at, "code", i};
        codes->args[codes->argc++] = read_code(r, c, &p, spec);
    }
    og_str display = cql__read_string(r, e, "display", at);
    n->args[0] = codes;
    n->args[1] = new_constant(r, e, display.p != NULL ? cql_string(display) : CQL_NULL_VALUE);
    return codes->args != NULL && complete(codes) && complete(n) ? n : NULL;
}

/* ---- references ---- */

/* ExpressionRef, ParameterRef, AliasRef, QueryLetRef, OperandRef, IdentifierRef, CodeRef,
 * ConceptRef. */
static cql__node *read_ref(cql__reader *r, fhir_elem e, const cql__path *at, const node_spec *spec)
{
    cql__node *n = new_node(r, e, (cql__kind)spec->detail, 0);
    if (n == NULL)
        return NULL;
    n->ref.name = cql__read_string(r, e, "name", at);
    n->ref.library = cql__read_string(r, e, "libraryName", at);
    if (n->ref.name.n == 0) {
        cql__read_fail(r, e, at, OG_INVALID, "%s without a name", spec->name);
        return NULL;
    }
    n->flag = og_str_is(og_str_of(spec->name), "ConceptRef");
    return n;
}

/* ValueSetRef (detail 0) and CodeSystemRef (1). slot says which until linking. */
static cql__node *read_setref(cql__reader *r, fhir_elem e, const cql__path *at,
                              const node_spec *spec)
{
    static const node_spec ref = {.name = "reference", .detail = CQL__SETREF};
    cql__node *n = read_ref(r, e, at, &ref);
    if (n == NULL)
        return NULL;
    n->slot = (uint32_t)spec->detail;
    n->flag = spec->detail != 0 || cql__read_bool(r, e, "preserve", false, at);
    return n;
}

/* InValueSet, AnyInValueSet, InCodeSystem, AnyInCodeSystem: `valueset` is a reference that carries
 * no type, `valuesetExpression` any expression. */
static cql__node *read_membership(cql__reader *r, fhir_elem e, const cql__path *at,
                                  const node_spec *spec)
{
    bool systems = (spec->detail & 1) != 0, any = (spec->detail & 2) != 0;
    const char *set = systems ? "codesystem" : "valueset";
    const char *expression = systems ? "codesystemExpression" : "valuesetExpression";
    const node_spec ref = {.name = set, .detail = systems};
    cql__node *n = new_op(r, e, spec->name, 2, at);
    if (n == NULL)
        return NULL;
    n->args[0] = required(r, e, any ? "codes" : "code", at);
    cql__path p = {at, set, -1};
    fhir_elem s = fhir_get(e, set);
    if (fhir_exists(s) && fhir_kind_of(s) != FHIR_NULL) {
        cql__node *v = read_setref(r, s, &p, &ref);
        if (v != NULL)
            v->flag = true; /* the set itself, not its expansion */
        n->args[1] = v;
    } else {
        n->args[1] = required(r, e, expression, at);
    }
    return complete(n) ? n : NULL;
}

static cql__node *read_function_ref(cql__reader *r, fhir_elem e, const cql__path *at,
                                    const node_spec *spec)
{
    (void)spec;
    cql__node *n = new_node(r, e, CQL__CALL, 0);
    cql__call *call = og_arena_zalloc(r->arena, 1, sizeof *call);
    if (n == NULL || call == NULL)
        return NULL;
    call->name = cql__read_string(r, e, "name", at);
    call->library = cql__read_string(r, e, "libraryName", at);
    if (call->name.n == 0) {
        cql__read_fail(r, e, at, OG_INVALID, "FunctionRef without a name");
        return NULL;
    }
    if (!read_list(r, e, "operand", n, at) || !complete(n))
        return NULL;
    n->call = call;

    fhir_elem list = fhir_get(e, "signature");
    uint32_t count = fhir_kind_of(list) == FHIR_ARRAY ? fhir_length(list) : 0, i = 0;
    if (count == 0 || count != n->argc)
        return n;
    const cql__type **types = og_arena_zalloc(r->arena, count, sizeof *types);
    for (fhir_elem c = fhir_first(list); fhir_exists(c) && types != NULL;
         c = fhir_next(list, c), i++) {
        cql__path p = {at, "signature", (int32_t)i};
        types[i] = cql__read_type(r, c, &p);
        if (types[i] == NULL)
            return NULL;
    }
    call->signature = types;
    return n;
}

/* ---- paths ---- */

/* name[.name...], each with an optional [index]. */
static const cql__step *read_steps(cql__reader *r, fhir_elem e, og_str path, uint32_t *ret_count,
                                   const cql__path *at)
{
    uint32_t count = 1;
    for (size_t i = 0; i < path.n; i++)
        count += path.p[i] == '.';
    cql__step *steps = og_arena_zalloc(r->arena, count, sizeof *steps);
    if (steps == NULL)
        return NULL;
    size_t start = 0;
    for (uint32_t i = 0; i < count; i++) {
        og_str part = og_str_from(path, start);
        ptrdiff_t dot = og_str_find(part, '.');
        if (dot >= 0)
            part.n = (size_t)dot;
        start += part.n + 1;
        int32_t index_of_step = -1;
        ptrdiff_t bracket = og_str_find(part, '[');
        if (bracket >= 0) {
            int64_t index;
            og_str digits = og_str_from(part, (size_t)bracket + 1);
            if (digits.n == 0 || digits.p[--digits.n] != ']' ||
                !read_integer(digits, 0, INT32_MAX, &index))
                part.n = (size_t)(bracket = 0);
            else
                index_of_step = (int32_t)index;
            part.n = (size_t)bracket;
        }
        if (part.n == 0) {
            cql__read_fail(r, e, at, OG_INVALID, "'%.*s' is no path", OG_STR_ARG(path));
            return NULL;
        }
        if (!cql__make_step(r->set, part, &steps[i]))
            return NULL;
        steps[i].index = index_of_step;
    }
    *ret_count = count;
    return steps;
}

static cql__node *read_property(cql__reader *r, fhir_elem e, const cql__path *at,
                                const node_spec *spec)
{
    bool scoped = !fhir_exists(fhir_get(e, "source"));
    og_str path = cql__read_string(r, e, "path", at);
    cql__node *n = new_node(r, e, CQL__PROPERTY, scoped ? 0 : 1);
    if (n == NULL)
        return NULL;
    if (path.n == 0) {
        cql__read_fail(r, e, at, OG_INVALID, "%s without a path", spec->name);
        return NULL;
    }
    n->path.steps = read_steps(r, e, path, &n->path.count, at);
    n->path.scope = cql__read_string(r, e, "scope", at);
    if (!scoped)
        n->args[0] = required(r, e, "source", at);
    if (n->path.steps == NULL)
        return NULL;
    return complete(n) ? n : NULL;
}

/* ---- loops ---- */

static const char *const fields_foreach[] = {"source", "element", NULL};
static const char *const fields_filter[] = {"source", "condition", NULL};
static const char *const fields_fold[] = {"source", "iteration", "initialValue", NULL};

static cql__node *read_loop(cql__reader *r, fhir_elem e, const cql__path *at, const node_spec *spec)
{
    const bool fold = spec->detail == CQL__FOLD;
    cql__node *n = new_node(r, e, (cql__kind)spec->detail, fold ? 3 : 2);
    if (n == NULL)
        return NULL;
    n->loop.scope = cql__read_string(r, e, "scope", at);
    n->args[0] = required(r, e, "source", at);
    n->args[1] = required(r, e, spec->fields[1], at);
    if (fold) {
        n->args[2] = optional(r, e, "initialValue", at);
        if (n->args[2] == NULL)
            n->args[2] = new_constant(r, e, CQL_NULL_VALUE);
    }
    return complete(n) ? n : NULL;
}

static cql__node *read_loop_variable(cql__reader *r, fhir_elem e, const cql__path *at,
                                     const node_spec *spec)
{
    cql__node *n = new_node(r, e, CQL__LOOPVAR, 0);
    if (n == NULL)
        return NULL;
    n->slot = (uint32_t)spec->detail;
    n->loop.scope = cql__read_string(r, e, "scope", at);
    return n;
}

/* ---- queries ---- */

static bool read_bindings(cql__reader *r, fhir_elem e, const char *member, const char *name,
                          cql__binding **ret, uint32_t *ret_count, const cql__path *at)
{
    fhir_elem list = fhir_get(e, member);
    uint32_t count = 0;
    for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c))
        count++;
    cql__binding *b = og_arena_zalloc(r->arena, count + 1, sizeof *b);
    if (b == NULL)
        return false;
    bool ok = true;
    uint32_t i = 0;
    for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c), i++) {
        cql__path p = {at, member, (int32_t)i};
        b[i].name = cql__read_string(r, c, name, &p);
        b[i].expression = required(r, c, "expression", &p);
        ok = ok && b[i].expression != NULL;
        if (member[0] != 'r') /* source, let */
            continue;
        fhir_elem type = fhir_get(c, "type");
        b[i].without = fhir_is(type, "Without");
        if (!b[i].without && !fhir_is(type, "With")) {
            cql__read_fail(r, c, &p, OG_UNSUPPORTED, "relationship is neither With nor Without");
            ok = false;
        }
        b[i].such_that = optional(r, c, "suchThat", &p);
        ok = ok && (b[i].such_that != NULL || !fhir_exists(fhir_get(c, "suchThat")));
    }
    *ret = b;
    *ret_count = count;
    return ok;
}

static bool read_sort_key(cql__reader *r, fhir_elem e, cql__sort_key *k, const cql__path *at)
{
    og_str direction = fhir_string(r->scratch, fhir_get(e, "direction"));
    fhir_elem type = fhir_get(e, "type");
    k->descending = og_str_is(direction, "desc") || og_str_is(direction, "descending");
    if (!k->descending && direction.n != 0 && !og_str_is(direction, "asc") &&
        !og_str_is(direction, "ascending")) {
        cql__read_fail(r, e, at, OG_INVALID, "unknown direction %.*s", OG_STR_ARG(direction));
        return false;
    }
    if (fhir_is(type, "ByDirection"))
        return true;
    if (fhir_is(type, "ByExpression")) {
        k->expression = required(r, e, "expression", at);
        return k->expression != NULL;
    }
    if (fhir_is(type, "ByColumn")) {
        cql__node *n = new_node(r, e, CQL__PROPERTY, 0);
        if (n == NULL)
            return false;
        n->flag = true; /* of the item that is being sorted */
        n->path.steps = read_steps(r, e, cql__read_string(r, e, "path", at), &n->path.count, at);
        k->expression = n;
        return n->path.steps != NULL;
    }
    cql__read_fail(r, e, at, OG_UNSUPPORTED, "unknown kind of sort");
    return false;
}

static cql__sort *read_sort_by(cql__reader *r, fhir_elem e, const cql__path *at)
{
    fhir_elem by = fhir_get(e, "by");
    cql__sort *s = og_arena_zalloc(r->arena, 1, sizeof *s);
    if (s == NULL)
        return NULL;
    for (fhir_elem c = fhir_each_first(by); fhir_exists(c); c = fhir_each_next(by, c))
        s->count++;
    s->keys = og_arena_zalloc(r->arena, s->count + 1, sizeof *s->keys);
    if (s->count == 0)
        cql__read_fail(r, e, at, OG_INVALID, "sort without anything to sort by");
    if (s->count == 0 || s->keys == NULL)
        return NULL;
    uint32_t i = 0;
    for (fhir_elem c = fhir_each_first(by); fhir_exists(c); c = fhir_each_next(by, c), i++) {
        cql__path p = {at, "by", (int32_t)i};
        if (!read_sort_key(r, c, &s->keys[i], &p))
            return NULL;
    }
    return s;
}

static cql__node *read_sort(cql__reader *r, fhir_elem e, const cql__path *at, const node_spec *spec)
{
    (void)spec;
    cql__node *n = new_node(r, e, CQL__SORT, 1);
    if (n == NULL)
        return NULL;
    n->args[0] = required(r, e, "source", at);
    n->sort = read_sort_by(r, e, at);
    return n->args[0] != NULL && n->sort != NULL ? n : NULL;
}

static bool read_aggregate_clause(cql__reader *r, fhir_elem e, cql__query *q, const cql__path *at)
{
    fhir_elem a = fhir_get(e, "aggregate");
    if (!fhir_exists(a) || fhir_kind_of(a) == FHIR_NULL)
        return true;
    cql__path p = {at, "aggregate", -1};
    q->has_aggregate = true;
    q->aggregate_distinct = cql__read_bool(r, a, "distinct", false, &p);
    q->aggregate_name = cql__read_string(r, a, "identifier", &p);
    q->aggregate = required(r, a, "expression", &p);
    q->starting = optional(r, a, "starting", &p);
    if (q->starting == NULL && !fhir_exists(fhir_get(a, "starting")))
        q->starting = new_constant(r, a, CQL_NULL_VALUE);
    return q->aggregate != NULL && q->starting != NULL;
}

static bool read_return(cql__reader *r, fhir_elem e, cql__query *q, const cql__path *at)
{
    fhir_elem c = fhir_get(e, "return");
    if (!fhir_exists(c) || fhir_kind_of(c) == FHIR_NULL)
        return true;
    cql__path p = {at, "return", -1};
    q->distinct = cql__read_bool(r, c, "distinct", true, &p); /* the schema's default */
    q->ret = required(r, c, "expression", &p);
    return q->ret != NULL;
}

static cql__node *read_query(cql__reader *r, fhir_elem e, const cql__path *at,
                             const node_spec *spec)
{
    (void)spec;
    cql__node *n = new_node(r, e, CQL__QUERY, 0);
    cql__query *q = og_arena_zalloc(r->arena, 1, sizeof *q);
    if (n == NULL || q == NULL)
        return NULL;
    n->query = q;
    bool ok = read_bindings(r, e, "source", "alias", &q->sources, &q->source_count, at);
    ok &= read_bindings(r, e, "let", "identifier", &q->lets, &q->let_count, at);
    ok &= read_bindings(r, e, "relationship", "alias", &q->relations, &q->relation_count, at);
    fhir_elem where = fhir_get(e, "where");
    if (fhir_exists(where) && fhir_kind_of(where) != FHIR_NULL) {
        q->where = required(r, e, "where", at);
        ok &= q->where != NULL;
    }
    ok &= read_return(r, e, q, at);
    ok &= read_aggregate_clause(r, e, q, at);
    fhir_elem sort = fhir_get(e, "sort");
    if (fhir_exists(sort) && fhir_kind_of(sort) != FHIR_NULL) {
        cql__path p = {at, "sort", -1};
        q->sort = read_sort_by(r, sort, &p);
        ok &= q->sort != NULL;
    }
    if (ok && q->source_count == 0) {
        cql__read_fail(r, e, at, OG_INVALID, "query without a source");
        return NULL;
    }
    return ok ? n : NULL;
}

/* ---- retrieves ---- */

static bool read_filter_path(cql__reader *r, fhir_elem e, const char *name, const cql__step **ret,
                             uint32_t *ret_count, og_str *ret_text, const cql__path *at)
{
    og_str path = cql__read_string(r, e, name, at);
    if (path.n == 0)
        return true;
    *ret = read_steps(r, e, path, ret_count, at);
    if (ret_text != NULL)
        *ret_text = path;
    return *ret != NULL;
}

/* The plain attributes (codeProperty, dateProperty ...) and the filter elements of ELM 1.5 have the
 * same parts under different names. */
static bool read_filter(cql__reader *r, fhir_elem e, cql__filter *f, const char *property,
                        const char *low, const char *high, const char *comparator,
                        const char *value, const cql__path *at)
{
    if (!read_filter_path(r, e, property, &f->path, &f->path_count, &f->path_text, at) ||
        (low != NULL && !read_filter_path(r, e, low, &f->low_path, &f->low_count, NULL, at)) ||
        (high != NULL && !read_filter_path(r, e, high, &f->high_path, &f->high_count, NULL, at)))
        return false;
    f->comparator = comparator != NULL ? cql__read_string(r, e, comparator, at) : OG_STR("in");
    f->value = required(r, e, value, at);
    if (f->path_count == 0 && f->low_count == 0 && f->high_count == 0) {
        cql__read_fail(r, e, at, OG_UNSUPPORTED, "retrieve filter without a property");
        return false;
    }
    return f->value != NULL;
}

static bool read_filters(cql__reader *r, fhir_elem e, cql__retrieve *q, const char *member,
                         int kind, const cql__path *at)
{
    fhir_elem list = fhir_get(e, member);
    int32_t i = 0;
    for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c), i++) {
        cql__path p = {at, member, i};
        cql__filter *f = &q->filters[q->filter_count++];
        f->kind = kind;
        bool date = kind == CQL__FILTER_DATE;
        if (!read_filter(r, c, f, "property", date ? "lowProperty" : NULL,
                         date ? "highProperty" : NULL, date ? NULL : "comparator", "value", &p))
            return false;
    }
    return true;
}

static bool present(fhir_elem e, const char *name)
{
    fhir_elem m = fhir_get(e, name);
    return fhir_exists(m) && fhir_kind_of(m) != FHIR_NULL &&
           !(fhir_kind_of(m) == FHIR_ARRAY && fhir_length(m) == 0);
}

static bool read_retrieve_filters(cql__reader *r, fhir_elem e, cql__retrieve *q,
                                  const cql__path *at)
{
    uint32_t max = 2 + fhir_length(fhir_get(e, "codeFilter")) +
                   fhir_length(fhir_get(e, "dateFilter")) + fhir_length(fhir_get(e, "otherFilter"));
    q->filters = og_arena_zalloc(r->arena, max, sizeof *q->filters);
    if (q->filters == NULL)
        return false;
    if (present(e, "codes")) {
        cql__filter *f = &q->filters[q->filter_count++];
        f->kind = CQL__FILTER_CODE;
        if (!read_filter(r, e, f, "codeProperty", NULL, NULL, "codeComparator", "codes", at))
            return false;
    }
    if (present(e, "dateRange")) {
        cql__filter *f = &q->filters[q->filter_count++];
        f->kind = CQL__FILTER_DATE;
        if (!read_filter(r, e, f, "dateProperty", "dateLowProperty", "dateHighProperty", NULL,
                         "dateRange", at))
            return false;
    }
    return read_filters(r, e, q, "codeFilter", CQL__FILTER_CODE, at) &&
           read_filters(r, e, q, "dateFilter", CQL__FILTER_DATE, at) &&
           read_filters(r, e, q, "otherFilter", CQL__FILTER_OTHER, at);
}

/* The profile that the retrieve names, unless it is the base definition of its type. */
static og_str read_profile(cql__reader *r, fhir_elem e, uint16_t type, const cql__path *at)
{
    static const og_str base = {"http://hl7.org/fhir/StructureDefinition/", 40};
    og_str profile = cql__read_string(r, e, "templateId", at);
    if (og_str_starts(profile, base) &&
        og_str_eq(og_str_from(profile, base.n), fhir_type_name(type)))
        return (og_str){NULL, 0};
    return profile;
}

static cql__node *read_retrieve(cql__reader *r, fhir_elem e, const cql__path *at,
                                const node_spec *spec)
{
    (void)spec;
    cql__node *n = new_node(r, e, CQL__RETRIEVE, 0);
    cql__retrieve *q = og_arena_zalloc(r->arena, 1, sizeof *q);
    if (n == NULL || q == NULL)
        return NULL;
    n->retrieve = q;
    og_str type = cql__read_string(r, e, "dataType", at);
    q->type = fhir_type_of_qualified(type);
    if (!fhir_type_is_resource(q->type)) {
        cql__read_fail(r, e, at, OG_UNSUPPORTED, "%.*s is no FHIR R4 resource type",
                       OG_STR_ARG(type));
        return NULL;
    }
    if (present(e, "include") || present(e, "context")) {
        cql__read_fail(r, e, at, OG_UNSUPPORTED, "retrieve with %s is not supported",
                       present(e, "include") ? "include" : "context");
        return NULL;
    }
    q->profile = read_profile(r, e, q->type, at);
    q->id = optional(r, e, "id", at);
    if (q->id == NULL && present(e, "id"))
        return NULL;
    return read_retrieve_filters(r, e, q, at) ? n : NULL;
}

/* ---- the rest ---- */

static cql__node *read_message(cql__reader *r, fhir_elem e, const cql__path *at,
                               const node_spec *spec)
{
    static const char *const parts[] = {"source", "condition", "code", "severity", "message"};
    (void)spec;
    cql__node *n = new_node(r, e, CQL__MESSAGE, 5);
    if (n == NULL)
        return NULL;
    unsigned before = r->errors;
    for (uint32_t i = 0; i < 5; i++)
        n->args[i] = i == 0 ? required(r, e, parts[i], at) : optional(r, e, parts[i], at);
    n->may_fail = true;
    return r->errors == before ? n : NULL;
}

static cql__node *read_children(cql__reader *r, fhir_elem e, const cql__path *at,
                                const node_spec *spec)
{
    cql__node *n = new_node(r, e, CQL__CHILDREN, 1);
    if (n == NULL)
        return NULL;
    n->flag = spec->detail != 0;
    n->args[0] = required(r, e, "source", at);
    return complete(n) ? n : NULL;
}

static cql__node *read_subsumes(cql__reader *r, fhir_elem e, const cql__path *at,
                                const node_spec *spec)
{
    cql__node *n = read_logic(r, e, at, spec);
    if (n != NULL) {
        n->flag = spec->name[7] == 'd'; /* SubsumedBy */
        n->may_fail = true;
    }
    return n;
}

static const char *const fields_if[] = {"condition", "then", "else", NULL};
static const char *const fields_operand[] = {"operand", NULL};

static const node_spec specials[] = {
    {"Literal", read_literal, 0, NULL, NULL},
    {"Null", read_null, 0, NULL, NULL},
    {"Negate", read_negate, 0, NULL, NULL},
    {"Quantity", read_quantity, 0, NULL, NULL},
    {"Ratio", read_ratio, 0, NULL, NULL},
    {"MinValue", read_extreme, 0, NULL, NULL},
    {"MaxValue", read_extreme, 1, NULL, NULL},
    {"And", read_logic, CQL__AND, NULL, NULL},
    {"Or", read_logic, CQL__OR, NULL, NULL},
    {"Implies", read_logic, CQL__IMPLIES, NULL, NULL},
    {"NotEqual", read_not_equal, 0, NULL, NULL},
    {"Coalesce", read_coalesce, 0, NULL, NULL},
    {"If", read_fixed, CQL__IF, NULL, fields_if},
    {"Case", read_case, 0, NULL, NULL},
    {"Is", read_type_test, CQL__IS, NULL, NULL},
    {"As", read_type_test, CQL__AS, NULL, NULL},
    {"Convert", read_convert, 0, NULL, NULL},
    {"CanConvert", read_convert, 1, NULL, NULL},
    {"Interval", read_interval, 0, NULL, NULL},
    {"List", read_list_selector, 0, NULL, NULL},
    {"Tuple", read_tuple, CQL__TUPLE_OF, NULL, NULL},
    {"Instance", read_tuple, CQL__INSTANCE, NULL, NULL},
    {"Code", read_code, 0, NULL, NULL},
    {"Concept", read_concept, 0, NULL, NULL},
    {"ExpressionRef", read_ref, CQL__DEFINE, NULL, NULL},
    {"ParameterRef", read_ref, CQL__PARAMETER, NULL, NULL},
    {"AliasRef", read_ref, CQL__SLOT, NULL, NULL},
    {"QueryLetRef", read_ref, CQL__SLOT, NULL, NULL},
    {"OperandRef", read_ref, CQL__SLOT, NULL, NULL},
    {"IdentifierRef", read_ref, CQL__NAME, NULL, NULL},
    {"CodeRef", read_ref, CQL__CODEREF, NULL, NULL},
    {"ConceptRef", read_ref, CQL__CODEREF, NULL, NULL},
    {"ValueSetRef", read_setref, 0, NULL, NULL},
    {"CodeSystemRef", read_setref, 1, NULL, NULL},
    {"ExpandValueSet", read_fixed, CQL__EXPAND, NULL, fields_operand},
    {"InValueSet", read_membership, 0, NULL, NULL},
    {"InCodeSystem", read_membership, 1, NULL, NULL},
    {"AnyInValueSet", read_membership, 2, NULL, NULL},
    {"AnyInCodeSystem", read_membership, 3, NULL, NULL},
    {"FunctionRef", read_function_ref, 0, NULL, NULL},
    {"Property", read_property, 0, NULL, NULL},
    {"Search", read_property, 0, NULL, NULL},
    {"ForEach", read_loop, CQL__FOREACH, NULL, fields_foreach},
    {"Filter", read_loop, CQL__FILTER, NULL, fields_filter},
    {"Repeat", read_loop, CQL__REPEAT, NULL, fields_foreach},
    {"Aggregate", read_loop, CQL__FOLD, NULL, fields_fold},
    {"Sort", read_sort, 0, NULL, NULL},
    {"Current", read_loop_variable, 0, NULL, NULL},
    {"Iteration", read_loop_variable, 1, NULL, NULL},
    {"Total", read_loop_variable, 2, NULL, NULL},
    {"Query", read_query, 0, NULL, NULL},
    {"Retrieve", read_retrieve, 0, NULL, NULL},
    {"Message", read_message, 0, NULL, NULL},
    {"Children", read_children, 0, NULL, NULL},
    {"Descendents", read_children, 1, NULL, NULL},
    {"Subsumes", read_subsumes, CQL__SUBSUMES, NULL, NULL},
    {"SubsumedBy", read_subsumes, CQL__SUBSUMES, NULL, NULL},
};

static const char *const *fields_of(const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (strcmp(shapes[i].name, name) == 0)
            return shapes[i].fields;
    return NULL;
}

bool cql__register_nodes(cql_set *set)
{
    size_t op_count;
    const cql__operator *ops = cql__operators(&op_count);
    size_t count = op_count + sizeof specials / sizeof specials[0];
    node_spec *specs = og_arena_zalloc(set->arena, count, sizeof *specs);
    if (specs == NULL)
        return false;
    for (size_t i = 0; i < op_count; i++, specs++) {
        *specs = (node_spec){ops[i].name, read_operator, 0, &ops[i], fields_of(ops[i].name)};
        if (!og_table_put(&set->nodes, og_str_of(specs->name), specs))
            return false;
    }
    for (size_t i = 0; i < sizeof specials / sizeof specials[0]; i++, specs++) {
        const node_spec *plain = og_table_get(&set->nodes, og_str_of(specials[i].name));
        *specs = specials[i];
        specs->op = plain != NULL ? plain->op : NULL; /* Negate, InValueSet ... are both */
        if (!og_table_put(&set->nodes, og_str_of(specs->name), specs))
            return false;
    }
    return true;
}

static cql__node *read_object(cql__reader *r, fhir_elem e, const cql__path *at)
{
    fhir_elem type = fhir_get(e, "type");
    if (fhir_kind_of(type) != FHIR_STRING) {
        cql__read_fail(r, e, at, OG_INVALID, "expression without a type");
        return NULL;
    }
    og_str name = fhir_string(r->scratch, type);
    const node_spec *spec = og_table_get(&r->set->nodes, name);
    if (spec == NULL) {
        cql__read_fail(r, e, at, OG_UNSUPPORTED, "unknown ELM node %.*s", OG_STR_ARG(name));
        return NULL;
    }
    unsigned before = r->errors;
    cql__node *n = spec->read(r, e, at, spec);
    if (n == NULL) {
        if (r->errors == before) /* no reader may swallow a fault */
            cql__read_fail(r, e, at, OG_NOMEM, "out of memory");
        return NULL;
    }
    n->result = cql__read_type_member(r, e, "resultTypeName", "resultTypeSpecifier", at);
    return n;
}

cql__node *cql__read_node(cql__reader *r, fhir_elem e, const cql__path *at)
{
    if (fhir_kind_of(e) != FHIR_OBJECT) {
        cql__read_fail(r, e, at, OG_INVALID, "expression expected");
        return NULL;
    }
    if (r->depth >= CQL__MAX_NESTING) {
        cql__read_fail(r, e, at, OG_LIMIT, "expression nested deeper than %d", CQL__MAX_NESTING);
        return NULL;
    }
    r->depth++;
    cql__node *n = read_object(r, e, at);
    r->depth--;
    return n;
}

/* Values as text: the literal that would make them, and the name of their type. What is written
 * here can be read again by cql_literal and by any CQL translator, FHIR elements apart. */
#include "rules/cql/ops_private.h"

#include <inttypes.h>

static void format(og_buf *out, cql_value v, int depth);

static void format_quoted(og_buf *out, og_str s, char quote)
{
    og_buf_addc(out, quote);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char ch = (unsigned char)s.p[i];
        switch (ch) {
        case '\n': og_buf_addz(out, "\\n"); break;
        case '\r': og_buf_addz(out, "\\r"); break;
        case '\t': og_buf_addz(out, "\\t"); break;
        case '\f': og_buf_addz(out, "\\f"); break;
        default:
            if (ch == (unsigned char)quote || ch == '\\')
                og_buf_addf(out, "\\%c", ch);
            else if (ch < 0x20)
                og_buf_addf(out, "\\u%04x", ch);
            else
                og_buf_addc(out, (char)ch);
        }
    }
    og_buf_addc(out, quote);
}

static void format_string(og_buf *out, og_str s)
{
    format_quoted(out, s, '\'');
}

/* An element's name: bare when it is an identifier of CQL, else quoted. */
static void format_name(og_buf *out, og_str name)
{
    bool bare = name.n != 0;
    for (size_t i = 0; i < name.n && bare; i++) {
        char ch = name.p[i];
        bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_';
        bare = letter || (i > 0 && ch >= '0' && ch <= '9');
    }
    if (bare)
        og_buf_adds(out, name);
    else
        format_quoted(out, name, '"');
}

static void format_decimal(og_buf *out, og_decimal d, int places)
{
    char text[48];
    og_buf_add(out, text, og_decimal_format(d, places, text));
}

static void format_temporal(og_buf *out, cql_value v)
{
    char text[48];
    size_t n = og_temporal_format(&v.temporal, text);
    og_buf_addc(out, '@');
    if (v.kind == CQL_TIME)
        og_buf_addc(out, 'T');
    og_buf_add(out, text, n);
    if (v.kind == CQL_DATETIME && v.temporal.precision < OG_HOUR)
        og_buf_addc(out, 'T');
}

static void format_quantity(og_buf *out, const cql_quantity *q)
{
    format_decimal(out, q->value, q->scale);
    og_buf_addc(out, ' ');
    if (!q->calendar) {
        format_string(out, q->unit);
        return;
    }
    og_buf_adds(out, q->unit);
    if (q->value != OG_DECIMAL_SCALE)
        og_buf_addc(out, 's');
}

/* `name: 'text'` behind a comma when it is not the first; nothing when the text is absent. */
static void format_member(og_buf *out, const char *name, og_str text, bool *first)
{
    if (text.n == 0)
        return;
    og_buf_addz(out, *first ? " " : ", ");
    og_buf_addz(out, name);
    og_buf_addz(out, ": ");
    format_string(out, text);
    *first = false;
}

static void format_code(og_buf *out, const cql_code *code)
{
    bool first = true;
    og_buf_addz(out, "Code {");
    format_member(out, "code", code->code, &first);
    format_member(out, "system", code->system, &first);
    format_member(out, "version", code->version, &first);
    format_member(out, "display", code->display, &first);
    og_buf_addz(out, first ? ":}" : " }");
}

static void format_concept(og_buf *out, const cql_concept *whole)
{
    og_buf_addz(out, "Concept { codes: {");
    for (size_t i = 0; i < whole->count; i++) {
        og_buf_addz(out, i == 0 ? " " : ", ");
        format_code(out, &whole->codes[i]);
    }
    og_buf_addz(out, " }");
    bool first = false;
    format_member(out, "display", whole->display, &first);
    og_buf_addz(out, " }");
}

static void format_setref(og_buf *out, cql_value v)
{
    bool first = true;
    og_buf_addz(out, v.kind == CQL_VALUESET ? "ValueSet {" : "CodeSystem {");
    format_member(out, "id", v.setref->id, &first);
    format_member(out, "version", v.setref->version, &first);
    format_member(out, "name", v.setref->name, &first);
    og_buf_addz(out, first ? ":}" : " }");
}

static void format_list(og_buf *out, const cql_list *list, int depth)
{
    og_buf_addz(out, "{");
    for (size_t i = 0; i < list->count && !og_buf_failed(out); i++) {
        og_buf_addz(out, i == 0 ? " " : ", ");
        format(out, list->items[i], depth);
    }
    og_buf_addz(out, " }");
}

/* "{urn:hl7-org:elm-types:r1}Quantity" and "System.Quantity" as "System.Quantity"; FHIR likewise.
 */
static void format_type_name(og_buf *out, og_str name)
{
    ptrdiff_t close = og_str_find(name, '}');
    if (name.n == 0 || name.p[0] != '{' || close < 0) {
        og_buf_adds(out, name);
        return;
    }
    og_str uri = {name.p + 1, (size_t)close - 1};
    if (og_str_is(uri, "http://hl7.org/fhir"))
        og_buf_addz(out, "FHIR.");
    else if (og_str_is(uri, "urn:hl7-org:elm-types:r1"))
        og_buf_addz(out, "System.");
    og_buf_adds(out, og_str_from(name, (size_t)close + 1));
}

static void format_tuple(og_buf *out, const cql_tuple *tuple, int depth)
{
    if (tuple->type_name.n == 0)
        og_buf_addz(out, "Tuple");
    else
        format_type_name(out, tuple->type_name);
    og_buf_addz(out, " {");
    for (size_t i = 0; i < tuple->count && !og_buf_failed(out); i++) {
        og_buf_addz(out, i == 0 ? " " : ", ");
        format_name(out, tuple->names[i]);
        og_buf_addz(out, ": ");
        format(out, tuple->items[i], depth);
    }
    og_buf_addz(out, tuple->count == 0 ? ":}" : " }");
}

static void format_interval(og_buf *out, const cql_interval *i, int depth)
{
    og_buf_addz(out, i->low_closed ? "Interval[" : "Interval(");
    format(out, i->low, depth);
    og_buf_addz(out, ", ");
    format(out, i->high, depth);
    og_buf_addc(out, i->high_closed ? ']' : ')');
}

/* The JSON as it stands in the document; a primitive that is only an extension is its `_name`
 * object. */
static void format_element(og_buf *out, const cql_element *e)
{
    fhir_elem at = fhir_exists(e->at) ? e->at : e->ext;
    bool quoted = fhir_kind_of(at) == FHIR_STRING;
    if (quoted)
        og_buf_addc(out, '"');
    og_buf_adds(out, fhir_raw(at));
    if (quoted)
        og_buf_addc(out, '"');
}

static void format(og_buf *out, cql_value v, int depth)
{
    if (depth > CQL__MAX_VALUE_DEPTH) {
        out->failed = true;
        return;
    }
    switch ((cql_kind)v.kind) {
    case CQL_NULL: og_buf_addz(out, "null"); break;
    case CQL_BOOLEAN: og_buf_addz(out, v.boolean ? "true" : "false"); break;
    case CQL_INTEGER: og_buf_addf(out, "%" PRId32, v.integer); break;
    case CQL_LONG: og_buf_addf(out, "%" PRId64 "L", v.long_); break;
    case CQL_DECIMAL: format_decimal(out, v.decimal, v.scale > 0 ? v.scale : 1); break;
    case CQL_STRING: format_string(out, cql_str(v)); break;
    case CQL_DATE:
    case CQL_DATETIME:
    case CQL_TIME: format_temporal(out, v); break;
    case CQL_QUANTITY: format_quantity(out, v.quantity); break;
    case CQL_RATIO:
        format_quantity(out, &v.ratio->numerator);
        og_buf_addc(out, ':');
        format_quantity(out, &v.ratio->denominator);
        break;
    case CQL_CODE: format_code(out, v.code); break;
    case CQL_CONCEPT: format_concept(out, v.concept); break;
    case CQL_VALUESET:
    case CQL_CODESYSTEM: format_setref(out, v); break;
    case CQL_INTERVAL: format_interval(out, v.interval, depth + 1); break;
    case CQL_LIST: format_list(out, v.list, depth + 1); break;
    case CQL_TUPLE: format_tuple(out, v.tuple, depth + 1); break;
    case CQL_ELEMENT: format_element(out, v.element); break;
    }
}

void cql_value_format(og_buf *out, cql_value v)
{
    format(out, v, 0);
}

/* ---- types ---- */

static const char *const kind_names[] = {
    [CQL_NULL] = "Any",          [CQL_BOOLEAN] = "Boolean",   [CQL_INTEGER] = "Integer",
    [CQL_LONG] = "Long",         [CQL_DECIMAL] = "Decimal",   [CQL_STRING] = "String",
    [CQL_DATE] = "Date",         [CQL_DATETIME] = "DateTime", [CQL_TIME] = "Time",
    [CQL_QUANTITY] = "Quantity", [CQL_RATIO] = "Ratio",       [CQL_CODE] = "Code",
    [CQL_CONCEPT] = "Concept",   [CQL_VALUESET] = "ValueSet", [CQL_CODESYSTEM] = "CodeSystem",
    [CQL_INTERVAL] = "Any",      [CQL_LIST] = "Any",          [CQL_TUPLE] = "Any",
    [CQL_ELEMENT] = "Any",
};

static void type_of(og_buf *out, cql_value v, int depth);

/* The type that all items have in common; System.Any when they differ. Nulls fit every type. */
static void type_of_items(og_buf *out, const cql_list *list, int depth)
{
    og_buf first, next;
    og_buf_init(&first, out->max);
    og_buf_init(&next, out->max);
    bool any = false;
    for (size_t i = 0; i < list->count && !any; i++) {
        if (cql_is_null(list->items[i]))
            continue;
        if (first.n == 0) {
            type_of(&first, list->items[i], depth);
            continue;
        }
        og_buf_clear(&next);
        type_of(&next, list->items[i], depth);
        any = !og_str_eq(og_buf_str(&first), og_buf_str(&next));
    }
    if (any || first.n == 0)
        og_buf_addz(out, "System.Any");
    else
        og_buf_adds(out, og_buf_str(&first));
    if (first.failed || next.failed)
        out->failed = true;
    og_buf_done(&first);
    og_buf_done(&next);
}

static void type_of_interval(og_buf *out, const cql_interval *i, int depth)
{
    cql_value point = cql_is_null(i->low) ? i->high : i->low;
    og_buf_addz(out, "Interval<");
    if (cql_is_null(point))
        og_buf_addf(out, "System.%s", kind_names[i->point]);
    else
        type_of(out, point, depth);
    og_buf_addc(out, '>');
}

static void type_of_tuple(og_buf *out, const cql_tuple *t, int depth)
{
    if (t->type_name.n != 0) {
        format_type_name(out, t->type_name);
        return;
    }
    og_buf_addz(out, "Tuple {");
    for (size_t i = 0; i < t->count; i++) {
        og_buf_addz(out, i == 0 ? " " : ", ");
        format_name(out, t->names[i]);
        og_buf_addz(out, ": ");
        type_of(out, t->items[i], depth);
    }
    og_buf_addz(out, " }");
}

static void type_of(og_buf *out, cql_value v, int depth)
{
    if (depth > CQL__MAX_VALUE_DEPTH) {
        out->failed = true;
        return;
    }
    switch ((cql_kind)v.kind) {
    case CQL_INTERVAL: type_of_interval(out, v.interval, depth + 1); break;
    case CQL_LIST:
        og_buf_addz(out, "List<");
        type_of_items(out, v.list, depth + 1);
        og_buf_addc(out, '>');
        break;
    case CQL_TUPLE: type_of_tuple(out, v.tuple, depth + 1); break;
    case CQL_ELEMENT: {
        og_str name = fhir_type_name(v.element->type);
        if (!fhir_type_is_system(v.element->type))
            og_buf_addz(out, "FHIR.");
        if (name.n == 0)
            og_buf_addz(out, "Element");
        else
            og_buf_adds(out, name);
        break;
    }
    default: og_buf_addf(out, "System.%s", kind_names[v.kind]); break;
    }
}

void cql_value_type(og_buf *out, cql_value v)
{
    type_of(out, v, 0);
}

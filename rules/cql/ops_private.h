/* What the operator files share and nobody else needs. Private to rules/cql. */
#ifndef OG_CQL_OPS_PRIVATE_H
#define OG_CQL_OPS_PRIVATE_H

#include "fhir/terminology.h"
#include "rules/cql/element.h"
#include "rules/cql/ops.h"

/* Deepest nesting of values in values that = and ~ and the literal text follow. */
#define CQL__MAX_VALUE_DEPTH 200

/* ---- uncertainty: an interval that stands for one value somewhere inside ---- */

bool cql__is_uncertain(cql_value v);
/* True for an interval proper: an uncertain one is a point. */
bool cql__is_interval(cql_value v);
/* The uncertain value between low and high; low itself when they are the same. */
cql_value cql__uncertain(cql_op_context *c, cql_value low, cql_value high);
/* The least and the greatest value that v can be; v itself when it is certain. */
cql_value cql__least(cql_value v);
cql_value cql__greatest(cql_value v);

/* ---- order ---- */

/* How two values may stand to each other: a set, because a value may be uncertain. 0: they cannot
 * be compared at all (null, other kinds, other dimensions). */
enum { CQL__LESS = 1, CQL__SAME = 2, CQL__MORE = 4, CQL__ANY_ORDER = 7 };
typedef unsigned cql__order;

/* For the symbolic operators (=, <, ...): seconds and milliseconds are one decimal, so that a value
 * without milliseconds has .000 (B.5 Equal, Less). */
cql__order cql__order_of(cql_op_context *c, cql_value a, cql_value b);
/* For timing phrases, at precision (0: as far as either goes). What one of them does not have is
 * unknown, milliseconds included (B.8 Same As). Values that are no calendar values: as above. */
cql__order cql__order_at(cql_op_context *c, cql_value a, cql_value b, int precision);
/* Is the order surely, surely not, or perhaps one of those wanted? */
cql_tri cql__order_is(cql__order order, cql__order wanted);

cql_tri cql__and(cql_tri a, cql_tri b);
cql_tri cql__or(cql_tri a, cql_tri b);
cql_tri cql__not(cql_tri a);

/* ---- calendar ---- */

cql_value cql__temporal(cql_kind kind, og_temporal t);
bool cql__is_temporal(cql_value v);
/* The same instant at another offset, no more precise than before and only as precise as still
 * known. */
og_temporal cql__at_offset(og_temporal t, int offset_min, int default_offset_min);
cql__order cql__temporal_order(cql_op_context *c, cql_value a, cql_value b, int precision,
                               bool timing);
/* t without what is finer than precision. */
og_temporal cql__truncate(og_temporal t, int precision);
/* t plus n units of precision (weeks are not one). False beyond the years 0001-9999; a Time wraps
 * when wrap is set, else false. t must have that precision. */
bool cql__temporal_add(og_temporal *t, int precision, int64_t n, bool wrap);
/* date or time plus (sign 1) or minus (sign -1) a quantity (B.8 Add, Subtract). */
cql_value cql__temporal_add_quantity(cql_op_context *c, cql_value v, const cql_quantity *q,
                                     int sign);
/* Finest precision that the kind can have, and its coarsest. */
int cql__finest(cql_kind kind);
int cql__coarsest(cql_kind kind);
/* Reading of CQL date, time literals without @: "2012-01", "2012-01T", "T10:30" is a time. False
 * when it is none. `T` alone at the end makes it a DateTime. */
bool cql__parse_date_time(og_str s, og_temporal *ret, bool *ret_has_t);
bool cql__parse_time(og_str s, og_temporal *ret);

/* ---- quantities ---- */

typedef enum cql__unit {
    CQL__UNIT_NONE, /* no unit of time that has a calendar word */
    CQL__UNIT_YEAR,
    CQL__UNIT_MONTH,
    CQL__UNIT_WEEK,
    CQL__UNIT_DAY,
    CQL__UNIT_HOUR,
    CQL__UNIT_MINUTE,
    CQL__UNIT_SECOND,
    CQL__UNIT_MILLISECOND
} cql__unit;

/* By calendar word in singular or plural; by UCUM code. */
cql__unit cql__unit_of_word(og_str word);
cql__unit cql__unit_of_code(og_str code);
cql__unit cql__unit_of(const cql_quantity *q);
og_str cql__unit_word(cql__unit u); /* singular */
og_str cql__unit_code(cql__unit u); /* UCUM */
/* The unit as UCUM code, calendar words mapped to their counterpart. */
og_str cql__quantity_code(const cql_quantity *q);
/* Both values in one unit, the finer of the two (B.6 Add). False when they cannot be. */
bool cql__quantity_unify(const cql_quantity *a, const cql_quantity *b, og_decimal *ret_a,
                         og_decimal *ret_b, const cql_quantity **ret_unit);
cql__order cql__quantity_order(const cql_quantity *a, const cql_quantity *b);
bool cql__quantity_equivalent(const cql_quantity *a, const cql_quantity *b);
cql_value cql__quantity_like(cql_op_context *c, og_decimal value, int scale,
                             const cql_quantity *unit);
/* q in unit (code or calendar word); false when it cannot be. */
bool cql__quantity_convert(const cql_quantity *q, og_str unit, og_decimal *ret);
/* The product; null when it cannot be represented. */
cql_value cql__quantity_multiply(cql_op_context *c, const cql_quantity *a, const cql_quantity *b);
cql_value cql__quantity_divide(cql_op_context *c, const cql_quantity *a, const cql_quantity *b);

/* ---- codes ---- */

/* The key of a code, remembered by the place of its texts where the context has room for that.
 * Valid until the next call. */
const fhir_code_key *cql__key_of(cql_op_context *c, og_str system, og_str code,
                                 fhir_code_key *storage);
/* Room for remembering keys during an evaluation; NULL when memory is out. */
struct cql__keys *cql__keys_new(og_arena *a);

/* Is narrower (a Code or Concept) a kind of wider? By the hierarchies that terms has (may be NULL);
 * what cannot be known is an error. */
cql_value cql__subsumes(cql_op_context *c, const fhir_terminology *terms, cql_value wider,
                        cql_value narrower);

/* ---- numbers ---- */

/* Fewest places that hold d: 0 for 2.00. */
int cql__places(og_decimal d);
/* The number as Decimal: Integer, Long or Decimal. False for other kinds. */
bool cql__number(cql_value v, og_decimal *ret, int *ret_scale);
cql_value cql__min_of(cql_kind kind);
cql_value cql__max_of(cql_kind kind);

/* ---- strings ---- */

/* Simple case mappings of Unicode; cp itself when it has none. */
uint32_t cql__lower(uint32_t cp);
uint32_t cql__upper(uint32_t cp);
/* A quoted string of CQL at s[*at] (the opening quote), unescaped into a; advances behind it. */
bool cql__parse_string(og_arena *a, og_str s, size_t *at, og_str *ret);

cql_value cql__list(cql_op_context *c, const cql_value *items,
                    size_t count); /* items are borrowed */

/* ---- intervals ---- */

/* Start and end as op_interval.c works them out: an open null one is uncertain, one of an unknown
 * type null. A point starts and ends at itself. */
typedef struct cql__range {
    cql_value start, end;
} cql__range;
cql__range cql__range_of(cql_op_context *c, cql_value v);
/* Do they overlap, or does the first end just before the second starts, at the context's precision?
 */
cql_tri cql__range_touches(cql_op_context *c, cql__range a, cql__range b);
/* An interval without the checks of cql_interval_make. */
cql_value cql__interval_new(cql_op_context *c, cql_interval like);
/* A calendar value cut to the context's precision, if there is one. */
cql_value cql__cut(cql_op_context *c, cql_value v);

/* ---- halves of the operators that serve lists and intervals ---- */

cql_value cql__list_In(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__list_Contains(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__list_ProperIn(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__list_ProperContains(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__list_Includes(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__list_IncludedIn(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__list_ProperIncludes(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__list_ProperIncludedIn(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__list_Union(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__list_Intersect(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__list_Except(cql_op_context *c, const cql_value *args, size_t count);

cql_value cql__interval_In(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__interval_Contains(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__interval_ProperIn(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__interval_ProperContains(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__interval_Includes(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__interval_IncludedIn(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__interval_ProperIncludes(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__interval_ProperIncludedIn(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__interval_Union(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__interval_Intersect(cql_op_context *c, const cql_value *args, size_t count);
cql_value cql__interval_Except(cql_op_context *c, const cql_value *args, size_t count);
/* = and ~ of two intervals (B.9). */
cql_tri cql__interval_equal(cql_op_context *c, cql_value a, cql_value b);
bool cql__interval_equivalent(cql_op_context *c, cql_value a, cql_value b);

#endif

/* Operators: pure functions over values, one file per chapter of the CQL reference (Appendix B).
 *
 * cql_op is what operators.def lists: node name, arity, function. An operator gets its arguments
 * already evaluated, nulls included, and decides by their kinds (ELM has made every conversion
 * explicit). It returns a value; a run-time error (CQL speaks of "run-time error" only for few
 * operators: singleton from, invalid interval, Message) is reported with cql_op_fail and CQL null
 * returned. */
#ifndef OG_CQL_OPS_H
#define OG_CQL_OPS_H

#include "rules/cql/value.h"

typedef struct cql_op_context {
    og_arena *arena;
    og_temporal now; /* evaluation time with offset: Now(), Today(), default offset of DateTimes */
    int offset_min;  /* the evaluation's offset for values that have none */
    og_error *err;   /* first run-time error */
    uint32_t max_list;    /* longest list that expand and friends may make */
    uint32_t match_limit; /* PCRE2 match limit */
    uint8_t
        precision; /* ELM `precision` of the node, 0 when absent (og_precision; weeks: see below) */
    bool weeks;    /* precision was Week (precision itself is then not looked at) */
    uint16_t depth;         /* of values inside values while = and ~ walk them; 0 at first */
    void *user;             /* the evaluator */
    struct cql__keys *keys; /* codes made ready for looking up (op_clinical.c), or NULL */
    int64_t changes_ms;     /* cql_run_changes_ms; INT64_MIN: the time of day was asked for */
} cql_op_context;

typedef cql_value (*cql_op)(cql_op_context *c, const cql_value *args, size_t count);

/* Every function of operators.def and operators_list.def. Arguments come in the order of the ELM
 * operands; nodes with named arguments use the order of their CQL function (operators.def says
 * which). Optional ones may be absent or null. */
#define OP(node, min_args, max_args, function)                                                     \
    cql_value function(cql_op_context *c, const cql_value *args, size_t count);
#include "rules/cql/operators.def"
#include "rules/cql/operators_list.def"
#undef OP

/* Records a run-time error, returns null. */
cql_value cql_op_fail(cql_op_context *c, const char *fmt, ...) OG_PRINTF(2, 3);

/* Three-valued comparison of two values of the same kind; where a choice lets them differ, Integer,
 * Long, Decimal and Quantity compare as numbers, Date and DateTime as DateTimes, other kinds are
 * unequal. */
typedef enum cql_tri { CQL_FALSE = 0, CQL_TRUE = 1, CQL_UNKNOWN = 2 } cql_tri;
cql_value cql_tri_value(cql_tri t);
cql_tri cql_equal(cql_op_context *c, cql_value a, cql_value b);   /* = */
bool cql_equivalent(cql_op_context *c, cql_value a, cql_value b); /* ~ */
/* Order of two scalars: *ret is -1, 0, 1; false when it is unknown (null, uncertain, not
 * comparable). */
bool cql_compare(cql_op_context *c, cql_value a, cql_value b, int *ret);
/* The next and the previous value of its type (B.6 Successor, Predecessor): Decimal steps by 10^-8,
 * calendar values by their last known component. Null beyond the range. */
cql_value cql_successor(cql_op_context *c, cql_value v);
cql_value cql_predecessor(cql_op_context *c, cql_value v);
/* minimum and maximum of a System type, by any form of its name ("Integer", "System.Integer",
 * "{urn:hl7-org:elm-types:r1}Integer"). Null for a type that has none. */
cql_value cql_min_value(og_str type_name);
cql_value cql_max_value(og_str type_name);

/* ---- making values; memory from the context's arena, null when it is out ---- */

/* A quantity. unit may be a UCUM code, a calendar word in singular or plural (kept in singular,
 * flagged) or empty (then "1"). unit is borrowed. scale: the written places of value. */
cql_value cql_quantity_make(cql_op_context *c, og_decimal value, int scale, og_str unit);
/* An interval; point is the kind of its points where a static type tells it, else CQL_NULL. A
 * boundary may be null. A low end above the high end, also by an open end (Interval[5, 5)), is a
 * run-time error. */
cql_value cql_interval_make(cql_op_context *c, cql_value low, cql_value high, bool low_closed,
                            bool high_closed, cql_kind point);
/* start of and end of (B.9 Start, End): null for an open null boundary. Of a point: the point. */
cql_value cql_interval_start(cql_op_context *c, cql_value interval);
cql_value cql_interval_end(cql_op_context *c, cql_value interval);
/* The duration ("years between") and the difference ("difference in years between") at precision:
 * Integer, an uncertain interval of Integer, or null. weeks: precision is not looked at. */
cql_value cql_duration(cql_op_context *c, cql_value a, cql_value b, og_precision precision,
                       bool weeks);
cql_value cql_difference(cql_op_context *c, cql_value a, cql_value b, og_precision precision,
                         bool weeks);

#endif

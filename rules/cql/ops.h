/* Operators: pure functions over values, one file per chapter of the CQL reference (Appendix B).
 *
 * cql_op is what operators.def lists: node name, arity, function. An operator gets its arguments already
 * evaluated, nulls included, and decides by their kinds (ELM has made every conversion explicit). It returns a
 * value; a run-time error (CQL speaks of "run-time error" only for few operators: singleton from, invalid
 * interval, Message) is reported with cql_op_fail and CQL null returned. */
#ifndef OG_CQL_OPS_H
#define OG_CQL_OPS_H

#include "rules/cql/value.h"

typedef struct cql_op_context {
    og_arena *arena;
    og_temporal now;        /* evaluation time with offset: Now(), Today(), default offset of DateTimes */
    int offset_min;         /* the evaluation's offset for values that have none */
    og_error *err;          /* first run-time error */
    uint32_t max_list;      /* longest list that expand and friends may make */
    uint32_t match_limit;   /* PCRE2 match limit */
    uint8_t precision;      /* ELM `precision` of the node, 0 when absent (og_precision; weeks: see below) */
    bool weeks;             /* precision was Week */
    void *user;             /* the evaluator */
} cql_op_context;

typedef cql_value (*cql_op)(cql_op_context *c, const cql_value *args, size_t count);

/* Records a run-time error, returns null. */
cql_value cql_op_fail(cql_op_context *c, const char *fmt, ...) OG_PRINTF(2, 3);

/* Three-valued comparison of two values of the same kind. */
typedef enum cql_tri { CQL_FALSE = 0, CQL_TRUE = 1, CQL_UNKNOWN = 2 } cql_tri;
cql_value cql_tri_value(cql_tri t);
cql_tri cql_equal(cql_op_context *c, cql_value a, cql_value b);      /* = */
bool cql_equivalent(cql_op_context *c, cql_value a, cql_value b);    /* ~ */
/* Order of two scalars: *ret is -1, 0, 1; false when it is unknown (null, uncertain, not comparable). */
bool cql_compare(cql_op_context *c, cql_value a, cql_value b, int *ret);
cql_value cql_successor(cql_op_context *c, cql_value v);
cql_value cql_predecessor(cql_op_context *c, cql_value v);

#endif

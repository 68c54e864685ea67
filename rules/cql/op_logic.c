/* Logical and nullological operators: CQL 1.5 Appendix B.2 and B.4. Null is "unknown": an answer
 * that does not hang on the unknown side is given. */
#include "rules/cql/ops_private.h"

static cql_tri truth(cql_value v)
{
    return v.kind != CQL_BOOLEAN ? CQL_UNKNOWN : v.boolean ? CQL_TRUE : CQL_FALSE;
}

/* and(left Boolean, right Boolean) Boolean */
cql_value cql_op_And(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    return cql_tri_value(cql__and(truth(args[0]), truth(args[1])));
}

/* or(left Boolean, right Boolean) Boolean */
cql_value cql_op_Or(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    return cql_tri_value(cql__or(truth(args[0]), truth(args[1])));
}

/* xor(left Boolean, right Boolean) Boolean */
cql_value cql_op_Xor(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    cql_tri a = truth(args[0]), b = truth(args[1]);
    if (a == CQL_UNKNOWN || b == CQL_UNKNOWN)
        return CQL_NULL_VALUE;
    return cql_bool(a != b);
}

/* implies(left Boolean, right Boolean) Boolean */
cql_value cql_op_Implies(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    return cql_tri_value(cql__or(cql__not(truth(args[0])), truth(args[1])));
}

/* not(argument Boolean) Boolean */
cql_value cql_op_Not(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    return cql_tri_value(cql__not(truth(args[0])));
}

/* is null(argument Any) Boolean */
cql_value cql_op_IsNull(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    return cql_bool(cql_is_null(args[0]));
}

/* is true(argument Boolean) Boolean */
cql_value cql_op_IsTrue(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    return cql_bool(truth(args[0]) == CQL_TRUE);
}

/* is false(argument Boolean) Boolean */
cql_value cql_op_IsFalse(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    return cql_bool(truth(args[0]) == CQL_FALSE);
}

/* Coalesce<T>(argument1 T, ...) T, Coalesce<T>(arguments List<T>) T: a single argument is the list.
 */
cql_value cql_op_Coalesce(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c;
    if (count == 1 && args[0].kind == CQL_LIST) {
        count = args[0].list->count;
        args = args[0].list->items;
    }
    for (size_t i = 0; i < count; i++)
        if (!cql_is_null(args[i]))
            return args[i];
    return CQL_NULL_VALUE;
}

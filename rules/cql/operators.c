/* One table of all operators, made from the lists of those who write them. */
#include "rules/cql/tree.h"

#include "rules/cql/run.h"

static const cql__operator operators[] = {
#define OP(name, min, max, fn) {#name, (min), (max), fn},
#include "rules/cql/operators.def"
#include "rules/cql/operators_list.def"
#undef OP
};

/* Operators that call cql_op_fail (limits apart). What is missing here would be skipped when the
 * other operand of `and` or `or` decides, and its error with it. */
static const char *const failing[] = {
    "Add",
    "AnyInCodeSystem",
    "AnyInValueSet",
    "CalculateAge",
    "CalculateAgeAt",
    "Collapse",
    "Date",
    "DateTime",
    "DateTimeComponentFrom",
    "DifferenceBetween",
    "Divide",
    "DurationBetween",
    "Expand",
    "InCodeSystem",
    "InValueSet",
    "Matches",
    "Modulo",
    "Multiply",
    "PointFrom",
    "Power",
    "ReplaceMatches",
    "SingletonFrom",
    "SplitOnMatches",
    "Subtract",
    "Time",
    "TruncatedDivide",
    "Width",
};

const cql__operator *cql__operators(size_t *ret_count)
{
    *ret_count = sizeof operators / sizeof operators[0];
    return operators;
}

bool cql__operator_may_fail(const char *name)
{
    for (size_t i = 0; i < sizeof failing / sizeof failing[0]; i++)
        if (strcmp(failing[i], name) == 0)
            return true;
    return false;
}

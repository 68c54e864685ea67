/* What an operand that decides nothing may still say: its error.
 *
 * When one side of a connective decides, the other one is looked at only for the error that it may
 * raise, so that errors do not depend on the order of operands. Parts of it that cannot fail are
 * not evaluated at all. The error and its place are those that its evaluation would have had:
 * operands are looked at in the order of their evaluation, and the first error wins. */
#include "rules/cql/run.h"

static void check_all(cql_run *run, const cql__node *n)
{
    for (uint32_t i = 0; i < n->argc; i++)
        cql__check(run, n->args[i]);
}

static void evaluate(cql_run *run, const cql__node *n)
{
    cql_value unused;
    cql__eval_to(run, n, &unused);
}

/* Only the branch that the condition chooses. */
static void check_if(cql_run *run, const cql__node *n)
{
    cql_value condition;
    cql__eval_to(run, n->args[0], &condition);
    bool holds = condition.kind == CQL_BOOLEAN && condition.boolean;
    cql__check(run, n->args[holds ? 1 : 2]);
}

/* One function that cannot fail, whatever it is given. */
static bool calls_safely(const cql__call *call)
{
    if (call->count != 1)
        return false;
    const cql__node *body = call->targets[0]->body;
    return body != NULL && !body->may_fail;
}

static void check_parts(cql_run *run, const cql__node *n)
{
    switch ((cql__kind)n->kind) {
    case CQL__AND: /* an operand that may fail is never cut short, the left one least of all */
    case CQL__OR:
    case CQL__IMPLIES:
    case CQL__NOT:
    case CQL__IS_NULL:
    case CQL__IS:
    case CQL__LIST_OF:
    case CQL__TUPLE_OF: check_all(run, n); break;
    case CQL__IF: check_if(run, n); break;
    case CQL__PROPERTY: cql__check(run, n->path.base); break;
    case CQL__OP:
    case CQL__AS:
        if (n->fails)
            evaluate(run, n);
        else
            check_all(run, n);
        break;
    case CQL__CALL:
        if (calls_safely(n->call))
            check_all(run, n);
        else
            evaluate(run, n);
        break;
    default: evaluate(run, n);
    }
}

void cql__check(cql_run *run, const cql__node *n)
{
    if (n == NULL || !n->may_fail || cql__failed(run))
        return;
    check_parts(run, n);
    if (cql__failed(run) && n->place.line != 0)
        og_error_at(&run->err, n->place.line, n->place.column);
}

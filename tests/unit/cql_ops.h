/* Table tests of operators: arguments and results as CQL literal text. */
#ifndef OG_TEST_CQL_OPS_H
#define OG_TEST_CQL_OPS_H

#include "rules/cql/cql.h"
#include "rules/cql/ops.h"
#include "rules/cql/ops_private.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define WEEK     100 /* as precision */

/* One row: the operator, its arguments (NULL ends them), the precision of the node, and what comes
 * out: literal text, or "error" for a run-time error. */
typedef struct op_case {
    const char *name;
    cql_op op;
    int precision;
    const char *args[8];
    const char *want;
} op_case;

#define CASE(op, want, ...)                                                                        \
    {                                                                                              \
#op, cql_op_##op, 0, {__VA_ARGS__ }, want                                                  \
    }
#define CASE_AT(op, at, want, ...)                                                                 \
    {                                                                                              \
#op, cql_op_##op, at, {__VA_ARGS__ }, want                                                 \
    }

static og_arena *test_arena;

static int arena_setup(void **state)
{
    (void)state;
    test_arena = og_arena_new((size_t)64 << 20);
    return test_arena == NULL;
}

static int arena_teardown(void **state)
{
    (void)state;
    og_arena_free(test_arena);
    test_arena = NULL;
    return 0;
}

/* The evaluation's time is 2024-03-10T12:34:56.789+00:00. */
static inline cql_op_context test_context(og_error *err)
{
    og_error_init(err);
    return (cql_op_context){
        .arena = test_arena,
        .err = err,
        .now = {OG_MILLISECOND, 1, 0, 2024, 3, 10, 12, 34, 56, 789},
    };
}

static inline cql_value literal(const char *text)
{
    og_error err;
    og_error_init(&err);
    cql_value v = CQL_NULL_VALUE;
    if (cql_literal(test_arena, og_str_of(text), &v, &err) != OG_OK)
        fail_msg("%s: %s", text, err.text);
    return v;
}

/* "uncertain 1 5" in a table means the uncertain value between 1 and 5. */
static inline cql_value argument(cql_op_context *c, const char *text)
{
    og_str s = og_str_of(text);
    if (!og_str_starts(s, OG_STR("uncertain ")))
        return literal(text);
    const char *gap = strrchr(text, ' ');
    char low[64];
    size_t n = (size_t)(gap - text) - 10;
    memcpy(low, text + 10, n);
    low[n] = '\0';
    return cql__uncertain(c, literal(low), literal(gap + 1));
}

static inline void value_text(cql_value v, char *out, size_t size)
{
    og_buf b;
    og_buf_init(&b, 1 << 20);
    cql_value_format(&b, v);
    snprintf(out, size, "%s%.*s", cql__is_uncertain(v) ? "~" : "", (int)b.n,
             b.p != NULL ? b.p : "");
    og_buf_done(&b);
}

/* Runs every row; reports all that differ before it fails. An uncertain result is written with a ~.
 */
static inline void run_cases(const op_case *cases, size_t count)
{
    size_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        const op_case *k = &cases[i];
        og_error err;
        cql_op_context c = test_context(&err);
        c.precision = k->precision == WEEK ? 0 : (uint8_t)k->precision;
        c.weeks = k->precision == WEEK;
        cql_value args[8];
        size_t n = 0;
        for (; n < 8 && k->args[n] != NULL; n++)
            args[n] = argument(&c, k->args[n]);
        cql_value v = k->op(&c, args, n);
        char got[2048];
        value_text(v, got, sizeof got);
        if (err.status != OG_OK)
            snprintf(got, sizeof got, "error");
        if (err.status != OG_OK && !cql_is_null(v))
            fail_msg("%s: an error and a value", k->name);
        if (strcmp(got, k->want) != 0) {
            print_error("row %zu: %s(%s, %s, %s) at %d: want %s, got %s %s\n", i, k->name,
                        n > 0 ? k->args[0] : "", n > 1 ? k->args[1] : "", n > 2 ? k->args[2] : "",
                        k->precision, k->want, got, err.text);
            bad++;
        }
    }
    if (bad != 0)
        fail_msg("%zu of %zu rows differ", bad, count);
}

#endif

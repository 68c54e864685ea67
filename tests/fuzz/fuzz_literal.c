/* Fuzz target: CQL literals and the operators over them. The input is one or two literals with a
 * line feed between them. Properties: what can be read is written as text that is read as the same
 * text; equality and order are the same from both sides; no operator crashes or gives both an error
 * and a value. */
#include "rules/cql/cql.h"
#include "rules/cql/ops.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
    uint32_t min, max;
    cql_op op;
} ops[] = {
#define OP(node, least, most, function) {least, most, function},
#include "rules/cql/operators.def"
#undef OP
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool text_of(cql_value v, og_buf *out)
{
    og_buf_init(out, 1 << 20);
    cql_value_format(out, v);
    return !og_buf_failed(out);
}

static void check_round_trip(og_arena *a, cql_value v)
{
    og_buf once, again;
    cql_value back;
    bool written = text_of(v, &once);
    if (written && cql_literal(a, og_buf_str(&once), &back, NULL) == OG_OK) {
        check(text_of(back, &again));
        check(og_str_eq(og_buf_str(&once), og_buf_str(&again)));
        og_buf_done(&again);
    } else {
        check(!written || og_arena_failed(a));
    }
    og_buf_done(&once);
}

static void check_symmetry(cql_op_context *c, cql_value a, cql_value b)
{
    check(cql_equivalent(c, a, b) == cql_equivalent(c, b, a));
    int one, other;
    bool ordered = cql_compare(c, a, b, &one);
    check(ordered == cql_compare(c, b, a, &other));
    if (ordered)
        check(one == -other);
}

static void check_operators(og_arena *a, cql_op_context c, cql_value x, cql_value y, int precision)
{
    cql_value args[8] = {x, y, x, y, x, y, x, y};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        og_error err;
        og_error_init(&err);
        c.err = &err;
        c.precision = (uint8_t)precision;
        size_t n = ops[i].min > 2 ? ops[i].min : ops[i].max < 2 ? ops[i].max : 2;
        cql_value v = ops[i].op(&c, args, n);
        check(err.status == OG_OK || v.kind == CQL_NULL);
        if (og_arena_failed(a))
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 4096)
        return 0;
    og_arena *a = og_arena_new((size_t)16 << 20);
    if (a == NULL)
        return 0;
    og_str text = {(const char *)data, size};
    ptrdiff_t split = og_str_find(text, '\n');
    og_str first = {text.p, split < 0 ? text.n : (size_t)split};
    cql_value x, y;
    og_error err;
    og_error_init(&err);
    cql_op_context c = {
        .arena = a,
        .err = &err,
        .offset_min = 60,
        .now = {OG_MILLISECOND, 1, 60, 2024, 3, 10, 12, 34, 56, 789},
        .max_list = 1000,
        .match_limit = 10000,
    };
    if (cql_literal(a, first, &x, NULL) == OG_OK) {
        y = x;
        check_round_trip(a, x);
        if (split >= 0 && cql_literal(a, og_str_from(text, (size_t)split + 1), &y, NULL) == OG_OK)
            check_symmetry(&c, x, y);
        check_operators(a, c, x, y, size % 8);
    }
    og_arena_free(a);
    return 0;
}

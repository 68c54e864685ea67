/* Requirements as hashes of their text, sixteen hexadecimal digits a line: `Type` when all
 * resources of it are asked for, `Type|path|system|code` for each code of a filter. Taken from all
 * libraries, also those that no rule reaches: reading once more than necessary does no harm. */
#include "daemon/wants.h"

#include <inttypes.h>
#include <stdlib.h>

#define LINE 17 /* 16 digits and a line feed */

typedef void want_fn(void *ctx, uint64_t all, uint64_t one);

static uint64_t hash_text(og_str type, og_str path, og_str system, og_str code)
{
    uint64_t h = og_str_hash(type);
    const og_str parts[] = {path, system, code};
    for (size_t i = 0; i < 3; i++)
        h = (h * 0x100000001b3u) ^ og_str_hash(parts[i]); /* order counts */
    return h;
}

static void each_code(const cql_requirement *q, uint64_t all, want_fn *fn, void *ctx)
{
    size_t count = q->valueset != NULL ? fhir_valueset_count(q->valueset) : 0;
    for (size_t i = 0; i < count; i++) {
        og_str system, code, display;
        fhir_valueset_code(q->valueset, i, &system, &code, &display);
        fn(ctx, all, hash_text(q->type, q->code_path, system, code));
    }
    for (size_t i = 0; i < q->code_count; i++)
        fn(ctx, all, hash_text(q->type, q->code_path, q->codes[i].system, q->codes[i].code));
}

static void each_want(const plan_content *c, want_fn *fn, void *ctx)
{
    const cql_set *set = plan_content_cql(c);
    for (size_t l = 0; l < cql_set_count(set); l++) {
        const cql_requirement *list;
        size_t n = cql_requirements(cql_set_at(set, l), NULL, &list);
        for (size_t i = 0; i < n; i++) {
            uint64_t all = og_str_hash(list[i].type);
            if (list[i].code_path.n == 0 || (list[i].valueset == NULL && list[i].code_count == 0))
                fn(ctx, all, all);
            else
                each_code(&list[i], all, fn, ctx);
        }
    }
}

static void write_one(void *ctx, uint64_t all, uint64_t one)
{
    (void)all;
    og_buf_addf(ctx, "%016" PRIx64 "\n", one);
}

void wants_write(const plan_content *c, og_buf *out)
{
    each_want(c, write_one, out);
}

typedef struct compare {
    const uint64_t *old;
    size_t count;
    bool covered;
} compare;

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool has(const compare *w, uint64_t value)
{
    return w->count > 0 && bsearch(&value, w->old, w->count, sizeof value, by_value) != NULL;
}

static void compare_one(void *ctx, uint64_t all, uint64_t one)
{
    compare *w = ctx;
    w->covered = w->covered && (has(w, one) || has(w, all));
}

bool wants_covered(const plan_content *c, og_str old)
{
    compare w = {.covered = true};
    uint64_t *values = calloc(old.n / LINE + 1, sizeof *values);
    if (values == NULL)
        return false;
    for (size_t at = 0; at + LINE <= old.n; at += LINE) {
        char digits[LINE];
        memcpy(digits, old.p + at, LINE - 1);
        digits[LINE - 1] = '\0';
        values[w.count++] = strtoull(digits, NULL, 16);
    }
    qsort(values, w.count, sizeof *values, by_value);
    w.old = values;
    each_want(c, compare_one, &w);
    free(values);
    return w.covered;
}

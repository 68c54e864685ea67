/* Requirements as hashes of their text, sixteen hexadecimal digits a line: `Type` when all
 * resources of it are asked for, `Type|path|system|code` for each code of a filter, and the codes
 * that maps translate with what becomes of them. Exactly what gather goes by: with what a rule asks
 * for that is switched off, a rule that is switched on would look as if nothing were missing. */
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

typedef struct visit {
    want_fn *fn;
    void *ctx;
} visit;

static void on_want(void *ctx, og_str type, og_str path, const fhir_valueset *codes)
{
    const visit *v = ctx;
    uint64_t all = og_str_hash(type);
    size_t count = codes != NULL ? fhir_valueset_count(codes) : 0;
    if (path.n == 0)
        v->fn(v->ctx, all, all);
    for (size_t i = 0; i < count; i++) {
        og_str system, code, display;
        fhir_valueset_code(codes, i, &system, &code, &display);
        v->fn(v->ctx, all, hash_text(type, path, system, code));
    }
}

static void on_translation(void *ctx, og_str system, og_str code, og_str to_system, og_str to_code)
{
    const visit *v = ctx;
    uint64_t from = hash_text(OG_STR("ConceptMap"), system, code, to_system);
    uint64_t one = (from * 0x100000001b3u) ^ og_str_hash(to_code);
    v->fn(v->ctx, one, one);
}

static void each_want(const plan_content *c, want_fn *fn, void *ctx)
{
    visit v = {fn, ctx};
    plan_content_each_want(c, on_want, &v);
    fhir_each_translation(plan_content_terminology(c), on_translation, &v);
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

typedef struct gathered {
    uint64_t *at;
    size_t count, room;
    bool failed;
} gathered;

static void gather_one(void *ctx, uint64_t all, uint64_t one)
{
    gathered *g = ctx;
    (void)all;
    if (g->count == g->room && !g->failed) {
        size_t room = g->room > 0 ? 2 * g->room : 1024;
        uint64_t *grown = realloc(g->at, room * sizeof *grown);
        g->failed = grown == NULL;
        g->at = grown != NULL ? grown : g->at;
        g->room = grown != NULL ? room : g->room;
    }
    if (!g->failed)
        g->at[g->count++] = one;
}

int64_t wants_digest(const plan_content *c)
{
    gathered g = {NULL, 0, 0, false};
    uint64_t h = 0xcbf29ce484222325u;
    each_want(c, gather_one, &g);
    if (g.count > 0)
        qsort(g.at, g.count, sizeof *g.at, by_value);
    for (size_t i = 0; i < g.count; i++)
        if (i == 0 || g.at[i] != g.at[i - 1])
            h = (h ^ g.at[i]) * 0x100000001b3u;
    free(g.at);
    h = (h ^ h >> 32) & INT64_MAX;
    return g.failed ? 0 : h > 0 ? (int64_t)h : 1;
}

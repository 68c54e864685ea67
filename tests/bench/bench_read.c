/* bench_read: how fast is FHIR JSON read, beside jansson on the same lines?
 *
 *   bench_read [FILE.ndjson[.gz]...]
 *
 * Without a file: the public corpora, where they are. Printed per file, the best of several rounds:
 * MB and resources per second of fhir_decode and of json_loadb with the same checks (duplicate
 * keys), their ratio; and per resource the time of what gather asks next: fhir_resource_of,
 * fhir_resource_check, fhir_patient_of, and an image written and read back. The whole file is in
 * memory; one core. Figures are printed, never asserted. */
#include <jansson.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "fhir/bundle.h"

enum { ROUNDS = 7, SLOW_ROUNDS = 3 };

typedef struct corpus {
    char *text;
    size_t size, count;
    og_str *lines;
    og_arena *arena;
    size_t failed;
} corpus;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *path, const char *why)
{
    fprintf(stderr, "bench_read: %s: %s\n", path, why);
    exit(1);
}

static void load(corpus *c, const char *path)
{
    gzFile f = gzopen(path, "rb");
    size_t cap = (size_t)64 << 20, lines_cap = 1024;
    int got;
    if (f == NULL)
        die(path, "cannot be opened");
    *c = (corpus){.text = malloc(cap),
                  .lines = malloc(lines_cap * sizeof(og_str)),
                  .arena = og_arena_new((size_t)1 << 30)};
    while (c->text != NULL &&
           (got = gzread(f, c->text + c->size,
                         (unsigned)(cap - c->size > 1 << 30 ? 1 << 30 : cap - c->size))) > 0) {
        c->size += (size_t)got;
        if (c->size == cap)
            c->text = realloc(c->text, cap *= 2);
    }
    gzclose(f);
    for (og_str rest = {c->text, c->size}; rest.n != 0 && c->lines != NULL;) {
        ptrdiff_t end = og_str_find(rest, '\n');
        size_t n = end < 0 ? rest.n : (size_t)end;
        if (c->count == lines_cap)
            c->lines = realloc(c->lines, (lines_cap *= 2) * sizeof(og_str));
        if (n != 0 && c->lines != NULL)
            c->lines[c->count++] = (og_str){rest.p, n};
        rest = og_str_from(rest, end < 0 ? rest.n : n + 1);
    }
    if (c->text == NULL || c->lines == NULL || c->arena == NULL)
        die(path, "no memory");
    if (c->count == 0)
        die(path, "holds no lines");
}

/* --- what is timed: the whole corpus once --- */

static void decode_all(corpus *c)
{
    for (size_t i = 0; i < c->count; i++) {
        fhir_doc d;
        og_arena_reset(c->arena);
        c->failed += fhir_decode(c->arena, c->lines[i], NULL, &d, NULL) != OG_OK;
    }
}

static void jansson_all(corpus *c)
{
    for (size_t i = 0; i < c->count; i++) {
        json_t *j = json_loadb(c->lines[i].p, c->lines[i].n,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
        c->failed += j == NULL;
        json_decref(j);
    }
}

static void type_all(corpus *c)
{
    for (size_t i = 0; i < c->count; i++) {
        fhir_doc d;
        fhir_resource r;
        og_arena_reset(c->arena);
        c->failed += fhir_decode(c->arena, c->lines[i], NULL, &d, NULL) != OG_OK ||
                     fhir_resource_of(fhir_root(&d), &r, NULL) != OG_OK;
    }
}

static void check_all(corpus *c)
{
    for (size_t i = 0; i < c->count; i++) {
        fhir_doc d;
        fhir_resource r;
        og_arena_reset(c->arena);
        c->failed += fhir_decode(c->arena, c->lines[i], NULL, &d, NULL) != OG_OK ||
                     fhir_resource_of(fhir_root(&d), &r, NULL) != OG_OK ||
                     fhir_resource_check(&r, NULL) != OG_OK;
    }
}

static void patient_all(corpus *c)
{
    for (size_t i = 0; i < c->count; i++) {
        fhir_doc d;
        fhir_resource r;
        og_str id;
        og_arena_reset(c->arena);
        c->failed += fhir_decode(c->arena, c->lines[i], NULL, &d, NULL) != OG_OK ||
                     fhir_resource_of(fhir_root(&d), &r, NULL) != OG_OK ||
                     (fhir_in_patient_compartment(r.type) &&
                      fhir_patient_of(c->arena, &r, NULL, &id, NULL) != OG_OK);
    }
}

static void image_all(corpus *c)
{
    for (size_t i = 0; i < c->count; i++) {
        fhir_doc d;
        og_arena_reset(c->arena);
        if (fhir_decode(c->arena, c->lines[i], NULL, &d, NULL) != OG_OK)
            continue;
        size_t n = fhir_image_size(&d);
        char *p = og_arena_alloc(c->arena, n);
        if (p != NULL)
            fhir_image_write(&d, p);
        c->failed += p == NULL || fhir_image_read(c->arena, (og_str){p, n}, &d, NULL) != OG_OK;
    }
}

static double best_of(corpus *c, void (*work)(corpus *), int rounds)
{
    double best = 1e9;
    for (int i = 0; i < rounds; i++) {
        c->failed = 0;
        double t = now_s();
        work(c);
        t = now_s() - t;
        best = t < best ? t : best;
    }
    return best;
}

static void report(const corpus *c, const char *what, double s)
{
    printf("  %-28s %8.0f MB/s %10.0f resources/s %8.3f us each", what, (double)c->size / s / 1e6,
           (double)c->count / s, s / (double)c->count * 1e6);
    if (c->failed != 0)
        printf("   (%zu refused)", c->failed);
    printf("\n");
}

static void report_more(const corpus *c, const char *what, double s, double before_s)
{
    printf("  %-28s %8.3f us each more", what, (s - before_s) / (double)c->count * 1e6);
    if (c->failed != 0)
        printf("   (%zu refused)", c->failed);
    printf("\n");
}

static void bench(const char *path)
{
    corpus c;
    load(&c, path);
    printf("%s: %zu resources, %.1f MB, mean %.0f bytes\n", path, c.count, (double)c.size / 1e6,
           (double)c.size / (double)c.count);
    double ours = best_of(&c, decode_all, ROUNDS);
    report(&c, "fhir_decode", ours);
    double theirs = best_of(&c, jansson_all, SLOW_ROUNDS);
    report(&c, "jansson json_loadb", theirs);
    printf("  %-28s %8.1f\n", "times as fast as jansson", theirs / ours);
    double typed = best_of(&c, type_all, ROUNDS);
    report_more(&c, "fhir_resource_of", typed, ours);
    double checked = best_of(&c, check_all, ROUNDS);
    report_more(&c, "fhir_resource_check", checked, typed);
    double owned = best_of(&c, patient_all, ROUNDS);
    report_more(&c, "fhir_patient_of", owned, typed);
    double stored = best_of(&c, image_all, ROUNDS);
    report_more(&c, "image written and read", stored, ours);
    og_arena_free(c.arena);
    free(c.lines);
    free(c.text);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {OG_SHARED_DATA "/fhir/corpus-dev.ndjson.gz",
                                        OG_SHARED_DATA "/fhir/corpus-dev-mimic.ndjson.gz",
                                        OG_SHARED_DATA "/fhir/bundles-dev.ndjson.gz"};
    for (int i = 1; i < argc; i++)
        bench(argv[i]);
    for (size_t i = 0; argc < 2 && i < sizeof known / sizeof known[0]; i++) {
        if (access(known[i], R_OK) == 0)
            bench(known[i]);
        else
            printf("skipped: %s is not there\n", known[i]);
    }
    return 0;
}

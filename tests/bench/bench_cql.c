/* How fast are libraries loaded and patients evaluated? CDS Connect statin-use (every expression)
 * on its five patients, and the project's own rules on the bundles of their cases.
 *
 *   bench_cql [rounds]
 *   bench_cql --statin-use [rounds]
 *
 * The second form prints for each patient of statin-use one line for cql_execution.js: its name and
 * the median of reading the bytes and evaluating every expression, in microseconds.
 *
 * Printed per patient: resources, bytes, median and 99th percentile of evaluating alone and of
 * reading the bytes and evaluating, steps, arena bytes, and calls of malloc per evaluation (the
 * arenas' own apart: they keep their blocks). Figures are printed, never asserted. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "rules/cql/cql.h"

/* ---- counting malloc: glibc's own names behind ours ---- */

static unsigned long mallocs;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t nmemb, size_t size);
void *__libc_realloc(void *ptr, size_t size);

#if !defined(__SANITIZE_ADDRESS__)
void *malloc(size_t size)
{
    mallocs++;
    return __libc_malloc(size);
}

void *calloc(size_t nmemb, size_t size)
{
    mallocs++;
    return __libc_calloc(nmemb, size);
}

void *realloc(void *ptr, size_t size)
{
    mallocs++;
    return __libc_realloc(ptr, size);
}
#endif

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print_error(void *ctx, const og_error *err)
{
    char line[1400];
    (void)ctx;
    og_error_format(err, line, sizeof line);
    fprintf(stderr, "%s\n", line);
}

static og_report report = {.fn = print_error};
static bool medians_only; /* --statin-use */
static const fhir_limits deep = {.max_bytes = 128u << 20, .max_depth = 4000};

static bool read_whole(const char *path, char **ret, size_t *ret_size)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return false;
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    *ret = n >= 0 ? malloc((size_t)n + 1) : NULL;
    *ret_size = *ret != NULL ? fread(*ret, 1, (size_t)n, f) : 0;
    fclose(f);
    return *ret != NULL && *ret_size == (size_t)n;
}

static bool decode_file(og_arena *a, const char *path, fhir_doc *ret)
{
    char *text;
    size_t size;
    og_error err;
    og_error_init(&err);
    if (!read_whole(path, &text, &size))
        return false;
    og_str copy = og_arena_str(a, (og_str){text, size});
    free(text);
    return fhir_decode(a, copy, &deep, ret, &err) == OG_OK;
}

/* ---- loading ---- */

typedef void (*file_fn)(void *ctx, const char *path);

static void each_json(const char *dir, const char *prefix, file_fn fn, void *ctx)
{
    struct dirent **names;
    int n = scandir(dir, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char path[2048];
        size_t length = strlen(names[i]->d_name);
        snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
        if (length > 5 && strcmp(names[i]->d_name + length - 5, ".json") == 0 &&
            strncmp(names[i]->d_name, prefix, strlen(prefix)) == 0)
            fn(ctx, path);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

static void add_library(void *ctx, const char *path)
{
    char *text;
    size_t size;
    if (!read_whole(path, &text, &size))
        return;
    (void)cql_set_add(ctx, (og_str){text, size}, path, &report);
    free(text);
}

typedef struct terms_loader {
    og_arena *arena;
    fhir_terminology *terms;
} terms_loader;

static void add_terms(void *ctx, const char *path)
{
    terms_loader *l = ctx;
    fhir_doc *doc = og_arena_alloc(l->arena, sizeof *doc);
    if (decode_file(l->arena, path, doc))
        (void)fhir_terminology_add(l->terms, fhir_root(doc), path, &report);
}

/* {url: {version: [{code, system}...]}} */
static void add_statin_terms(terms_loader *l, const char *path)
{
    fhir_doc doc;
    if (!decode_file(l->arena, path, &doc))
        return;
    fhir_elem root = fhir_root(&doc);
    for (fhir_elem s = fhir_first(root); fhir_exists(s); s = fhir_next(root, s)) {
        fhir_elem codes = fhir_first(s);
        fhir_doc *set = og_arena_alloc(l->arena, sizeof *set);
        const char *comma = "";
        og_buf b;
        og_buf_init(&b, (size_t)64 << 20);
        og_buf_addz(&b, "{\"resourceType\":\"ValueSet\",\"url\":");
        og_buf_add_json(&b, fhir_key_of(s));
        og_buf_addz(&b, ",\"expansion\":{\"contains\":[");
        for (fhir_elem c = fhir_first(codes); fhir_exists(c); c = fhir_next(codes, c)) {
            og_buf_addz(&b, comma);
            og_buf_adds(&b, fhir_raw(c));
            comma = ",";
        }
        og_buf_addz(&b, "]}}");
        og_str text = og_arena_str(l->arena, og_buf_str(&b));
        og_buf_done(&b);
        if (fhir_decode(l->arena, text, &deep, set, NULL) == OG_OK)
            (void)fhir_terminology_add(l->terms, fhir_root(set), path, &report);
    }
}

/* ---- one patient ---- */

typedef struct subject {
    const cql_set *set;
    const cql_library *lib; /* NULL: every library of the set */
    int64_t as_of_ms;
    const char *list; /* "data" (resources) or "entry" (of a Bundle) */
    unsigned errors;
    uint64_t steps;
} subject;

static fhir_elem data_of(fhir_elem root, const char *list)
{
    fhir_elem bundle = fhir_get(root, "bundle"); /* a case of the content folder */
    return fhir_get(fhir_exists(bundle) ? bundle : root, list);
}

static fhir_resource *resources_of(og_arena *a, fhir_elem root, const char *list, size_t *ret_count)
{
    fhir_elem all = data_of(root, list);
    fhir_resource *r = og_arena_alloc(a, (fhir_length(all) + 1) * sizeof *r);
    size_t n = 0;
    for (fhir_elem e = fhir_first(all); fhir_exists(e); e = fhir_next(all, e)) {
        fhir_elem in = fhir_get(e, "resource");
        if (fhir_resource_of(fhir_exists(in) ? in : e, &r[n], NULL) == OG_OK)
            n++;
    }
    *ret_count = n;
    return r;
}

static void evaluate_library(subject *s, cql_run *run, const cql_library *lib)
{
    for (size_t i = 0; i < cql_library_define_count(lib); i++) {
        cql_value v;
        if (cql_run_define(run, cql_library_define_at(lib, i), &v, NULL) != OG_OK)
            s->errors++;
    }
}

static void evaluate(subject *s, og_arena *a, const fhir_resource *resources, size_t count)
{
    cql_request request = {
        .resources = resources, .resource_count = count, .as_of_ms = s->as_of_ms};
    cql_run *run = cql_run_begin(a, s->set, &request);
    s->errors = 0;
    if (s->lib != NULL)
        evaluate_library(s, run, s->lib);
    for (size_t i = 0; s->lib == NULL && i < cql_set_count(s->set); i++)
        evaluate_library(s, run, cql_set_at(s->set, i));
    s->steps = cql_run_steps(run);
}

static void run_patient(subject *s, const char *name, const char *path, int rounds)
{
    char *text;
    size_t size, count = 0;
    fhir_doc doc;
    og_arena *data = og_arena_new((size_t)1 << 30), *a = og_arena_new((size_t)1 << 30);
    double *alone = calloc((size_t)rounds, sizeof *alone);
    double *whole = calloc((size_t)rounds, sizeof *whole);
    unsigned long calls = 0;
    if (!read_whole(path, &text, &size))
        goto out;
    for (int i = 0; i < rounds; i++) {
        og_arena_reset(data);
        og_arena_reset(a);
        unsigned long before = mallocs;
        double start = now_us();
        if (fhir_decode(data, (og_str){text, size}, &deep, &doc, NULL) != OG_OK)
            break;
        fhir_resource *r = resources_of(data, fhir_root(&doc), s->list, &count);
        double read = now_us();
        evaluate(s, a, r, count);
        double end = now_us();
        calls = mallocs - before;
        alone[i] = end - read;
        whole[i] = end - start;
    }
    qsort(alone, (size_t)rounds, sizeof *alone, by_value);
    qsort(whole, (size_t)rounds, sizeof *whole, by_value);
    if (medians_only)
        printf("%s %.1f\n", name, whole[rounds / 2]);
    else
        printf("%-20s %5zu %8zu %9.1f %9.1f %9.1f %9.1f %8llu %9zu %7lu %6u\n", name, count, size,
               alone[rounds / 2], alone[rounds * 99 / 100], whole[rounds / 2],
               whole[rounds * 99 / 100], (unsigned long long)s->steps, og_arena_used(a), calls,
               s->errors);
    free(text);
out:
    free(alone);
    free(whole);
    og_arena_free(a);
    og_arena_free(data);
}

static void print_head(const char *title, double load_us, size_t libraries)
{
    if (medians_only)
        return;
    printf("\n%s: %zu libraries read and linked in %.1f ms\n", title, libraries, load_us / 1000);
    printf("%-20s %5s %8s %9s %9s %9s %9s %8s %9s %7s %6s\n", "patient", "res", "bytes", "eval p50",
           "p99 us", "all p50", "p99 us", "steps", "arena", "mallocs", "errors");
}

static void bench_statin(int rounds)
{
    static const char *const patients[] = {"Adolfo777_Braun514", "Adrian111_Wunsch504",
                                           "Cher186_Crooks415", "Debora709_Mayer370",
                                           "unhealthy_patient"};
    static const char folder[] = OG_SHARED_DATA "/cql/statin-use";
    DIR *d = opendir(folder);
    if (d == NULL) {
        fprintf(stderr, "skipped: statin-use is not there (%s)\n", folder);
        return;
    }
    closedir(d);
    terms_loader l = {og_arena_new((size_t)1 << 30), fhir_terminology_new()};
    add_statin_terms(&l, OG_SHARED_DATA "/cql/statin-use/valuesets.json");
    (void)fhir_terminology_link(l.terms, &report);
    double start = now_us();
    cql_set *set = cql_set_new();
    each_json(OG_SHARED_DATA "/cql/statin-use/libraries", "", add_library, set);
    (void)cql_set_link(set, l.terms, &report);
    print_head("statin-use", now_us() - start, cql_set_count(set));
    subject s = {.set = set, .as_of_ms = 1655294400000LL, .list = "data"};
    s.lib = cql_set_find(set, OG_STR("USPSTFStatinUseForPrimaryPreventionOfCVDInAdultsFHIRv401"),
                         (og_str){NULL, 0});
    for (size_t i = 0; i < sizeof patients / sizeof patients[0]; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/bundles/%s.json", folder, patients[i]);
        run_patient(&s, patients[i], path, rounds);
    }
    cql_set_free(set);
    fhir_terminology_free(l.terms);
    og_arena_free(l.arena);
}

typedef struct cases {
    subject subject;
    int rounds;
} cases;

static void run_case(void *ctx, const char *path)
{
    cases *c = ctx;
    const char *name = strrchr(path, '/');
    run_patient(&c->subject, name != NULL ? name + 1 : path, path, c->rounds);
}

static void bench_content(int rounds)
{
    terms_loader l = {og_arena_new((size_t)1 << 30), fhir_terminology_new()};
    each_json(OG_SOURCE_DIR "/rules/content", "ValueSet-", add_terms, &l);
    (void)fhir_terminology_link(l.terms, &report);
    double start = now_us();
    cql_set *set = cql_set_new();
    each_json(OG_SOURCE_DIR "/rules/content/elm", "", add_library, set);
    (void)cql_set_link(set, l.terms, &report);
    print_head("own rules, every define of every library", now_us() - start, cql_set_count(set));
    cases c = {.subject = {.set = set, .as_of_ms = 1772359200000LL, .list = "entry"},
               .rounds = rounds};
    each_json(OG_SOURCE_DIR "/rules/content/cases", "V", run_case, &c);
    cql_set_free(set);
    fhir_terminology_free(l.terms);
    og_arena_free(l.arena);
}

int main(int argc, char **argv)
{
    medians_only = argc > 1 && strcmp(argv[1], "--statin-use") == 0;
    argc -= medians_only;
    argv += medians_only;
    int rounds = argc > 1 ? atoi(argv[1]) : 500;
    if (rounds < 1)
        rounds = 1;
    bench_statin(rounds);
    if (!medians_only)
        bench_content(rounds);
    return 0;
}

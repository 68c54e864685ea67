/* osteoguard review: what it foretells is what then happens, while the stores are open elsewhere.
 */
#include "daemon_world.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "connectors/ndjson.h"
#include "daemon/cmd_review.h"
#include "daemon/review.h"

#define STREAM          OG_SOURCE_DIR "/tests/fixtures/sample/stream.ndjson"
#define BEFORE_MIDNIGHT 1772319580000 /* 2026-02-28T23:59:40+01:00 */
#define MIDNIGHT        1772319600000

/* The sample patients, and a folder that looks like a daemon's. */
static world *stage(void)
{
    world *w = world_new();
    ndjson_reader *r;
    ndjson_item item;
    og_error err;
    char path[128], text[1024];
    og_error_init(&err);
    w->now_ms = BEFORE_MIDNIGHT;
    assert_int_equal(ndjson_open(STREAM, 0, 0, 0, &r, &err), OG_OK);
    while (ndjson_next(r, &item, &err) == OG_OK)
        world_put(w, "fhir.bundle", (og_str){NULL, 0}, item.text);
    ndjson_close(r);
    world_settle_down(w);
    snprintf(path, sizeof path, "%s/1-3", w->dir);
    assert_int_equal(symlink(".", path), 0);
    snprintf(path, sizeof path, "%s/c.yaml", w->dir);
    snprintf(text, sizeof text,
             "site: {tenant: t, timezone: Europe/Berlin}\n"
             "kafka: {partitions: 3}\n"
             "store: {dir: %s}\n"
             "content: {dir: " OG_SOURCE_DIR "/rules/content}\n"
             "clock: {start: \"2026-02-28T23:59:40+01:00\", speed: 0}\n"
             "endpoints: {ehr: {url: \"http://127.0.0.1:1/\"}}\n",
             w->dir);
    assert_int_equal(file_write(path, og_str_of(text), NULL), OG_OK);
    return w;
}

typedef struct foretold {
    og_status status;
    uint64_t patients, differ, failed, waiting, stores, missing, d3_closes;
    review_rule all;
} foretold;

static void nothing(void *ctx, const review_patient *p)
{
    (void)ctx;
    (void)p;
}

static void count_failure(void *ctx, og_str patient, og_str rule, const og_error *why)
{
    (void)ctx;
    print_error("%.*s %.*s: %s\n", OG_STR_ARG(patient), OG_STR_ARG(rule), why->text);
}

/* In a process of its own, as an operator's command is: the stores are open in this one. */
static foretold foretell(world *w, const plan_content *content, int64_t as_of_ms, const char *one)
{
    foretold f = {0};
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const review_sink sink = {w, nothing, count_failure};
        const review_setup setup = {.store_dir = w->dir,
                                    .tenant = "t",
                                    .partitions = WORLD_PARTITIONS,
                                    .content = content,
                                    .feedback = w->setup.feedback,
                                    .as_of_ms = as_of_ms,
                                    .offset_min = clock_offset_min(as_of_ms),
                                    .memory_bytes = (size_t)256 << 20,
                                    .patient = one};
        review_totals t = {0};
        og_error err;
        og_error_init(&err);
        f.status = review_run(&setup, &sink, w->arena, &t, &err);
        f.patients = t.patients;
        f.differ = t.differ;
        f.failed = t.failed;
        f.waiting = t.waiting;
        f.stores = t.stores;
        f.missing = t.missing;
        f.all = t.all;
        for (size_t i = 0; i < t.rule_count; i++)
            if (og_str_is(t.rules[i]->id, "D3"))
                f.d3_closes = t.rules[i]->closes;
        _exit(write(ends[1], &f, sizeof f) == sizeof f ? 0 : 1);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &f, sizeof f), sizeof f);
    close(ends[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    return f;
}

/* What was foretold happens when the world goes on. */
static void assert_comes_true(world *w, const foretold *f)
{
    memset(&w->total, 0, sizeof w->total);
    world_settle_down(w);
    assert_int_equal(w->total.opened, f->all.opens);
    assert_int_equal(w->total.changed, f->all.changes);
    assert_int_equal(w->total.resolved, f->all.closes);
}

static void the_clock_is_foretold(void **state)
{
    world *w = stage();
    (void)state;
    foretold f = foretell(w, w->content, BEFORE_MIDNIGHT, NULL);
    assert_int_equal(f.status, OG_OK);
    assert_true(f.patients > 20);
    assert_int_equal(f.differ, 0); /* what is open is what holds now */
    assert_int_equal(f.failed + f.waiting + f.missing, 0);
    assert_int_equal(f.stores, WORLD_PARTITIONS);
    assert_true(f.all.open > 20);
    static const int64_t steps[] = {MIDNIGHT, MIDNIGHT + 30LL * 86400000,
                                    MIDNIGHT + 200LL * 86400000};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        size_t posts = w->post_count;
        f = foretell(w, w->content, steps[i], NULL);
        assert_int_equal(f.status, OG_OK);
        assert_true(f.differ > 0 && f.all.opens > 0);
        assert_true(f.all.absence <= f.all.opens);
        assert_int_equal(w->post_count, posts); /* nothing was told */
        w->now_ms = steps[i];
        assert_comes_true(w, &f);
    }
    world_free(w);
}

static void new_content_is_foretold(void **state)
{
    plan_content *other = world_content_without("D3");
    world *w = stage();
    (void)state;
    w->now_ms = MIDNIGHT;
    world_settle_down(w);
    foretold f = foretell(w, other, MIDNIGHT, NULL);
    assert_int_equal(f.status, OG_OK);
    assert_true(f.d3_closes > 0);
    world_take_content(w, other);
    assert_comes_true(w, &f);
    world_free(w);
}

static void one_patient_alone(void **state)
{
    world *w = stage();
    (void)state;
    foretold f = foretell(w, w->content, MIDNIGHT, "sample-11");
    assert_int_equal(f.status, OG_OK);
    assert_int_equal(f.patients, 1);
    assert_int_equal(f.stores, 1);
    assert_true(f.all.opens > 0);
    f = foretell(w, w->content, MIDNIGHT, "nobody");
    assert_int_equal(f.patients, 0);
    world_free(w);
}

/* A killed process' store is read as it stands; one that nobody has here is counted. */
static void what_is_not_there_is_said(void **state)
{
    world *w = stage();
    char path[128];
    (void)state;
    world_restart(w, false);
    foretold all = foretell(w, w->content, MIDNIGHT, NULL);
    assert_true(all.all.opens > 0);
    kv_close(w->stores[1]);
    snprintf(path, sizeof path, "%s/1", w->dir);
    assert_int_equal(kv_discard(path, NULL), OG_OK);
    foretold f = foretell(w, w->content, MIDNIGHT, NULL);
    assert_int_equal(f.status, OG_OK);
    assert_int_equal(f.missing, 1);
    assert_true(f.patients < all.patients);
    snprintf(path, sizeof path, "%s/1/data.mdb", w->dir);
    assert_int_equal(access(path, F_OK), -1); /* looking makes nothing */
    og_error err;
    og_error_init(&err);
    snprintf(path, sizeof path, "%s/1", w->dir);
    assert_int_equal(store_open(path, 256u << 20, false, NULL, &w->stores[1], &err), OG_OK);
    world_free(w);
}

/* ---- the command ---- */

static char *slurp(const char *path)
{
    og_buf b;
    og_buf_init(&b, 1u << 20);
    assert_int_equal(file_read(path, 1u << 20, &b, NULL), OG_OK);
    char *text = world_copy(og_buf_str(&b));
    og_buf_done(&b);
    return text;
}

/* Runs it in a process of its own; *ret_out is to be freed. */
static int run(world *w, char **ret_out, char **ret_err, ...)
{
    char *argv[16] = {(char *)(uintptr_t) "review"}, out[128], err[128], config[128];
    int argc = 1, status = 0;
    va_list ap;
    va_start(ap, ret_err);
    while (argc < 15 && (argv[argc] = va_arg(ap, char *)) != NULL)
        argc++;
    va_end(ap);
    snprintf(config, sizeof config, "%s/c.yaml", w->dir);
    argv[argc++] = (char *)(uintptr_t) "-c";
    argv[argc++] = config;
    argv[argc] = NULL;
    snprintf(out, sizeof out, "%s/out", w->dir);
    snprintf(err, sizeof err, "%s/err", w->dir);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (freopen(out, "w", stdout) == NULL || freopen(err, "w", stderr) == NULL)
            _exit(99);
        status = cmd_review(argc, argv);
        fflush(NULL);
        _exit(status);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    *ret_out = slurp(out);
    *ret_err = slurp(err);
    return WEXITSTATUS(status);
}

#define HAS(text, part)                                                                            \
    do {                                                                                           \
        if (strstr(text, part) == NULL)                                                            \
            fail_msg("\"%s\" is not in: %s", part, text);                                          \
    } while (0)

static void people_read_it(void **state)
{
    world *w = stage();
    char *out, *err;
    (void)state;
    assert_int_equal(run(w, &out, &err, NULL), 0);
    HAS(out, " patients, 0 with a difference\n");
    assert_null(strstr(out, "sample-"));
    assert_string_equal(err, "");
    free(out);
    free(err);
    assert_int_equal(run(w, &out, &err, "--as-of", "2026-03-01", NULL), 0);
    HAS(out, "sample-11  opens  D3  ");
    HAS(out, ", if nothing else comes  ");
    HAS(out, "as of 2026-03-01T00:00:00+01:00, ");
    free(out);
    free(err);
    assert_int_equal(run(w, &out, &err, "--as-of", "2026-03-01", "--summary", NULL), 0);
    assert_null(strstr(out, "sample-"));
    HAS(out, "\nD3 ");
    free(out);
    free(err);
    world_free(w);
}

static void programs_read_it(void **state)
{
    world *w = stage();
    char *out, *err;
    fhir_doc doc;
    (void)state;
    assert_int_equal(
        run(w, &out, &err, "--json", "--as-of", "2026-03-01", "--patient", "sample-11", NULL), 0);
    char *second = strchr(out, '\n');
    assert_non_null(second);
    assert_int_equal(fhir_decode(w->arena, (og_str){out, (size_t)(second - out)}, NULL, &doc, NULL),
                     OG_OK);
    fhir_elem change = fhir_first(fhir_get(fhir_root(&doc), "changes"));
    assert_true(fhir_is(fhir_get(fhir_root(&doc), "patient"), "sample-11"));
    assert_true(fhir_is(fhir_get(change, "change"), "opened"));
    assert_true(fhir_is(fhir_get(change, "rule"), "D3"));
    assert_true(fhir_string(w->arena, fhir_get(change, "summary")).n > 10);
    og_str rest = og_str_of(second + 1);
    assert_int_equal(fhir_decode(w->arena, (og_str){rest.p, rest.n - 1}, NULL, &doc, NULL), OG_OK);
    assert_true(og_str_is(fhir_raw(fhir_get(fhir_root(&doc), "patients")), "1"));
    assert_true(og_str_is(fhir_raw(fhir_get(fhir_root(&doc), "opened")), "1"));
    free(out);
    free(err);
    world_free(w);
}

static void misuse_is_told(void **state)
{
    world *w = stage();
    char *out, *err;
    (void)state;
    assert_int_equal(run(w, &out, &err, "--as-of", "soon", NULL), 2);
    HAS(err, "'soon' is not a FHIR date or dateTime");
    free(out);
    free(err);
    assert_int_equal(run(w, &out, &err, "--patient", "nobody", NULL), 1);
    HAS(err, "patient nobody is not in the stores");
    free(out);
    free(err);
    assert_int_equal(run(w, &out, &err, "--content", "/nowhere", NULL), 1);
    HAS(err, "/nowhere");
    free(out);
    free(err);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clock_is_foretold), cmocka_unit_test(new_content_is_foretold),
        cmocka_unit_test(one_patient_alone),     cmocka_unit_test(what_is_not_there_is_said),
        cmocka_unit_test(people_read_it),        cmocka_unit_test(programs_read_it),
        cmocka_unit_test(misuse_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
